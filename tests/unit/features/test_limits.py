# SPDX-License-Identifier: Apache-2.0
"""Values at the limits of their types: each is either handled or refused in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    DateParts,
    FittedRecipe,
    HashSplit,
    Impute,
    OneHot,
    Ordinal,
    Passthrough,
    Recipe,
    Standard,
    TimeSplit,
)
from airflow_provider_mlbridge.features import statistics as statistics_module
from airflow_provider_mlbridge.features.session import Session

from .tables import read, write

_TEXT = st.text(min_size=1, max_size=30) | st.from_regex(r"[-+.0-9eE_:x]{1,8}", fullmatch=True)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    name=_TEXT, column=_TEXT, value=_TEXT, others=st.lists(_TEXT, min_size=1, unique=True), number=st.floats()
)
def test_yaml_keeps_every_text(name: str, column: str, value: str, others: list[str], number: float) -> None:
    steps: list[Any] = [Impute(column, strategy="constant", value=value), Ordinal(column, order=others)]
    if math.isfinite(number):
        steps.append(Impute(column, strategy="constant", value=number))
    recipe = Recipe(name, steps, keys=others, split=HashSplit(salt=value))
    again = Recipe.from_yaml(recipe.to_yaml())
    assert (again, again.hash) == (recipe, recipe.hash)


@pytest.mark.parametrize(
    "value",
    ["1e5", "12E4", "1.5e3", "-1e3", "\x85", "a\x85b", "\u2028", "a\r\nb", " x ", "\ufeff", "no", "~"],
)
def test_yaml_keeps_text_that_looks_like_something_else(value: str) -> None:
    recipe = Recipe(value, [Impute(value, strategy="constant", value=value)], keys=[f"{value}k"])
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("step", [OneHot("x"), Ordinal("x"), Impute("x", strategy="mode")])
def test_infinity_is_neither_a_category_nor_a_mode(step: Any, tmp_path: Path) -> None:
    source = write(pa.table({"x": [1.0, math.inf, math.inf, None]}), tmp_path / "in.parquet")
    with pytest.raises(FitError, match=r"column 'x'.* infinite.*clip"):
        Recipe("r", [step]).fit(source)


@pytest.mark.parametrize("step", [OneHot("x"), Ordinal("x"), Impute("x", strategy="mode")])
def test_unsigned_integers_beyond_the_signed_ones(step: Any, tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([2**64 - 1, 2**64 - 1, 2**63, 0, None], pa.uint64())})
    source = write(table, tmp_path / "in.parquet")
    fitted = FittedRecipe.from_json(Recipe("r", [step]).fit(source).to_json())
    fitted.transform(source, tmp_path / "out.parquet")
    for row, stored in zip(table.to_pylist(), read(tmp_path / "out.parquet"), strict=True):
        assert fitted.transform_row(row) == {name: stored[name] for name in fitted.feature_names}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
def test_constants_have_64_bits(value: int) -> None:
    with pytest.raises(InvalidRecipeError, match="value="):
        Impute("x", strategy="constant", value=value)
    with pytest.raises(InvalidRecipeError, match="order="):
        Ordinal("x", order=[value, 1])


def test_a_negative_constant_among_unsigned_integers(tmp_path: Path) -> None:
    source = write(pa.table({"x": pa.array([2**64 - 1, None], pa.uint64())}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Impute("x", strategy="constant", value=-1)]).fit(source)
    with pytest.raises(InvalidRecipeError, match="no integer type holds both"):
        fitted.transform(source, tmp_path / "out.parquet")


def test_statistics_never_stop_a_build(tmp_path: Path) -> None:
    table = pa.table(
        {
            "x": [1e308, -1e308],
            "t": pa.array([4 * 10**17, 0], pa.timestamp("us")),
            "d": pa.array([4 * 10**6, 0], pa.date32()),
        }
    )
    source = write(table, tmp_path / "in.parquet")
    found = (
        Recipe("r", [Passthrough(["x", "t", "d"])]).fit(source).transform(source, tmp_path / "out.parquet")
    )
    features = found.statistics["features"]
    assert (features["x"]["mean"], features["x"]["std"], features["x"]["max"]) == (None, None, 1e308)
    assert (features["t"]["min"], features["d"]["min"]) == ("1970-01-01T00:00:00", "1970-01-01")
    assert features["t"]["max"].startswith("14645-")
    assert features["d"]["max"].startswith("12921-")
    with pytest.raises(FitError, match="range of the values is too large") as caught:
        Recipe("r", [Standard("x")]).fit(source)
    assert "1e+308" not in str(caught.value)
    with pytest.raises(FitError, match="beyond the year 9999"):
        Recipe("r", [Passthrough("x")], split=TimeSplit("t", train=1.0)).fit(source)


def test_a_thousand_columns_are_described_in_small_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [f"c{index % 200}" for index in range(400)] + [None] * 100
    table = pa.table(
        {"m": values, **{f"n{index}": pa.array(range(500), pa.date32()) for index in range(120)}}
    )
    source = write(table, tmp_path / "in.parquet")
    steps: list[Any] = [
        OneHot("m", missing="category"),
        DateParts([f"n{index}" for index in range(120)], parts=["day"]),
    ]
    fitted = Recipe("r", steps).fit(source)
    widths: list[int] = []
    counted: list[int] = []
    query = Session.query

    def watched(self: Session, expression: Any) -> list[dict[str, Any]]:
        widths.append(len(expression.columns))
        sql = statistics_sql(expression)
        counted.append(sql.count("BIT_OR("))
        return query(self, expression)

    from airflow_provider_mlbridge.features.session import compile_sql as statistics_sql

    monkeypatch.setattr(Session, "query", watched)
    found = fitted.transform(source, tmp_path / "out.parquet").statistics["features"]
    assert max(widths) <= 4 * statistics_module.COLUMNS_AT_A_TIME
    assert (sum(counted), max(counted)) == (120, statistics_module.COLUMNS_AT_A_TIME)
    assert found["m_c7"] == {
        "kind": "int",
        "count": 500,
        "nulls": 0,
        "infinite": 0,
        "mean": 0.004,
        "std": pytest.approx(math.sqrt(0.004 * 0.996), rel=1e-15),
        "min": 0.0,
        "max": 1.0,
        "distinct": 2,
    }
    assert (found["m__null"]["mean"], found["n3_day"]["distinct"]) == (0.2, 31)
