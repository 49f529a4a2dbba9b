# SPDX-License-Identifier: Apache-2.0
"""Bins between given edges, and between quantiles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import Bins, FittedRecipe, QuantileBins, Recipe

from .tables import read, write

EDGES = [-10, 0, 0.5, 20]
VALUES = [-10.0, -0.1, -0.0, 0.0, 0.49, 0.5, 19.9, 20.0, None, math.nan]
PLACES = [0, 0, 1, 1, 1, 2, 2, 2, None, None]
OUTSIDE = [-10.1, 20.1, math.inf, -math.inf]


def _bins(values: list[Any], step: Any, folder: Path) -> tuple[list[Any], Any, FittedRecipe]:
    source = write(pa.table({"x": pa.array(values, pa.float64())}), folder / "in.parquet")
    fitted = Recipe("r", [step]).fit(source)
    result = fitted.transform(source, folder / "out.parquet")
    assert pq.read_schema(folder / "out.parquet").field("x").type == pa.int32()
    again = FittedRecipe.from_json(fitted.to_json())
    stored = [row["x"] for row in read(folder / "out.parquet")]
    assert [again.transform_row({"x": value})["x"] for value in values] == stored
    return stored, result.statistics["policies"], fitted


def test_bins_are_closed_on_the_left_and_the_last_on_the_right_too(tmp_path: Path) -> None:
    stored, _, _ = _bins(VALUES, Bins("x", edges=EDGES), tmp_path)
    assert stored == PLACES
    known = [value for value in VALUES if value is not None and not math.isnan(value)]
    counts = np.histogram(known, bins=EDGES)[0]
    assert [stored.count(place) for place in range(3)] == counts.tolist()


@pytest.mark.parametrize(("policy", "places"), [("clip", [0, 2, 2, 0]), ("null", [None, None, None, None])])
def test_values_out_of_range_are_counted(policy: str, places: list[Any], tmp_path: Path) -> None:
    step = Bins("x", edges=EDGES, out_of_range=policy)
    stored, policies, _ = _bins(VALUES + OUTSIDE, step, tmp_path)
    assert stored == PLACES + places
    assert policies == [{"step": 1, "type": "bins", "column": "x", "out_of_range": 4}]


def test_values_out_of_range_can_be_refused(tmp_path: Path) -> None:
    step = Bins("x", edges=EDGES, out_of_range="error")
    stored, policies, fitted = _bins(VALUES, step, tmp_path)
    assert stored == PLACES
    assert policies[0]["out_of_range"] == 0
    source = write(pa.table({"x": VALUES + OUTSIDE}), tmp_path / "more.parquet")
    with pytest.raises(FeatureValueError, match=r"step 1 \(bins\), column 'x': 4 rows are out_of_range"):
        fitted.transform(source, tmp_path / "more_out.parquet")
    assert not (tmp_path / "more_out.parquet").exists()
    for value in OUTSIDE:
        with pytest.raises(FeatureValueError, match=r"outside the range from -10 to 20. Add edges"):
            fitted.transform_row({"x": value})


def test_a_single_bin(tmp_path: Path) -> None:
    stored, _, _ = _bins([0.5, 1.0, 2.0, None], Bins("x", edges=[0, 1], out_of_range="null"), tmp_path)
    assert stored == [0, 0, None, None]


@pytest.mark.parametrize("kind", ["bins", "quantile_bins"])
def test_integers_that_no_float_can_hold_are_on_the_side_where_tables_see_them(
    kind: str, tmp_path: Path
) -> None:
    edge = 2**53 + 4
    values = [2**53 + 3, 0, edge, edge, 2**54]
    step: Any = Bins("x", edges=[0, edge, 2**60]) if kind == "bins" else QuantileBins("x", bins=2)
    source = write(pa.table({"x": pa.array(values, pa.int64())}), tmp_path / "in.parquet")
    fitted = Recipe("r", [step]).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    stored = [row["x"] for row in read(tmp_path / "out.parquet")]
    assert stored == [fitted.transform_row({"x": value})["x"] for value in values] == [1, 0, 1, 1, 1]


def test_edges_survive_yaml() -> None:
    recipe = Recipe("r", [Bins("x", edges=EDGES, out_of_range="null", output="{column}_bin")])
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.to_dict()["steps"][0]["edges"] == [-10.0, 0.0, 0.5, 20.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "edges=.* must be a list of 2 to 256 numbers"),
        ({"edges": [1]}, "a list of 2 to 256 numbers"),
        ({"edges": list(range(257))}, "a list of 2 to 256 numbers"),
        ({"edges": "0, 1"}, "a list of 2 to 256 numbers"),
        ({"edges": [0, 1, 1]}, r"must rise, but 1\.0 comes after 1\.0"),
        ({"edges": [0, math.inf]}, "finite number"),
        ({"edges": [0, True]}, "finite number"),
        ({"edges": [0, 1], "out_of_range": "drop"}, "use one of clip, null, error"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipeError, match=message):
        Bins("x", **options)


def _fitted_edges(values: Any, bins: int, folder: Path) -> list[float]:
    source = write(pa.table({"x": pa.array(values, pa.float64())}), folder / "in.parquet")
    edges: list[float] = Recipe("r", [QuantileBins("x", bins=bins)]).fit(source).states[0]["inner_edges"]
    return edges


def test_quantile_edges_are_those_of_numpy(tmp_path: Path) -> None:
    values = np.random.default_rng(4).normal(100.0, 7.0, 997)
    expected = np.quantile(values, [index / 7 for index in range(1, 7)])
    np.testing.assert_allclose(_fitted_edges(values, 7, tmp_path), expected, rtol=1e-13)


def test_quantile_edges_that_are_close_stay_apart(tmp_path: Path) -> None:
    values = [1 + place * 1e-9 for place in range(11)]
    edges = _fitted_edges(values, 5, tmp_path)
    np.testing.assert_allclose(edges, values[2:10:2], rtol=1e-15)


def test_equal_quantile_edges_are_one(tmp_path: Path) -> None:
    assert _fitted_edges([0.0] * 90 + [1.0] * 10, 4, tmp_path) == []
    assert _fitted_edges([0.0] * 30 + [1.0] * 40 + [2.0] * 30, 5, tmp_path) == [1.0]
    # Linear interpolation between equal values may differ from them in the last bit.
    assert _fitted_edges([0.1] * 97 + [0.3], 3, tmp_path) == []


def test_sql_says_of_a_missing_value_that_it_is_not_refused(tmp_path: Path) -> None:
    import duckdb

    source = write(pa.table({"x": [0.5, None, math.nan, 9.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Bins("x", edges=[0, 10], out_of_range="error")]).fit(source)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE datamart AS SELECT unnest([0.5, NULL, 9.0, 10.5]) AS x")
        rows = connection.execute(f"SELECT x, mlbridge_refused FROM ({fitted.to_sql('duckdb')})").fetchall()
    refused = [row[1] for row in rows]
    assert sorted(map(str, refused)) == ["False", "False", "False", "True"]
