# SPDX-License-Identifier: Apache-2.0
"""A whole recipe against the same thing written by hand with scikit-learn, which learns for itself: 1e-9."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.stats import yeojohnson  # type: ignore[import-untyped]
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from airflow_provider_mlbridge.features import (
    Bins,
    Clip,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    QuantileBins,
    Recipe,
    Robust,
    Standard,
    Target,
    YeoJohnson,
)

from .tables import write

DEMO = Path(__file__).parents[3] / ".demo" / "datamart" / "flight_delays"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table do what; ``few`` are whole numbers of few values, without missing ones."""

    clipped: str
    robust: str
    ranged: str
    logged: str
    powered: str
    binned: str
    placed: str
    shown: str
    few: str
    encoded: str
    label: str
    key: str


class _Winsorised(SimpleImputer):  # type: ignore[misc]
    """Fills by the median, then bounds by what the 1 and 99 per cent quantiles are by then."""

    def fit(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        super().fit(X)
        self.bounds_ = np.quantile(super().transform(X), [0.01, 0.99], axis=0)
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        return np.clip(super().transform(X), *self.bounds_)


def _by_hand(names: Columns, exponent: float, edges: list[float]) -> ColumnTransformer:
    even = KBinsDiscretizer(len(edges) - 1, encode="ordinal", strategy="uniform", subsample=None)
    even.fit(np.array([[edges[0]], [edges[-1]]]))
    np.testing.assert_allclose(even.bin_edges_[0], edges)
    quantiles = KBinsDiscretizer(
        5, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None
    )
    entries: list[tuple[str, Any, list[str]]] = [
        ("clipped", make_pipeline(_Winsorised(strategy="median"), StandardScaler()), [names.clipped]),
        ("robust", RobustScaler(), [names.robust]),
        ("ranged", MinMaxScaler(feature_range=(-1, 1)), [names.ranged]),
        ("logged", FunctionTransformer(np.log1p), [names.logged]),
        (
            "powered",
            make_pipeline(
                FunctionTransformer(lambda x: yeojohnson(x.to_numpy()[:, 0], exponent)[:, None]),
                StandardScaler(),
            ),
            [names.powered],
        ),
        ("binned", make_pipeline(SimpleImputer(), quantiles), [names.binned]),
        ("placed", make_pipeline(SimpleImputer(), FunctionTransformer(even.transform)), [names.placed]),
        (
            "shown",
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="?"),
                OneHotEncoder(min_frequency=0.05, handle_unknown="infrequent_if_exist", sparse_output=False),
            ),
            [names.shown],
        ),
        ("few", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), [names.few]),
        ("encoded", TargetEncoder(smooth=10.0, target_type="binary"), [names.encoded]),
    ]
    return ColumnTransformer(entries)


def _recipe(names: Columns, edges: list[float]) -> Recipe:
    steps: list[Any] = [
        Impute(names.clipped, strategy="median"),
        Clip(names.clipped, lower_quantile=0.01, upper_quantile=0.99),
        Standard(names.clipped),
        Robust(names.robust),
        MinMax(names.ranged, low=-1, high=1),
        Log1p(names.logged),
        YeoJohnson(names.powered),
        Impute(names.binned),
        QuantileBins(names.binned, bins=5),
        Impute(names.placed),
        Bins(names.placed, edges=edges),
        Impute(names.shown, strategy="constant", value="?"),
        OneHot(names.shown, min_frequency=0.05, unknown="other"),
        Ordinal(names.few, unknown="other"),
        Target(names.encoded),
    ]
    split: Any = {"by": "column", "column": "part"}
    return Recipe("r", steps, keys=[names.key], label=names.label, split=split)


def _assert_equal(table: pa.Table, train: np.ndarray, names: Columns, edges: list[float], to: Path) -> None:
    table = table.append_column("part", pa.array(np.where(train, "train", "test")))
    fitted = _recipe(names, edges).fit(write(table, to / "in.parquet", row_group_size=50_000))
    fitted.transform(to / "in.parquet", to / "out.parquet")
    mine = pq.read_table(to / "out.parquet")
    assert mine[names.key].to_pylist() == sorted(table[names.key].to_pylist())
    ours = mine.select(list(fitted.feature_names)).to_pandas()

    frame = table.sort_by(names.key).to_pandas()
    for name in (names.shown, names.encoded):
        values = frame[name].astype(object)
        frame[name] = values.where(values.notna(), np.nan)
    learned = frame[frame["part"] == "train"]
    state = next(
        state
        for operation, state in zip(fitted.operations, fitted.states, strict=True)
        if operation.step.TYPE == "yeo_johnson"
    )
    reference = _by_hand(names, state["lambda"], edges)
    reference.fit(learned, learned[names.label].astype(int))
    theirs = np.asarray(reference.transform(frame), dtype=float)
    assert theirs.shape == ours.shape
    for index, name in enumerate(ours.columns):
        largest = np.nanmax(np.abs(theirs[:, index]))
        np.testing.assert_allclose(
            ours[name].to_numpy(dtype=float), theirs[:, index], rtol=1e-9, atol=1e-9 * largest, err_msg=name
        )


RANDOM = Columns("a", "b", "c", "d", "e", "f", "g", "carrier", "few", "shop", "late", "id")


def _random_table(rows: int, seed: int, scale: float, shift: float, nulls: float) -> pa.Table:
    random = np.random.default_rng(seed)

    def with_nulls(values: Any) -> pa.Array:
        return pa.array(values, mask=random.random(rows) < nulls)

    columns = {name: with_nulls(shift + scale * random.standard_t(3, rows)) for name in "abcfg"}
    carriers = random.choice(["UA", "AA", "é", ""], rows).astype(object)
    carriers[:2] = ["rare", "scarce"]
    return pa.table(
        {
            **columns,
            # Far from zero a power of a number says little, and that in its last digits.
            "e": with_nulls(scale * random.standard_t(3, rows)),
            "d": with_nulls(random.exponential(scale, rows) - 0.5),
            "carrier": with_nulls(carriers),
            "few": pa.array(random.integers(0, 9, rows)),
            "shop": with_nulls(random.choice([f"s{n}" for n in range(15)], rows).astype(object)),
            "late": pa.array(random.random(rows) < 0.3),
            "id": pa.array(random.permutation(rows)),
        }
    )


@settings(derandomize=True, max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    rows=st.integers(60, 400),
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.01, 1e4),
    offset=st.floats(-100, 100),
    nulls=st.floats(0, 0.2),
)
def test_random_tables(
    rows: int,
    seed: int,
    scale: float,
    offset: float,
    nulls: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    table = _random_table(rows, seed, scale, scale * offset, nulls)
    train = np.random.default_rng(seed + 1).random(rows) < 0.7
    train[:2] = True
    edges = [float(edge) for edge in np.linspace(-3 * scale, 3 * scale, 7)]
    _assert_equal(table, train, RANDOM, edges, tmp_path_factory.mktemp("random"))


@pytest.mark.skipif(not DEMO.exists(), reason="the demo has not made its datamart on this machine")
def test_the_demos_datamart(tmp_path: Path) -> None:
    """The flights of New York in 2013, all 327,346 of them or so, learned from until autumn."""
    tables = [pq.read_table(path, partitioning=None) for path in sorted(DEMO.rglob("*.parquet"))]
    table = pa.concat_tables(tables).combine_chunks()
    names = Columns(
        "pressure", "temp", "distance", "precip", "dewp", "humid", "wind_speed", "carrier", "hour", "dest",
        "arrived_late_30", "flight_id",
    )  # fmt: skip
    train = table["scheduled_departure"].to_numpy() < np.datetime64("2013-10-01")
    _assert_equal(table, train, names, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0], tmp_path)
