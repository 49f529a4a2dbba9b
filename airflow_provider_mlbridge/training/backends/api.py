# SPDX-License-Identifier: Apache-2.0
"""Training behind a REST service."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    ConfigurationError,
    InvalidTrainingRequestError,
    InvalidTrainingResultError,
    TrainingConflictError,
    TrainingForgottenError,
)
from airflow_provider_mlbridge.training.api.adapters import Adapter, resolve_adapter
from airflow_provider_mlbridge.training.api.client import Answer, APIClient, RetryPolicy
from airflow_provider_mlbridge.training.api.fields import find_field
from airflow_provider_mlbridge.training.api.target import APITarget
from airflow_provider_mlbridge.training.backend import Capability, logs_one_by_one
from airflow_provider_mlbridge.training.reported import parse_reported_result
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import (
    JobRef,
    JobState,
    JobStatus,
    LogChunk,
    ReportedResult,
    Submission,
)

DEFAULT_ENDPOINT = "/api/v1/training/trigger"

_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_LOG = logging.getLogger(__name__)
_PARALLEL_STATUS = 16
_LONGEST_JOB_ID = 500
_REPORTED_FIELDS = ("metrics", "model_uri", "mlflow_run_id", "extra")


class APIBackend:
    """
    Trains at a REST service; implements :class:`~airflow_provider_mlbridge.training.backend.TrainingBackend`.

    :param target: the service.
    :param endpoint: path to which a training is posted, below the target's base URL.
    :param adapter: how the service is asked; see
        :func:`~airflow_provider_mlbridge.training.api.adapters.resolve_adapter`.
    :param allow_duplicate_submit: accept a service that cannot recognise a repeated submission, so that a
        retry may start the training a second time.
    :param retry: how a call that failed in passing is repeated.
    :raises ConfigurationError: for an adapter or endpoint that is not valid, or an adapter that cannot
        guarantee one training per key while ``allow_duplicate_submit`` is not set.
    """

    def __init__(
        self,
        target: APITarget,
        *,
        endpoint: str = DEFAULT_ENDPOINT,
        adapter: str | Mapping[str, Any] = "mlbridge",
        allow_duplicate_submit: bool = False,
        retry: RetryPolicy | None = None,
    ) -> None:
        if not _PATH.fullmatch(endpoint):
            raise ConfigurationError(
                f"endpoint={endpoint!r} must be a URL path that begins with '/', without query"
            )
        self._target = target
        self._endpoint = endpoint
        self._adapter: Adapter = resolve_adapter(adapter)
        if self._adapter.dedup == "none" and not allow_duplicate_submit:
            raise ConfigurationError(
                f"adapter {self._adapter.name!r} cannot tell a repeated submission from a new one, so a "
                f"retry may train twice. Use a service that honours Idempotency-Key (adapter "
                f"dedup='header'), or accept it with allow_duplicate_submit=True"
            )
        self._client = APIClient(target, retry or RetryPolicy())
        self._unknown_states: set[str] = set()
        self._missing: set[JobRef] = set()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As the adapter says."""
        offered: dict[Capability, str | None] = {
            "cancel": self._adapter.cancel_path,
            "logs": self._adapter.logs_path,
            "result": self._adapter.result_path or self._adapter.result,
            "link": self._adapter.url,
            "progress": self._adapter.progress,
        }
        return frozenset(name for name, where in offered.items() if where is not None)

    async def submit(self, job: TrainingJob) -> Submission:
        """
        Start the training, or attach to the one that is there.

        :raises TrainingConflictError: when the key is in use with another request.
        :raises TrainingForgottenError: when the service knows nothing of ``job.known_generation``; it starts
            nothing then. Only a service that is told of it can, see the adapter's ``sends_identity``.
        :raises InvalidTrainingRequestError: when the service does not accept the request.
        """
        body = job.request.to_dict()
        if self._adapter.sends_identity:
            body.update(key=job.key, owner=job.owner, epoch=job.epoch, digest=job.digest)
            if job.known_generation:
                body["known_generation"] = job.known_generation
            # One per call: a copy of it sent after a lost answer gets the same answer, even when the training
            # has failed since, while a retry of the task starts it again.
            body["submission_id"] = secrets.token_hex(16)
        answer = await self._client.call(
            "POST",
            self._endpoint,
            body=body,
            headers={"Idempotency-Key": job.key},
            repeatable=self._adapter.dedup != "none",
        )
        if answer.status in self._adapter.conflict_statuses:
            raise TrainingConflictError(
                f"the training service {self._target.label} refused training {job.key} (request digest "
                f"{job.digest[:12]}): {self._client.explain(answer)}. Let the running training end or mark "
                f"the task failed, then clear it."
            )
        if answer.status == 410 and answer.problem == "forgotten":
            raise TrainingForgottenError(
                f"training {job.key}: generation {job.known_generation} was started before, but the training "
                f"service {self._target.label} does not know it: {self._client.explain(answer)}. It may "
                f"still run. Bring the service's database back; or see that nothing runs, and clear the task "
                f"with forgotten='train'."
            )
        if 400 <= answer.status < 500 and answer.status not in (404, 405):
            raise InvalidTrainingRequestError(
                f"the training service {self._target.label} does not accept the request (HTTP "
                f"{answer.status}): {self._client.explain(answer)}"
            )
        document = self._document(answer, f"POST {self._endpoint}")
        ref = JobRef(job.key, self._generation(document), self._job_id(document))
        attached = self._is_replay(answer)
        state = (await self._status_of(ref)).state if attached else self._submitted_state(document)
        return Submission(ref=ref, state=state, attached=attached, url=self._url(document))

    async def status(
        self,
        refs: Sequence[JobRef],
        shown: Mapping[JobRef, int] | None = None,
    ) -> Mapping[JobRef, JobStatus]:
        """
        State of many jobs. With no job at all it still asks, where the service answers batches, so that
        address and credentials can be checked.
        """
        batch_path = self._adapter.batch_path
        tells = bool(shown) and self._adapter.batch_shown is not None
        if batch_path is None or (len(refs) == 1 and not tells):
            gate = asyncio.Semaphore(_PARALLEL_STATUS)

            async def ask(ref: JobRef) -> JobStatus:
                async with gate:
                    return await self._status_of(ref)

            statuses = await asyncio.gather(*(ask(ref) for ref in refs))
            return dict(zip(refs, statuses, strict=True))
        found: dict[JobRef, JobStatus] = {}
        for begin in range(0, max(1, len(refs)), self._adapter.batch_size):
            part = refs[begin : begin + self._adapter.batch_size]
            found.update(await self._status_batch(batch_path, part, shown or {}))
        return found

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        """At most ``limit`` bytes of log from byte ``offset``; nothing when the service offers no log."""
        if self._adapter.logs_path is None:
            return LogChunk("", offset)
        path = self._adapter.path(self._adapter.logs_path, self._endpoint, ref.job_id)
        query = {"offset": str(offset), "limit": str(limit)}
        document = self._document(await self._client.call("GET", path, query=query), f"GET {path}")
        text = find_field(self._adapter.log_text, document)
        next_offset = find_field(self._adapter.log_next_offset, document)
        if not isinstance(text, str) or not _is_int(next_offset) or next_offset < offset:
            raise BackendProtocolError(
                f"GET {path} of the training service {self._target.label}: text is {type(text).__name__} and "
                f"the next offset {next_offset!r}; expected a string and a number not below {offset}"
            )
        return LogChunk(text, next_offset)

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        """The same of many jobs; without those whose log cannot be read now."""
        return await logs_one_by_one(self, offsets, limit)

    def log_uri(self, ref: JobRef) -> str | None:
        """URL of the job's log, None when the service offers none."""
        if self._adapter.logs_path is None:
            return None
        path = self._adapter.path(self._adapter.logs_path, self._endpoint, ref.job_id)
        return self._target.base_url.rstrip("/") + path

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        """Stop the job if ``owner`` still owns it; False when it does not, or when nothing can be stopped."""
        if self._adapter.cancel_path is None:
            _LOG.warning(
                "The training service %s offers no way to stop job %s", self._target.label, ref.job_id
            )
            return False
        path = self._adapter.path(self._adapter.cancel_path, self._endpoint, ref.job_id)
        answer = await self._client.call("POST", path, body={"owner": owner, "reason": reason})
        if answer.status in (404, 409):
            _LOG.info("Job %s was not stopped: %s", ref.job_id, self._client.explain(answer))
            return False
        self._require_ok(answer, f"POST {path}")
        return True

    async def result(self, ref: JobRef) -> ReportedResult:
        """
        What the succeeded training reported.

        :raises InvalidTrainingResultError: when it is not readable.
        """
        template = self._adapter.result_path or self._adapter.status_path
        path = self._adapter.path(template, self._endpoint, ref.job_id)
        answer = await self._client.call("GET", path)
        source = f"the result of job {ref.job_id} at the training service {self._target.label}"
        if 400 <= answer.status < 500:
            raise InvalidTrainingResultError(f"{source} is not available: {self._client.explain(answer)}")
        report = find_field(self._adapter.result, self._document(answer, f"GET {path}"))
        if self._adapter.result_path is None and isinstance(report, Mapping):
            report = {name: report[name] for name in _REPORTED_FIELDS if report.get(name) is not None}
        return parse_reported_result(report, source=source)

    async def acknowledge(self, ref: JobRef, owner: str) -> None:
        """Record that the task has returned the result; left to a later attempt that took the job over."""
        if self._adapter.acknowledge_path is None:
            return
        path = self._adapter.path(self._adapter.acknowledge_path, self._endpoint, ref.job_id)
        answer = await self._client.call("POST", path, body={"owner": owner})
        if answer.status in (404, 409):
            _LOG.info("Job %s was not acknowledged: %s", ref.job_id, self._client.explain(answer))
            return
        self._require_ok(answer, f"POST {path}")

    async def reap(self, keep_seconds: float) -> int:  # noqa: ARG002
        """0: the service keeps house itself."""
        return 0

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    async def _status_of(self, ref: JobRef) -> JobStatus:
        path = self._adapter.path(self._adapter.status_path, self._endpoint, ref.job_id)
        answer = await self._client.call("GET", path)
        expected = self._adapter.unknown_job_problem
        if answer.status in (404, 410) and (expected is None or answer.problem == expected):
            if expected is None and answer.status == 404 and ref not in self._missing:
                # A proxy answers so, too, while the service behind it is being replaced. Whoever waits asks
                # again after an interval; a second training beside the first would cost more than that.
                self._missing.add(ref)
                reason = f"{self._unknown_job(ref).reason}; asking once more before it counts as lost"
                return JobStatus(ref=ref, state=JobState.UNREACHABLE, reason=reason)
            self._missing.discard(ref)
            return self._unknown_job(ref)
        document = self._document(answer, f"GET {path}")
        self._missing.discard(ref)
        return self._read_status(ref, document, answer.retry_after)

    async def _status_batch(
        self, template: str, refs: Sequence[JobRef], shown: Mapping[JobRef, int]
    ) -> Mapping[JobRef, JobStatus]:
        path = self._adapter.path(template, self._endpoint)
        body: dict[str, Any] = {"job_ids": [ref.job_id for ref in refs]}
        news = {ref.job_id: shown[ref] for ref in refs if ref in shown}
        if news and self._adapter.batch_shown is not None:
            body[self._adapter.batch_shown] = news
        answer = await self._client.call("POST", path, body=body)
        items = find_field(self._adapter.batch_items, self._document(answer, f"POST {path}"))
        if not isinstance(items, list):
            raise self._contract_error(f"POST {path}", "no list of jobs")
        by_id = {self._job_id(item): item for item in items}
        return {
            ref: self._read_status(ref, by_id[ref.job_id], answer.retry_after)
            if ref.job_id in by_id
            else self._unknown_job(ref)
            for ref in refs
        }

    def _read_status(self, ref: JobRef, document: Any, retry_after: float | None) -> JobStatus:
        job_id = find_field(self._adapter.job_id, document)
        if job_id is not None and str(job_id) != ref.job_id:
            raise self._contract_error(f"status of job {ref.job_id}", f"it is about job {job_id!r}")
        state, note = self._state(find_field(self._adapter.state, document), ref)
        exit_code = find_field(self._adapter.exit_code, document)
        log_size = find_field(self._adapter.log_size, document)
        log_shown = find_field(self._adapter.log_shown, document)
        return JobStatus(
            ref=ref,
            state=state,
            exit_code=exit_code if _is_int(exit_code) else None,
            reason=str(find_field(self._adapter.reason, document) or note),
            started_at=_text(find_field(self._adapter.started_at, document)),
            finished_at=_text(find_field(self._adapter.finished_at, document)),
            log_size=log_size if _is_int(log_size) else None,
            retry_after=None if state.is_terminal else retry_after,
            progress=_text(find_field(self._adapter.progress, document)),
            log_shown=log_shown if _is_int(log_shown) else None,
        )

    def _state(self, value: Any, ref: JobRef) -> tuple[JobState, str]:
        """A state that is not known says nothing: keep waiting, and say so once."""
        if not isinstance(value, str):
            raise self._contract_error(
                f"status of job {ref.job_id}", f"the state is {value!r}, expected a word"
            )
        known = self._adapter.states.get(value.lower())
        if known is not None:
            return JobState(known), ""
        if value not in self._unknown_states:
            self._unknown_states.add(value)
            _LOG.warning(
                "The training service %s reports state %r for job %s, which adapter %r does not know; "
                "waiting on. Add it to the adapter's states.",
                self._target.label,
                value,
                ref.job_id,
                self._adapter.name,
            )
        return JobState.RUNNING, f"the service reports the unknown state {value!r}"

    def _unknown_job(self, ref: JobRef) -> JobStatus:
        reason = f"the training service {self._target.label} knows no job {ref.job_id}"
        return JobStatus(ref=ref, state=JobState.LOST, reason=reason)

    def _submitted_state(self, document: Any) -> JobState:
        value = find_field(self._adapter.state, document)
        known = self._adapter.states.get(value.lower()) if isinstance(value, str) else None
        return JobState(known) if known is not None else JobState.CLAIMED

    def _is_replay(self, answer: Answer) -> bool:
        header = self._adapter.replayed_header
        return header is not None and answer.headers.get(header.lower(), "").lower() == "true"

    def _generation(self, document: Any) -> int:
        if self._adapter.generation is None:
            return 1
        value = find_field(self._adapter.generation, document)
        if not _is_int(value) or value < 1:
            raise self._contract_error(
                f"POST {self._endpoint}", f"the generation is {value!r}, expected 1, 2, ..."
            )
        return int(value)

    def _job_id(self, document: Any) -> str:
        value = find_field(self._adapter.job_id, document)
        text = str(value) if _is_int(value) or isinstance(value, str) else ""
        if not 0 < len(text) <= _LONGEST_JOB_ID:
            raise self._contract_error(
                f"POST {self._endpoint}", f"no job id at {self._adapter.job_id!r} (found {str(value)[:60]!r})"
            )
        return text

    def _url(self, document: Any) -> str | None:
        link = find_field(self._adapter.url, document)
        if not isinstance(link, str):
            return None
        url = urljoin(
            self._target.base_url.rstrip("/") + "/", link.lstrip("/") if link.startswith("/") else link
        )
        return url if urlsplit(url).scheme in ("http", "https") else None

    def _document(self, answer: Answer, call: str) -> Any:
        self._require_ok(answer, call)
        if not isinstance(answer.body, Mapping):
            raise self._contract_error(call, f"a JSON {type(answer.body).__name__}, expected an object")
        return answer.body

    def _require_ok(self, answer: Answer, call: str) -> None:
        if not answer.ok:
            raise self._contract_error(call, f"HTTP {answer.status} ({self._client.explain(answer)})")

    def _contract_error(self, call: str, what: str) -> BackendProtocolError:
        return BackendProtocolError(
            f"{call} of the training service {self._target.label} answered outside of the contract of "
            f"adapter {self._adapter.name!r}: {self._target.redact(what)}"
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
