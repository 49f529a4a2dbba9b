# SPDX-License-Identifier: Apache-2.0
"""
Mode dag: the training is a run of another DAG in the same Airflow.

The run id is derived from key and generation, so Airflow's own uniqueness of run ids makes the submission
idempotent. What Airflow's side does is behind :class:`DagRunGateway`; this module only decides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from airflow_provider_mlbridge.exceptions import BackendProtocolError, InvalidTrainingResultError
from airflow_provider_mlbridge.training.backend import Capability, logs_one_by_one
from airflow_provider_mlbridge.training.reported import parse_reported_result
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import (
    Generation,
    JobRef,
    JobState,
    JobStatus,
    LogChunk,
    ReportedResult,
    Submission,
    next_generation,
)

log = logging.getLogger(__name__)

IDENTITY = "mlbridge"
"""Name in the run's ``conf`` under which key, generation and digest travel."""

_STATES = {
    "queued": JobState.STARTING,
    "running": JobState.RUNNING,
    "success": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
}


class DagRunGateway(Protocol):
    """What mode dag needs of Airflow. All work in a task; a trigger needs and has only ``state``."""

    async def is_paused(self, dag_id: str) -> bool | None:
        """Whether the DAG is paused, None when there is no such DAG."""

    async def conf(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """The run's ``conf``, None when there is no such run."""

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        """Create the run; False when it exists already."""

    async def state(self, dag_id: str, run_id: str) -> str | None:
        """``queued``, ``running``, ``success`` or ``failed``; None when there is no such run."""

    async def reported(self, dag_id: str, run_id: str) -> Mapping[str, Any]:
        """By task id, what the tasks of the run offer as the training's result."""


class GenerationRecord(Protocol):
    """
    A small memory that belongs to the task instance and survives its retries.

    Airflow keeps no record of which run was the newest, to which epoch it was attached and whether its result
    was returned.
    """

    def load(self) -> Mapping[str, Any]:
        """What was saved last; empty when nothing was."""

    def save(self, record: Mapping[str, Any]) -> None:
        """Replace it."""


class DagBackend:
    """
    Training as a run of DAG ``dag_id``.

    :param gateway: access to Airflow.
    :param dag_id: the training DAG.
    :param record: memory of the task instance; only ``submit`` and ``acknowledge`` need it.
    """

    def __init__(self, gateway: DagRunGateway, dag_id: str, record: GenerationRecord | None = None) -> None:
        self._gateway = gateway
        self._dag_id = dag_id
        self._record = record

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A result; logs are those of the run's tasks, and a run is not stopped from here."""
        return frozenset({"result"})

    async def submit(self, job: TrainingJob) -> Submission:
        """Create the run of the next generation, or attach to the newest."""
        paused = await self._gateway.is_paused(self._dag_id)
        if paused is None:
            raise BackendProtocolError(
                f"there is no DAG {self._dag_id!r} in this Airflow: check trigger_dag_id, and that the DAG "
                f"file parses (airflow dags list-import-errors)"
            )
        if paused:
            log.warning(
                "The DAG is paused: its run will not start. Unpause %r to let the training begin.",
                self._dag_id,
            )
        # Each turn either attaches or finds one more generation that somebody else created meanwhile.
        for _ in range(100):
            newest = await self._newest(job)
            number = next_generation(job, newest)
            if number is None and newest is not None:
                # A submission from before a clear, which was long on its way, changes nothing.
                if job.epoch >= newest.epoch:
                    self._save(job, newest.number, created=True, acknowledged=newest.acknowledged)
                return Submission(self._ref(job.key, newest.number), newest.state, attached=True)
            assert number is not None  # noqa: S101 - next_generation gives a number when there is no newest
            # Saved first: a task that dies in between finds no run of this number and creates it.
            self._save(job, number, created=False, acknowledged=False)
            ref = self._ref(job.key, number)
            conf = {
                **job.request.to_dict(),
                IDENTITY: {"key": job.key, "generation": number, "digest": job.digest, "epoch": job.epoch},
            }
            if await self._gateway.trigger(self._dag_id, _run_id(ref), conf):
                self._save(job, number, created=True, acknowledged=False)
                return Submission(ref, JobState.STARTING, attached=False)
        raise BackendProtocolError(f"training {job.key}: a hundred generations appeared while submitting one")

    async def status(
        self,
        refs: Sequence[JobRef],
        shown: Mapping[JobRef, int] | None = None,  # noqa: ARG002 - such numbers are not kept there
    ) -> Mapping[JobRef, JobStatus]:
        """State of the runs; a run that was deleted is lost."""
        return {ref: await self._status(ref) for ref in refs}

    async def _status(self, ref: JobRef) -> JobStatus:
        word = await self._gateway.state(self._dag_id, _run_id(ref))
        if word is None:
            return JobStatus(ref, JobState.LOST, reason=f"the DAG run {ref.job_id} was deleted")
        state = _STATES.get(word)
        if state is None:
            raise BackendProtocolError(
                f"DAG run {ref.job_id} is in state {word!r}; known are {', '.join(sorted(_STATES))}"
            )
        reason = f"DAG run {ref.job_id} failed; its own task logs say why" if state is JobState.FAILED else ""
        return JobStatus(ref, state, reason=reason)

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:  # noqa: ARG002
        """Nothing: the run's tasks have logs of their own, one click away."""
        return LogChunk("", offset)

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        """The same of many jobs; without those whose log cannot be read now."""
        return await logs_one_by_one(self, offsets, limit)

    def log_uri(self, ref: JobRef) -> str | None:  # noqa: ARG002
        """None: every task of the run has a log of its own."""
        return None

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:  # noqa: ARG002
        """Not possible: Airflow gives tasks and triggers no way to end a run. The caller says so."""
        return False

    async def result(self, ref: JobRef) -> ReportedResult:
        """The one result among the XComs of the run's tasks."""
        state = (await self._status(ref)).state
        if state is not JobState.SUCCEEDED:
            raise InvalidTrainingResultError(
                f"DAG run {ref.job_id} is {state.value}: only a succeeded training has a result"
            )
        offers = await self._gateway.reported(self._dag_id, _run_id(ref))
        if len(offers) != 1:
            found = f"tasks {', '.join(sorted(offers))} each report one" if offers else "no task reports one"
            raise InvalidTrainingResultError(
                f"DAG run {ref.job_id} succeeded, but {found}. Exactly one task of {self._dag_id!r} must "
                f"return a mapping with 'metrics', or push one as the XCom 'training_result'."
            )
        return parse_reported_result(next(iter(offers.values())))

    async def acknowledge(self, ref: JobRef, owner: str) -> None:
        """Remember that the result was returned; left to a later attempt that took the run over."""
        record = self._load()
        if self._record is None or record.get("generation") != ref.generation:
            return
        # A record of an earlier version names no owner.
        if record.get("owner", owner) != owner or (await self._status(ref)).state is not JobState.SUCCEEDED:
            return
        self._record.save({**record, "acknowledged": True})

    async def reap(self, keep_seconds: float) -> int:  # noqa: ARG002
        """0: Airflow keeps its runs."""
        return 0

    async def close(self) -> None:
        """Nothing is held."""

    async def _newest(self, job: TrainingJob) -> Generation | None:
        record = self._load()
        known = int(record.get("generation", 0))
        newest: Generation | None = None
        number = max(1, known)
        while True:
            ref = self._ref(job.key, number)
            conf = await self._gateway.conf(self._dag_id, _run_id(ref))
            if conf is None:
                if number == known and record.get("created"):
                    # It was there and somebody deleted it. Its number is not used again: an older run must
                    # not come to stand for this training.
                    return Generation(known, JobState.LOST, str(record.get("digest")), int(record["epoch"]))
                return newest
            identity = conf.get(IDENTITY)
            if not isinstance(identity, Mapping):
                raise BackendProtocolError(
                    f"DAG run {ref.job_id} was not created by this operator: its conf has no {IDENTITY!r}"
                )
            recorded = number == known
            newest = Generation(
                number=number,
                state=(await self._status(ref)).state,
                digest=str(identity.get("digest")),
                epoch=int(record["epoch"] if recorded else identity.get("epoch", 0)),
                acknowledged=bool(recorded and record.get("acknowledged")),
            )
            number += 1

    def _ref(self, key: str, generation: int) -> JobRef:
        return JobRef(key, generation, f"{self._dag_id}/mlbridge__{key}__{generation}")

    def _load(self) -> Mapping[str, Any]:
        return {} if self._record is None else self._record.load()

    def _save(self, job: TrainingJob, generation: int, *, created: bool, acknowledged: bool) -> None:
        if self._record is not None:
            self._record.save(
                {
                    "generation": generation,
                    "epoch": job.epoch,
                    "owner": job.owner,
                    "digest": job.digest,
                    "created": created,
                    "acknowledged": acknowledged,
                }
            )


def _run_id(ref: JobRef) -> str:
    return ref.job_id.rsplit("/", 1)[1]
