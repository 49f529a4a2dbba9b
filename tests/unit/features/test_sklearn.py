# SPDX-License-Identifier: Apache-2.0
"""The steps against scikit-learn, to 1e-9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from airflow_provider_mlbridge.features import (
    Clip,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    QuantileBins,
    Recipe,
    Selector,
    Standard,
)

from .tables import flights, write


def _ours(table: pa.Table, steps: list[Any], folder: Path, train: np.ndarray | None = None) -> pa.Table:
    if train is None:
        train = np.ones(table.num_rows, dtype=bool)
    table = table.append_column("fold", pa.array(np.where(train, "train", "test")))
    source = write(table, folder / "in.parquet")
    recipe = Recipe("r", steps, split={"by": "column", "column": "fold"})  # type: ignore[arg-type]
    fitted = recipe.fit(source)
    fitted.transform(source, folder / "out.parquet")
    return pq.read_table(folder / "out.parquet").select(list(fitted.feature_names))


def _numbers(table: pa.Table, columns: list[str]) -> np.ndarray:
    frame = table.select(columns).to_pandas()
    return np.asarray(frame.to_numpy(dtype=float, na_value=np.nan))


def _assert_close(ours: pa.Table, theirs: Any) -> None:
    """To 1e-9 of the value, or of the column's largest for values near zero, where a difference cancels."""
    mine, others = _numbers(ours, ours.column_names), np.asarray(theirs, dtype=float)
    assert mine.shape == others.shape
    for index, name in enumerate(ours.column_names):
        largest = np.nanmax(np.abs(others[:, index]))
        np.testing.assert_allclose(
            mine[:, index], others[:, index], rtol=1e-9, atol=1e-9 * largest, err_msg=name
        )


NUMERIC = ["dep_delay", "distance", "temp", "seats", "humid", "constant"]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return flights()


@pytest.fixture(scope="module")
def train(table: pa.Table) -> np.ndarray:
    return np.asarray(np.random.default_rng(1).random(table.num_rows) < 0.6)


@pytest.mark.parametrize(
    ("step", "reference"),
    [
        (Standard(NUMERIC), StandardScaler()),
        (Standard(NUMERIC, with_mean=False), StandardScaler(with_mean=False)),
        (Standard(NUMERIC, with_std=False), StandardScaler(with_std=False)),
        (MinMax(NUMERIC), MinMaxScaler()),
        (MinMax(NUMERIC, low=-2, high=3), MinMaxScaler(feature_range=(-2, 3))),
        (Impute(NUMERIC, strategy="mean"), SimpleImputer(strategy="mean")),
        (Impute(NUMERIC, strategy="median"), SimpleImputer(strategy="median")),
        (Impute(NUMERIC, strategy="mode"), SimpleImputer(strategy="most_frequent")),
        (
            Impute(NUMERIC, strategy="constant", value=-1.5),
            SimpleImputer(strategy="constant", fill_value=-1.5),
        ),
    ],
)
def test_numbers(table: pa.Table, train: np.ndarray, step: Any, reference: Any, tmp_path: Path) -> None:
    x = _numbers(table, NUMERIC)
    _assert_close(_ours(table, [step], tmp_path, train), reference.fit(x[train]).transform(x))


def test_imputation_with_indicator(table: pa.Table, train: np.ndarray, tmp_path: Path) -> None:
    ours = _ours(table, [Impute(["dep_delay", "seats"], indicator=True)], tmp_path, train)
    assert ours.column_names == ["dep_delay", "dep_delay_missing", "seats", "seats_missing"]
    x = _numbers(table, ["dep_delay", "seats"])
    theirs = SimpleImputer(add_indicator=True).fit(x[train]).transform(x)
    _assert_close(ours, theirs[:, [0, 2, 1, 3]])


def test_winsorising_by_quantile(table: pa.Table, train: np.ndarray, tmp_path: Path) -> None:
    x = _numbers(table, ["dep_delay", "humid"])
    low, high = np.nanquantile(x[train], [0.01, 0.95], axis=0)
    step = Clip(["dep_delay", "humid"], lower_quantile=0.01, upper_quantile=0.95)
    _assert_close(_ours(table, [step], tmp_path, train), np.clip(x, low, high))


def test_log1p_keeps_the_digits_of_small_values(tmp_path: Path) -> None:
    values = np.array(
        [0.0, 1e-300, 1e-17, -1e-17, 3e-16, 1e-10, -1e-9, 1e-4, 0.5, 1.0, 1.5, 1e6, 1e300, -0.999, np.inf]
    )
    ours = _ours(pa.table({"x": values}), [Log1p("x")], tmp_path)
    np.testing.assert_allclose(ours["x"].to_numpy(), np.log1p(values), rtol=4e-15, atol=0)


def test_quantile_bins(table: pa.Table, train: np.ndarray, tmp_path: Path) -> None:
    columns = ["distance", "temp", "humid", "constant"]
    x = _numbers(table, columns)
    reference = KBinsDiscretizer(
        7, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None
    )
    with pytest.warns(UserWarning, match="constant"):
        reference.fit(x[train])
    _assert_close(_ours(table, [QuantileBins(columns, bins=7)], tmp_path, train), reference.transform(x))


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ({"unknown": "other", "min_frequency": 60}, {"min_frequency": 60}),
        ({"unknown": "other", "min_frequency": 0.2}, {"min_frequency": 0.2}),
        ({"unknown": "other", "max_categories": 2}, {"max_categories": 3}),
    ],
)
def test_one_hot_with_rare_categories(
    table: pa.Table, train: np.ndarray, step: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    ours = _ours(
        table, [Impute("carrier", strategy="constant", value="?"), OneHot("carrier", **step)], tmp_path, train
    )
    assert all(field.type == pa.int8() for field in ours.schema)
    x = np.array([[value or "?"] for value in table["carrier"].to_pylist()], dtype=object)
    reference = OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False, **options)
    _assert_close(ours, reference.fit(x[train]).transform(x))


def test_one_hot_and_ordinal_of_all_categories(table: pa.Table, tmp_path: Path) -> None:
    x = table.select(["carrier", "seats"]).to_pandas()
    ours = _ours(table, [OneHot("carrier", missing="category")], tmp_path)
    _assert_close(ours, OneHotEncoder(sparse_output=False).fit_transform(x[["carrier"]]))
    seats = _ours(table, [Ordinal("seats")], tmp_path)
    _assert_close(seats, OrdinalEncoder().fit_transform(x[["seats"]]))


def test_ordinal_with_explicit_order(table: pa.Table, tmp_path: Path) -> None:
    order = ["HA", "UA", "OO", "B6"]
    step = Ordinal("carrier", order=order, unknown="other", missing="ignore")
    reference = OrdinalEncoder(categories=[order], handle_unknown="use_encoded_value", unknown_value=-1)
    names = np.array([[value or np.nan] for value in table["carrier"].to_pylist()], dtype=object)
    theirs = reference.fit([[name] for name in order]).transform(names)
    theirs[[value is None for value in table["carrier"].to_pylist()]] = np.nan
    _assert_close(_ours(table, [step], tmp_path), theirs)


def test_a_chain_on_one_column(table: pa.Table, train: np.ndarray, tmp_path: Path) -> None:
    steps = [
        Impute("dep_delay", strategy="median"),
        Clip("dep_delay", lower=0),
        Log1p("dep_delay"),
        Standard("dep_delay"),
    ]
    x = _numbers(table, ["dep_delay"])
    reference = make_pipeline(
        SimpleImputer(strategy="median"),
        FunctionTransformer(lambda values: np.clip(values, 0, None)),
        FunctionTransformer(np.log1p),
        StandardScaler(),
    )
    _assert_close(_ours(table, steps, tmp_path, train), reference.fit(x[train]).transform(x))


# Spreads from a thousandth of the values to any size: beyond that scikit-learn's own sums lose digits.
_columns = st.lists(
    st.one_of(st.none(), st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-3)),
    min_size=2,
    max_size=60,
).filter(lambda values: sum(value is not None for value in values) >= 2)


@settings(derandomize=True, max_examples=15, deadline=None)
@given(values=_columns)
def test_random_numbers(values: list[float | None], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("random")
    table = pa.table({name: pa.array(values, pa.float64()) for name in "abcd"})
    steps = [Standard("a"), MinMax("b"), Impute("c", strategy="median"), Impute("d", strategy="mean")]
    x = _numbers(table, ["a"])
    theirs = [
        reference.fit_transform(x)
        for reference in (StandardScaler(), MinMaxScaler(), SimpleImputer(strategy="median"), SimpleImputer())
    ]
    mine = _numbers(_ours(table, steps, folder), list("abcd"))
    for index, other in enumerate(theirs):
        scale = np.nanmax(np.abs(other))
        np.testing.assert_allclose(mine[:, [index]], other, rtol=1e-9, atol=1e-9 * scale)


def test_no_digits_are_lost_far_from_zero(tmp_path: Path) -> None:
    """Where a sum of squares minus a square of the sum would have none left."""
    values = 1e9 + np.random.default_rng(3).normal(0, 1e-3, 5_000)
    outlier = values.copy()
    outlier[0] = 2e9
    tiny = np.random.default_rng(4).normal(0, 1e-305, 5_000)
    table = pa.table({"values": values, "outlier": outlier, "tiny": tiny, "huge": tiny * 1e305 * 1e306})
    fitted = Recipe("r", [Standard(table.column_names)]).fit(write(table, tmp_path / "x.parquet"))
    for name, state in zip(table.column_names, fitted.states, strict=True):
        exact = table[name].to_numpy().astype(np.longdouble)
        assert state["mean"] == pytest.approx(float(exact.mean()), rel=1e-14)
        assert state["scale"] == pytest.approx(float(exact.std()), rel=1e-12)


def test_types_select_columns_as_scikit_learn_would(table: pa.Table, tmp_path: Path) -> None:
    ours = _ours(table, [Standard(Selector(type="numeric", exclude=("late",)))], tmp_path)
    assert ours.column_names == ["flight_id", *NUMERIC]
