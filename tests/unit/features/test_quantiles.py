# SPDX-License-Identifier: Apache-2.0
"""Quantiles are exact whatever the values, and no pass holds more values than it may."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.features import quantiles as quantiles_module
from airflow_provider_mlbridge.features import summaries as summaries_module
from airflow_provider_mlbridge.features.session import ROW_INDEX, compile_sql
from airflow_provider_mlbridge.features.steps import Needs
from airflow_provider_mlbridge.features.summaries import Request, summarise

SHARES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0)


class Engine:
    """A table of values in DuckDB, and the queries that it was asked."""

    def __init__(self, columns: dict[str, Sequence[float | None]]) -> None:
        import ibis

        rows = len(next(iter(columns.values())))
        table = {name: pa.array(values, pa.float64()) for name, values in columns.items()}
        self.connection = duckdb.connect(":memory:")
        self.connection.register("t", pa.table({ROW_INDEX: pa.array(range(rows), pa.int64()), **table}))
        self.rows = rows
        self.queries: list[dict[str, Any]] = []
        self.table = ibis.table({ROW_INDEX: "int64", **dict.fromkeys(columns, "float64")}, name="t")

    def query(self, expression: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(compile_sql(expression))
        names = [item[0] for item in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        self.queries.extend(rows)
        return rows

    def quantiles(self, shares: Sequence[float], *columns: str) -> list[dict[float, float]]:
        needs = Needs(quantiles=tuple(shares))
        requests = [Request(name, name, "float", needs) for name in columns]
        found = summarise(self.query, self.table, requests, self.rows)
        return [dict(summary.quantiles) for summary in found]


@pytest.fixture
def small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if memory were for 200 values, and a sample had 60."""
    for module in (quantiles_module, summaries_module):
        monkeypatch.setattr(module, "MOST_VALUES", 200)
        monkeypatch.setattr(module, "SAMPLE_VALUES", 60)


def expected(values: Sequence[float | None], share: float) -> float:
    known = np.array([value for value in values if value is not None])
    # NumPy finds no value between two equal infinities.
    low, high = (float(np.quantile(known, share, method=method)) for method in ("lower", "higher"))
    with np.errstate(invalid="ignore", over="ignore"):
        return low if low == high else float(np.quantile(known, share))


_FLOATS = st.floats(allow_nan=False, width=64) | st.sampled_from([0.0, -0.0, 1.0, 5e-324, -1e308, 1e308])


@settings(max_examples=40)
@given(values=st.lists(st.none() | _FLOATS, min_size=1, max_size=60), share=st.floats(0, 1))
def test_random_values_are_those_of_numpy(values: list[float | None], share: float) -> None:
    (found,) = Engine({"x": values}).quantiles([share, 0.5], "x")
    known = sorted(value for value in values if value is not None)
    for asked, value in found.items():
        reference = expected(values, asked)
        if math.isfinite(reference):
            assert value == reference
        else:  # NumPy overflows between -1e308 and 1e308, and has no value between two infinities.
            assert known[0] <= value <= known[-1] or math.isnan(value)
    assert bool(found) == bool(known)


ROWS = 3_000
RANDOM = np.random.default_rng(5)
SHAPES: dict[str, Any] = {
    "normal": RANDOM.normal(size=ROWS),
    "sorted": np.sort(RANDOM.gamma(1.0, size=ROWS)),
    "all equal": np.full(ROWS, 3.25),
    "two values": (RANDOM.random(ROWS) < 0.5).astype(float),
    "heavy ties": np.round(RANDOM.normal(size=ROWS)),
    "one tie in the middle": np.where(RANDOM.random(ROWS) < 0.4, 0.125, RANDOM.normal(size=ROWS)),
    "tiny and huge": RANDOM.choice([-1.0, 1.0], ROWS) * 10.0 ** RANDOM.uniform(-300, 300, ROWS),
    "outliers": np.where(RANDOM.random(ROWS) < 0.003, 1e300, RANDOM.random(ROWS)),
    "infinite": np.where(RANDOM.random(ROWS) < 0.2, -np.inf, RANDOM.normal(size=ROWS)),
    "missing": [None if RANDOM.random() < 0.97 else float(value) for value in RANDOM.normal(size=ROWS)],
    "periodic": np.arange(ROWS) % 7.0,
    "few rare": np.where(np.arange(ROWS) < ROWS - 2, 0.0, [float(value) for value in range(ROWS)]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small_passes")
def test_values_that_do_not_fit_into_one_pass(shape: str) -> None:
    values = [None if value is None else float(value) for value in SHAPES[shape]]
    engine = Engine({"x": values})
    (found,) = engine.quantiles(SHARES, "x")
    assert found == {share: expected(values, share) for share in SHARES}


@pytest.mark.usefixtures("small_passes")
def test_no_pass_picks_from_more_values_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    query = Engine.query

    def watched(self: Engine, expression: Any) -> list[dict[str, Any]]:
        # The same conditions, with the values counted instead of kept.
        counting = re.sub(r"QUANTILE_DISC\(([^,]+), \[[^\]]*\]\)", r"COUNT(\1)", compile_sql(expression))
        if "QUANTILE_DISC" in compile_sql(expression):
            found = [value for value in self.connection.execute(counting).fetchone() if value is not None]
            held.append(sum(found))
        return query(self, expression)

    monkeypatch.setattr(Engine, "query", watched)
    columns = {name: SHAPES[name].tolist() for name in ("normal", "sorted", "tiny and huge")}
    found = Engine(columns).quantiles(SHARES, *columns)
    for (name, values), quantiles in zip(columns.items(), found, strict=True):
        assert quantiles == {share: expected(values, share) for share in SHARES}, name
    # How large a sample really is, is left to chance.
    assert 100 < max(held[1:]) <= 1.2 * quantiles_module.MOST_VALUES


@pytest.mark.usefixtures("small_passes")
def test_a_sample_that_misleads_costs_passes_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = SHAPES["normal"].tolist()
    honest = Engine({"x": values}).quantiles(SHARES, "x")
    # Only the largest values are drawn: every rank but the last lies below all pivots.
    monkeypatch.setattr(summaries_module, "drawn", lambda table, _: table["x"] > 2.5)
    assert Engine({"x": values}).quantiles(SHARES, "x") == honest
    monkeypatch.setattr(summaries_module, "drawn", lambda table, _: table["x"] > 1e9)
    assert Engine({"x": values}).quantiles(SHARES, "x") == honest


@pytest.mark.usefixtures("small_passes")
def test_which_zero_is_found_does_not_depend_on_the_order() -> None:
    values = [0.0, -0.0] * 1_000 + [1.0] * 900 + [-1.0] * 900
    for order in (values, values[::-1], sorted(values, key=abs)):
        ((median,),) = [found.values() for found in Engine({"x": order}).quantiles([0.5], "x")]
        assert math.copysign(1, median) == 1
