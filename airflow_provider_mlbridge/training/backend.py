# SPDX-License-Identifier: Apache-2.0
"""What a mode must offer. One small class per mode implements it; operator and trigger know only this."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import JobRef, JobStatus, LogChunk, ReportedResult, Submission

Capability = Literal["cancel", "logs", "result", "progress", "link"]
"""What a backend can do beyond to start a training and tell its state."""


class TrainingBackend(Protocol):
    """
    Talks to one training host, service or Airflow.

    Every method may raise :class:`~airflow_provider_mlbridge.exceptions.BackendUnreachableError`,
    ``BackendAuthenticationError``, ``HostKeyError`` or ``BackendProtocolError``. Methods are coroutines and
    never block the event loop; an instance belongs to one event loop.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; a method for anything else does nothing, and says so in its answer."""

    async def submit(self, job: TrainingJob) -> Submission:
        """
        Start the training, or attach to the one that is there; idempotent under any number of repeats.

        :raises TrainingConflictError: when the key is in use with another request.
        :raises TrainingForgottenError: when it knows nothing of a training that it had started.
        """

    async def status(
        self, refs: Sequence[JobRef], shown: Mapping[JobRef, int] | None = None
    ) -> Mapping[JobRef, JobStatus]:
        """
        State of many jobs in as few round trips as the backend allows; every ref is in the answer.

        :param shown: how many bytes of their logs were passed on. A backend that can keeps these numbers, and
            gives them back as ``log_shown``, also to another process.
        """

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        """At most ``limit`` bytes of log from byte ``offset``; undecodable bytes are replaced, not lost."""

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        """
        The same of many jobs, in as few round trips as the backend allows.

        :param limit: the most bytes of each.
        :return: without the jobs whose log cannot be read now.
        """

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

    async def reap(self, keep_seconds: float) -> int:
        """
        Remove what is kept of trainings that ended longer ago than this, and were acknowledged or cannot be.

        :return: how many were removed; 0 as well for a backend that keeps house itself.
        """

    async def close(self) -> None:
        """Release connections."""


async def logs_one_by_one(
    backend: TrainingBackend, offsets: Mapping[JobRef, int], limit: int, *, parallel: int = 8
) -> dict[JobRef, LogChunk]:
    """:meth:`TrainingBackend.logs_many` of a backend that is asked for each log alone."""
    gate = asyncio.Semaphore(parallel)

    async def read(ref: JobRef, offset: int) -> LogChunk | None:
        async with gate:
            try:
                return await backend.logs(ref, offset, limit)
            except MLBridgeError:
                return None

    chunks = await asyncio.gather(*(read(ref, offset) for ref, offset in offsets.items()))
    return {ref: chunk for ref, chunk in zip(offsets, chunks, strict=True) if chunk is not None}
