# SPDX-License-Identifier: Apache-2.0
"""A backend that plays a script, and a logger that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.training.backend import Capability, logs_one_by_one
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, LogChunk

REF = JobRef("k" * 32, 1, "job-1")
ENDED_AT = "2026-01-02T08:00:00+00:00"

Answer = JobState | JobStatus | Exception


def status(state: JobState, **details: Any) -> JobStatus:
    return JobStatus(REF, state, **details)


class Script:
    """A backend that plays a list of answers: states or errors; the last one again and again."""

    def __init__(self, *answers: Answer, log: bytes = b"", log_shown: int | None = None) -> None:
        self.answers = list(answers)
        self.log = log
        self.log_shown = log_shown
        self.readable = 0
        self.asked = 0
        self.told: list[int] = []
        self.log_calls: list[tuple[int, int]] = []
        self.cancelled: list[str] = []
        self.closed = 0
        self.capabilities: frozenset[Capability] = frozenset({"cancel", "logs", "result"})

    async def status(
        self, refs: Sequence[JobRef], shown: Mapping[JobRef, int] | None = None
    ) -> Mapping[JobRef, JobStatus]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        self.told += (shown or {}).values()
        if isinstance(answer, JobState):
            ended = ENDED_AT if answer.is_terminal else None
            reason = "because" if answer is JobState.FAILED else ""
            answer = JobStatus(REF, answer, reason=reason, finished_at=ended)
        # A third more of the log each time, and all of it at the end, cut wherever it falls.
        third = len(self.log) // 3
        self.readable = (
            len(self.log) if answer.state.is_terminal else min(len(self.log), self.readable + third)
        )
        return {ref: replace(answer, ref=ref, log_shown=self.log_shown) for ref in refs}

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        self.log_calls.append((offset, limit))
        chunk = self.log[offset : min(self.readable, offset + limit)]
        return LogChunk(chunk.decode("utf-8", "replace"), offset + len(chunk))

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        return await logs_one_by_one(self, offsets, limit)  # type: ignore[arg-type]

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        self.cancelled.append(owner)
        return True

    async def close(self) -> None:
        self.closed += 1


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.info_lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, event: Any, /, *args: Any) -> None:
        self.info_lines.append(event % args)

    def warning(self, event: Any, /, *args: Any) -> None:
        self.warnings.append(event % args)
