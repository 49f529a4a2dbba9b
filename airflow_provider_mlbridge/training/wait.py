# SPDX-License-Identifier: Apache-2.0
"""Wait for one training: pass its log on, keep its deadline, survive a backend that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_provider_mlbridge.exceptions import BackendUnreachableError, MLBridgeError
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.board import LOG_CHUNK_BYTES, StatusBoard
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, LogChunk
from airflow_provider_mlbridge.training.watch import Watch, is_certain

MAX_LINE_CHARACTERS = 8192
"""A longer piece of log without a line end is shown in parts."""

LOG_AT_END_BYTES = 16 * 1024 * 1024
"""Of a log that is far behind when the training ends, the last part that is still shown."""

CLOCK_TOLERANCE_SECONDS = 7200.0
"""How far the clocks of worker and triggerer may be apart."""

FAULTS_IN_A_ROW = 10
"""So many refusals, or answers outside of the contract, in a row end a wait."""

_CANCEL_ATTEMPTS = 3
_PROGRESS_CHARACTERS = 500


class Log(Protocol):
    """The part of a logger that is used; Airflow's triggers and operators have different classes."""

    def info(self, event: Any, /, *args: Any) -> Any:
        """Life cycle and the training's own lines."""

    def warning(self, event: Any, /, *args: Any) -> Any:
        """What a person should look at."""


def seconds_until(deadline: float | None, seconds_left: float | None, now: float) -> float | None:
    """
    How long a wait that begins now may last, None for ever.

    :param deadline: Unix time by the clock of whoever set it.
    :param seconds_left: how long it was until then at that moment. It does not depend on a clock, but begins
        anew with each triggerer that takes the wait over; so the deadline ends it as well, once it has passed
        by more than clocks are ever apart.
    :param now: Unix time here.
    """
    if deadline is None:
        return seconds_left
    if seconds_left is None:
        return max(0.0, deadline - now)
    return min(seconds_left, max(0.0, deadline + CLOCK_TOLERANCE_SECONDS - now))


@dataclass
class Waiting:
    """
    One wait.

    :param backend: where the training runs; or the board of those who wait there.
    :param ref: the training.
    :param owner: who may cancel it.
    :param log: where log lines go.
    :param poll_interval: seconds between two questions.
    :param log_offset: bytes of log already shown; moves on while waiting.
    :param deadline: Unix time at which the training is cancelled, or None; see :func:`seconds_until`.
    :param seconds_left: the same, counted from the beginning of the wait.
    :param unreachable_timeout: seconds without an answer after which the wait ends, the training left alone;
        None to ask for ever.
    :param faults_in_a_row: refusals or unreadable answers in a row that end it as well.
    """

    backend: TrainingBackend | StatusBoard
    ref: JobRef
    owner: str
    log: Log
    poll_interval: float
    log_offset: int = 0
    deadline: float | None = None
    seconds_left: float | None = None
    unreachable_timeout: float | None = None
    faults_in_a_row: int = FAULTS_IN_A_ROW
    _rest: str = field(default="", init=False)
    _failures: int = field(default=0, init=False)
    _log_failed: bool = field(default=False, init=False)
    _progress: str = field(default="", init=False)
    _progress_at: float = field(default=float("-inf"), init=False)
    _noted: str = field(default="", init=False)

    async def until_over(self) -> CompletionEvent:
        """
        Wait until the training has ended, the deadline has passed or the backend was silent for too long.

        Where nothing is known of the training in the end, the event says ``unreachable``, with the class of
        the error, and the training is left alone.
        """
        board = self.backend if isinstance(self.backend, StatusBoard) else StatusBoard.of(self.backend)
        clock = asyncio.get_running_loop().time
        left = seconds_until(self.deadline, self.seconds_left, time.time())
        # From here on by a clock that cannot be set.
        end = None if left is None else clock() + left
        async with board.watch(
            self.ref, poll_interval=self.poll_interval, log_offset=self.log_offset
        ) as watch:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._wake_at(watch, end)):
                        await watch.news()
                if watch.trouble is not None:
                    self._tell_trouble(watch)
                    if self._has_given_up(watch, clock()):
                        return self._unreachable(watch.trouble)
                elif watch.status is not None:
                    self._tell(watch, watch.status, clock())
                    if watch.is_over:
                        return await self._finish(board, watch.status)
                if end is not None and clock() >= end:
                    return await self._end_overdue(board)

    def _wake_at(self, watch: Watch, end: float | None) -> float | None:
        times = [] if end is None else [end]
        if watch.trouble is not None and self.unreachable_timeout is not None:
            times.append(watch.silent_since + self.unreachable_timeout)
        return min(times, default=None)

    def _tell(self, watch: Watch, status: JobStatus, now: float) -> None:
        if self._failures:
            self.log.info("The backend answers again: training %s is %s", self.ref.job_id, status.state.value)
            self._failures = 0
        if watch.shown > self.log_offset:
            self.log.info("The first %d bytes of the training's log were shown before", watch.shown)
            self.log_offset = watch.shown
        chunk = watch.take_chunk()
        if chunk is not None:
            self._show(chunk)
            self._keep_shown(watch, chunk)
        elif watch.log_trouble:
            self._warn_of_log(watch.log_trouble)
        if status.reason and status.reason != self._noted and not status.state.is_terminal:
            self._noted = status.reason
            self.log.warning("Training %s is %s: %s", self.ref.job_id, status.state.value, status.reason)
        # The shortest interval of all waits counts for the looks, but each has its own for its log.
        quiet = now - self._progress_at < 0.9 * self.poll_interval and not status.state.is_terminal
        if status.progress and status.progress != self._progress and not quiet:
            self._progress, self._progress_at = status.progress, now
            self.log.info("Progress: %s", " ".join(status.progress.split())[:_PROGRESS_CHARACTERS])

    def _show(self, chunk: LogChunk) -> None:
        self.log_offset = chunk.next_offset
        *lines, self._rest = (self._rest + chunk.text).split("\n")
        for line in lines:
            self.log.info("%s", line.rstrip("\r"))
        if len(self._rest) > MAX_LINE_CHARACTERS:
            self._flush()

    def _keep_shown(self, watch: Watch, chunk: LogChunk) -> None:
        """What a wait that goes on elsewhere need not show again: whole lines."""
        # A replaced character does not tell how many bytes it stands for.
        if "\ufffd" not in self._rest:
            watch.shown = max(watch.shown, chunk.next_offset - len(self._rest.encode()))

    def _flush(self) -> None:
        if self._rest:
            self.log.info("%s", self._rest)
            self._rest = ""

    def _warn_of_log(self, why: object) -> None:
        if not self._log_failed:
            self.log.warning("The training's log cannot be read: %s", why)
        self._log_failed = True

    async def _finish(self, board: StatusBoard, status: JobStatus) -> CompletionEvent:
        """The end, after what is left of the log; a log that cannot be read must not hide the end."""
        try:
            await self._pass_on_the_rest(board, status.log_size)
        except MLBridgeError as error:
            self._warn_of_log(error)
        self._flush()
        if status.progress is None and self._progress:
            status = replace(status, progress=self._progress)
        return CompletionEvent.of(status, log_offset=self.log_offset)

    async def _pass_on_the_rest(self, board: StatusBoard, size: int | None) -> None:
        if size is not None and size <= self.log_offset:
            return
        if size is not None and size - self.log_offset > LOG_AT_END_BYTES:
            self._flush()
            left_out = size - LOG_AT_END_BYTES - self.log_offset
            self.log.warning("%d bytes of the training's log are left out; they are in its own log", left_out)
            self.log_offset += left_out
        last = self.log_offset + LOG_AT_END_BYTES
        async with board.backend() as backend:
            while "logs" in backend.capabilities and self.log_offset < (last if size is None else size):
                chunk = await backend.logs(self.ref, self.log_offset, LOG_CHUNK_BYTES)
                if chunk.next_offset <= self.log_offset:
                    return
                self._show(chunk)

    def _tell_trouble(self, watch: Watch) -> None:
        if watch.failures != self._failures and (watch.failures == 1 or watch.failures % 10 == 0):
            self.log.warning("No answer, the training is left alone and asked for again: %s", watch.trouble)
        self._failures = watch.failures

    def _has_given_up(self, watch: Watch, now: float) -> bool:
        if watch.faults >= self.faults_in_a_row:
            return True
        limit = self.unreachable_timeout
        return limit is not None and now - watch.silent_since >= limit

    def _unreachable(self, error: MLBridgeError) -> CompletionEvent:
        reason = f"the wait was given up and the training left alone: {error}"
        status = JobStatus(self.ref, JobState.UNREACHABLE, reason=reason, progress=self._progress or None)
        return CompletionEvent.of(status, log_offset=self.log_offset, error=error)

    async def _end_overdue(self, board: StatusBoard) -> CompletionEvent:
        """Cancel the training; but what has ended by itself meanwhile is told as it is."""
        failure: MLBridgeError = BackendUnreachableError("no answer")
        for attempt in range(_CANCEL_ATTEMPTS):
            if attempt:
                await asyncio.sleep(min(self.poll_interval, 5.0))
            try:
                async with board.backend() as backend:
                    status = await self._look(backend)
                    if not is_certain(status):
                        return await self._cancel(board, backend, status)
                return await self._finish(board, status)
            except BackendUnreachableError as error:
                failure = error
            except MLBridgeError as error:
                failure = error
                await board.renew()
        self._flush()
        return self._unreachable(failure)

    async def _cancel(
        self, board: StatusBoard, backend: TrainingBackend, status: JobStatus
    ) -> CompletionEvent:
        cancelled = await backend.cancel(self.ref, self.owner, "the task's time is over")
        with contextlib.suppress(MLBridgeError):
            # It may have ended just before it was cancelled.
            status = await self._look(backend)
        if is_certain(status) and status.state is not JobState.CANCELLED:
            return await self._finish(board, status)
        if cancelled:
            reason = "the task's time is over; the training was cancelled"
        else:
            reason = "the task's time is over; the training goes on, since it cannot be cancelled from here"
        return await self._finish(board, replace(status, state=JobState.TIMED_OUT, reason=reason))

    async def _look(self, backend: TrainingBackend) -> JobStatus:
        status = (await backend.status([self.ref]))[self.ref]
        if status.state is JobState.UNREACHABLE:
            raise BackendUnreachableError(status.reason)
        return status
