# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
)
from airflow_provider_mlbridge.training.state import JobState
from airflow_provider_mlbridge.triggers import TrainingCompletionTrigger
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, event_of, next_try, operator


def test_it_submits_tells_where_and_waits_in_the_triggerer(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    trigger = deferred(operator(features), context)
    assert backend.starts == 1
    assert context["ti"].xcoms["training_job"]["job_id"] == "job-1"
    assert trigger.ref.generation == 1
    request = next(iter(backend.submitted.values())).request
    assert request.features_uri == features["uri"]
    assert request.params == {"depth": 3}


def test_the_trigger_carries_no_secret_and_comes_back_from_json(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    trigger = deferred(operator(features, environment={"TOKEN": "planted-secret"}), context)
    _, kwargs = trigger.serialize()
    assert "planted-secret" not in json.dumps(kwargs)
    again = TrainingCompletionTrigger(**json.loads(json.dumps(kwargs)))
    assert again.serialize() == trigger.serialize()


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED])
def test_a_retry_attaches(
    backend: MemoryBackend, context: Any, features: dict[str, Any], state: JobState
) -> None:
    deferred(operator(features), context)
    next_try(context)
    if state is JobState.SUCCEEDED:
        backend.end(state)
        assert operator(features).execute(context)["generation"] == 1
    else:
        assert deferred(operator(features), context).ref.generation == 1
    assert backend.starts == 1


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.LOST])
def test_a_retry_after_a_failure_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any], state: JobState
) -> None:
    deferred(operator(features), context)
    backend.end(state)
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_another_request_under_the_same_key_is_a_conflict(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features), context)
    next_try(context)
    with pytest.raises(AirflowFailException, match="TrainingConflictError"):
        operator(features, params={"depth": 4}).execute(context)


def test_a_training_that_is_being_cancelled_is_waited_for_and_then_repeated(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    # A clear cancels the old attempt's training and starts a new attempt; here the cancel came first.
    deferred(operator(features), context)
    backend.end(JobState.CANCELLING)

    async def sleep(_: float) -> None:
        backend.end(JobState.CANCELLED)

    mocker.patch("airflow_provider_mlbridge.operators._training_talk.asyncio.sleep", sleep)
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_not_durable_means_a_training_per_try(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features, durable=False), context)
    next_try(context)
    deferred(operator(features, durable=False), context)
    assert backend.starts == 2


def test_a_silent_host_says_that_a_retry_attaches(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(BackendUnreachableError, match="attaches to it, and does not start another"):
        task.execute_complete(context, event_of(backend, JobState.UNREACHABLE, reason="no answer"))


def test_mapped_parameters_win_over_fixed_ones(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features, params={"depth": 3, "lr": 1}, training_params={"lr": 2}), context)
    assert next(iter(backend.submitted.values())).request.params == {"depth": 3, "lr": 2}


def test_the_environment_is_rendered_but_not_among_the_stored_fields(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features, environment={"RUN": "{{ ti.run_id }}"})
    assert "environment" not in task.template_fields
    deferred(task, context)
    launch = next(iter(backend.submitted.values())).launch
    assert launch is not None
    assert launch.environment == {"RUN": "manual__1"}
