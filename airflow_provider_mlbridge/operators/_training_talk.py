# SPDX-License-Identifier: Apache-2.0
"""What the training operator says to a backend, with patience, and what it makes of a training's bad end."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mlbridge import exceptions
from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
    MLBridgeError,
    TrainingCancelledError,
    TrainingError,
    TrainingFailedError,
    TrainingLostError,
    TrainingTimedOutError,
)
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, Submission

if TYPE_CHECKING:
    from airflow_provider_mlbridge.training.backend import TrainingBackend

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a backend that cannot be reached is asked again while a task holds its worker slot."""

LONGEST_PAUSE_SECONDS = 15.0

CANCEL_PATIENCE_SECONDS = 120.0
"""How long a submission waits for the training of an earlier attempt that is being cancelled."""

CANCEL_SECONDS = 25.0
"""How long a killed task tries to cancel its training."""

LOG_LINES = 50
"""How much of the training's log a failure shows."""

_LOG_BYTES = 65_536
_LOG_CHARACTERS = 16_384

_FAILURES: Mapping[str, type[TrainingFailedError]] = {
    JobState.FAILED: TrainingFailedError,
    JobState.CANCELLED: TrainingCancelledError,
    JobState.TIMED_OUT: TrainingTimedOutError,
    JobState.LOST: TrainingLostError,
}


async def patiently(
    ask: Callable[[], Awaitable[T]],
    *,
    log: Any,
    patience: float,
    stopped: Callable[[], bool] = lambda: False,
) -> T:
    """
    Ask again while the backend cannot be reached: many tasks that start together may find a host busy.

    :param ask: one question; it must bear to be repeated.
    :param patience: seconds after which the error is passed on, 0 to ask once.
    :param stopped: whether somebody has stopped the task meanwhile.
    """
    give_up = time.monotonic() + patience
    pause = 1.0
    while True:
        try:
            return await ask()
        except BackendUnreachableError as error:
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not cryptography
            if stopped() or time.monotonic() + wait > give_up:
                raise
            log.warning("Asking again in %.0f s: %s", wait, error)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def submit_after_cancel(
    submit: Callable[[], Awaitable[Submission]], poll_interval: float, log: Any
) -> Submission:
    """
    Submit; when an earlier attempt's training is being cancelled at this moment, wait for its end first.

    A clear cancels the old attempt's training and starts a new attempt, in no order. When the cancel was
    first, attaching would only bring back a cancelled training.
    """
    give_up = time.monotonic() + CANCEL_PATIENCE_SECONDS
    told = False
    while True:
        submission = await submit()
        if submission.state is not JobState.CANCELLING or time.monotonic() > give_up:
            return submission
        if not told:
            log.info("Training %s is being cancelled; waiting for its end", submission.ref.job_id)
            told = True
        await asyncio.sleep(min(poll_interval, 1.0))


def failure_of(mode: str, event: CompletionEvent, tail: str) -> TrainingError:
    """The error that tells how a training ended, with the last lines of its log."""
    what = f"training {event.job_id} (mode {mode}, generation {event.generation})"
    if event.state == JobState.UNREACHABLE:
        return _unreachable(what, event)
    facts = [f"{what} {event.state}"]
    if event.exit_code is not None and f"exit code {event.exit_code}" not in event.reason:
        facts.append(f"exit code {event.exit_code}")
    if event.reason:
        facts.append(event.reason)
    if event.progress:
        facts.append(f"its last progress was {event.progress!r}")
    message = ", ".join(facts)
    if tail:
        message += f". Last lines of its log:\n{tail}"
    return _FAILURES[JobState(event.state)](message)


def _unreachable(what: str, event: CompletionEvent) -> TrainingError:
    """
    Why the wait was given up, as the class of error that ended it.

    A retry helps against a network that fails, not against credentials that are refused.
    """
    kind = getattr(exceptions, event.error, None) if event.error else None
    if not isinstance(kind, type) or not issubclass(kind, TrainingError) or kind in _FAILURES.values():
        kind = BackendUnreachableError
    then = "A retry" if kind.retryable else "Once that is mended, a clear"
    return kind(f"{what}: {event.reason}. {then} of this task attaches to it, and does not start another.")


async def log_tail(backend: TrainingBackend, event: CompletionEvent) -> str:
    """The last lines of the training's log; a log that cannot be read must not hide the failure."""
    if event.state == JobState.UNREACHABLE:
        return ""
    try:
        size = (await backend.status([event.ref]))[event.ref].log_size
        end = event.log_offset if size is None else size
        text, offset = "", max(0, end - _LOG_BYTES)
        while len(text) <= 2 * _LOG_BYTES:
            chunk = await backend.logs(event.ref, offset)
            if chunk.next_offset == offset:
                break
            text, offset = text + chunk.text, chunk.next_offset
    except MLBridgeError as error:
        return f"(the log cannot be read: {error})"
    return "\n".join(text.splitlines()[-LOG_LINES:])[-_LOG_CHARACTERS:]


def stopper(backend: TrainingBackend, ref: JobRef, owner: str, log: Any) -> Callable[[], None]:
    """
    A function that cancels the training from a signal handler.

    The event loop of the wait may be running in the interrupted thread, so the cancelling has a thread and a
    loop of its own.
    """

    async def cancel() -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                # Airflow asks only once, so a connection that fails must not be the end of it.
                stopped = await patiently(
                    lambda: backend.cancel(ref, owner, "the task was killed"),
                    log=log,
                    patience=CANCEL_SECONDS,
                )
            log.info("Training %s %s", ref.job_id, "is cancelled" if stopped else "goes on: not cancelled")
        except (MLBridgeError, TimeoutError) as error:
            log.error("Training %s may still be running: cancelling it failed: %s", ref.job_id, error)
        finally:
            await backend.close()

    def stop() -> None:
        thread = threading.Thread(target=asyncio.run, args=(cancel(),), name="mlbridge-cancel")
        thread.start()
        thread.join()

    return stop
