# SPDX-License-Identifier: Apache-2.0
"""The query of a fitted recipe, run by Spark as it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import (
    Cyclical,
    Expression,
    FittedRecipe,
    Hashing,
    Interaction,
    Log1p,
    OneHot,
    Recipe,
)
from airflow_provider_mlbridge.features.exports.sql import ALLOWED
from tests.unit.features.tables import equal, flights, read, write
from tests.unit.features.test_four_ways import STEPS
from tests.unit.features.test_parity import _random_rows

GUIDE = {"spark.sql.session.timeZone": "UTC", "spark.sql.timestampType": "TIMESTAMP_NTZ"}
"""What the guide says to set."""


def _run(fitted: FittedRecipe, source: str, spark: Any, key: str, **settings: str) -> list[dict[str, Any]]:
    own = spark.newSession()
    for name, value in {**GUIDE, **settings}.items():
        own.conf.set(name.replace("__", "."), value)
    own.read.parquet(f"file:{source}").createOrReplaceTempView("datamart")
    rows: list[dict[str, Any]] = own.sql(fitted.to_sql("spark")).toArrow().to_pylist()
    return sorted(rows, key=lambda row: row[key])


def _differences(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    assert len(expected) == len(found)
    return [
        f"{name}: {row[name]!r} but {other[name]!r}"
        for row, other in zip(expected, found, strict=True)
        for name in row
        if not equal(row[name], other[name])
    ]


def test_the_steps_are_those_that_the_dialect_has() -> None:
    assert {step.TYPE for step in STEPS} == ALLOWED["spark"]


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_ten_thousand_random_rows(ansi: str, spark: Any, tmp_path: Path) -> None:
    """What a transform gives, floats to 1e-12; with errors for overflows, or with NULL."""
    learned = write(flights(), tmp_path / "flights.parquet")
    fitted = Recipe("r", STEPS, keys=["flight_id"], label="late").fit(learned)
    table = _random_rows(10_000, seed=23).append_column("flight_id", pa.array(np.arange(10_000)))
    source = write(table, tmp_path / "in.parquet")
    fitted.transform(source, tmp_path / "out.parquet")
    batch = [
        {name: row[name] for name in ("flight_id", *fitted.feature_names)}
        for row in read(tmp_path / "out.parquet")
    ]
    found = _run(fitted, source, spark, "flight_id", spark__sql__ansi__enabled=ansi)
    assert list(found[0]) == ["flight_id", *fitted.feature_names]
    assert _differences(batch, found)[:5] == []


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_infinities_and_what_overflows(ansi: str, spark: Any, tmp_path: Path) -> None:
    """Infinite results of finite values are missing, and rows that a policy refuses are marked."""
    table = pa.table(
        {
            "id": list(range(8)),
            "x": [1.0, math.inf, -math.inf, None, 2.5, -7.5, 1e308, 400.0],
            "y": [2.0, 1.0, 0.0, 1.0, math.inf, 0.0, 1e308, 0.5],
            "n": list(range(1, 9)),
            "s": ["a", "b", None, "a", "c", "zz", "b", "a"],
        }
    )
    source = write(table, tmp_path / "in.parquet")
    steps = [
        Cyclical("x", period=360, invalid="null", output="circle"),
        Expression("x * y", output="product"),
        Expression("x // y + x % y", output="parts"),
        Interaction(["x", "n"]),
        Hashing(["s", "n"], buckets=1_000, output="{column}_bucket"),
    ]
    fitted = Recipe("r", steps, keys=["id"]).fit(source)
    rows = [{"id": row["id"], **fitted.transform_row(row)} for row in table.to_pylist()]
    assert rows[6]["product"] is None
    assert _differences(rows, _run(fitted, source, spark, "id", spark__sql__ansi__enabled=ansi))[:5] == []

    strict = [Cyclical("x", period=360), Log1p("y"), OneHot("s", missing="error")]
    fitted = Recipe("r", strict, keys=["id"]).fit(write(table.slice(0, 1), tmp_path / "one.parquet"))
    refused = [row["mlbridge_refused"] for row in _run(fitted, source, spark, "id")]
    assert refused == [False, True, True, False, True, True, True, False]
