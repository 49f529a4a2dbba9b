# SPDX-License-Identifier: Apache-2.0
"""What the calls of the HTTP contract do; errors are problems."""

from __future__ import annotations

import logging
import re
from typing import Any

from sqlalchemy.exc import OperationalError

from mlbridge_training_service import schemas
from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.folder import JobFolder, UnreadableResultError
from mlbridge_training_service.generations import ForgottenError, Status
from mlbridge_training_service.metrics import Metrics
from mlbridge_training_service.parameters import ParameterError, resolve
from mlbridge_training_service.payload import canonical_json, payload_digest
from mlbridge_training_service.problems import ProblemError
from mlbridge_training_service.retention import Keeper
from mlbridge_training_service.runner import Runner
from mlbridge_training_service.store import (
    ConflictError,
    JobStore,
    NotOwnerError,
    NotSucceededError,
    UnknownJobError,
)
from mlbridge_training_service.supervisor import utc_now
from mlbridge_training_service.tables import Job, Submission

PREFIX = "/api/v1/training"

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class Service:
    """
    All of it; safe to use from several threads.

    :param config: of the service.
    :param store: the jobs.
    :param runner: starts and follows them.
    :param keeper: removes them some time after their end.
    :param metrics: what ``/metrics`` says.
    """

    def __init__(
        self, config: ServiceConfig, store: JobStore, runner: Runner, keeper: Keeper, metrics: Metrics
    ) -> None:
        self.config = config
        self.metrics = metrics
        self._store = store
        self._runner = runner
        self._keeper = keeper
        self.retry_after = str(config.retry_after_seconds)

    def start(self) -> None:
        """Start to follow the jobs."""
        self._runner.start()
        self._keeper.start()

    def stop(self) -> None:
        """Stop following them; trainings go on."""
        self._keeper.stop()
        self._runner.stop()

    def check(self) -> None:
        """Read the database."""
        self._store.get_many([])

    def submit(self, request: schemas.TriggerRequest, header: str) -> tuple[Job, bool]:
        """The job that stands for the request's key, and whether it was there before."""
        try:
            job, attached = self._store.submit(self._submission(request, header))
        except ConflictError as error:
            self.metrics.submitted("conflict")
            raise ProblemError(422, "key-reused", str(error)) from error
        except ForgottenError as error:
            self.metrics.submitted("forgotten")
            raise ProblemError(410, "forgotten", str(error)) from error
        except ProblemError:
            self.metrics.submitted("refused")
            raise
        self.metrics.submitted("attached" if attached else "started")
        self._runner.wake()
        return job, attached

    def _submission(self, request: schemas.TriggerRequest, header: str) -> Submission:
        key = _key(request, header)
        given = request.model_dump(exclude_unset=True)
        payload = {name: value for name, value in given.items() if name not in schemas.IDENTITY_FIELDS}
        try:
            size = len(canonical_json(payload))
        except ValueError as error:
            raise ProblemError(400, "invalid-request", f"the body is not strict JSON: {error}") from error
        if size > self.config.max_request_bytes:
            detail = f"the request takes {size} bytes, the limit is {self.config.max_request_bytes}"
            raise ProblemError(413, "too-large", f"{detail}; pass large input by URI")
        try:
            pipeline = self.config.pipeline_for(request.model_type, request.pipeline)
        except LookupError as error:
            raise ProblemError(400, "unknown-pipeline", str(error)) from error
        parameters = self.config.pipelines[pipeline].parameters
        if parameters is not None:
            try:
                resolve(parameters, request.params or {})
            except ParameterError as error:
                detail = f"pipeline {pipeline!r}: {error}"
                members = {"invalid_params": error.faults}
                raise ProblemError(400, "invalid-parameter", detail, members=members) from error
        return Submission(
            key=key,
            owner=request.owner or "",
            epoch=request.epoch or 0,
            known_generation=request.known_generation or 0,
            digest=request.digest or "",
            payload_digest=payload_digest(payload),
            submission_id=request.submission_id or "",
            replay_only=request.key is None,
            pipeline=pipeline,
            payload=payload,
            at=utc_now(),
        )

    def get(self, job_id: str) -> Job:
        """One job."""
        try:
            return self._store.get(job_id)
        except UnknownJobError:
            raise _unknown(job_id) from None

    def batch(self, request: schemas.BatchRequest) -> tuple[schemas.BatchAnswer, bool]:
        """Those of the jobs that exist, and whether all of them are over."""
        jobs = self._store.get_many(set(request.job_ids))
        shown = request.shown
        grown = {job.job_id: shown[job.job_id] for job in jobs if shown.get(job.job_id, -1) > _shown(job)}
        try:
            self._store.show(grown)
        except OperationalError as error:
            # A full disk, for instance. How the jobs are must be told all the same.
            _LOG.warning("It could not be kept how much of the logs was shown: %s", error.orig)
            grown = {}
        found = {job.job_id for job in jobs}
        answer = schemas.BatchAnswer(
            jobs=[self.describe(job, shown=grown.get(job.job_id)) for job in jobs],
            missing=[job_id for job_id in dict.fromkeys(request.job_ids) if job_id not in found],
        )
        return answer, all(job.status.is_terminal for job in jobs)

    def describe(self, job: Job, *, shown: int | None = None) -> schemas.JobStatus:
        """
        A job as callers see it.

        :param shown: bytes of log that the caller has passed on, when that is news.
        """
        folder = self._runner.folder(job.job_id) if self._is_here(job) else None
        return schemas.JobStatus(
            job_id=job.job_id,
            key=job.key,
            generation=job.generation,
            status=job.status.value,
            exit_code=job.exit_code,
            reason=job.reason,
            pipeline=job.pipeline,
            instance=job.instance,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            acknowledged=job.acknowledged_at is not None,
            log_size=None if folder is None else folder.log_size(),
            log_shown=job.log_shown if shown is None else shown,
            progress=None if folder is None else folder.read_progress(),
            links=links_of(job),
        )

    def _is_here(self, job: Job) -> bool:
        return job.instance == self._store.instance

    def _folder(self, job: Job) -> JobFolder:
        if not self._is_here(job):
            detail = (
                f"job {job.job_id} runs at the service {job.instance}, this is {self._store.instance}: they "
                f"share a database, but logs and results are on the host of the training. Ask that service"
            )
            raise ProblemError(421, "other-instance", detail)
        return self._runner.folder(job.job_id)

    def logs(self, job_id: str, offset: int, limit: int) -> schemas.LogAnswer:
        """A piece of log."""
        job = self.get(job_id)
        complete = job.status.is_terminal  # asked first: what is complete then grows no more
        folder = self._folder(job)
        text, next_offset = folder.read_log(offset, limit, complete=complete)
        size = folder.log_size()
        return schemas.LogAnswer(
            text=text,
            offset=offset,
            next_offset=next_offset,
            size=size,
            complete=complete and next_offset >= size,
        )

    def result(self, job_id: str) -> dict[str, Any]:
        """What the training reported."""
        job = self.get(job_id)
        if job.status is not Status.SUCCEEDED:
            detail = f"job {job_id} is {job.status.value}; only a succeeded training has a result"
            raise ProblemError(409, "no-result", detail)
        try:
            return self._folder(job).read_result()
        except UnreadableResultError as error:
            raise ProblemError(422, "invalid-result", str(error)) from error

    def cancel(self, job_id: str, request: schemas.CancelRequest) -> Job:
        """Stop a job."""
        try:
            job = self._store.cancel(job_id, request.owner, request.reason, utc_now())
        except UnknownJobError:
            raise _unknown(job_id) from None
        except NotOwnerError as error:
            raise ProblemError(409, "not-owner", str(error)) from error
        self._runner.wake()
        return job

    def acknowledge(self, job_id: str, owner: str) -> Job:
        """Record that the result was returned."""
        try:
            return self._store.acknowledge(job_id, owner, utc_now())
        except UnknownJobError:
            raise _unknown(job_id) from None
        except NotOwnerError as error:
            raise ProblemError(409, "not-owner", str(error)) from error
        except NotSucceededError as error:
            raise ProblemError(409, "no-result", str(error)) from error


def _key(request: schemas.TriggerRequest, header: str) -> str:
    # The draft of the header makes it a quoted string; most callers send it bare.
    bare = header.strip()
    key = bare[1:-1] if len(bare) >= 2 and bare[0] == bare[-1] == '"' else bare
    if not key:
        detail = "the header Idempotency-Key is missing: send one value per training, the same in every retry"
        raise ProblemError(400, "idempotency-key-missing", detail)
    if not _KEY.fullmatch(key):
        raise ProblemError(
            400, "invalid-request", "Idempotency-Key is not 1 to 200 printable ASCII characters"
        )
    if request.key is None:
        return key
    if request.key != key:
        raise ProblemError(400, "invalid-request", f"Idempotency-Key {key!r} and key {request.key!r} differ")
    if request.owner is None or request.epoch is None:
        raise ProblemError(400, "invalid-request", "key comes with owner and epoch")
    return key


def _shown(job: Job) -> int:
    return -1 if job.log_shown is None else job.log_shown


def _unknown(job_id: str) -> ProblemError:
    return ProblemError(404, "unknown-job", f"there is no job {job_id}")


def links_of(job: Job) -> schemas.Links:
    """Where the calls for a job are."""
    path = f"{PREFIX}/{job.job_id}"
    return schemas.Links.model_validate(
        {
            "self": path,
            **{name: f"{path}/{name}" for name in ("logs", "result", "cancel", "acknowledge")},
        }
    )
