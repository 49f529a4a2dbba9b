# SPDX-License-Identifier: Apache-2.0
"""Robust scaling: against scikit-learn, and at the limits of floats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    MinMax,
    Recipe,
    Robust,
    Standard,
)

from .tables import flights, read, write

NUMERIC = ["dep_delay", "distance", "temp", "seats", "humid", "constant"]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return flights()


def _fit(table: pa.Table, steps: Any, folder: Path, **options: Any) -> FittedRecipe:
    return Recipe("r", steps).fit(write(table, folder / "in.parquet"), **options)


def _column(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))


def _transformed(fitted: FittedRecipe, table: pa.Table, folder: Path) -> np.ndarray:
    fitted.transform(write(table, folder / "in.parquet"), folder / "out.parquet")
    rows = read(folder / "out.parquet")
    return np.array([[row[name] for name in fitted.feature_names] for row in rows], dtype=float)


def _assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    for index in range(theirs.shape[1]):
        largest = np.nanmax(np.abs(theirs[:, index]))
        np.testing.assert_allclose(ours[:, index], theirs[:, index], rtol=1e-9, atol=1e-9 * largest)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, {}),
        ({"with_centering": False, "unit_variance": True}, {"with_centering": False, "unit_variance": True}),
        ({"with_scaling": False}, {"with_scaling": False}),
        ({"lower_quantile": 0.07, "upper_quantile": 0.9}, {"quantile_range": (7.0, 90.0)}),
    ],
)
def test_robust_scaling_is_that_of_scikit_learn(
    table: pa.Table, options: dict[str, Any], reference: dict[str, Any], tmp_path: Path
) -> None:
    x = np.column_stack([_column(table, name) for name in NUMERIC])
    ours = _transformed(_fit(table, [Robust(NUMERIC, **options)], tmp_path), table, tmp_path)
    _assert_close(ours, RobustScaler(**reference).fit_transform(x))


def test_an_infinite_outlier_moves_no_quantile(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0, math.inf, math.nan]})
    fitted = _fit(table, [Robust("x")], tmp_path)
    assert fitted.states == ({"center": 3.0, "scale": 2.0},)
    assert fitted.transform_row({"x": math.inf}) == {"x": math.inf}
    with pytest.raises(FitError, match=r"step 1 \(robust\), column 'x': the 0.75 quantile"):
        _fit(pa.table({"x": [1.0, 2.0, 3.0, math.inf, math.inf]}), [Robust("x")], tmp_path)


def test_columns_that_are_constant_but_for_rounding(tmp_path: Path) -> None:
    """0.3 and 0.1 + 0.2 are one value to everybody; so no scaler here blows their difference up."""
    values = [0.3] * 50 + [0.1 + 0.2] * 50
    table = pa.table(dict.fromkeys("abc", values))
    steps = [Standard("a"), MinMax("b"), Robust("c")]
    ours = _transformed(_fit(table, steps, tmp_path), table, tmp_path)
    x = np.array(values).reshape(-1, 1)
    scalers = (StandardScaler(), MinMaxScaler(), RobustScaler())
    theirs = np.hstack([scaler.fit_transform(x) for scaler in scalers])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)
    assert np.abs(ours).max() < 1e-15


def test_where_scikit_learn_sees_a_constant_and_we_do_not(tmp_path: Path) -> None:
    """Documented differences: its line depends on the unit, or on the number of rows."""
    rng = np.random.default_rng(5)
    tiny, far = rng.normal(0, 1e-20, 5_000), 1e9 + rng.normal(0, 1e-3, 5_000)
    table = pa.table({"far": far, "tiny": tiny, "small": tiny})
    steps = [Standard("far"), MinMax("tiny"), Robust("small")]
    ours = _transformed(_fit(table, steps, tmp_path), table, tmp_path)
    assert ours[:, 0].std() == pytest.approx(1, rel=1e-9)
    assert (ours[:, 1].min(), ours[:, 1].max()) == (0.0, 1.0)
    assert np.subtract(*np.quantile(ours[:, 2], [0.75, 0.25])) == pytest.approx(1, rel=1e-9)
    scalers = (StandardScaler(), MinMaxScaler(), RobustScaler())
    for x, scaler in zip((far, tiny, tiny), scalers, strict=True):
        assert scaler.fit(x.reshape(-1, 1)).scale_[0] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower_quantile": 0.75}, "lower_quantile=0.75 must be below upper_quantile=0.75"),
        ({"upper_quantile": 75}, "between 0 and 1"),
        ({"unit_variance": True, "lower_quantile": 0}, "unit_variance needs quantiles above 0"),
        ({"with_scaling": 1}, "true or false"),
    ],
)
def test_robust_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipeError, match=message):
        Robust("x", **options)
