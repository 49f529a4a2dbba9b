# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Aggregates, distinct values, quantiles, outliers: random tables, against Great Expectations on pandas."""

from __future__ import annotations

import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality import validate

from .reference import (
    COUNTS,
    DATES,
    EMPTY,
    FLOATS,
    INTS,
    MOSTLY,
    NULLS,
    PERCENTS,
    VALUES,
    bounds,
    same,
    tables,
)
from .reference import reference as great_expectations

pytestmark = [
    # Said by NumPy and pandas inside Great Expectations about infinite values and sets of objects.
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The condition_parser parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing a string to the row_condition:DeprecationWarning"),
]

NUMBERS = st.sampled_from(["i", "small", "f"])
ADDENDS = st.sampled_from(["i", "small", "f", "b"])
KEYS = st.sampled_from(["i", "small", "f", "g", "s", "b", "d", "t", "z", "n"])
MEMBERS = st.sampled_from(["i", "small", "f", "g", "s", "b", "d", "t"])
CONDITIONS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {"row_condition": "small > 0", "condition_parser": "pandas"}]
)
METHODS = st.sampled_from([False, "linear", "lower", "higher", "midpoint", "nearest"])


@st.composite
def suites(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    number = bounds(st.one_of(INTS, FLOATS.filter(math.isfinite)))
    share = bounds(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    count = bounds(st.integers(0, 6))
    member, common = draw(MEMBERS), draw(st.sampled_from(["i", "small", "f", "g", "s", "b", "d"]))
    values = draw(st.lists(VALUES[member][0].filter(lambda v: v == v), min_size=1, max_size=5))
    if member == "d" and draw(st.booleans()):
        values = [value.isoformat() for value in values]
    elif member not in ("d", "t"):
        values += draw(st.lists(st.one_of(INTS, st.sampled_from(["a", "b"])), max_size=2))
    modes = draw(
        st.lists(st.one_of(VALUES[common][0].filter(lambda v: v == v), INTS, DATES), min_size=1, max_size=5)
    )
    quantiles = draw(st.lists(st.sampled_from([0, 0.1, 0.25, 0.37, 0.5, 0.9, 1]), min_size=1, max_size=3))
    edges = st.one_of(st.none(), st.sampled_from([-3, -1, 0, 0.5, 1, 3, 2.5]))
    ranges = [
        [low, high] if low is None or high is None else sorted((low, high))
        for low, high in draw(
            st.lists(st.tuples(edges, edges), min_size=len(quantiles), max_size=len(quantiles))
        )
    ]
    # Thresholds that no score comes near: rounding in the last place decides what lies exactly on one.
    threshold = st.sampled_from([-0.517, 0.313, 0.771, 1.093, 1.613])
    member_set = {"column": member, "value_set": values}
    found: list[tuple[str, dict[str, Any]]] = [
        ("expect_column_distinct_values_to_be_in_set", member_set),
        ("expect_column_distinct_values_to_contain_set", member_set),
        ("expect_column_distinct_values_to_equal_set", member_set),
        (
            "expect_column_most_common_value_to_be_in_set",
            {"column": common, "value_set": modes, "ties_okay": draw(st.sampled_from([None, True, False]))},
        ),
        ("expect_column_unique_value_count_to_be_between", {"column": draw(KEYS), **draw(count)}),
        ("expect_column_proportion_of_unique_values_to_be_between", {"column": draw(KEYS), **draw(share)}),
        ("expect_column_proportion_of_non_null_values_to_be_between", {"column": draw(KEYS), **draw(share)}),
        ("expect_column_median_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        ("expect_column_stdev_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        ("expect_column_mean_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        ("expect_column_sum_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        ("expect_column_min_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        ("expect_column_max_to_be_between", {"column": draw(ADDENDS), **draw(number)}),
        (
            "expect_column_quantile_values_to_be_between",
            {
                "column": draw(NUMBERS),
                "quantile_ranges": {"quantiles": quantiles, "value_ranges": ranges},
                "allow_relative_error": draw(METHODS),
            },
        ),
        (
            "expect_column_value_z_scores_to_be_less_than",
            {
                "column": draw(NUMBERS),
                "threshold": draw(threshold),
                "double_sided": draw(st.booleans()),
                **draw(MOSTLY),
            },
        ),
        (
            "expect_column_values_to_not_be_outliers",
            {
                "column": draw(NUMBERS),
                "method": "std",
                "multiplier": draw(st.sampled_from([0, 0.517, 1.093])),
                **draw(MOSTLY),
            },
        ),
        (
            "expect_column_values_to_not_be_outliers",
            {"column": draw(NUMBERS), "multiplier": draw(st.sampled_from([0, 0.5, 1.5])), **draw(MOSTLY)},
        ),
        ("expect_table_row_count_to_be_between", draw(count)),
    ]
    condition = draw(CONDITIONS)
    return [(type_, kwargs | condition) for type_, kwargs in found]


def plain(value: Any) -> str:
    """One text per value, whichever library holds it; pandas holds integers beside nulls as doubles."""
    if hasattr(value, "tolist") and not hasattr(value, "isoformat"):
        if value.dtype.kind == "M":
            value = value.astype("datetime64[us]")
        value = value.tolist()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and value in ("Infinity", "-Infinity"):
        return str(float(value))
    return str(float(value)) if isinstance(value, bool | int | float) else str(value)


def assert_same_list(ours: Any, theirs: Any, where: str, *, ordered: bool) -> None:
    if theirs is None:
        assert ours is None, where
        return
    found, wanted = ([plain(value).replace("-0.0", "0.0") for value in side] for side in (ours, theirs))
    assert (found == wanted) if ordered else (sorted(found) == sorted(wanted)), where


@settings(phases=(Phase.explicit, Phase.generate), max_examples=15)
@given(table=tables(), suite=suites())
@example(table=EMPTY, suite=[("expect_column_median_to_be_between", {"column": "i", "min_value": 0})])
@example(table=NULLS, suite=[("expect_column_median_to_be_between", {"column": "f", "min_value": 0})])
def test_same_verdicts_and_values_as_great_expectations(
    tmp_path: Path, table: pa.Table, suite: list[tuple[str, dict[str, Any]]]
) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(table, path)
    expectations = [{"type": type_, "kwargs": kwargs} for type_, kwargs in suite]
    report = validate(str(path), expectations, min_rows=0, unmasked_columns=list(VALUES))
    for (type_, kwargs), ours in zip(suite, report.results[1:], strict=True):
        theirs = great_expectations()(table, type_, kwargs)
        if theirs is None:
            # It raises on columns without values, and on conditions that leave none.
            continue
        where = f"{type_} {kwargs} on {table.to_pylist()}: {ours.outcome} against {theirs}"
        success, result = theirs
        assert ours.engine != "gx", where
        assert ours.success is bool(success), where
        for key in (*COUNTS, *PERCENTS):
            assert same(ours.result.get(key), result.get(key)), f"{key}: {where}"
        assert_same_list(
            ours.result.get("partial_missing_list"), result.get("partial_missing_list"), where, ordered=False
        )
        observed = result.get("observed_value")
        if "distinct_values" in type_:
            assert ours.observed_value is None, where
            shown = result.get("partial_unexpected_list")
            assert_same_list(ours.result.get("partial_unexpected_list"), shown, where, ordered=True)
        elif "most_common" in type_:
            assert_same_list(ours.observed_value, observed, where, ordered=True)
        elif "quantile" in type_:
            assert observed is not None
            for mine, other in zip(ours.observed_value["values"], observed["values"], strict=True):
                assert same(mine, None if math.isnan(other) else other), where
            flags = ours.result["details"]["success_details"]
            assert flags == [bool(flag) for flag in result["details"]["success_details"]], where
        else:
            assert same(ours.observed_value, observed), where


def judge(tmp_path: Path, columns: dict[str, Any], type_: str, **kwargs: Any) -> Any:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    expectation = {"type": f"expect_column_{type_}", "kwargs": {"column": "x", **kwargs}}
    return validate(str(path), [expectation], min_rows=0, unmasked_columns=["x"]).results[1]


def test_no_more_values_are_listed_than_are_shown(tmp_path: Path) -> None:
    columns = {"x": list(range(1000))}
    result = judge(tmp_path, columns, "distinct_values_to_be_in_set", value_set=[0])
    assert result.result["unexpected_count"] == 999
    assert result.result["partial_unexpected_list"] == list(range(1, 21))
    result = judge(tmp_path, columns, "most_common_value_to_be_in_set", value_set=[999], ties_okay=True)
    assert result.success
    assert result.observed_value == list(range(20))
    assert result.result["details"] == {"most_common_values": 1000, "shown": 20}


def test_values_of_masked_columns_are_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": ["ann@example.org", "bob@example.org"]}), path)
    suite = [
        {"type": "expect_column_distinct_values_to_equal_set", "kwargs": {"column": "x", "value_set": ["a"]}},
        {
            "type": "expect_column_most_common_value_to_be_in_set",
            "kwargs": {"column": "x", "value_set": ["a"]},
        },
    ]
    first, second = validate(str(path), suite).results
    assert first.result["partial_unexpected_list"] == ["***", "***"]
    assert first.result["partial_missing_list"] == ["a"]
    assert second.observed_value == ["***", "***"]


@pytest.mark.parametrize(
    "value", ["2024-01-01T00:00:00+02:00", 3, "January 1st, 2024", datetime(2024, 1, 1)], ids=str
)
def test_what_is_no_plain_date_is_left_to_great_expectations(tmp_path: Path, value: Any) -> None:
    kind = pa.timestamp("us", tz="UTC") if isinstance(value, datetime) else pa.timestamp("us")
    columns = {"x": pa.array([datetime(2024, 1, 1)], kind)}
    assert judge(tmp_path, columns, "distinct_values_to_contain_set", value_set=[value]).engine == "gx"


def test_infinite_numbers_have_no_deviation(tmp_path: Path) -> None:
    columns = {"x": [1.0, 2.0, math.inf, None]}
    result = judge(tmp_path, columns, "stdev_to_be_between", min_value=0)
    assert (result.success, result.observed_value) == (False, None)
    scores = judge(tmp_path, columns, "value_z_scores_to_be_less_than", threshold=0, double_sided=True)
    assert (scores.success, scores.unexpected_count, scores.missing_count) == (True, 0, 1)


def test_outliers_are_shown(tmp_path: Path) -> None:
    result = judge(tmp_path, {"x": [1, 2, 2, 3, 900]}, "values_to_not_be_outliers")
    assert (result.engine, result.success, result.unexpected_count) == ("duckdb", False, 1)
    assert result.result["partial_unexpected_list"] == [900]


@pytest.mark.parametrize(
    ("type_", "kwargs", "words"),
    [
        ("quantile_values_to_be_between", {"quantile_ranges": 3}, "must have the keys"),
        (
            "quantile_values_to_be_between",
            {"quantile_ranges": {"quantiles": [0.5], "value_ranges": []}},
            "1 quantiles, but 0 value_ranges",
        ),
        (
            "quantile_values_to_be_between",
            {"quantile_ranges": {"quantiles": [50], "value_ranges": [[0, 1]]}},
            "a quantile must be a number from 0 to 1, got 50",
        ),
        (
            "quantile_values_to_be_between",
            {
                "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 1]]},
                "allow_relative_error": "best",
            },
            "'linear', 'lower', 'higher', 'midpoint', 'nearest'",
        ),
        ("values_to_not_be_outliers", {"method": "mad"}, "'iqr' or 'std'|'iqr', 'std'"),
        ("values_to_not_be_outliers", {"multiplier": -1}, "must be a number from 0"),
    ],
)
def test_arguments_are_checked_before_data(
    tmp_path: Path, type_: str, kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidExpectationError, match=words):
        judge(tmp_path, {"x": [1]}, type_, **kwargs)
