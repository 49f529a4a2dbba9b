# SPDX-License-Identifier: Apache-2.0
"""One look at a time for everybody who waits at the same place."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    BackendUnreachableError,
    MLBridgeError,
)
from airflow_provider_mlbridge.training.asking import ask_each
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus
from airflow_provider_mlbridge.training.watch import Watch

_LOG = logging.getLogger(__name__)

SHARE_OF_TIME = 0.2
"""The most of its time that a backend spends on being asked."""

SECONDS_PER_WATCH = 0.002
"""Every wait adds so much to the least pause: 5,000 waits are looked at every 10 s at most."""

LONGEST_STRETCH_SECONDS = 300.0
"""How far the number of waits, or the cost of a look, may stretch the pause between two looks."""

LOOK_SECONDS = 180.0
"""How long one look may take; after that it counts as no answer."""

LOG_SECONDS = 30.0
"""How long reading logs may take in one look; the states are told without them after that."""

LOG_BYTES_PER_LOOK = 8 * 1024 * 1024
LOG_CHUNK_BYTES = 256 * 1024
"""The most log of one training in one look, and so the most that is shown again after a crash."""

SMALLEST_CHUNK_BYTES = 8 * 1024
GATHERING_SECONDS = 0.25
"""How long the first look waits for others: a triggerer that starts has a thousand waits in a row."""

OpenBackend = Callable[[], Awaitable[TrainingBackend]]


@dataclass(eq=False)
class _Opened:
    """An open backend, and how many are using it at this moment."""

    backend: TrainingBackend
    users: int = 0
    retired: bool = False


class StatusBoard:
    """
    All waits of one event loop at one backend.

    There is one look at a time, for all of them together, with one question for the logs that grew. The
    shortest interval that any of them asked for counts, unless there are so many of them, or a look takes so
    long, that it is stretched. A look that fails reaches every wait; what follows from it is the wait's
    affair.

    :param open_backend: opens the backend; called again when what the connection held was refused.
    :param closes: whether the backend is closed in the end.
    """

    def __init__(self, open_backend: OpenBackend, *, closes: bool = True) -> None:
        self.users = 0
        self.looks = 0
        self._open = open_backend
        self._closes = closes
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()
        self._watches: dict[JobRef, list[Watch]] = {}
        self._count = 0
        self._apart: set[JobRef] = set()
        self._base = float("inf")
        self._cost = 0.0
        self._jitter = 1.0
        self._ended = 0.0
        self._soonest = 0.0
        self._failed_looks = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, backend: TrainingBackend) -> StatusBoard:
        """A board for a backend that is open already, and stays open."""

        async def opened() -> TrainingBackend:
            return backend

        return cls(opened, closes=False)

    @contextlib.asynccontextmanager
    async def watch(self, ref: JobRef, *, poll_interval: float, log_offset: int = 0) -> AsyncIterator[Watch]:
        """Hang up a watch; the looks begin with the first and end with the last."""
        watch = Watch(ref, poll_interval, log_offset, log_offset)
        self._watches.setdefault(ref, []).append(watch)
        self._count += 1
        if poll_interval < self._base or self._soonest:
            # The pause was chosen without this one.
            self._base, self._soonest = min(poll_interval, self._base), 0.0
            self._wake.set()
        if self._task is None:
            # A context of its own: what is logged here must not get into the log of the task that came first.
            self._task = asyncio.get_running_loop().create_task(
                self._look_for_ever(), name="mlbridge-looks", context=contextvars.Context()
            )
            self._task.add_done_callback(self._looks_ended)
        try:
            yield watch
        finally:
            await self._take_down(watch)

    @contextlib.asynccontextmanager
    async def backend(self) -> AsyncIterator[TrainingBackend]:
        """
        The backend, for a call besides the looks; it stays open for as long as it is used.

        :raises MLBridgeError: when it cannot be opened.
        """
        async with self._opening:
            if self._opened is None:
                self._opened = _Opened(await self._open())
            opened = self._opened
        opened.users += 1
        try:
            yield opened.backend
        finally:
            opened.users -= 1
            await self._close_unused(opened)

    async def renew(self) -> None:
        """Open the backend anew when it is used next: its connection may have been changed."""
        if self._opened is not None and self._closes:
            opened, self._opened = self._opened, None
            opened.retired = True
            await self._close_unused(opened)

    async def close(self) -> None:
        """End the looks and close the backend."""
        await self._stop_looking()
        await self.renew()

    async def _close_unused(self, opened: _Opened) -> None:
        if opened.retired and not opened.users:
            await opened.backend.close()

    async def _take_down(self, watch: Watch) -> None:
        others = self._watches[watch.ref]
        others.remove(watch)
        self._count -= 1
        if not others:
            del self._watches[watch.ref]
            self._apart.discard(watch.ref)
        if not self._watches:
            self._base = float("inf")
            await self._stop_looking()

    async def _stop_looking(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5)

    def _looks_ended(self, task: asyncio.Task[None]) -> None:
        """Pass on what no look may swallow: a task's time-out hits whatever happens to run."""
        crash = None if task.cancelled() else task.exception()
        if crash is None:
            return
        if self._task is task:
            self._task = None
        for watch in self._all():
            watch.crash = crash
            watch.notify()

    def _all(self) -> Iterable[Watch]:
        return (watch for watches in self._watches.values() for watch in watches)

    def _pause(self) -> float:
        """Seconds between two looks."""
        stretched = max(self._cost / SHARE_OF_TIME, self._count * SECONDS_PER_WATCH)
        return max(self._base, min(stretched, LONGEST_STRETCH_SECONDS)) * self._jitter

    async def _look_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(min(GATHERING_SECONDS, 0.1 * self._base))
        while True:
            # Looks of many triggerers that started together are spread.
            self._jitter = random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not cryptography
            await self._look()
            self._ended = clock()
            self._base = min((watch.poll_interval for watch in self._all()), default=float("inf"))
            self._soonest = min((watch.not_before for watch in self._all() if not watch.is_over), default=0.0)
            while (left := max(self._ended + self._pause(), self._soonest) - clock()) > 0:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._wake.wait()

    async def _look(self) -> None:
        """One look. Whatever goes wrong is told to the waits: nobody else looks for them."""
        now = asyncio.get_running_loop().time()
        due = [
            ref
            for ref, watches in self._watches.items()
            if any(not watch.is_over and watch.not_before <= now for watch in watches)
        ]
        if not due:
            return
        self.looks += 1
        try:
            async with asyncio.timeout(LOOK_SECONDS) as limit, self.backend() as backend:
                answers = await self._ask(backend, due)
                limit.reschedule(None)
                failure = await self._tell(backend, answers)
        except MLBridgeError as error:
            failure = self._fail(due, error)
        except TimeoutError:
            failure = self._fail(due, BackendUnreachableError(f"no answer within {LOOK_SECONDS:g} s"))
        except asyncio.CancelledError:
            # Perhaps only something that the look was waiting for was given up, not this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = self._fail(due, BackendUnreachableError("the question was broken off"))
        except Exception as error:  # noqa: BLE001 - the waits of all would never end
            _LOG.warning("A look at %d trainings failed", len(due), exc_info=True)
            failure = self._fail(due, BackendProtocolError(f"{type(error).__name__}: {error}"))
        self._failed_looks = 0 if failure is None else self._failed_looks + 1
        if failure is None:
            return
        if not isinstance(failure, BackendUnreachableError) or self._failed_looks % 10 == 0:
            # Key, token or address may have been changed since the connection was read.
            with contextlib.suppress(MLBridgeError, OSError):
                await self.renew()

    def _fail(self, refs: Iterable[JobRef], error: MLBridgeError) -> MLBridgeError:
        now = asyncio.get_running_loop().time()
        for ref in refs:
            for watch in self._watches.get(ref, ()):
                if not watch.is_over:
                    watch.fail(error, now, self._jitter)
        return error

    async def _ask(
        self, backend: TrainingBackend, due: Sequence[JobRef]
    ) -> Mapping[JobRef, JobStatus | MLBridgeError]:
        clock = asyncio.get_running_loop().time
        shown = {}
        for ref in due:
            furthest = max(watch.shown for watch in self._watches[ref])
            if furthest > max(watch.told for watch in self._watches[ref]):
                shown[ref] = furthest
        begin = clock()
        answers = await ask_each(backend, due, shown, self._apart)
        spent = clock() - begin
        self._cost = spent if self.looks == 1 else (self._cost + spent) / 2
        for ref, offset in shown.items():
            if isinstance(answers[ref], JobStatus):
                for watch in self._watches.get(ref, ()):
                    watch.told = offset
        return answers

    async def _tell(
        self, backend: TrainingBackend, answers: Mapping[JobRef, JobStatus | MLBridgeError]
    ) -> MLBridgeError | None:
        """Tell everybody; a failure that concerns all of them is the answer."""
        now = asyncio.get_running_loop().time()
        keeps_logs = "logs" in backend.capabilities
        failure: MLBridgeError | None = None
        answered = False
        hungry: list[Watch] = []
        for ref, answer in answers.items():
            if not isinstance(answer, JobStatus):
                failure = self._fail([ref], answer)
                continue
            if answer.state is JobState.UNREACHABLE:
                failure = self._fail([ref], BackendUnreachableError(answer.reason))
                continue
            answered = True
            for watch in self._watches.get(ref, ()):
                changed = watch.accept(answer, now)
                if keeps_logs and watch.wants_log:
                    hungry.append(watch)
                elif changed:
                    watch.notify()
        if not answered:
            return failure
        if failure is not None or self._failed_looks:
            self._end_backoff()
        if hungry:
            try:
                await self._read_logs(backend, hungry)
            finally:
                for watch in hungry:
                    watch.notify()
        return None

    def _end_backoff(self) -> None:
        """The backend answers somebody: nobody needs to be patient with it any longer."""
        for watch in self._all():
            if isinstance(watch.trouble, BackendUnreachableError):
                watch.not_before = 0.0

    async def _read_logs(self, backend: TrainingBackend, hungry: list[Watch]) -> None:
        """A piece of the log for each; those that ended, and those who waited longest, come first."""
        hungry.sort(key=lambda watch: (not watch.is_over, watch.served))
        chosen = hungry[: LOG_BYTES_PER_LOOK // SMALLEST_CHUNK_BYTES]
        limit = max(SMALLEST_CHUNK_BYTES, min(LOG_CHUNK_BYTES, LOG_BYTES_PER_LOOK // len(chosen)))
        offsets: dict[JobRef, int] = {}
        for watch in chosen:
            # Two attempts of a task may wait for one training for a moment: the one that is behind goes on.
            offsets[watch.ref] = min(offsets.get(watch.ref, watch.log_offset), watch.log_offset)
        trouble = "there was no answer for it"
        try:
            async with asyncio.timeout(LOG_SECONDS):
                chunks = await backend.logs_many(offsets, limit)
        except MLBridgeError as error:
            chunks, trouble = {}, str(error)
        except TimeoutError:
            chunks, trouble = {}, f"no answer within {LOG_SECONDS:g} s"
        for watch in chosen:
            if watch.log_offset != offsets[watch.ref]:
                continue
            chunk = chunks.get(watch.ref)
            if chunk is None:
                watch.log_trouble = trouble
            else:
                watch.give(chunk, self.looks)


_boards: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, StatusBoard]] = (
    weakref.WeakKeyDictionary()
)


@contextlib.asynccontextmanager
async def shared_board(identity: str, open_backend: OpenBackend) -> AsyncIterator[StatusBoard]:
    """
    The running loop's board for one backend; it is gone when the last of its users has left.

    :param identity: the same for whoever means the same backend.
    :param open_backend: see :class:`StatusBoard`; the first user's is taken.
    """
    of_loop = _boards.setdefault(asyncio.get_running_loop(), {})
    board = of_loop.setdefault(identity, StatusBoard(open_backend))
    board.users += 1
    try:
        yield board
    finally:
        board.users -= 1
        if not board.users:
            # Whoever comes while it is being closed gets a new one.
            del of_loop[identity]
            await board.close()
