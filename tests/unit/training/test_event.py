# SPDX-License-Identifier: Apache-2.0
"""What the trigger tells the task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import HostKeyError, InvalidEventError
from airflow_provider_mlbridge.training.event import EVENT_VERSION, CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus

REF = JobRef("k" * 32, 2, "job-2")


def an_event(state: JobState = JobState.SUCCEEDED, error: Exception | None = None) -> CompletionEvent:
    status = JobStatus(REF, state, exit_code=0, progress="epoch 3 of 10", finished_at="2026-01-01T00:00:00Z")
    return CompletionEvent.of(status, log_offset=7, error=error)


def test_it_comes_back_from_json() -> None:
    event = an_event()
    assert CompletionEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event
    assert event.ref == REF
    assert event.progress == "epoch 3 of 10"
    assert event.error is None


def test_it_names_the_class_of_the_error_that_ended_the_wait() -> None:
    event = an_event(JobState.UNREACHABLE, HostKeyError("another key"))
    assert CompletionEvent.from_dict(event.to_dict()).error == "HostKeyError"


@pytest.mark.parametrize(
    "change", [{"progress": 5}, {"error": ["HostKeyError"]}, {"event_version": 1}, {"log_offset": None}]
)
def test_wrong_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError):
        CompletionEvent.from_dict({**an_event().to_dict(), **change})


@pytest.mark.parametrize("field", ["progress", "error"])
def test_a_field_that_is_missing_is_refused(field: str) -> None:
    document = an_event().to_dict()
    del document[field]
    with pytest.raises(InvalidEventError, match=field):
        CompletionEvent.from_dict(document)


def test_an_event_of_another_version_says_which_side_to_update() -> None:
    with pytest.raises(InvalidEventError, match=f"version 1, this task reads {EVENT_VERSION}"):
        CompletionEvent.from_dict({**an_event().to_dict(), "event_version": 1})
