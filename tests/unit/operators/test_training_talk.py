# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendRefusedError,
    BackendUnreachableError,
    HostKeyError,
    TrainingFailedError,
)
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobState, JobStatus
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, event_of, operator


@pytest.fixture
def quick(mocker: Any) -> list[float]:
    """Pauses take no time, but move the clock on."""
    now = [0.0]

    async def sleep(duration: float) -> None:
        now[0] += duration

    mocker.patch("airflow_provider_mlbridge.operators._training_talk.asyncio.sleep", sleep)
    mocker.patch(
        "airflow_provider_mlbridge.operators._training_talk.time.monotonic", side_effect=lambda: now[0]
    )
    return now


def failing(backend: MemoryBackend, mocker: Any, method: str, errors: list[Exception]) -> None:
    """The next calls of a method fail, each with its error."""
    real, left = getattr(backend, method), list(errors)

    async def call(*arguments: Any) -> Any:
        if left:
            raise left.pop(0)
        return await real(*arguments)

    mocker.patch.object(backend, method, call)


def test_a_host_that_is_too_busy_to_answer_is_asked_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any, quick: list[float]
) -> None:
    failing(backend, mocker, "submit", [BackendUnreachableError("refused")] * 4)
    task = operator(features)
    deferred(task, context)
    assert backend.starts == 1
    failing(backend, mocker, "result", [BackendUnreachableError("refused")] * 4)
    assert task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))["metrics"] == {"auc": 0.9}


def test_patience_ends(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any, quick: list[float]
) -> None:
    failing(backend, mocker, "submit", [BackendUnreachableError("refused")] * 1000)
    with pytest.raises(BackendUnreachableError, match="refused"):
        operator(features).execute(context)
    assert 60 < quick[0] <= 120


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        # A service that cannot tell a repetition from a new request may have acted on the first.
        ({"allow_duplicate_submit": True}, BackendUnreachableError("unknown whether it acted")),
        ({}, BackendRefusedError("disk full")),
    ],
)
def test_what_must_not_be_repeated_is_not(
    backend: MemoryBackend,
    context: Any,
    features: dict[str, Any],
    mocker: Any,
    quick: list[float],
    changes: dict[str, Any],
    error: Exception,
) -> None:
    failing(backend, mocker, "submit", [error])
    with pytest.raises(type(error)):
        operator(features, **changes).execute(context)
    assert backend.starts == 0


def test_a_training_whose_first_state_is_not_told_is_waited_for(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    failing(backend, mocker, "status", [BackendUnreachableError("cut")])
    assert deferred(operator(features), context).ref.generation == 1


@pytest.mark.parametrize("error", [BackendAuthenticationError("401"), HostKeyError("another key")])
def test_what_a_retry_cannot_mend_fails_at_once_also_when_the_triggerer_saw_it(
    backend: MemoryBackend, context: Any, features: dict[str, Any], error: Exception
) -> None:
    task = operator(features)
    deferred(task, context)
    status = JobStatus(next(iter(backend.jobs)), JobState.UNREACHABLE, reason=str(error))
    event = CompletionEvent.of(status, log_offset=0, error=error).to_dict()
    with pytest.raises(
        AirflowFailException, match=rf"{type(error).__name__}: .*a clear of this task attaches"
    ):
        task.execute_complete(context, event)


@pytest.mark.parametrize("name", ["BackendUnreachableError", "TimeoutError", "TrainingLostError", None])
def test_any_other_end_of_the_wait_is_retried(
    backend: MemoryBackend, context: Any, features: dict[str, Any], name: str | None
) -> None:
    task = operator(features)
    deferred(task, context)
    event = {**event_of(backend, JobState.UNREACHABLE, reason="no answer"), "error": name}
    with pytest.raises(BackendUnreachableError, match="A retry of this task attaches to it"):
        task.execute_complete(context, event)


def test_the_last_lines_are_the_last_although_the_wait_never_saw_the_log(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    backend.text = "\n".join(f"line {number} {'x' * 60}" for number in range(5000))
    event = event_of(
        backend, JobState.FAILED, log_size=len(backend.text), progress="epoch 3 of 9", exit_code=1
    )
    with pytest.raises(TrainingFailedError) as caught:
        task.execute_complete(context, {**event, "log_offset": 0})
    message = str(caught.value)
    assert "line 4999" in message
    assert "line 4950" in message
    assert "line 4949" not in message
    assert "its last progress was 'epoch 3 of 9'" in message


def test_the_end_of_a_log_without_line_ends_is_cut(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    backend.text = "x" * 300_000 + "the end"
    with pytest.raises(TrainingFailedError) as caught:
        task.execute_complete(context, event_of(backend, JobState.FAILED, log_size=len(backend.text)))
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) < 20_000
