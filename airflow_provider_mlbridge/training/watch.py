# SPDX-License-Identifier: Apache-2.0
"""What one wait sees of its training, as the board tells it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from airflow_provider_mlbridge.exceptions import BackendUnreachableError, MLBridgeError
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, LogChunk

MAX_BACKOFF_SECONDS = 120.0
"""The longest pause after looks that failed."""

RETRY_AFTER_SECONDS = 300.0
"""The longest pause that a backend may ask for, unless ten intervals are longer."""


def is_certain(status: JobStatus) -> bool:
    """
    Whether the status ends a wait on its own.

    A job that is lost without a time of its end is one that nobody knows: a proxy in between, or a service
    that is just being replaced, may say the same for a moment.
    """
    if status.state is JobState.LOST:
        return status.finished_at is not None
    return status.state.is_terminal


@dataclass(eq=False)
class Watch:
    """
    One wait's view of its training. The board alone writes it, but for ``shown``.

    :param poll_interval: seconds between two looks that the wait asked for.
    :param log_offset: bytes of log handed over so far.
    :param shown: bytes of log that are in the task's log; the backend is told of them with the next look.
    :param status: as told last.
    :param trouble: why the last look failed, None when it did not.
    :param failures: looks that failed in a row.
    :param faults: those of them that say more than that nobody answers.
    :param silent_since: when the first of them was, on the event loop's clock.
    :param log_trouble: why the log could not be read in the last look, empty when it could.
    :param told: of ``shown``, what the backend knows.
    :param not_before: when the next look is due, on the event loop's clock; 0 for whenever there is one.
    :param served: number of the look that read its log last.
    :param crash: what ended the looks for good, such as the time-out of a task, which comes by a signal.
    """

    ref: JobRef
    poll_interval: float
    log_offset: int = 0
    shown: int = 0
    status: JobStatus | None = None
    trouble: MLBridgeError | None = None
    failures: int = 0
    faults: int = 0
    silent_since: float = 0.0
    log_trouble: str = ""
    told: int = 0
    not_before: float = 0.0
    served: int = 0
    crash: BaseException | None = None
    _chunk: LogChunk | None = None
    _doubtful: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def news(self) -> None:
        """Until something has changed: the state, the progress, the log, or whether there is an answer."""
        await self._changed.wait()
        self._changed.clear()
        if self.crash is not None:
            raise self.crash

    def notify(self) -> None:
        """Wake the wait."""
        self._changed.set()

    def take_chunk(self) -> LogChunk | None:
        """The next piece of the log, once."""
        chunk, self._chunk = self._chunk, None
        return chunk

    @property
    def is_over(self) -> bool:
        """Whether the end was told; there is nothing to look for any more."""
        return self.status is not None and self.status.state.is_terminal

    @property
    def wants_log(self) -> bool:
        """Whether there is log that was not handed over, and what was is taken."""
        if self.status is None or self._chunk is not None:
            return False
        return self.status.log_size is None or self.status.log_size > self.log_offset

    def accept(self, status: JobStatus, now: float) -> bool:
        """Take an answer; whether the wait has to hear of it."""
        before, relieved = self.status, self.trouble is not None
        self.trouble, self.failures, self.faults, self.not_before = None, 0, 0, 0.0
        if before is None and status.log_shown is not None:
            known = status.log_shown if status.log_size is None else min(status.log_shown, status.log_size)
            if known > self.log_offset:
                self.log_offset = self.shown = self.told = known
        if status.state.is_terminal and not is_certain(status) and not self._doubtful:
            self._doubtful = True
            self.not_before = now + self.poll_interval
            return relieved
        self._doubtful = False
        if status.retry_after:
            # A clock that is wrong on either side must not make the wait blind for hours.
            longest = max(RETRY_AFTER_SECONDS, 10 * self.poll_interval)
            self.not_before = now + min(status.retry_after, longest)
        self.status = status
        seen = (status.state, status.progress, status.reason)
        return relieved or before is None or seen != (before.state, before.progress, before.reason)

    def fail(self, error: MLBridgeError, now: float, jitter: float) -> None:
        """Take a failure, and pause for longer after each; the wait always hears of it."""
        if self.trouble is None:
            self.silent_since = now
        self.trouble = error
        self.failures += 1
        self.faults += not isinstance(error, BackendUnreachableError)
        pause = min(self.poll_interval * 2 ** min(self.failures, 10), MAX_BACKOFF_SECONDS)
        self.not_before = now + max(pause, self.poll_interval) * jitter
        self.notify()

    def give(self, chunk: LogChunk, look: int) -> None:
        """Hand over a piece of the log; the wait hears of it."""
        self.served, self.log_trouble = look, ""
        if chunk.next_offset > self.log_offset:
            self.log_offset, self._chunk = chunk.next_offset, chunk
            self.notify()
