# SPDX-License-Identifier: Apache-2.0
"""Robust scaling and the power transform: against scikit-learn and SciPy, and at the limits of floats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats  # type: ignore[import-untyped]
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    MinMax,
    Recipe,
    Robust,
    Standard,
    YeoJohnson,
)
from airflow_provider_mlbridge.features.power import MAX_EVALUATIONS, minimum
from airflow_provider_mlbridge.features.steps.scaling import (
    log1p_expression,
    power_expression,
    power_function,
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


# --- the power transform

LAMBDAS = [
    0.0,
    1e-300,
    1e-17,
    1e-13,
    1e-7,
    0.5,
    1.0,
    1.5,
    2 - 1e-7,
    2 - 1e-13,
    2.0,
    2 + 1e-9,
    3.7,
    -5.0,
    40.0,
]


def _in_the_engine(values: np.ndarray, exponent: float) -> np.ndarray:
    source = ibis.table({"x": "float64"}, name="source")
    expression = power_expression(source.x, log1p_expression(source.x.abs()), exponent)
    with duckdb.connect() as connection:
        connection.register("source", pa.table({"x": values}))
        answer = connection.execute(ibis.to_sql(source.select(y=expression), dialect="duckdb"))
        return np.array([row[0] for row in answer.fetchall()], dtype=float)


@pytest.mark.parametrize("exponent", LAMBDAS)
def test_the_transform_is_that_of_scipy_and_alike_in_table_and_row(exponent: float) -> None:
    sizes = 10.0 ** np.arange(-18, 7, 0.25)
    values = np.concatenate([sizes, -sizes, [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf]])
    function = power_function(exponent)
    row = np.array([function(float(value)) for value in values])
    np.testing.assert_array_equal(_in_the_engine(values, exponent), row)
    assert not np.isnan(row).any()
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = stats.yeojohnson(values, exponent)
    np.testing.assert_allclose(row, theirs, rtol=1e-13, atol=0)


def test_lambda_one_leaves_values_as_they_are() -> None:
    values = [1e300, -1e300, 0.1, -0.1, 1e-300]
    assert [power_function(1.0)(value) for value in values] == values


SKEWED = ["dep_delay", "distance", "humid", "lognormal", "negative", "count"]


@pytest.fixture(scope="module")
def skewed(table: pa.Table) -> pa.Table:
    rng = np.random.default_rng(11)
    rows = table.num_rows
    table = table.append_column("lognormal", pa.array(rng.lognormal(3, 1, rows)))
    table = table.append_column("negative", pa.array(-rng.gamma(1.5, 3.0, rows) - 0.1))
    return table.append_column("count", pa.array(rng.poisson(3, rows), pa.int16()))


@pytest.fixture(scope="module")
def powered(skewed: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> FittedRecipe:
    return _fit(skewed, [YeoJohnson([*SKEWED, "constant"])], tmp_path_factory.mktemp("power"))


def test_lambda_is_that_of_scikit_learn(skewed: pa.Table, powered: FittedRecipe) -> None:
    """To 1e-6: the likelihood is flat at its maximum, so that 1e-8 in lambda is its last bit."""
    reference = PowerTransformer().fit(np.column_stack([_column(skewed, name) for name in SKEWED]))
    ours = [state["lambda"] for state in powered.states[: len(SKEWED)]]
    np.testing.assert_allclose(ours, reference.lambdas_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("standardize", [True, False])
def test_with_the_same_lambda_values_are_those_of_scikit_learn(
    skewed: pa.Table, powered: FittedRecipe, standardize: bool, tmp_path: Path
) -> None:
    names = [*SKEWED, "constant"]
    x = np.column_stack([_column(skewed, name) for name in names])
    reference = PowerTransformer(standardize=False).fit(x)
    reference.lambdas_ = np.array([state["lambda"] for state in powered.states])
    theirs = reference.transform(x)
    if standardize:
        theirs = StandardScaler().fit_transform(theirs)
        ours = _transformed(FittedRecipe.from_json(powered.to_json()), skewed, tmp_path)
    else:
        names, theirs = names[:2], theirs[:, :2]
        plain = _fit(skewed, [YeoJohnson(names, standardize=False)], tmp_path)
        assert [state["lambda"] for state in plain.states] == list(reference.lambdas_[:2])
        ours = _transformed(plain, skewed, tmp_path)
    _assert_close(ours, theirs)


def test_the_order_of_rows_and_threads_change_no_bit(
    skewed: pa.Table, powered: FittedRecipe, tmp_path: Path
) -> None:
    order = np.random.default_rng(3).permutation(skewed.num_rows)
    source = write(skewed.take(pa.array(order)), tmp_path / "in.parquet", row_group_size=77)
    for threads in (1, 3):
        again = Recipe("r", [YeoJohnson(SKEWED[:2])]).fit(source, threads=threads)
        assert again.states == powered.states[:2]


def test_columns_that_have_no_lambda(tmp_path: Path) -> None:
    """They stay as they are but for the constant, as in scikit-learn."""
    table = pa.table({"three": [3.25, 3.25, None], "zero": [0, 0, 0], "near": [0.3, 0.1 + 0.2, 0.3]})
    fitted = _fit(table, [YeoJohnson(table.column_names)], tmp_path)
    assert [state["lambda"] for state in fitted.states] == [1.0, 1.0, 1.0]
    assert fitted.states[0] == {"lambda": 1.0, "mean": 3.25, "scale": 1.0}
    assert fitted.transform_row({"three": 4.25, "zero": None, "near": 0.3}) == {
        "three": 1.0,
        "zero": None,
        "near": pytest.approx(0, abs=1e-15),
    }
    x = np.array([[3.25, 0.0], [3.25, 0.0]])
    np.testing.assert_array_equal(PowerTransformer().fit(x).lambdas_, [1.0, 1.0])


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1.0, 1.0],  # two values
        [True, False, True],
        [-1e-6, 2e-6, 9e-6, 1e-6],  # lambda in the ten thousands
        [1e200, 3e200, 9e200, 1e200],
        [288.15 + 1e-3 * i * i for i in range(40)],  # far from zero: any lambda is as good
        [5e-324, 1e-300, 1e-310],
    ],
)
def test_odd_columns_are_transformed_to_mean_zero_and_deviation_one(values: Any, tmp_path: Path) -> None:
    table = pa.table({"x": values})
    ours = _transformed(_fit(table, [YeoJohnson("x")], tmp_path), table, tmp_path)
    # Far from zero the transforms of different values differ in their last digits only.
    assert ours.mean() == pytest.approx(0, abs=0.01)
    assert ours.std() == pytest.approx(1, rel=0.01)
    assert np.all(np.diff(ours[np.argsort(np.asarray(values, dtype=float)), 0]) >= 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, None], "all 2 values"),
        ([1.0, math.inf], "1 of 2 values of the training split are infinite"),
        ([-1e200, 1e200], "too large or too small for any power"),
        ([-1.7e308, 1.7e308], "too large or too small for any power"),
    ],
)
def test_columns_that_cannot_be_transformed(values: list[Any], message: str, tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(values, pa.float64())})
    with pytest.raises(FitError, match=rf"step 1 \(yeo_johnson\), column 'x'.*{message}"):
        _fit(table, [YeoJohnson("x")], tmp_path)


def test_lambda_is_learned_from_the_training_split_alone(skewed: pa.Table, tmp_path: Path) -> None:
    train = np.arange(skewed.num_rows) < 900
    table = skewed.append_column("fold", pa.array(np.where(train, "train", "test")))
    changed = table.set_column(
        table.column_names.index("lognormal"),
        "lognormal",
        pa.array(np.where(train, _column(table, "lognormal"), 1e6)),
    )
    recipe = Recipe("r", [YeoJohnson("lognormal")], split={"by": "column", "column": "fold"})  # type: ignore[arg-type]
    states = [
        recipe.fit(write(data, tmp_path / f"{index}.parquet")).to_json()
        for index, data in enumerate((table, changed))
    ]
    assert states[0] == states[1]


def _search(function: Any, low: float, high: float) -> tuple[float, int]:
    steps = minimum(low, high)
    point, calls = next(steps), 0
    while True:
        calls += 1
        assert low < point < high
        try:
            point = steps.send(function(point))
        except StopIteration as stop:
            return float(stop.value), calls


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    centre=st.floats(-3, 4),
    weight=st.floats(0.01, 100),
    low=st.floats(-60, -4),
    high=st.floats(5, 60),
    power=st.sampled_from([2, 4]),
)
def test_the_search_finds_the_minimum(
    centre: float, weight: float, low: float, high: float, power: int
) -> None:
    def function(x: float) -> float:
        return weight * abs(x - centre) ** power + math.exp(-abs(x))

    found, calls = _search(function, low, high)
    theirs = optimize.fminbound(function, low, high, xtol=1.48e-8, full_output=True)
    assert function(found) <= theirs[1] + 1e-9 * (1 + abs(theirs[1])) or found == pytest.approx(theirs[0])
    assert calls <= MAX_EVALUATIONS


def test_the_search_ends_where_there_is_nothing_to_find() -> None:
    assert _search(lambda _: math.inf, -29, 29)[1] <= MAX_EVALUATIONS
    assert _search(lambda x: x, -29, 29)[0] == pytest.approx(-29, abs=1e-5)
    assert _search(lambda x: math.inf if x < 1 else x, -29, 29)[0] == pytest.approx(1, abs=1e-5)
