# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    InvalidTrainingResultError,
)
from airflow_provider_mlbridge.training.state import JobState, ReportedResult
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, event_of, next_try, operator


def test_dying_before_the_acknowledgement_loses_nothing(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    event = event_of(backend, JobState.SUCCEEDED)
    mocker.patch.object(backend, "acknowledge", side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        task.execute_complete(context, event)
    assert context["ti"].xcoms["return_value"]["metrics"] == {"auc": 0.9}
    mocker.stopall()
    mocker.patch("airflow_provider_mlbridge.hooks.training.BackendSpec.open", return_value=backend)

    next_try(context)
    assert operator(features).execute(context)["metrics"] == {"auc": 0.9}
    assert backend.starts == 1


def test_a_clear_of_a_finished_task_trains_again_and_a_retry_does_not(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    next_try(context)
    assert operator(features).execute(context)["generation"] == 1
    context["ti"].max_tries += 2
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_after_an_unusable_result_a_clear_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    mocker.patch.object(backend, "result", side_effect=InvalidTrainingResultError("auc is NaN"))
    with pytest.raises(AirflowFailException, match="auc is NaN"):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    context["dag_run"].clear_number += 1
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_after_a_result_that_is_too_large_a_clear_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={f"metric_{number}": 0.5 for number in range(300)})
    task = operator(features)
    deferred(task, context)
    with pytest.raises(AirflowFailException, match="reported 300 metrics"):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    context["dag_run"].clear_number += 1
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_a_clear_is_seen_although_retries_were_lowered_meanwhile(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    context["ti"].max_tries = 3
    task = operator(features)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    # Airflow: max_tries = try_number + retries, here 1 + 1.
    context["ti"].max_tries = 2
    context["dag_run"].clear_number += 1
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_a_features_uri_is_resolved_once_for_all_tries(
    backend: MemoryBackend, context: Any, write_parquet: Any, tmp_path: Any
) -> None:
    from airflow_provider_mlbridge.storage import publish_version

    base = f"file://{tmp_path}/features/"

    def publish(fingerprint: str) -> None:
        with publish_version(base, fingerprint=fingerprint) as version:
            version.add_bytes("features.parquet", b"x")
            version.commit({})

    publish("first")
    deferred(operator(base), context)
    publish("second")
    next_try(context)
    deferred(operator(base), context)
    assert backend.starts == 1
    context["ti"].max_tries += 2
    backend.end(JobState.FAILED)
    next_try(context)
    deferred(operator(base), context)
    fingerprints = [job.request.features_fingerprint for job in backend.submitted.values()]
    assert fingerprints == ["first", "second"]
