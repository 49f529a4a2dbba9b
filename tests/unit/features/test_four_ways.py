# SPDX-License-Identifier: Apache-2.0
"""One fitted recipe, four ways: a table, a row, a scikit-learn pipeline, and SQL that DuckDB runs."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import Expression, FittedRecipe, Interaction, Recipe, Target
from airflow_provider_mlbridge.features.exports.sql import ALLOWED
from airflow_provider_mlbridge.features.steps import STEP_TYPES

from .tables import equal, flights, read, write
from .test_parity import LENIENT, _random_rows

STEPS: list[Any] = [
    Expression("distance / nullif(dep_delay, 0) + 2 * coalesce(temp, humid)", output="ratio"),
    Expression("night or dep_delay > 15 and not is_null(seats)", output="hurry"),
    Expression("seconds_between(day, scheduled)", output="seconds"),
    Interaction(["dep_delay", "distance", "night"], degree=3),
    Target("carrier", output="carrier_late"),
    Target(["temp", "night", "seats"], smoothing="auto", missing="prior", output="{column}_late"),
    *LENIENT,
]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedRecipe:
    source = write(flights(), tmp_path_factory.mktemp("fit") / "flights.parquet")
    return Recipe("r", STEPS, keys=["flight_id"], label="late").fit(source)


def _plain(value: Any) -> Any:
    """A value of a data frame as it is in a row."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def _rows_of(frame: pd.DataFrame, fitted: FittedRecipe) -> list[dict[str, Any]]:
    columns = {}
    for feature in fitted.features:
        series = frame[feature.name]
        if feature.kind in ("date", "timestamp"):
            values = series.to_numpy().astype("datetime64[us]").tolist()
            columns[feature.name] = [
                value.date() if value is not None and feature.kind == "date" else value for value in values
            ]
        else:
            columns[feature.name] = [_plain(value) for value in series.tolist()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _differences(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    assert len(expected) == len(found)
    return [
        f"{name}: {row[name]!r} but {value!r}"
        for row, other in zip(expected, found, strict=True)
        for name, value in other.items()
        if not equal(row[name], value)
    ]


def test_every_step_that_all_ways_know_is_here() -> None:
    known = {name for name, step in STEP_TYPES.items() if not step.HISTORY}
    assert {step.TYPE for step in STEPS} == known == ALLOWED["duckdb"]


def test_ten_thousand_random_rows(fitted: FittedRecipe, tmp_path: Path) -> None:
    table = _random_rows(10_000, seed=23)
    table = table.append_column("flight_id", pa.array(np.arange(10_000)))
    source = write(table, tmp_path / "in.parquet")
    fitted.transform(source, tmp_path / "out.parquet")
    batch = [{name: row[name] for name in fitted.feature_names} for row in read(tmp_path / "out.parquet")]

    rows = [fitted.transform_row(row) for row in table.to_pylist()]
    assert _differences(batch, rows)[:5] == []

    pipeline = fitted.to_sklearn()
    frame = pickle.loads(pickle.dumps(pipeline)).transform(table.to_pandas(integer_object_nulls=True))
    assert list(frame.columns) == list(pipeline.get_feature_names_out()) == list(fitted.feature_names)
    assert _differences(batch, _rows_of(frame, fitted))[:5] == []

    with duckdb.connect() as connection:
        # Without it DuckDB takes the file's statistics for a proof that there is no NaN.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        connection.execute(f"CREATE VIEW datamart AS FROM '{source}'")
        result = connection.sql(f"FROM ({fitted.to_sql('duckdb')}) ORDER BY flight_id").to_arrow_table()
    assert result.column_names == ["flight_id", *fitted.feature_names]
    assert _differences(batch, result.drop_columns(["flight_id"]).to_pylist())[:5] == []
