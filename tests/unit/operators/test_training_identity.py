# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    BackendRefusedError,
    InvalidTrainingResultError,
    TrainingFailedError,
    TrainingLostError,
)
from airflow_provider_mlbridge.hooks.dag_runs import TaskStateRecord
from airflow_provider_mlbridge.operators._training_identity import IDENTITY_RECORD
from airflow_provider_mlbridge.training.state import JobState, ReportedResult
from tests.unit.operators.conftest import MemoryBackend, Store, TaskInstance
from tests.unit.operators.training_task import (
    clear,
    clear_a_sibling,
    deferred,
    event_of,
    next_try,
    operator,
)


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
    clear(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_after_an_unusable_result_a_clear_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    mocker.patch.object(backend, "result", side_effect=InvalidTrainingResultError("auc is NaN"))
    with pytest.raises(AirflowFailException, match="auc is NaN"):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    clear(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_after_a_result_that_is_too_large_a_clear_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={f"metric_{number}": 0.5 for number in range(300)})
    task = operator(features)
    deferred(task, context)
    with pytest.raises(AirflowFailException, match="reported 300 metrics"):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    clear(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_a_clear_is_seen_although_lowered_retries_hide_it(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    context["ti"].max_tries = 3
    deferred(operator(features, retries=3), context)
    backend.end(JobState.FAILED)
    next_try(context)
    task = operator(features, retries=1)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    clear(context, retries=1)
    assert context["ti"].max_tries == 3
    assert deferred(operator(features, retries=1), context).ref.generation == 3


def test_the_clear_of_another_task_does_not_train_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    # The worker died after the acknowledgement, before Airflow heard of the success.
    clear_a_sibling(context)
    next_try(context)
    assert operator(features).execute(context)["generation"] == 1
    assert backend.starts == 1


def test_two_airflows_do_not_share_a_training(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features), context)
    other = {**context, "ti": TaskInstance(), "task_state_store": Store()}
    deferred(operator(features), other)
    assert backend.starts == 2


def test_every_instance_of_a_mapped_task_has_a_training_of_its_own(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    keys = set()
    for project in range(50):
        one = {**context, "ti": TaskInstance(map_index=project), "task_state_store": Store()}
        keys.add(deferred(operator(features, training_params={"project": project}), one).ref.key)
    assert len(keys) == backend.starts == 50


def test_a_run_that_was_deleted_and_made_again_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    # Airflow deletes the store with the run; every number starts anew.
    again = {**context, "ti": TaskInstance(), "task_state_store": Store()}
    deferred(operator(features), again)
    assert backend.starts == 2


def test_the_identity_is_kept_for_as_long_as_the_run(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    store = context["task_state_store"]
    # Written before anything is submitted: a worker that dies in between must not come to another key.
    mocker.patch.object(backend, "submit", side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        operator(features).execute(context)
    written = store[IDENTITY_RECORD]["incarnation"]
    mocker.stopall()
    mocker.patch("airflow_provider_mlbridge.hooks.training.BackendSpec.open", return_value=backend)
    next_try(context)
    deferred(operator(features), context)
    assert store[IDENTITY_RECORD]["incarnation"] == written
    assert store.retentions[IDENTITY_RECORD] is NEVER_EXPIRE


def test_the_record_of_mode_dag_is_kept_for_as_long_as_the_run() -> None:
    store = Store()
    record = TaskStateRecord(store)
    record.save({"generation": 1})
    assert record.load() == {"generation": 1}
    assert set(store.retentions.values()) == {NEVER_EXPIRE}


def test_a_host_that_forgot_a_training_gets_no_second_one(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    first = deferred(operator(features), context)
    backend.jobs.clear()
    next_try(context)
    with pytest.raises(AirflowFailException, match=r"TrainingForgottenError.*knows nothing of it"):
        operator(features).execute(context)
    assert backend.starts == 1
    clear(context)
    anew = deferred(operator(features, forgotten="train"), context)
    assert anew.ref.key != first.ref.key
    # From then on it is the training of this task.
    next_try(context)
    assert deferred(operator(features), context).ref == anew.ref
    assert backend.starts == 2


def test_a_host_may_forget_what_is_over(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(TrainingFailedError):
        task.execute_complete(context, event_of(backend, JobState.FAILED))
    backend.jobs.clear()
    next_try(context)
    task = operator(features)
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    backend.jobs.clear()
    clear(context)
    deferred(operator(features), context)
    assert backend.starts == 3


def test_a_lost_training_is_not_taken_for_over_when_its_host_forgot_it(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(TrainingLostError):
        task.execute_complete(context, event_of(backend, JobState.LOST, reason="its folder is gone"))
    backend.jobs.clear()
    next_try(context)
    with pytest.raises(AirflowFailException, match="TrainingForgottenError"):
        operator(features).execute(context)


def test_a_task_that_moved_to_another_host_says_where_its_training_is(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features), context)
    next_try(context)
    with pytest.raises(
        AirflowFailException, match="started by mode ssh, host and may still run.*mode ssh, b"
    ):
        operator(features, conn_id="b").execute(context)
    backend.jobs.clear()  # as another host has none of them
    clear(context)
    task = operator(features, conn_id="b", forgotten="train")
    deferred(task, context)
    with pytest.raises(TrainingFailedError):
        task.execute_complete(context, event_of(backend, JobState.FAILED))
    # What has ended is in nobody's way.
    next_try(context)
    deferred(operator(features, conn_id="c"), context)
    assert backend.starts == 3


def test_an_acknowledgement_that_fails_does_not_fail_the_task_and_is_made_up_for(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    full = mocker.patch.object(backend, "acknowledge", side_effect=BackendRefusedError("no space left"))
    assert task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))["metrics"] == {"auc": 0.9}
    assert backend.acknowledged == set()
    mocker.stop(full)
    clear(context)
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
    clear_a_sibling(context)
    next_try(context)
    deferred(operator(base), context)
    assert backend.starts == 1
    backend.end(JobState.FAILED)
    clear(context)
    deferred(operator(base), context)
    fingerprints = [job.request.features_fingerprint for job in backend.submitted.values()]
    assert fingerprints == ["first", "second"]
