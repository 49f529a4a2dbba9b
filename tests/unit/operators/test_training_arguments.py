# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
)
from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, next_try, operator


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
        ({"poll_interval": "soon"}, "poll_interval='soon' is not valid"),
        ({"poll_interval": None}, "poll_interval=None is not valid"),
        ({"timeout": "{{ x }}"}, "timeout='{{ x }}' is not valid"),
        ({"unreachable_timeout": "inf"}, "unreachable_timeout='inf' is not valid"),
        ({"durable": "maybe"}, "durable='maybe' is not valid; valid are True and False"),
        ({"forgotten": "{{ x }}"}, "forgotten='{{ x }}' is not valid; valid are 'fail', 'train'"),
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


def test_options_may_be_rendered_to_text(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    given = {
        "timeout": "{{ params.hours * 3600 }}",
        "poll_interval": "{{ params.poll }}",
        "unreachable_timeout": "{{ params.silence }}",
        "durable": "{{ params.durable }}",
        "skip_if_unchanged": "{{ false }}",
        "retries": 2,
    }
    task = operator(features, **given)
    rendered: Any = {**context, "params": {"hours": 2, "poll": 2.5, "silence": None, "durable": False}}
    task.render_template_fields(rendered)
    trigger = deferred(task, context)
    assert (trigger.poll_interval, trigger.unreachable_timeout) == (2.5, None)
    assert next(iter(backend.submitted.values())).request.timeout_seconds == 7200
    next_try(context)
    deferred(operator(features, durable=False), context)
    assert backend.starts == 2


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


def test_features_without_a_manifest_are_refused(context: Any, tmp_path: Any) -> None:
    with pytest.raises(AirflowFailException, match="is not a published version"):
        operator(f"file://{tmp_path}/nothing/").execute(context)
