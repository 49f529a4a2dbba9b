# SPDX-License-Identifier: Apache-2.0
"""Sensor, quality and features on local files, without Airflow's database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetNotFoundError
from airflow_provider_mlbridge.features import Recipe
from airflow_provider_mlbridge.operators import DatamartQualityOperator, FeatureBuildOperator
from airflow_provider_mlbridge.results import FeatureSet, QualitySummary, Snapshot
from airflow_provider_mlbridge.sensors import DatamartSensor
from airflow_provider_mlbridge.triggers import DatamartTrigger

WriteParquet = Callable[..., Path]
RECIPE = {
    "name": "r",
    "keys": ["id"],
    "split": {"by": "hash"},
    "steps": [{"type": "impute", "columns": ["x"], "strategy": "median"}],
}


@pytest.fixture
def mart(write_parquet: WriteParquet) -> str:
    """A datamart of 50 rows."""
    path = write_parquet("mart/a.parquet", {"id": list(range(50)), "x": [None, 1.0, 2.0, 3.0, 4.0] * 10})
    return str(path.parent) + "/"


def sensor(datamart: str, **changes: Any) -> DatamartSensor:
    return DatamartSensor(task_id="wait", datamart=datamart, aws_conn_id=None, settle_seconds=0, **changes)


def test_a_datamart_that_is_there_is_pinned_at_once(mart: str, context: Any) -> None:
    snapshot = Snapshot.from_dict(sensor(mart).execute(context))
    assert (snapshot.file_count, len(snapshot.fingerprint)) == (1, 64)


@pytest.mark.parametrize(
    "write", [None, b"", b"PAR1 half of a file"], ids=["nothing", "empty", "half-written"]
)
def test_a_datamart_that_is_not_complete_is_waited_for(
    tmp_path: Path, context: Any, write: bytes | None
) -> None:
    if write is not None:
        (tmp_path / "part.parquet").write_bytes(write)
    with pytest.raises(TaskDeferred) as caught:
        sensor(f"{tmp_path}/").execute(context)
    trigger = caught.value.trigger
    assert isinstance(trigger, DatamartTrigger)
    again = DatamartTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    assert again.serialize() == trigger.serialize()


def test_an_old_datamart_is_waited_over(mart: str, context: Any) -> None:
    due: datetime = context["dag_run"].run_after
    for hours, deferred in ((2, False), (30, True)):
        moment = (due - timedelta(hours=hours)).timestamp()
        os.utime(Path(mart) / "a.parquet", (moment, moment))
        waiting = sensor(mart, max_age=timedelta(hours=3))
        if deferred:
            with pytest.raises(TaskDeferred):
                waiting.execute(context)
        else:
            assert waiting.execute(context)["file_count"] == 1


def test_a_moment_without_offset_is_refused(mart: str, context: Any) -> None:
    with pytest.raises(AirflowFailException, match="has no UTC offset"):
        sensor(mart, modified_after="2026-01-01T00:00:00").execute(context)


def test_a_greatest_age_may_be_text(mart: str, context: Any) -> None:
    context["dag_run"] = SimpleNamespace(run_after=datetime.now(UTC))
    assert sensor(mart, max_age="26 hours", deferrable=False).poke(context).is_done
    context["dag_run"] = SimpleNamespace(run_after=datetime.now(UTC) + timedelta(hours=27))
    assert not sensor(mart, max_age="PT26H", deferrable=False).poke(context).is_done
    with pytest.raises(AirflowFailException, match="max_age='a while'.*'26 hours'"):
        sensor(mart, max_age="a while").execute(context)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
def test_a_refusal_is_a_skip_when_asked_for(
    mart: str, context: Any, mocker: Any, option: str, deferrable: bool
) -> None:
    from airflow_provider_mlbridge.exceptions import StorageAccessError

    mocker.patch(
        "airflow_provider_mlbridge.sensors.datamart.look_with_connection",
        side_effect=StorageAccessError("403"),
    )
    with pytest.raises(AirflowSkipException):
        sensor(mart, deferrable=deferrable, **{option: True}).execute(context)
    with pytest.raises(AirflowFailException):
        sensor(mart, deferrable=True).execute(context)


def test_the_triggers_time_out_tells_the_last_reason(mart: str, context: Any) -> None:
    event = {"status": "timeout", "snapshot": None, "reason": "2 of 3 files"}
    with pytest.raises(AirflowSensorTimeout, match="2 of 3 files"):
        sensor(mart).execute_complete(context, event)


@pytest.mark.parametrize(
    "event", [None, {"status": "ready"}, {"status": "odd", "snapshot": None, "reason": ""}]
)
def test_an_event_that_is_not_understood_fails_loudly(mart: str, context: Any, event: Any) -> None:
    with pytest.raises(AirflowFailException, match="InvalidEventError"):
        sensor(mart).execute_complete(context, event)


def quality(datamart: Any, **changes: Any) -> DatamartQualityOperator:
    return DatamartQualityOperator(task_id="check", datamart=datamart, aws_conn_id=None, **changes)


def test_quality_hands_on_what_it_judged(mart: str, context: Any, tmp_path: Path) -> None:
    task = quality(
        sensor(mart).execute(context), unique=["id"], min_rows="10", report_uri=f"{tmp_path}/report/"
    )
    summary = QualitySummary.from_dict(task.execute(context))
    assert (summary.success, summary.rows) == (True, 50)
    assert json.loads(Path(str(summary.report_uri)).read_text())["success"] is True


def test_a_broken_expectation_fails_with_report_and_xcom(mart: str, context: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="(?s)DataQualityFailedError.*not_be_null"):
        quality(mart, not_null=["x"], report_uri=f"{tmp_path}/report/").execute(context)
    assert (tmp_path / "report" / "quality_report.html").exists()
    assert context["ti"].xcoms["quality"]["failed"] == 1


def test_mapped_instances_have_reports_of_their_own(mart: str, context: Any, tmp_path: Path) -> None:
    context["ti"].map_index = 3
    summary = quality(mart, unique=["id"], report_uri=f"{tmp_path}/report/").execute(context)
    assert summary["report_uri"] == f"{tmp_path}/report/3/quality_report.json"


def test_only_the_selected_partitions_are_waited_for(
    write_parquet: WriteParquet, context: Any, tmp_path: Path
) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        write_parquet(f"parts/day={day}/a.parquet", {"id": [1]})
    parts = f"{tmp_path}/parts/"
    waiting = sensor(parts, partitions={"day": [date(2026, 1, 2), "2026-01-03"]})
    snapshot = waiting.execute(context)
    assert [file[0] for file in snapshot["files"]] == ["day=2026-01-02/a.parquet"]
    # What was waited for is what is judged, and what features are built from.
    assert quality(snapshot, unique=["id"], min_rows=1).execute(context)["rows"] == 1

    late = sensor(parts, partitions={"day": date(2026, 1, 3)})
    with pytest.raises(TaskDeferred) as caught:
        late.execute(context)
    trigger = caught.value.trigger
    assert isinstance(trigger, DatamartTrigger)
    again = DatamartTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    assert again.partitions == {"day": "2026-01-03"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fail_on": "errors"}, "fail_on='errors' is not valid; valid are 'error', 'warn', 'never'"),
        ({"engine": "spark"}, "engine='spark' is not valid"),
    ],
)
def test_a_word_that_is_not_valid_fails_when_the_dag_file_is_read(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        quality("/mart/", **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fail_on": "{{ rendered }}"}, "fail_on="),
        ({"min_rows": "many"}, "min_rows='many' is not valid"),
        ({"expectations": [{"type": "expect_nothing", "kwargs": {}}]}, "expect_nothing"),
        ({"datamart": "mart/"}, "datamart='mart/' is not a URI"),
        ({"suite": "no_suite.json"}, "/dags/no_suite.json"),
    ],
)
def test_wrong_arguments_are_named(mart: str, context: Any, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(AirflowFailException, match=problem):
        quality(**{"datamart": mart, "not_null": ["id"], **changes}).execute(context)


def test_a_missing_datamart_may_come_yet(context: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        quality(f"{tmp_path}/nothing/", not_null=["id"]).execute(context)


@pytest.mark.parametrize("kind", ["object", "dict", "path"])
def test_a_recipe_in_every_form_gives_the_same_features(
    mart: str, context: Any, tmp_path: Path, kind: str
) -> None:
    recipe: Any = RECIPE
    if kind == "object":
        recipe = Recipe.from_dict(RECIPE)
    if kind == "path":
        context["dag"].fileloc = str(tmp_path / "dag.py")
        (tmp_path / "recipe.yaml").write_text(Recipe.from_dict(RECIPE).to_yaml())
        recipe = "recipe.yaml"
    task = FeatureBuildOperator(
        task_id="features",
        datamart=quality(mart, unique=["id"]).execute(context),
        recipe=recipe,
        output_uri=f"{tmp_path}/out/",
        latest_parquet="True",  # type: ignore[arg-type]  # as Jinja renders it
        aws_conn_id=None,
    )
    features = FeatureSet.from_dict(task.execute(context))
    assert features.rows == 50
    assert features.recipe_hash == Recipe.from_dict(RECIPE).hash
    assert features.latest_uri == f"{tmp_path}/out/latest.parquet"
    assert features.base_uri == f"{tmp_path}/out/"
    assert Path(features.manifest_uri).exists()


def test_modified_at_is_utc(mart: str, context: Any) -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    os.utime(Path(mart) / "a.parquet", (moment, moment))
    assert sensor(mart).execute(context)["modified_at"] == "2026-01-01T12:00:00+00:00"


def test_features_of_features_are_refused_without_retries(mart: str, context: Any, tmp_path: Path) -> None:
    build = FeatureBuildOperator(
        task_id="f", datamart=mart, recipe=RECIPE, output_uri=f"{tmp_path}/f/", aws_conn_id=None
    )
    build.datamart = build.execute(context)
    with pytest.raises(AirflowFailException, match="datamart is the output of a feature build"):
        build.execute(context)
