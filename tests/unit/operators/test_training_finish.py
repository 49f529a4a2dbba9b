# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    TrainingFailedError,
    TrainingLostError,
)
from airflow_provider_mlbridge.results import TrainingResult
from airflow_provider_mlbridge.training.state import JobState, ReportedResult
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, event_of, operator


def test_success_returns_the_result_and_acknowledges_it(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    event = event_of(
        backend,
        JobState.SUCCEEDED,
        exit_code=0,
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:01:30+00:00",
    )
    result = TrainingResult.from_dict(task.execute_complete(context, event))
    assert result.metrics == {"auc": 0.9}
    assert result.model_uri == "s3://models/1"
    assert result.features_fingerprint == features["fingerprint"]
    assert result.duration_seconds == 90
    assert result.log_uri == "memory://job-1"
    assert backend.acknowledged == set(backend.jobs)


def test_a_failure_tells_exit_code_reason_and_the_end_of_the_log(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    backend.text = "\n".join(f"line {number}" for number in range(200))
    event = event_of(backend, JobState.FAILED, exit_code=3, reason="the program ended with 3")
    with pytest.raises(TrainingFailedError) as caught:
        task.execute_complete(context, event)
    message = str(caught.value)
    assert "exit code 3" in message
    assert "the program ended with 3" in message
    assert message.endswith("line 199")
    assert "line 150" in message
    assert "line 149" not in message


def test_a_lost_training_is_told_as_such(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(TrainingLostError, match="host was restarted"):
        task.execute_complete(context, event_of(backend, JobState.LOST, reason="the host was restarted"))


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"status": "success"},
        {"state": "succeeded", "surprise": 1},
    ],
)
def test_an_event_that_is_not_understood_fails_loudly(
    backend: MemoryBackend, context: Any, features: dict[str, Any], event: Any
) -> None:
    with pytest.raises(AirflowFailException, match="InvalidEventError"):
        operator(features).execute_complete(context, event)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "running"},
        {"state": "nonsense"},
        {"state": ["x"]},
        {"event_version": 9},
        {"generation": "1"},
        {"exit_code": "3"},
        {"finished_at": "2026-01-01T00:00:00"},
    ],
)
def test_an_event_with_wrong_values_fails_loudly(
    backend: MemoryBackend, context: Any, features: dict[str, Any], change: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    event = {**event_of(backend, JobState.SUCCEEDED), **change}
    with pytest.raises(AirflowFailException, match="InvalidEventError"):
        task.execute_complete(context, event)


def test_waiting_in_the_worker_gives_the_same(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    statuses = iter([JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED])
    real = backend.status

    async def status(refs: Any, shown: Any = None) -> Any:
        state = next(statuses, JobState.SUCCEEDED)
        if state is JobState.SUCCEEDED:
            backend.end(state)
        return await real(refs)

    mocker.patch.object(backend, "status", status)
    result = operator(features, deferrable=False, poll_interval=0.01).execute(context)
    assert result["metrics"] == {"auc": 0.9}


def test_an_event_of_another_training_is_refused(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    event = {**event_of(backend, JobState.SUCCEEDED), "key": "somebody-else"}
    with pytest.raises(AirflowFailException, match="is about training somebody-else"):
        task.execute_complete(context, event)


def test_extra_that_is_too_large_for_xcom_is_left_out(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={"auc": 0.9}, extra={"text": "x" * 5000})
    task = operator(features)
    deferred(task, context)
    document = task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    assert document["extra"] == {}
    assert len(json.dumps(document)) < 2048


def test_metrics_that_are_too_many_for_xcom_are_refused(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={f"metric_{number}": 0.5 for number in range(300)})
    task = operator(features)
    deferred(task, context)
    with pytest.raises(AirflowFailException, match="reported 300 metrics"):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
