# SPDX-License-Identifier: Apache-2.0
"""What a feature build tells metrics, lineage and assets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset

from airflow_provider_mlbridge.exceptions import StorageUnavailableError
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
