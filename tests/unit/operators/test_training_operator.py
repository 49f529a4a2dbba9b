# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
    ConfigurationError,
    InvalidTrainingResultError,
    TrainingFailedError,
    TrainingLostError,
)
from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator
from airflow_provider_mlbridge.results import TrainingResult
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobState, ReportedResult
from airflow_provider_mlbridge.triggers import TrainingCompletionTrigger
from tests.unit.operators.conftest import MemoryBackend


def operator(features: Any, **changes: Any) -> MLTrainingTriggerOperator:
    arguments: dict[str, Any] = {
        "task_id": "train",
        "mode": "ssh",
        "conn_id": "host",
        "command": "python train.py",
        "features": features,
        "experiment_name": "flights",
        "model_type": "gbm",
        "params": {"depth": 3},
        **changes,
    }
    return MLTrainingTriggerOperator(**arguments)


def deferred(task: MLTrainingTriggerOperator, context: Any) -> TrainingCompletionTrigger:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    trigger = caught.value.trigger
    assert isinstance(trigger, TrainingCompletionTrigger)
    return trigger


def event_of(backend: MemoryBackend, state: JobState, **details: Any) -> dict[str, Any]:
    return CompletionEvent.of(backend.end(state, **details), log_offset=len(backend.text)).to_dict()


def next_try(context: Any) -> None:
    context["ti"].try_number += 1
    context["ti"].id = f"22222222-{context['ti'].try_number}"
    context["ti"].xcoms.clear()


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

    mocker.patch("airflow_provider_mlbridge.operators._training.asyncio.sleep", sleep)
    next_try(context)
    assert deferred(operator(features), context).ref.generation == 2


def test_not_durable_means_a_training_per_try(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    deferred(operator(features, durable=False), context)
    next_try(context)
    deferred(operator(features, durable=False), context)
    assert backend.starts == 2


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


def test_a_silent_host_says_that_a_retry_attaches(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(BackendUnreachableError, match="attaches to it, and does not start another"):
        task.execute_complete(context, event_of(backend, JobState.UNREACHABLE, reason="no answer"))


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


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"conn_id": None}, "mode='ssh' needs conn_id"),
        ({"command": None}, "mode='ssh' needs command"),
        ({"command": "  "}, "mode='ssh' needs command"),
        ({"mode": "api", "command": None, "conn_id": None}, "mode='api' needs conn_id"),
        ({"mode": "api"}, "command is for mode='ssh'"),
        ({"mode": "dag", "command": None, "conn_id": None}, "mode='dag' needs trigger_dag_id"),
        ({"features": 7}, "features must be"),
        ({"features": {"kind": "mlbridge.quality"}}, "expected a 'mlbridge.features' result"),
        ({"timeout": timedelta(0)}, "timeout must be positive"),
        ({"environment": {"OMP_NUM_THREADS": 4}}, r"environment\['OMP_NUM_THREADS'\] is int"),
        ({"experiment_name": None}, "experiment_name=None is not valid"),
        ({"model_type": ""}, "model_type='' is not valid"),
        ({"poll_interval": -1}, "poll_interval=-1 is not valid"),
        ({"training_params": 7}, "training_params must be a mapping"),
        ({"features": "features/x"}, "features='features/x' is not a URI"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_started(
    context: Any, features: dict[str, Any], mocker: Any, changes: dict[str, Any], problem: str
) -> None:
    connections = mocker.patch("airflow.sdk.BaseHook.get_connection")
    with pytest.raises(AirflowFailException, match=problem):
        operator(**{"features": features, **changes}).execute(context)
    connections.assert_not_called()


def test_params_that_are_no_json_are_refused(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match="not plain JSON"):
        operator(features, params={"depth": float("nan")}).execute(context)
    assert backend.starts == 0


def test_an_unknown_mode_fails_when_the_dag_file_is_read(features: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="mode='shh' is not valid; valid are 'dag', 'ssh', 'api'"):
        operator(features, mode="shh")


def test_parameters_of_the_dag_do_not_become_hyper_parameters(features: dict[str, Any]) -> None:
    with DAG("bridge", schedule=None, params={"day": Param("2026-01-01")}):
        task = operator(features, params={"depth": 3, "nested": {"a": [1, 2]}})
        plain = operator(features, task_id="plain", params=None)
    assert task.static_params == {"depth": 3, "nested": {"a": [1, 2]}}
    assert plain.static_params == {}
    assert dict(task.params) == {"day": "2026-01-01"}


def test_waiting_in_the_worker_gives_the_same(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    statuses = iter([JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED])
    real = backend.status

    async def status(refs: Any) -> Any:
        state = next(statuses, JobState.SUCCEEDED)
        if state is JobState.SUCCEEDED:
            backend.end(state)
        return await real(refs)

    mocker.patch.object(backend, "status", status)
    result = operator(features, deferrable=False, poll_interval=0.01).execute(context)
    assert result["metrics"] == {"auc": 0.9}


def test_a_killed_worker_cancels_even_inside_a_running_event_loop(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features, deferrable=False, poll_interval=0.01)

    async def status(refs: Any) -> Any:
        if task._stop is not None and not backend.cancelled:
            # As Airflow's signal handler does, in the thread whose event loop is running.
            task.on_kill()
            backend.end(JobState.CANCELLED)
        return {ref: backend.jobs[ref] for ref in refs}

    mocker.patch.object(backend, "status", status)
    with pytest.raises(TrainingFailedError, match="cancelled"):
        task.execute(context)
    assert [owner for _, owner in backend.cancelled] == ["11111111-aaaa:1"]


def test_the_trigger_cancels_for_its_owner_when_a_person_stops_the_task(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    trigger = deferred(operator(features), context)
    asyncio.run(trigger.on_kill())
    assert backend.cancelled == [(trigger.ref, "11111111-aaaa:1")]


def test_a_time_out_of_the_task_cancels_although_airflow_tells_only_afterwards(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features, deferrable=False, poll_interval=0.01)
    real = backend.status

    async def status(refs: Any) -> Any:
        if context["ti"].xcoms.get("asked"):
            raise AirflowTaskTimeout
        context["ti"].xcoms["asked"] = True
        return await real(refs)

    mocker.patch.object(backend, "status", status)
    with pytest.raises(AirflowTaskTimeout):
        task.execute(context)
    task.on_kill()
    assert len(backend.cancelled) == 1


def test_a_kill_while_the_submission_is_under_way_stops_what_it_started(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    real = backend.submit

    async def submit(job: Any) -> Any:
        submission = await real(job)
        task.on_kill()
        return submission

    mocker.patch.object(backend, "submit", submit)
    with pytest.raises(TrainingFailedError, match="the task was killed"):
        task.execute(context)
    assert len(backend.cancelled) == 1


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


def test_a_second_signal_does_not_cancel_a_second_time(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    task.on_kill()
    task.on_kill()
    assert len(backend.cancelled) == 1


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


def test_hyper_parameters_come_from_tasks_and_mapping_too(features: dict[str, Any]) -> None:
    from airflow.sdk import task as task_decorator

    with DAG("bridge", schedule=None, params={"lr": 0.5}) as dag:

        @task_decorator
        def best() -> dict[str, Any]:
            return {"lr": 0.1}

        found = best()
        task = operator(features, training_params=found)
        mapped = MLTrainingTriggerOperator.partial(
            task_id="mapped",
            mode="api",
            conn_id="service",
            features=features,
            experiment_name="e",
            model_type="m",
        ).expand(params=[{"lr": 1, "z": 1}])
    assert task.upstream_task_ids == {"best"}
    one: Any = mapped.unmap({"params": {"lr": 1, "z": 1}})
    assert one.static_params == {"lr": 1, "z": 1}
    assert dag.params.dump() == {"lr": 0.5}


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


def test_features_without_a_manifest_are_refused(context: Any, tmp_path: Any) -> None:
    with pytest.raises(AirflowFailException, match="is not a published version"):
        operator(f"file://{tmp_path}/nothing/").execute(context)
