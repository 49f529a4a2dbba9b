# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
)
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, LogChunk
from airflow_provider_mlbridge.training.wait import Waiting

REF = JobRef("k" * 32, 1, "job-1")


class Script:
    """A backend that plays a list of answers: states or errors."""

    def __init__(self, *answers: JobState | Exception, log: bytes = b"") -> None:
        self.answers = list(answers)
        self.log = log
        self.shown = 0
        self.asked = 0
        self.cancelled: list[str] = []

    async def status(
        self, refs: Sequence[JobRef], shown: Mapping[JobRef, int] | None = None
    ) -> Mapping[JobRef, JobStatus]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A third more of the log each time, and all of it at the end, cut wherever it falls.
        third = len(self.log) // 3
        self.shown = len(self.log) if answer.is_terminal else min(len(self.log), self.shown + third)
        return {REF: JobStatus(REF, answer, reason="because" if answer is JobState.FAILED else "")}

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        chunk = self.log[offset : self.shown]
        return LogChunk(chunk.decode("ascii"), offset + len(chunk))

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        self.cancelled.append(owner)
        return True


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.info_lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, event: Any, /, *args: Any) -> None:
        self.info_lines.append(event % args)

    def warning(self, event: Any, /, *args: Any) -> None:
        self.warnings.append(event % args)


def wait(script: Script, log: Lines | None = None, **options: Any) -> CompletionEvent:
    waiting = Waiting(
        backend=script,  # type: ignore[arg-type]
        ref=REF,
        owner="me",
        log=log or Lines(),
        poll_interval=0.001,
        **options,
    )
    return asyncio.run(asyncio.wait_for(waiting.until_over(), 30))


@pytest.mark.parametrize("state", [state for state in JobState if state.is_terminal])
def test_every_end_is_told(state: JobState) -> None:
    event = wait(Script(JobState.CLAIMED, JobState.RUNNING, state))
    assert event.state == state.value
    assert event.ref == REF


def test_the_log_is_shown_once_in_whole_lines() -> None:
    text = "".join(f"epoch {number}: loss 0.{number}\n" for number in range(20)) + "done"
    lines = Lines()
    wait(Script(JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED, log=text.encode()), lines)
    assert lines.info_lines == text.split("\n")


def test_the_log_goes_on_from_the_given_offset() -> None:
    lines = Lines()
    wait(Script(JobState.SUCCEEDED, log=b"old\nnew\n"), lines, log_offset=4)
    assert lines.info_lines == ["new"]


def test_a_silent_backend_is_asked_again_and_the_training_left_alone() -> None:
    lines = Lines()
    gone = BackendUnreachableError("no route")
    script = Script(JobState.RUNNING, gone, gone, gone, JobState.SUCCEEDED)
    event = wait(script, lines)
    assert event.state == "succeeded"
    assert script.cancelled == []
    assert len(lines.warnings) == 1
    assert any("answers again" in line for line in lines.info_lines)


@pytest.mark.parametrize("error", [BackendUnreachableError("no route"), BackendProtocolError("no log")])
def test_a_log_that_cannot_be_read_does_not_hide_the_end(error: Exception, mocker: Any) -> None:
    script = Script(JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED, log=b"text")
    mocker.patch.object(script, "logs", side_effect=error)
    lines = Lines()
    assert wait(script, lines).state == "succeeded"
    assert len(lines.warnings) == 1


def test_a_backend_that_is_silent_for_too_long_ends_the_wait_only() -> None:
    script = Script(BackendUnreachableError("no route"))
    event = wait(script, unreachable_timeout=0.01)
    assert event.state == "unreachable"
    assert "left alone" in event.reason
    assert script.cancelled == []


def test_unreachable_as_a_state_counts_like_the_error() -> None:
    event = wait(Script(JobState.UNREACHABLE), unreachable_timeout=0.01)
    assert event.state == "unreachable"


def test_refused_credentials_end_the_wait_at_once() -> None:
    script = Script(BackendAuthenticationError("key refused"))
    event = wait(script)
    assert event.state == "unreachable"
    assert "key refused" in event.reason
    assert script.asked == 1


def test_the_deadline_cancels_the_training() -> None:
    script = Script(JobState.RUNNING)
    event = wait(script, deadline=time.time() + 0.02)
    assert event.state == "timed_out"
    assert script.cancelled == ["me"]


def test_the_deadline_does_not_cancel_what_cannot_be_reached() -> None:
    script = Script(BackendUnreachableError("no route"))
    event = wait(script, deadline=time.time() + 0.02)
    assert event.state == "unreachable"
    assert script.cancelled == []
