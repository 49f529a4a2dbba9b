# SPDX-License-Identifier: Apache-2.0
"""Wait for one training: ask, pass its log on, survive a backend that does not answer."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_provider_mlbridge.exceptions import BackendUnreachableError, MLBridgeError
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus

MAX_BACKOFF_SECONDS = 120.0
MAX_LINE_CHARACTERS = 8192
"""A longer piece of log without a line end is shown in parts."""


class Log(Protocol):
    """The part of a logger that is used; Airflow's triggers and operators have different classes."""

    def info(self, event: Any, /, *args: Any) -> Any:
        """Life cycle and the training's own lines."""

    def warning(self, event: Any, /, *args: Any) -> Any:
        """What a person should look at."""


@dataclass
class Waiting:
    """
    One wait.

    :param backend: where the training runs.
    :param ref: the training.
    :param owner: who may cancel it.
    :param log: where log lines go.
    :param poll_interval: seconds between two questions.
    :param log_offset: bytes of log already shown; moves on while waiting.
    :param deadline: Unix time at which the training is cancelled, or None.
    :param unreachable_timeout: seconds without an answer after which the wait ends, the training left alone;
        None to ask for ever.
    """

    backend: TrainingBackend
    ref: JobRef
    owner: str
    log: Log
    poll_interval: float
    log_offset: int = 0
    deadline: float | None = None
    unreachable_timeout: float | None = None
    _rest: str = field(default="", init=False)
    _silent_since: float | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)
    _log_failed: bool = field(default=False, init=False)

    async def until_over(self) -> CompletionEvent:
        """
        Ask until the training has ended, the deadline has passed or the backend was silent for too long.

        Errors that asking again cannot mend (refused credentials, another host key) end the wait as
        ``unreachable``: nothing is known about the training, and it is left alone.
        """
        while True:
            try:
                status = await self._ask()
                if status.state.is_terminal:
                    return CompletionEvent.of(status, log_offset=self.log_offset)
                if self._overdue:
                    return await self._cancel_overdue(status)
                pause = max(self.poll_interval, status.retry_after or 0.0)
            except BackendUnreachableError as error:
                if self._given_up(error):
                    return self._unreachable(error)
                pause = min(self.poll_interval * 2 ** min(self._failures, 10), MAX_BACKOFF_SECONDS)
            except MLBridgeError as error:
                return self._unreachable(error)
            if self.deadline is not None:
                pause = min(pause, max(self.deadline - time.time(), 0.1))
            # Spread the questions of many trainings that started together.
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not cryptography

    @property
    def _overdue(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    async def _ask(self) -> JobStatus:
        status = (await self.backend.status([self.ref]))[self.ref]
        if status.state is JobState.UNREACHABLE:
            raise BackendUnreachableError(status.reason)
        if status.log_size is None or status.log_size > self.log_offset:
            try:
                await self._pass_on_log()
            except MLBridgeError as error:
                # The state is known; a log that cannot be read must not hide it.
                if not self._log_failed:
                    self.log.warning("The training's log cannot be read: %s", error)
                self._log_failed = True
        if status.state.is_terminal:
            self._flush()
        if self._failures:
            self.log.info("The backend answers again: training %s is %s", self.ref.job_id, status.state.value)
        self._silent_since, self._failures = None, 0
        return status

    async def _pass_on_log(self) -> None:
        while True:
            chunk = await self.backend.logs(self.ref, self.log_offset)
            if chunk.next_offset == self.log_offset:
                return
            self.log_offset = chunk.next_offset
            *lines, self._rest = (self._rest + chunk.text).split("\n")
            for line in lines:
                self.log.info("%s", line.rstrip("\r"))
            if len(self._rest) > MAX_LINE_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if self._rest:
            self.log.info("%s", self._rest)
            self._rest = ""

    def _given_up(self, error: Exception) -> bool:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        self._failures += 1
        if self._failures == 1 or self._failures % 10 == 0:
            self.log.warning("No answer, the training is left alone and asked for again: %s", error)
        if self._overdue:
            return True
        return self.unreachable_timeout is not None and now - self._silent_since > self.unreachable_timeout

    def _unreachable(self, error: Exception) -> CompletionEvent:
        reason = f"the wait was given up and the training left alone: {error}"
        return CompletionEvent.of(
            JobStatus(self.ref, JobState.UNREACHABLE, reason=reason), log_offset=self.log_offset
        )

    async def _cancel_overdue(self, status: JobStatus) -> CompletionEvent:
        if await self.backend.cancel(self.ref, self.owner, "the task's time is over"):
            reason = "the task's time is over; the training was cancelled"
        else:
            reason = "the task's time is over; the training goes on, since it cannot be cancelled from here"
        self._flush()
        return CompletionEvent.of(
            replace(status, state=JobState.TIMED_OUT, reason=reason), log_offset=self.log_offset
        )
