# SPDX-License-Identifier: Apache-2.0
"""What a mode must offer. One small class per mode implements it; operator and trigger know only this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import JobRef, JobStatus, LogChunk, ReportedResult, Submission


class TrainingBackend(Protocol):
    """
    Talks to one training host, service or Airflow.

    Every method may raise :class:`~airflow_provider_mlbridge.exceptions.BackendUnreachableError`,
    ``BackendAuthenticationError``, ``HostKeyError`` or ``BackendProtocolError``. Methods are coroutines and
    never block the event loop; an instance belongs to one event loop.
    """

    async def submit(self, job: TrainingJob) -> Submission:
        """
        Start the training, or attach to the one that is there; idempotent under any number of repeats.

        :raises TrainingConflictError: when the key is in use with another request.
        """

    async def status(self, refs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """State of many jobs in as few round trips as the backend allows; every ref is in the answer."""

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        """At most ``limit`` bytes of log from byte ``offset``; undecodable bytes are replaced, not lost."""

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        """Stop the job and its whole process tree, if ``owner`` still is its owner; False when it is not."""

    def log_uri(self, ref: JobRef) -> str | None:
        """Where a person finds the full log, None when there is no such place."""

    async def result(self, ref: JobRef) -> ReportedResult:
        """
        What the succeeded training reported.

        :raises InvalidTrainingResultError: when the report is not readable.
        """

    async def acknowledge(self, ref: JobRef, owner: str) -> None:
        """Record that the task has returned the result, so that a clear of the task trains again."""

    async def close(self) -> None:
        """Release connections."""
