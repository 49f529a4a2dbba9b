# SPDX-License-Identifier: Apache-2.0
"""The power transform: against scikit-learn, SciPy and its own formula, and at the limits of floats."""

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
from pytest_mock import MockerFixture
from scipy import optimize, stats  # type: ignore[import-untyped]
from sklearn.preprocessing import PowerTransformer, StandardScaler

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features import FittedRecipe, Recipe, Standard, YeoJohnson
from airflow_provider_mlbridge.features.extremum import MAX_EVALUATIONS, minimum, stationary
from airflow_provider_mlbridge.features.session import Session
from airflow_provider_mlbridge.features.steps.scaling import (
    log1p_expression,
    power_expression,
    power_function,
)

from .tables import flights, write
from .test_scaling import _assert_close, _column, _fit, _transformed


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return flights()


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
    """To 1e-6: it searches by values of the likelihood, which is flat at its maximum."""
    reference = PowerTransformer().fit(np.column_stack([_column(skewed, name) for name in SKEWED]))
    ours = [state["lambda"] for state in powered.states[: len(SKEWED)]]
    np.testing.assert_allclose(ours, reference.lambdas_, rtol=1e-6, atol=1e-6)


def _slope_of_the_loss(x: np.ndarray, exponent: float) -> float:
    """By the formula, in 80 bits."""
    wide = x[~np.isnan(x)].astype(np.longdouble)
    logarithm = np.log1p(np.abs(wide))
    power = np.where(wide < 0, 2 - np.longdouble(exponent), np.longdouble(exponent))
    side = np.expm1(power * logarithm) / power
    slope = (logarithm * np.exp(power * logarithm) - side) / power
    y = np.where(wide < 0, -side, side)
    together = ((y - y.mean()) * (slope - slope.mean())).mean() / y.var()
    return float(together - (np.sign(wide) * logarithm).mean())


def test_lambda_is_where_the_likelihood_is_level(skewed: pa.Table, powered: FittedRecipe) -> None:
    """Much closer than by values: scikit-learn's lambda is off by up to 1e-7."""
    for name, state in zip(SKEWED, powered.states, strict=False):
        x, found = _column(skewed, name), state["lambda"]
        level = optimize.brentq(
            lambda point, x=x: _slope_of_the_loss(x, point), found - 1e-3, found + 1e-3, xtol=1e-14
        )
        assert found == pytest.approx(level, rel=1e-11, abs=1e-11), name


def test_the_pipeline_is_computed_once(skewed: pa.Table, tmp_path: Path, mocker: MockerFixture) -> None:
    """Every evaluation reads what was kept, a value and its logarithm, not what it was made from."""
    queries = mocker.spy(Session, "_execute")
    steps = [Standard("lognormal"), YeoJohnson("lognormal")]
    kept = _fit(skewed, steps, tmp_path)
    texts = [call.args[1] for call in queries.call_args_list]
    powers = [text for text in texts if "exp(" in text.lower()]
    assert 5 < len(powers) < 25
    assert all("written_powers" in text and "datamart" not in text for text in powers)
    # With no room for it the answer is the same.
    assert _fit(skewed, steps, tmp_path, scratch_limit_bytes=1_000).states == kept.states


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


def _level(slope: Any, start: float) -> tuple[float | None, int]:
    steps = stationary(start, 1e-4)
    point, calls = next(steps), 0
    while True:
        calls += 1
        try:
            point = steps.send(slope(point))
        except StopIteration as stop:
            return stop.value, calls


@pytest.mark.parametrize(
    ("slope", "start", "expected"),
    [
        (lambda x: math.sinh(x - 1), 1 + 3e-5, 1.0),
        (lambda x: 1e3 * (x - 1) + 50 * (x - 1) ** 2, 1 - 2e-4, 1.0),
        (lambda x: x, 0.0, 0.0),
        (lambda x: x - 1, 1.009, 1.0),  # about as far as may be
        (lambda x: x - 1, 1.02, None),
        (lambda x: 1 - x, 1.00001, None),  # a maximum
        (lambda _: 1.0, 0.0, None),
        (lambda _: math.nan, 0.0, None),
    ],
)
def test_slopes_lead_to_the_minimum_or_nowhere(slope: Any, start: float, expected: float | None) -> None:
    found, calls = _level(slope, start)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12, abs=1e-12))
    assert calls <= 9


def test_the_search_ends_where_there_is_nothing_to_find() -> None:
    assert _search(lambda _: math.inf, -29, 29)[1] <= MAX_EVALUATIONS
    assert _search(lambda x: x, -29, 29)[0] == pytest.approx(-29, abs=1e-5)
    assert _search(lambda x: math.inf if x < 1 else x, -29, 29)[0] == pytest.approx(1, abs=1e-5)
