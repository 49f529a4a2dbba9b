# SPDX-License-Identifier: Apache-2.0
"""What a training asks of its metrics, what it does again, and what it tells others."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import (
    BackendRefusedError,
    DatasetNotFoundError,
    TrainingFailedError,
)
from airflow_provider_mlbridge.links import TrainingRunLink, page_of
from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator
from airflow_provider_mlbridge.training.state import JobState, ReportedResult
from tests.unit.operators.conftest import MemoryBackend, Store, TaskInstance
from tests.unit.operators.training_task import clear, deferred, event_of, next_try, operator


@pytest.fixture
def variables(mocker: Any) -> dict[str, str]:
    """Airflow's variables."""
    kept: dict[str, str] = {}

    def read(key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        assert deserialize_json
        return json.loads(kept[key]) if key in kept else default

    def write(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        assert serialize_json
        kept[key] = json.dumps(value)

    mocker.patch("airflow.sdk.Variable.get", side_effect=read)
    mocker.patch("airflow.sdk.Variable.set", side_effect=write)
    return kept


@pytest.fixture
def counted(mocker: Any) -> list[tuple[str, dict[str, str]]]:
    """Counters and timers that were sent, with their tags."""
    sent: list[tuple[str, dict[str, str]]] = []
    mocker.patch(
        "airflow.sdk.observability.stats.incr",
        side_effect=lambda name, count=1, tags=None: sent.append((name, tags)),
    )
    mocker.patch(
        "airflow.sdk.observability.stats.timing",
        side_effect=lambda name, value, tags=None: sent.append((f"{name}={value:g}", tags)),
    )
    return sent


def trained(backend: MemoryBackend, context: Any, features: Any, **changes: Any) -> dict[str, Any]:
    """A training from its submission to its result."""
    task = operator(features, **changes)
    deferred(task, context)
    return task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))


def another_run(context: Any, run_id: str = "asset__2") -> Any:
    return {**context, "ti": TaskInstance(run_id=run_id), "task_state_store": Store()}


def test_metrics_that_are_good_enough_pass(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    assert trained(backend, context, features, min_metrics={"auc": "0.9"})["metrics"] == {"auc": 0.9}


def test_metrics_below_the_minimum_fail_with_the_figures_and_only_a_clear_trains_again(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={"accuracy": 0.74, "auc": 0.9})
    task = operator(features, min_metrics={"accuracy": 0.8, "f1": 0.5, "auc": 0.5})
    deferred(task, context)
    with pytest.raises(AirflowFailException) as caught:
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    message = str(caught.value)
    assert "TrainingMetricsError" in message
    assert "accuracy is 0.74, at least 0.8 was asked for; f1 was not reported" in message
    assert "auc is" not in message
    assert "return_value" not in context["ti"].xcoms
    assert context["ti"].xcoms["training_result"]["metrics"]["accuracy"] == 0.74
    assert backend.acknowledged
    clear(context)
    assert deferred(operator(features), context).ref.generation == 2


@pytest.mark.parametrize(
    "given", [["accuracy"], {"accuracy": "high"}, {"accuracy": float("nan")}, {"a": True}]
)
def test_minimums_that_are_no_numbers_are_refused_before_anything_is_started(
    backend: MemoryBackend, context: Any, features: dict[str, Any], given: Any
) -> None:
    with pytest.raises(AirflowFailException, match="min_metrics"):
        operator(features, min_metrics=given).execute(context)
    assert backend.starts == 0


def test_the_same_is_not_trained_again_when_that_is_asked_for(
    backend: MemoryBackend, context: Any, features: dict[str, Any], variables: dict[str, str]
) -> None:
    first = trained(backend, context, features, skip_if_unchanged=True)
    # The same features elsewhere, on another host: the same training.
    moved = {**features, "uri": "s3://elsewhere/versions/v1/"}
    for number in range(2):
        run = another_run(context, f"asset__{number}")
        task = operator(moved, skip_if_unchanged=True, conn_id="other")
        assert task.execute(run) == first
        assert run["ti"].xcoms["training_job"]["unchanged_since"] == "manual__1"
    assert backend.starts == 1
    # Unless a user wants it so.
    clear(run)
    deferred(operator(features, skip_if_unchanged=True), run)
    assert backend.starts == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"depth": 4}},
        {"command": "python other.py"},
        {"min_metrics": {"auc": 0.95}},
        {"skip_if_unchanged": False},
        {"task_id": "other"},
    ],
)
def test_what_differs_is_trained(
    backend: MemoryBackend,
    context: Any,
    features: dict[str, Any],
    variables: dict[str, str],
    changes: dict[str, Any],
) -> None:
    trained(backend, context, features, skip_if_unchanged=True)
    run = another_run(context)
    run["ti"].task_id = changes.get("task_id", "train")
    deferred(operator(features, **{"skip_if_unchanged": True, **changes}), run)
    assert backend.starts == 2


def test_other_features_are_trained_on(
    backend: MemoryBackend, context: Any, features: dict[str, Any], variables: dict[str, str]
) -> None:
    trained(backend, context, features, skip_if_unchanged=True)
    changed = {**features, "fingerprint": "e" * 64}
    deferred(operator(changed, skip_if_unchanged=True), another_run(context))
    assert backend.starts == 2


def test_a_success_that_was_not_returned_is_no_reason_to_skip(
    backend: MemoryBackend, context: Any, features: dict[str, Any], variables: dict[str, str], mocker: Any
) -> None:
    task = operator(features, skip_if_unchanged=True)
    deferred(task, context)
    mocker.patch.object(backend, "result", side_effect=BackendRefusedError("disk full"))
    with pytest.raises(BackendRefusedError):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    deferred(operator(features, skip_if_unchanged=True), another_run(context))
    assert backend.starts == 2


def test_a_retry_goes_on_with_its_training_and_does_not_skip(
    backend: MemoryBackend, context: Any, features: dict[str, Any], variables: dict[str, str]
) -> None:
    deferred(operator(features, skip_if_unchanged=True), context)
    running = dict(backend.jobs)
    backend.jobs.clear()
    trained(backend, another_run(context), features, skip_if_unchanged=True)
    backend.jobs.update(running)
    next_try(context)
    assert deferred(operator(features, skip_if_unchanged=True), context).ref.generation == 1


def test_a_variable_that_cannot_be_read_is_trained_over(
    backend: MemoryBackend, context: Any, features: dict[str, Any], variables: dict[str, str]
) -> None:
    trained(backend, context, features, skip_if_unchanged=True)
    for name in variables:
        variables[name] = '{"schema_version": 1, "asked": "x"}'
    deferred(operator(features, skip_if_unchanged=True), another_run(context))
    assert backend.starts == 2


def test_the_last_progress_is_kept(backend: MemoryBackend, context: Any, features: dict[str, Any]) -> None:
    task = operator(features)
    deferred(task, context)
    with pytest.raises(TrainingFailedError, match="its last progress was '40 %'"):
        task.execute_complete(context, event_of(backend, JobState.FAILED, progress="40 %"))
    assert context["ti"].xcoms["training_progress"] == "40 %"


def test_metrics_tell_mode_outcome_and_duration(
    backend: MemoryBackend, context: Any, features: dict[str, Any], counted: list[tuple[str, dict[str, str]]]
) -> None:
    task = operator(features)
    deferred(task, context)
    event = event_of(
        backend,
        JobState.FAILED,
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:01:30+00:00",
    )
    with pytest.raises(TrainingFailedError):
        task.execute_complete(context, event)
    where = {"dag_id": "bridge", "task_id": "train", "mode": "ssh"}
    assert counted == [
        ("mlbridge.training.submitted", {**where, "attached": "false"}),
        ("mlbridge.training.ended", {**where, "outcome": "failed"}),
        ("mlbridge.training.duration=90000", {**where, "outcome": "failed"}),
    ]


def test_lineage_goes_from_the_features_to_the_model(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    assert task.get_openlineage_facets_on_complete(None) is None
    deferred(task, context)
    task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    (read,), (written,) = lineage.inputs, lineage.outputs
    assert (read.namespace, read.name) == ("s3://lake", "ml/features")
    assert (written.namespace, written.name) == ("s3://models", "1")
    facet: Any = lineage.run_facets["mlbridge_training"]
    assert (facet.outcome, facet.jobId, facet.metrics) == ("succeeded", "job-1", {"auc": 0.9})


def test_a_name_in_a_registry_is_no_dataset_and_a_failure_has_lineage_too(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    backend.reported = ReportedResult(metrics={"auc": 0.9}, model_uri="models:/flights/3")
    task = operator(features, min_metrics={"auc": 0.95})
    deferred(task, context)
    with pytest.raises(AirflowFailException):
        task.execute_complete(context, event_of(backend, JobState.SUCCEEDED))
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert lineage.outputs == []
    facet: Any = lineage.run_facets["mlbridge_training"]
    assert (facet.outcome, facet.modelUri) == ("below_minimum", "models:/flights/3")


def test_lineage_that_cannot_be_told_does_not_hide_the_failure(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    mocker.patch(
        "airflow_provider_mlbridge.operators._training_signals.resolve_features",
        side_effect=DatasetNotFoundError("the manifest is gone"),
    )
    with pytest.raises(TrainingFailedError, match="exit code 3"):
        task.execute_complete(context, event_of(backend, JobState.FAILED, exit_code=3))
    assert task.get_openlineage_facets_on_complete(None) is None


@pytest.mark.parametrize(
    ("told", "page"),
    [
        ({"mode": "api", "url": "https://train.example.com/jobs/1"}, "https://train.example.com/jobs/1"),
        ({"mode": "ssh", "job_id": "k/1", "url": None}, ""),
        ({"mode": "api", "url": "javascript:alert(1)"}, ""),
        ({"mode": "dag", "job_id": "child/mlbridge__k__1", "url": None}, "/dags/child/runs/mlbridge__k__1"),
        (None, ""),
        ("nonsense", ""),
    ],
)
def test_the_link_leads_to_the_page_of_the_training(told: Any, page: str) -> None:
    found = page_of(told)
    assert found.endswith(page)
    assert bool(found) == bool(page)


def test_the_link_never_fails_a_task(mocker: Any) -> None:
    mocker.patch("airflow.sdk.execution_time.xcom.XCom.get_value", side_effect=RuntimeError("no supervisor"))
    (link,) = MLTrainingTriggerOperator.operator_extra_links
    assert isinstance(link, TrainingRunLink)
    key: Any = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)
    assert link.get_link(operator(None), ti_key=key) == ""
