# SPDX-License-Identifier: Apache-2.0
"""What a feature build tells metrics, lineage and assets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_mlbridge.exceptions import ConfigurationError, StorageUnavailableError
from airflow_provider_mlbridge.observability import drift_metrics
from airflow_provider_mlbridge.operators import FeatureBuildOperator
from airflow_provider_mlbridge.results import FeatureSet

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

RECIPE = {
    "name": "r",
    "keys": ["id"],
    "split": {"by": "hash"},
    "steps": [
        {"type": "impute", "columns": ["x"], "strategy": "median", "indicator": True},
        {"type": "one_hot", "columns": ["carrier"]},
    ],
}


@pytest.fixture
def mart(write_parquet: Callable[..., Path]) -> str:
    """A datamart of 50 rows."""
    columns = {"id": list(range(50)), "x": [None, 1.0, 2.0, 3.0, 4.0] * 10, "carrier": ["AA", "UA"] * 25}
    return f"{write_parquet('mart/a.parquet', columns).parent}/"


def build(mart: str, tmp_path: Path, **changes: Any) -> FeatureBuildOperator:
    options: dict[str, Any] = {"datamart": mart, "recipe": RECIPE, "output_uri": f"{tmp_path}/f/"}
    return FeatureBuildOperator(task_id="features", aws_conn_id=None, **(options | changes))


def test_metrics_are_sent(mart: str, tmp_path: Path, context: Any, mocker: MockerFixture) -> None:
    from airflow.sdk.observability import stats

    gauge, timing = mocker.patch.object(stats, "gauge"), mocker.patch.object(stats, "timing")
    features = FeatureSet.from_dict(build(mart, tmp_path).execute(context))
    assert {call.args[0]: call.args[1] for call in gauge.call_args_list} == {
        "mlbridge.features.rows": 50,
        "mlbridge.features.train_rows": features.train_rows,
        "mlbridge.features.count": 4,
    }
    assert timing.call_args.args[0] == "mlbridge.features.duration"
    tags = {"dag_id": "bridge", "task_id": "train"}
    assert all(call.kwargs["tags"] == tags for call in (*gauge.call_args_list, *timing.call_args_list))


def test_lineage_has_the_columns_that_each_feature_comes_from(
    mart: str, tmp_path: Path, context: Any
) -> None:
    task = build(mart, tmp_path)
    assert task.get_openlineage_facets_on_complete(None) is None
    features = FeatureSet.from_dict(task.execute(context))
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    (read,), (written,) = lineage.inputs, lineage.outputs
    assert (read.namespace, read.name) == ("file", mart.rstrip("/"))
    assert (written.namespace, written.name) == ("file", f"{tmp_path}/f")
    assert written.facets["version"].datasetVersion == features.fingerprint
    assert written.outputFacets["outputStatistics"].rowCount == 50
    fields = written.facets["columnLineage"].fields
    assert {name: [item.field for item in found.inputFields] for name, found in fields.items()} == {
        "x": ["x"],
        "x_missing": ["x"],
        "carrier_AA": ["carrier"],
        "carrier_UA": ["carrier"],
    }


def test_lineage_that_cannot_be_read_is_no_loss_for_the_features(
    mart: str, tmp_path: Path, context: Any, mocker: MockerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = StorageUnavailableError("the bucket does not answer")
    mocker.patch("airflow_provider_mlbridge.features.lineage.published_sources", side_effect=gone)
    task = build(mart, tmp_path)
    assert task.execute(context)["rows"] == 50
    assert "not told which columns the features come from: the bucket does not" in capsys.readouterr().out
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert lineage.outputs[0].facets["columnLineage"].fields == {}


def test_assets_are_told_what_was_built(mart: str, tmp_path: Path, context: Any) -> None:
    asset = Asset(name="features", uri="s3://lake/features/")
    context["outlet_events"] = {asset: SimpleNamespace(extra=None)}
    features = build(mart, tmp_path, outlets=[asset]).execute(context)
    assert context["outlet_events"][asset].extra == {
        "uri": features["uri"],
        "fingerprint": features["fingerprint"],
        "rows": 50,
    }


def compared(**severities: float) -> dict[str, Any]:
    """A comparison in which features are at these distances over their bands."""
    return {
        "drifted": sum(severity > 1 for severity in severities.values()),
        "not_compared": 1,
        "features": [
            {"name": "not compared", "severity": 0.0, "figures": {}},
            *(
                {"name": name, "severity": severity, "figures": {"psi": {}}}
                for name, severity in severities.items()
            ),
        ],
    }


def test_drift_is_told_of_the_features_that_drifted_most() -> None:
    comparison = compared(**{f"f{number}": number / 10 for number in range(25)})
    drifted, not_compared, *features = drift_metrics(comparison)
    assert (drifted.name, drifted.value) == ("mlbridge.features.drifted", 14)
    assert (not_compared.name, not_compared.value) == ("mlbridge.features.not_compared", 1)
    assert {metric.name for metric in features} == {"mlbridge.features.drift"}
    assert [(metric.tags["feature"], metric.value) for metric in features] == [
        (f"f{number}", number / 10) for number in range(24, 14, -1)
    ]
    assert len(drift_metrics(comparison, features=3)) == 2 + 3
    assert len(drift_metrics(comparison, features=0)) == 2
    assert len(drift_metrics(comparison, features=99)) == 2 + 25


def test_names_that_are_no_tags_are_told_once_with_the_larger_distance() -> None:
    features = drift_metrics(compared(**{"a:b": 2.0, "a b": 3.0}))[2:]
    assert [(metric.tags, metric.value) for metric in features] == [({"feature": "a_b"}, 3.0)]


def test_drift_is_told_whether_or_not_it_fails_the_task(
    write_parquet: Callable[..., Path], tmp_path: Path, context: Any, mocker: MockerFixture
) -> None:
    from airflow.sdk.observability import stats

    gauge = mocker.patch.object(stats, "gauge")

    def told() -> dict[tuple[str, str | None], float]:
        found = {
            (call.args[0].removeprefix("mlbridge.features."), call.kwargs["tags"].get("feature")): call.args[
                1
            ]
            for call in gauge.call_args_list
        }
        gauge.reset_mock()
        return found

    def mart(name: str, shift: int) -> str:
        columns = {"id": list(range(2000)), **{x: [i % 97 + shift for i in range(2000)] for x in ("x", "y")}}
        return f"{write_parquet(f'{name}/a.parquet', columns).parent}/"

    recipe = {"name": "r", "keys": ["id"], "steps": [{"type": "passthrough", "columns": ["x", "y"]}]}
    options: dict[str, Any] = {"recipe": recipe, "drift_reference": "previous", "drift_metrics": 1}
    build(mart("a", 0), tmp_path, **options).execute(context)
    assert {name for name, _ in told()} == {"rows", "train_rows", "count"}
    unchanged = mart("b", 0)
    build(unchanged, tmp_path, **options).execute(context)
    calm = told()
    assert (calm["drifted", None], calm["not_compared", None], calm["rows", None]) == (0, 0, 2000)
    # Two features are alike, and one of them is told.
    assert 0 <= calm["drift", "x"] < 1
    assert ("drift", "y") not in calm
    # A repeat finds the version there, and tells the same.
    build(unchanged, tmp_path, **options).execute(context)
    assert told() == calm
    with pytest.raises(AirflowFailException, match="2 of 2 features drifted"):
        build(mart("c", 50), tmp_path, **options, fail_on_drift=True).execute(context)
    failed = told()
    assert failed["drifted", None] == 2
    assert failed["drift", "x"] > 1
    assert ("rows", None) not in failed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, "engine='dask' is not valid; valid are 'duckdb', 'spark'"),
        ({"spark_conn_id": "cluster"}, "spark_conn_id='cluster' is given, but the engine is duckdb"),
        ({"drift_metrics": -1}, "drift_metrics=-1 is not valid"),
        ({"drift_metrics": True}, "drift_metrics=True is not valid"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_the_dag_file(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build("s3://lake/mart/", tmp_path, **options)


def test_the_connection_to_spark_is_handed_on(
    tmp_path: Path, context: Any, features: dict[str, Any], mocker: MockerFixture,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", "spark-connect://:hidden-word@connect:15003")
    core = mocker.patch(
        "airflow_provider_mlbridge.features.build.build_feature_set",
        return_value=FeatureSet.from_dict(features),
    )
    mocker.patch("airflow_provider_mlbridge.operators.feature_build.is_listening", return_value=False)
    task = build("/lake/mart/", tmp_path, engine="spark", spark_conn_id="cluster")
    task.execute(context)
    assert core.call_args.kwargs["engine"] == "spark"
    assert core.call_args.kwargs["spark"].url == "sc://connect:15003/;token=hidden-word"
    assert "hidden-word" not in repr(core.call_args) + "".join(capfd.readouterr())
    # Without a connection Spark runs on the worker.
    build("/lake/mart/", tmp_path, engine="spark").execute(context)
    assert (core.call_args.kwargs["engine"], core.call_args.kwargs["spark"]) == ("spark", None)
    with pytest.raises(AirflowFailException, match="spark_conn_id='nowhere': there is no such"):
        build("/lake/mart/", tmp_path, engine="spark", spark_conn_id="nowhere").execute(context)


def test_a_worker_without_pyspark_is_told_what_to_install(
    mart: str, tmp_path: Path, context: Any, mocker: MockerFixture
) -> None:
    mocker.patch("airflow_provider_mlbridge.features.engines.find_spec", return_value=None)
    with pytest.raises(AirflowFailException, match=r"MissingExtraError.*airflow-provider-mlbridge\[spark\]"):
        build(mart, tmp_path, engine="spark").execute(context)


def test_how_many_versions_to_keep_may_be_rendered(mart: str, tmp_path: Path, context: Any) -> None:
    for columns in (["x"], ["carrier"], ["x", "carrier"]):
        recipe = {**RECIPE, "steps": [{"type": "passthrough", "columns": columns}]}
        task = build(mart, tmp_path, recipe=recipe, keep_versions="{{ params.keep }}")
        task.keep_versions = "2"  # type: ignore[assignment]
        task.execute(context)
    assert len(list((tmp_path / "f" / "versions").iterdir())) == 2


def test_no_versions_to_keep_are_refused(tmp_path: Path, context: Any) -> None:
    with pytest.raises(ConfigurationError, match="keep_versions must be at least 1, got 0"):
        build("/no/such/datamart", tmp_path, keep_versions=0)
    with pytest.raises(ConfigurationError, match="keep_versions='few' is not valid"):
        build("/no/such/datamart", tmp_path, keep_versions="few")
    task = build("/no/such/datamart", tmp_path, keep_versions="{{ params.keep }}")
    task.keep_versions = "0"  # type: ignore[assignment]
    with pytest.raises(AirflowFailException, match="keep_versions must be at least 1, got 0"):
        task.execute(context)


@pytest.mark.parametrize("argument", ["partitioned", "latest_parquet"])
@pytest.mark.parametrize("value", ["yes", "1", "on", ""])
def test_words_that_are_neither_true_nor_false_are_refused(
    mart: str, tmp_path: Path, context: Any, argument: str, value: str
) -> None:
    # partitioned="1" taken for false would build one day as if it were the whole.
    with pytest.raises(
        AirflowFailException, match=f"{argument}='{value}' is not valid; valid is true or false"
    ):
        build(mart, tmp_path, **{argument: value}).execute(context)
    assert not (tmp_path / "f").exists()
