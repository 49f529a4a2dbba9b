# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Random tables, and Great Expectations on pandas as the judge of what is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.gx import import_gx

COUNTS = ("element_count", "unexpected_count", "missing_count")
PERCENTS = (
    "unexpected_percent",
    "missing_percent",
    "unexpected_percent_total",
    "unexpected_percent_nonmissing",
)

INTS = st.integers(-3, 3)
FLOATS = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5, math.inf, -math.inf, math.nan])
TEXTS = st.sampled_from(
    ["", "a", "b", "A", "ab", "ab\n", "a@x.org", "\u00e9", "\u0661", "x y", "'", '"', "\\", "%", "a\x00"]
)
DATES = st.dates(date(2024, 1, 1), date(2024, 1, 4))
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 3)).map(
    lambda t: t.replace(microsecond=0, minute=0)
)
DECIMALS = st.integers(-300, 300).map(lambda n: Decimal(n) / 100)
VALUES: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "i": (INTS, pa.int64()),
    "small": (INTS, pa.int16()),
    "f": (FLOATS, pa.float64()),
    "g": (FLOATS, pa.float32()),
    "s": (TEXTS, pa.string()),
    "b": (st.booleans(), pa.bool_()),
    "d": (DATES, pa.date32()),
    "t": (TIMES, pa.timestamp("us")),
    "z": (TIMES, pa.timestamp("us", tz="UTC")),
    "n": (DECIMALS, pa.decimal128(9, 2)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.sampled_from([0, 1, 6, 12]))
    columns = {}
    for name, (strategy, data_type) in VALUES.items():
        values = st.one_of(st.none(), strategy) if draw(st.booleans()) else strategy
        columns[name] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), data_type)
    return pa.table(columns)


def bounds(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    finite = strategy.filter(lambda value: value == value)

    def ordered(pair: tuple[Any, Any], flags: tuple[bool, bool], which: int) -> dict[str, Any]:
        low, high = min(pair), max(pair)
        kwargs: dict[str, Any] = {"strict_min": flags[0], "strict_max": flags[1]}
        return (
            kwargs | [{"min_value": low}, {"max_value": high}, {"min_value": low, "max_value": high}][which]
        )

    return st.builds(
        ordered, st.tuples(finite, finite), st.tuples(st.booleans(), st.booleans()), st.integers(0, 2)
    )


MOSTLY: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"mostly": 0.5}, {"mostly": 0.9}, {"mostly": 0}]
)


@cache
def reference() -> Callable[..., tuple[bool, dict[str, Any]] | None]:
    """What Great Expectations says of an expectation; None where it raises."""
    gx = import_gx()
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("reference").add_dataframe_asset("table")
    definition = asset.add_batch_definition_whole_dataframe("all")

    def run(
        table: pa.Table, type_: str, kwargs: dict[str, Any], result_format: Any = "SUMMARY"
    ) -> tuple[bool, dict[str, Any]] | None:
        # A frame of its own for each: judging a decimal column changes it in place.
        batch = definition.get_batch({"dataframe": table.to_pandas()})
        expectation = ExpectationConfiguration(type=type_, kwargs=dict(kwargs)).to_domain_obj()
        try:
            found = batch.validate(expectation, result_format=result_format)
        except (TypeError, ValueError):
            return None
        if found.exception_info.get("raised_exception") is not False:
            return None
        return bool(found.success), dict(found.result)

    return run


def same(ours: Any, theirs: Any) -> bool:
    if str(theirs) in ("None", "NaT") or ours is None:
        return ours is None and str(theirs) in ("None", "NaT")
    if isinstance(theirs, date):
        return bool(ours == theirs.isoformat())
    if isinstance(ours, str):
        return ours in ("Infinity", "-Infinity") and math.isclose(float(theirs), float(ours))
    return math.isclose(float(ours), float(theirs), rel_tol=1e-6, abs_tol=1e-9)


EMPTY = pa.table({name: pa.array([], data_type) for name, (_, data_type) in VALUES.items()})
NULLS = pa.table({name: pa.nulls(3, data_type) for name, (_, data_type) in VALUES.items()})


def assert_same(tmp_path: Path, table: pa.Table, suite: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """
    Judge the suite here and by Great Expectations: the same verdicts, counts, percentages and values.

    :return: how many expectations both could judge. It raises on columns without values and on some pairs of
        types; ours has an answer.
    """
    path = tmp_path / "table.parquet"
    pq.write_table(table, path)
    expectations = [{"type": type_, "kwargs": kwargs} for type_, kwargs in suite]
    report = validate(str(path), expectations, min_rows=0)
    judged = 0
    for (type_, kwargs), ours in zip(suite, report.results[1:], strict=True):
        theirs = reference()(table, type_, kwargs)
        if theirs is None:
            continue
        judged += 1
        where = f"{type_} {kwargs} on {table.to_pylist()}: {ours.outcome} against {theirs}"
        success, result = theirs
        assert ours.engine != "gx", where
        assert ours.success is success, where
        for key in COUNTS:
            assert ours.result.get(key) == result.get(key), f"{key}: {where}"
        for key in (*PERCENTS, "observed_value"):
            if type_.startswith("expect_table_columns"):
                assert ours.observed_value == result["observed_value"], where
            else:
                assert same(ours.result.get(key), result.get(key)), f"{key}: {where}"
    return judged
