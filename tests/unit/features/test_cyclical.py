# SPDX-License-Identifier: Apache-2.0
"""Sine and cosine of what comes round again."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import FunctionTransformer

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import Cyclical, DateParts, FittedRecipe, Passthrough, Recipe
from airflow_provider_mlbridge.features.steps.dates import PERIODS

from .tables import equal, flights, read, write


def _run(table: pa.Table, steps: list[Any], folder: Path) -> tuple[list[dict[str, Any]], FittedRecipe, Any]:
    source = write(table, folder / "in.parquet")
    fitted = FittedRecipe.from_json(Recipe("r", steps).fit(source).to_json())
    result = fitted.transform(source, folder / "out.parquet")
    rows = read(folder / "out.parquet")
    for row, stored in zip(table.to_pylist(), rows, strict=True):
        online = fitted.transform_row(row)
        assert all(equal(online[name], stored[name]) for name in online)
    return rows, fitted, result.statistics["policies"]


def test_parts_of_timestamps(tmp_path: Path) -> None:
    table = flights(300)
    parts = list(PERIODS)
    steps = [DateParts("scheduled", parts=parts), Cyclical("scheduled", parts=parts, output="when")]
    rows, fitted, _ = _run(table, steps, tmp_path)
    assert fitted.feature_names[-2:] == ("when_second_sin", "when_second_cos")
    for part, period in PERIODS.items():
        x = np.array([[row[f"scheduled_{part}"]] for row in rows], dtype=float)
        for function in (np.sin, np.cos):
            reference = FunctionTransformer(
                lambda values, function=function, period=period: function(values / period * 2 * np.pi)
            )
            ours = [row[f"when_{part}_{function.__name__}"] for row in rows]
            np.testing.assert_allclose(ours, reference.fit_transform(x)[:, 0], rtol=1e-9, atol=1e-12)


def test_neighbours_in_time_are_neighbours_on_the_circle(tmp_path: Path) -> None:
    days = [datetime.date(2023, 12, 31), datetime.date(2024, 1, 1), datetime.date(2024, 7, 1), None]
    table = pa.table({"day": pa.array(days, pa.date32())})
    rows, fitted, _ = _run(table, [Cyclical("day", parts=["dayofyear", "month"])], tmp_path)
    assert fitted.feature_names == (
        "day_dayofyear_sin",
        "day_dayofyear_cos",
        "day_month_sin",
        "day_month_cos",
    )

    def apart(one: int, two: int, part: str) -> float:
        names = (f"day_{part}_sin", f"day_{part}_cos")
        return math.hypot(*(rows[one][name] - rows[two][name] for name in names))

    assert apart(0, 1, "dayofyear") < 0.03
    assert apart(0, 1, "month") == pytest.approx(2 * math.sin(math.pi / 12))
    assert apart(0, 2, "dayofyear") > 1.9
    assert set(rows[3].values()) == {None, "train"}


def test_days_of_the_month_go_round_in_a_mean_month(tmp_path: Path) -> None:
    table = pa.table({"day": pa.array([datetime.date(2024, 3, 15), datetime.date(2024, 3, 31)], pa.date32())})
    rows, _, _ = _run(table, [Cyclical("day", parts=["day"])], tmp_path)
    month = 365.25 / 12
    assert [row["day_day_sin"] for row in rows] == pytest.approx(
        [math.sin(2 * math.pi * 15 / month), math.sin(2 * math.pi * 31 / month)]
    )


def test_the_weekend_is_saturday_and_sunday(tmp_path: Path) -> None:
    monday = datetime.date(2024, 3, 4)
    days = [monday + datetime.timedelta(days=number) for number in range(7)]
    table = pa.table({"day": pa.array(days, pa.date32())})
    rows, _, _ = _run(table, [DateParts("day", parts=["is_weekend"])], tmp_path)
    assert [bool(row["day_is_weekend"]) for row in rows] == [False] * 5 + [True] * 2


def test_numbers_with_a_period(tmp_path: Path) -> None:
    values = [0.0, 90.0, 180.0, -90.0, 359.0, 360.0 * 1e12 + 90.0, None, math.nan]
    table = pa.table({"wind": values, "hour": pa.array([0, 6, 12, 18, 23, 30, None, -1], pa.int8())})
    steps = [Cyclical("wind", period=360), Cyclical("hour", period=24)]
    rows, fitted, policies = _run(table, steps, tmp_path)
    assert fitted.feature_names == ("wind_sin", "wind_cos", "hour_sin", "hour_cos")
    angles = np.radians([0.0, 90.0, 180.0, -90.0, 359.0, 90.0])
    np.testing.assert_allclose([row["wind_sin"] for row in rows[:6]], np.sin(angles), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([row["wind_cos"] for row in rows[:6]], np.cos(angles), rtol=1e-9, atol=1e-12)
    assert [rows[5]["hour_sin"], rows[7]["hour_cos"]] == [
        pytest.approx(1.0),
        pytest.approx(math.cos(math.pi / 12)),
    ]
    assert [row["wind_sin"] for row in rows[6:]] == [None, None]
    assert policies == [{"step": 1, "type": "cyclical", "column": "wind", "invalid": 0}]


def test_an_infinite_number_is_refused_or_made_missing(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, math.inf, -math.inf]})
    rows, _, policies = _run(table, [Cyclical("x", period=2, invalid="null")], tmp_path)
    assert [row["x_cos"] for row in rows] == [pytest.approx(-1), None, None]
    assert policies[0]["invalid"] == 2
    fitted = Recipe("r", [Cyclical("x", period=2)]).fit(write(table, tmp_path / "in.parquet"))
    with pytest.raises(FeatureValueError, match="2 rows are invalid. An infinite value has no place"):
        fitted.transform(tmp_path / "in.parquet", tmp_path / "refused.parquet")
    with pytest.raises(FeatureValueError, match=r"step 1 \(cyclical\), column 'x': a value is infinite"):
        fitted.transform_row({"x": -math.inf})


def test_the_column_itself_leaves_the_output_and_can_be_kept(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0]})
    _, fitted, _ = _run(table, [Passthrough("x"), Cyclical("x", period=7)], tmp_path)
    assert fitted.feature_names == ("x_sin", "x_cos")
    _, fitted, _ = _run(table, [Passthrough("x", output="raw"), Cyclical("x", period=7)], tmp_path)
    assert fitted.feature_names == ("raw", "x_sin", "x_cos")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either parts .*hour.* or a period"),
        ({"parts": ["hour"], "period": 24}, "give either parts"),
        ({"parts": ["year"]}, "parts='year' is not valid; use one of quarter, month"),
        ({"period": 0}, "period=0.0 must be above 0"),
        ({"period": 1e-310}, "must be above 0"),
        ({"period": math.inf}, "finite number"),
        ({"period": 24, "invalid": "ignore"}, "use one of error, null"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipeError, match=message):
        Cyclical("x", **options)


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ("day", {"parts": ["hour"]}, "step 1 (cyclical), column 'day': parts hour need a timestamp"),
        ("day", {"period": 7}, "the column is a date, which needs parts instead of a period"),
        ("distance", {"parts": ["hour"]}, "the column is int, which needs a period instead of parts"),
        ("carrier", {"period": 7}, "column 'carrier' is string; cyclical takes int, float, date, timestamp"),
    ],
)
def test_on_the_wrong_kind(column: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = write(flights(10), tmp_path / "in.parquet")
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe("r", [Cyclical(column, **options)]).fit(source)
    assert message in str(caught.value)
