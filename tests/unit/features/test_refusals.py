# SPDX-License-Identifier: Apache-2.0
"""Recipes that would make features of no use, or different ones elsewhere, are refused."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    Clip,
    Expression,
    GroupAggregate,
    HashSplit,
    Lag,
    MinMax,
    Ordinal,
    Recipe,
    Rolling,
    Standard,
    Target,
    TimeSplit,
)

from .tables import equal, read, write

START = datetime.datetime(2024, 1, 1)  # noqa: DTZ001 - UTC


def _table(rows: int = 60) -> pa.Table:
    times = [START + datetime.timedelta(hours=number) for number in range(rows)]
    return pa.table(
        {
            "id": range(rows),
            "t": pa.array(times, pa.timestamp("us")),
            "amount": [1e20 * number + 0.5 for number in range(rows)],
            "y": [number % 2 for number in range(rows)],
            "g": ["a", "b", "c"] * (rows // 3),
        }
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Recipe("r", [Target("g")], keys=["amount"], label="y", split=TimeSplit("t", train=0.5)),
            "shared out to folds by the text of their keys, but 'amount' is float",
        ),
        (
            Recipe("r", [Ordinal("amount", order=[2**53, 5, 2**53 + 1])]),
            "column 'amount': order has integers that are one number as floats",
        ),
        (
            Recipe("r", [Expression("y + 1", output="File_Row_Number")], keys=["id"]),
            "the feature 'File_Row_Number' has a name that the engine keeps",
        ),
        *(
            (
                Recipe("r", [step], keys=["id"], label="y", event_time="t", known_time="t"),
                "but the recipe takes the event time for when that is. Give known_time",
            )
            for step in (
                Lag("y", by=["g"]),
                Rolling("y", by=["g"], window="1d"),
                GroupAggregate("y", by=["g"]),
            )
        ),
        (
            Recipe("r", [Lag("y", by=["g"])], keys=["id"], label="t", event_time="t"),
            "'t' is both the label and the event time",
        ),
    ],
)
def test_recipes_that_do_not_do(recipe: Recipe, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipeError, match=re.escape(message)):
        recipe.fit(write(_table(), tmp_path / "in.parquet"))


def test_a_range_beyond_floats() -> None:
    with pytest.raises(InvalidRecipeError, match="min_max: from low=-1e.308 to high=1e.308 is too far"):
        MinMax("x", low=-1e308, high=1e308)


def test_floats_may_be_keys_where_folds_are_by_other_columns(tmp_path: Path) -> None:
    split = HashSplit(keys=["id"], train=0.8)
    recipe = Recipe("r", [Target("g")], keys=["amount"], label="y", split=split)
    assert recipe.fit(write(_table(), tmp_path / "in.parquet")).feature_names == ("g",)


def test_folds_by_a_time_go_by_its_microseconds(tmp_path: Path) -> None:
    """Not by its text, which engines write in different ways."""
    table = _table()
    since = [(time - datetime.datetime(1970, 1, 1)) for time in table["t"].to_pylist()]  # noqa: DTZ001 - UTC
    whole = pa.array([each // datetime.timedelta(microseconds=1) for each in since], pa.int64())
    found = []
    for key in (table["t"], whole):
        recipe = Recipe("r", [Target("g")], keys=["t"], label="y")
        source = write(table.set_column(1, "t", key), tmp_path / "in.parquet")
        found.append(recipe.fit(source).states)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (MinMax("x"), "the range of the training split is too large for a float"),
        (
            Target("g", target_type="continuous"),
            "the range of the labels ('y') of the training split is too wide",
        ),
        (Clip("x", lower_quantile=0.99, upper=-1.6e308), "the lower bound is above the upper bound"),
    ],
)
def test_errors_name_no_value_of_a_row(step: Any, message: str, tmp_path: Path) -> None:
    wide = [-1.5e308, 1.25e308]
    table = pa.table({"id": [1, 2], "g": ["a", "b"], "x": wide, "y": wide})
    recipe = Recipe("r", [step], keys=["id"], label="y" if step.SUPERVISED else None)
    with pytest.raises(FitError, match=re.escape(message)) as caught:
        recipe.fit(write(table, tmp_path / "in.parquet"))
    assert not re.search(r"1\.5e|1\.25e|1\.2[45]", str(caught.value))


def test_a_wide_range_that_floats_hold(tmp_path: Path) -> None:
    source = write(pa.table({"x": [0.0, 1.0, 2.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [MinMax("x", low=-8e307, high=8e307), Standard("x")]).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    expected = [fitted.transform_row({"x": value})["x"] for value in (0.0, 1.0, 2.0)]
    assert all(map(equal, [row["x"] for row in read(tmp_path / "out.parquet")], expected))
