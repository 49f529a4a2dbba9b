# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
)
from airflow_provider_mlbridge.training import wait as waits
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, LogChunk
from airflow_provider_mlbridge.training.wait import Waiting, seconds_until
from tests.unit.training.waits import ENDED_AT, REF, Lines, Script, status

GONE = BackendUnreachableError("no route")


def wait(script: Script, log: Lines | None = None, **options: Any) -> CompletionEvent:
    async def scenario() -> CompletionEvent:
        waiting = Waiting(
            backend=script,  # type: ignore[arg-type]
            ref=REF,
            owner="me",
            log=log or Lines(),
            **{"poll_interval": 0.001, **options},
        )
        return await waiting.until_over()

    return asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("state", [state for state in JobState if state.is_terminal])
def test_every_end_is_told(state: JobState) -> None:
    script = Script(JobState.CLAIMED, JobState.RUNNING, state)
    event = wait(script)
    assert event.state == state.value
    assert event.ref == REF
    assert event.error is None
    assert script.asked == 3
    assert script.closed == 0


def test_the_log_is_shown_once_in_whole_lines() -> None:
    text = "".join(f"epoch {number}: loss 0.{number}\n" for number in range(20)) + "done"
    lines = Lines()
    wait(Script(JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED, log=text.encode()), lines)
    assert lines.info_lines == text.split("\n")


def test_the_log_goes_on_from_the_given_offset() -> None:
    lines = Lines()
    wait(Script(JobState.SUCCEEDED, log=b"old\nnew\n"), lines, log_offset=4)
    assert lines.info_lines == ["new"]


def test_a_wait_that_begins_again_goes_on_with_the_line_that_was_not_whole() -> None:
    log = b"one\ntwo\nthree"
    first = Script(JobState.RUNNING, JobState.RUNNING, JobState.RUNNING, GONE, log=log)
    wait(first, Lines(), unreachable_timeout=0.0)
    # Twelve bytes came, in fours; the last look could tell that two lines were shown.
    assert first.told == [4, 8]
    lines = Lines()
    event = wait(Script(JobState.SUCCEEDED, log=log, log_shown=first.told[-1]), lines)
    assert lines.info_lines == ["The first 8 bytes of the training's log were shown before", "three"]
    assert event.log_offset == len(log)


def test_a_line_cut_within_a_character_is_shown_again_rather_than_lost() -> None:
    script = Script(JobState.RUNNING, JobState.RUNNING, GONE, log="a\nbü".encode() + b"\xff\xff" * 4)
    script.readable = len(script.log)
    wait(script, unreachable_timeout=0.0)
    assert script.told == []


def test_a_chatty_log_neither_hides_the_state_nor_is_read_without_bound(mocker: Any) -> None:
    mocker.patch("airflow_provider_mlbridge.training.board.LOG_CHUNK_BYTES", 100)
    mocker.patch("airflow_provider_mlbridge.training.board.SMALLEST_CHUNK_BYTES", 10)
    mocker.patch.object(waits, "LOG_AT_END_BYTES", 300)
    log = b"0123456789abcdefghi\n" * 1000
    script = Script(*[JobState.RUNNING] * 5, status(JobState.SUCCEEDED, log_size=len(log)), log=log)
    lines = Lines()
    event = wait(script, lines)
    assert script.asked == 6
    assert [offset for offset, limit in script.log_calls if limit == 100] == [0, 100, 200, 300, 400, 500]
    assert event.log_offset == len(log)
    assert sum(len(line) + 1 for line in lines.info_lines) == 900
    assert [line for line in lines.warnings if "left out" in line] == [
        f"{len(log) - 600 - 300} bytes of the training's log are left out; they are in its own log"
    ]


def test_a_silent_backend_is_asked_again_and_the_training_left_alone() -> None:
    lines = Lines()
    script = Script(JobState.RUNNING, GONE, GONE, GONE, JobState.SUCCEEDED)
    event = wait(script, lines)
    assert event.state == "succeeded"
    assert script.cancelled == []
    assert len(lines.warnings) == 1


def test_that_a_backend_answers_again_is_told() -> None:
    lines = Lines()
    wait(Script(GONE, JobState.RUNNING, JobState.SUCCEEDED), lines)
    assert any("answers again" in line for line in lines.info_lines)


@pytest.mark.parametrize("error", [GONE, BackendProtocolError("no log")])
def test_a_log_that_cannot_be_read_does_not_hide_the_end(error: Exception, mocker: Any) -> None:
    script = Script(JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED, log=b"text")
    mocker.patch.object(script, "logs", side_effect=error)
    lines = Lines()
    assert wait(script, lines).state == "succeeded"
    assert len(lines.warnings) == 1


def test_a_backend_that_is_silent_for_too_long_ends_the_wait_only() -> None:
    script = Script(GONE)
    event = wait(script, unreachable_timeout=0.01)
    assert event.state == "unreachable"
    assert event.error == "BackendUnreachableError"
    assert "left alone" in event.reason
    assert script.cancelled == []


def test_unreachable_as_a_state_counts_like_the_error() -> None:
    event = wait(Script(JobState.UNREACHABLE), unreachable_timeout=0.01)
    assert event.state == "unreachable"


@pytest.mark.parametrize(
    "error", [BackendAuthenticationError("token refused"), BackendProtocolError("HTML"), KeyError("state")]
)
def test_faults_that_pass_do_not_end_the_wait(error: Exception) -> None:
    script = Script(JobState.RUNNING, error, error, JobState.RUNNING, error, error, JobState.SUCCEEDED)
    assert wait(script, faults_in_a_row=3).state == "succeeded"


def test_faults_that_stay_end_the_wait_with_their_class() -> None:
    script = Script(JobState.RUNNING, GONE, BackendAuthenticationError("key refused"))
    event = wait(script, faults_in_a_row=3)
    assert event.state == "unreachable"
    assert event.error == "BackendAuthenticationError"
    assert "key refused" in event.reason
    assert script.asked == 5


def test_one_answer_that_a_job_is_unknown_is_not_its_end() -> None:
    unknown = status(JobState.LOST, reason="knows no job")
    script = Script(JobState.RUNNING, unknown, JobState.RUNNING, unknown, JobState.SUCCEEDED)
    assert wait(script).state == "succeeded"


def test_two_answers_an_interval_apart_that_a_job_is_unknown_are_its_end() -> None:
    script = Script(JobState.RUNNING, status(JobState.LOST, reason="knows no job"))
    event = wait(script)
    assert (event.state, script.asked) == ("lost", 3)


def test_a_loss_that_was_judged_is_told_at_once() -> None:
    script = Script(JobState.RUNNING, status(JobState.LOST, finished_at=ENDED_AT))
    assert (wait(script).state, script.asked) == ("lost", 2)


def test_progress_is_shown_when_it_changes_and_told_in_the_end() -> None:
    def at(progress: str | None) -> Any:
        return status(JobState.RUNNING, progress=progress)

    lines = Lines()
    event = wait(
        Script(at(None), at("epoch 1\nof 3"), at("epoch 1\nof 3"), at("epoch 2"), JobState.SUCCEEDED), lines
    )
    assert lines.info_lines == ["Progress: epoch 1 of 3", "Progress: epoch 2"]
    assert event.progress == "epoch 2"


def test_a_note_of_the_backend_on_a_running_training_is_a_warning() -> None:
    lines = Lines()
    paused = status(JobState.STARTING, reason="the DAG is paused")
    wait(Script(paused, paused, JobState.SUCCEEDED), lines)
    assert lines.warnings == ["Training job-1 is starting: the DAG is paused"]


def test_the_deadline_cancels_the_training() -> None:
    script = Script(JobState.RUNNING)
    event = wait(script, deadline=time.time() + 0.02)
    assert event.state == "timed_out"
    assert script.cancelled == ["me"]


def test_the_deadline_does_not_wait_for_the_next_look() -> None:
    script = Script(JobState.RUNNING)
    assert wait(script, deadline=time.time(), poll_interval=3600.0).state == "timed_out"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_what_ended_just_before_the_cancel_is_told_as_it_is(state: JobState) -> None:
    script = Script(JobState.RUNNING, state)
    event = wait(script, seconds_left=0.0, poll_interval=3600.0)
    assert event.state == state.value
    assert script.cancelled == ["me"]


def test_what_ended_before_the_deadline_is_not_cancelled() -> None:
    script = Script(JobState.SUCCEEDED)
    assert wait(script, seconds_left=0.0, poll_interval=3600.0).state == "succeeded"
    assert script.cancelled == []


def test_what_the_deadline_cancelled_was_too_long_not_cancelled_by_somebody() -> None:
    script = Script(JobState.RUNNING, JobState.CANCELLED)
    assert wait(script, seconds_left=0.0, poll_interval=3600.0).state == "timed_out"


def test_the_deadline_does_not_cancel_what_cannot_be_reached() -> None:
    script = Script(GONE)
    event = wait(script, deadline=time.time() + 0.02)
    assert (event.state, event.error) == ("unreachable", "BackendUnreachableError")
    assert script.cancelled == []


@pytest.mark.parametrize(
    ("deadline", "left", "expected"),
    [
        (None, None, None),
        (None, 50.0, 50.0),
        (1100.0, None, 100.0),
        (900.0, None, 0.0),
        # The clock here is two hours ahead, or two hours behind: nothing is cancelled early, nor much later.
        (1100.0 - 7200.0, 100.0, 100.0),
        (1100.0 + 7200.0, 100.0, 100.0),
        # A later triggerer, a day after the deadline.
        (1000.0 - 86400.0, 100.0, 0.0),
    ],
)
def test_a_deadline_survives_clocks_that_differ(
    deadline: float | None, left: float | None, expected: float | None
) -> None:
    assert seconds_until(deadline, left, 1000.0) == expected


def test_a_log_that_hangs_hides_neither_end_nor_deadline(mocker: Any) -> None:
    script = Script(JobState.RUNNING, log=b"text")

    async def never(offsets: Mapping[JobRef, int], limit: int = 0) -> Mapping[JobRef, LogChunk]:
        await asyncio.Event().wait()
        return {}

    mocker.patch.object(script, "logs_many", never)
    mocker.patch("airflow_provider_mlbridge.training.board.LOG_SECONDS", 0.01)
    script.answers = [JobState.RUNNING, JobState.SUCCEEDED]
    lines = Lines()
    assert wait(script, lines).state == "succeeded"
    assert lines.warnings == ["The training's log cannot be read: no answer within 0.01 s"]
