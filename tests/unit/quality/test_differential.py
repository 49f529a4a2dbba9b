# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Random tables and arguments through the compiled expectations and through Great Expectations on pandas."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality import validate

from .reference import (
    DATES,
    EMPTY,
    FLOATS,
    INTS,
    MOSTLY,
    NULLS,
    TEXTS,
    TIMES,
    VALUES,
    assert_same,
    bounds,
    tables,
)

pytestmark = [
    # Said by pandas inside Great Expectations about a pattern with groups, which are fine here.
    pytest.mark.filterwarnings("ignore:This pattern is interpreted as a regular expression:UserWarning"),
]

PATTERNS = [
    "a",
    "^a",
    "b$",
    "^.$",
    r"\d",
    r"\w+@\w+\.org",
    r"^\S*$",
    "(?i)^AB",
    "[^a-z]",
    "a|b",
    "",
    r"\\",
    "(a)(b)?",
]


@st.composite
def suites(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """One expectation of every compiled type, on columns that Great Expectations can judge it on."""
    numbers = bounds(st.one_of(INTS, FLOATS.filter(math.isfinite)))
    ranges = {**dict.fromkeys("ifgb", numbers), "small": numbers, "n": bounds(INTS), "d": bounds(DATES)}
    ranges |= {"t": bounds(TIMES), "z": bounds(TIMES.map(lambda t: t.isoformat() + "+00:00"))}
    between = draw(st.sampled_from(sorted(ranges)))
    member = draw(st.sampled_from(["i", "small", "f", "s", "b", "d", "t"]))
    others: st.SearchStrategy[Any] = st.one_of(INTS, TEXTS, st.booleans())
    values = draw(st.lists(st.one_of(VALUES[member][0].filter(lambda v: v == v), others), max_size=4))
    extreme = draw(st.sampled_from(["i", "small", "f", "g", "d", "t"]))
    total = draw(st.sampled_from(["i", "small", "f"]))
    any_column = st.sampled_from(sorted(VALUES))
    pair = draw(st.sampled_from([("i", "small"), ("i", "f"), ("f", "g"), ("t", "t"), ("f", "i")]))
    length = st.integers(0, 4)
    keys = draw(st.lists(any_column, min_size=2, max_size=3, unique=True))

    patterns = st.sampled_from(PATTERNS)
    missing_keys = st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"])
    missing_pair = st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])
    rows: list[tuple[str, dict[str, Any]]] = [
        ("expect_column_values_to_not_be_null", {"column": draw(any_column)}),
        ("expect_column_values_to_be_null", {"column": draw(any_column)}),
        ("expect_column_values_to_be_unique", {"column": draw(any_column)}),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": keys, "ignore_row_if": draw(missing_keys)},
        ),
        ("expect_column_values_to_be_between", {"column": between, **draw(ranges[between])}),
        ("expect_column_values_to_be_in_set", {"column": member, "value_set": values}),
        (
            "expect_column_values_to_not_be_in_set",
            {"column": member, "value_set": _parsable(member, values)},
        ),
        ("expect_column_values_to_match_regex", {"column": "s", "regex": draw(patterns)}),
        ("expect_column_values_to_not_match_regex", {"column": "s", "regex": draw(patterns)}),
        ("expect_column_value_lengths_to_be_between", {"column": "s", **draw(bounds(length))}),
        ("expect_column_value_lengths_to_equal", {"column": "s", "value": draw(length)}),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {
                "column_A": pair[0],
                "column_B": pair[1],
                "or_equal": draw(st.booleans()),
                "ignore_row_if": draw(missing_pair),
            },
        ),
    ]
    names = draw(st.lists(any_column))
    wholes: list[tuple[str, dict[str, Any]]] = [
        ("expect_column_min_to_be_between", {"column": extreme, **draw(ranges[extreme])}),
        ("expect_column_max_to_be_between", {"column": extreme, **draw(ranges[extreme])}),
        ("expect_column_mean_to_be_between", {"column": total, **draw(numbers)}),
        ("expect_column_sum_to_be_between", {"column": total, **draw(numbers)}),
        ("expect_table_row_count_to_be_between", {"min_value": draw(length)}),
        ("expect_table_columns_to_match_set", {"column_set": names, "exact_match": draw(st.booleans())}),
        (
            "expect_column_to_exist",
            {"column": draw(st.sampled_from(["i", "nope"])), "column_index": draw(st.integers(0, 9))},
        ),
    ]
    return [(type_, kwargs | draw(MOSTLY)) for type_, kwargs in rows] + wholes


def _parsable(member: str, values: list[Any]) -> list[Any]:
    # Great Expectations parses every text in a set for a timestamp column, and fails on others.
    return [value for value in values if member != "t" or not isinstance(value, str)]


SIMPLE = [
    ("expect_column_values_to_be_between", {"column": "i", "min_value": 1}),
    ("expect_column_values_to_be_unique", {"column": "s"}),
    ("expect_column_values_to_match_regex", {"column": "s", "regex": "b$"}),
    ("expect_column_sum_to_be_between", {"column": "f", "min_value": 0}),
    ("expect_column_mean_to_be_between", {"column": "f", "min_value": 0}),
    ("expect_column_max_to_be_between", {"column": "i", "min_value": 0}),
]

# Null and NaN are the same in a key, and neither is greater than anything.
FEW = pa.table({"f": [1.0, math.nan, None, math.nan], "g": [math.nan, 1.0, 1.0, None], "i": [1, 1, 1, 1]})
MISSING: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_to_exist", {"column": "i", "column_index": 0}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["f", "i"]}),
    ("expect_column_values_to_be_unique", {"column": "f"}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "f", "column_B": "g"}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "g", "column_B": "f", "or_equal": True},
    ),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "f", "column_B": "i", "ignore_row_if": "neither"},
    ),
]


# Each failure costs many runs of Great Expectations, so that making one smaller would take minutes.
@settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
@given(table=tables(), suite=suites())
@example(table=EMPTY, suite=SIMPLE)
@example(table=NULLS, suite=SIMPLE)
@example(table=FEW, suite=MISSING)
def test_same_verdicts_and_counts_as_great_expectations(
    tmp_path: Path, table: pa.Table, suite: list[tuple[str, dict[str, Any]]]
) -> None:
    assert assert_same(tmp_path, table, suite) >= len(suite) // 2


@pytest.mark.parametrize(
    ("type_", "kwargs", "unexpected"),
    [
        ("expect_column_values_to_be_in_set", {"column": "f", "value_set": []}, 2),
        ("expect_column_values_to_not_be_null", {"column": "f"}, 1),
        ("expect_column_values_to_be_null", {"column": "f"}, 2),
        ("expect_column_values_to_be_unique", {"column": "f"}, 0),
        ("expect_compound_columns_to_be_unique", {"column_list": ["f", "g"]}, 0),
        ("expect_column_max_to_be_between", {"column": "f", "max_value": 1}, None),
        ("expect_column_mean_to_be_between", {"column": "f", "max_value": 1}, None),
    ],
)
def test_nan_that_the_footer_does_not_mention_is_missing(
    tmp_path: Path, type_: str, kwargs: dict[str, Any], unexpected: int | None
) -> None:
    # One at a time: what DuckDB concludes from the statistics depends on all that is asked in one query.
    path = tmp_path / "table.parquet"
    columns = {"f": [-1.0, 0.5, math.nan], "g": pa.array([None, math.nan, None], pa.float64())}
    pq.write_table(pa.table(columns), path)
    (result,) = validate(str(path), [{"type": type_, "kwargs": kwargs}]).results
    assert result.unexpected_count == unexpected
    if unexpected is None:
        assert result.observed_value == (0.5 if "max" in type_ else -0.25)
    elif "null" not in type_:
        assert result.missing_count == 1


def test_a_bound_beyond_nanoseconds_does_not_overflow(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    moments = pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2)], pa.timestamp("ns"))
    pq.write_table(pa.table({"t": moments}), path)
    kwargs = {"column": "t", "min_value": "2024-01-01T12:00:00", "max_value": "9999-12-31"}
    report = validate(str(path), [{"type": "expect_column_values_to_be_between", "kwargs": kwargs}])
    assert report.results[0].unexpected_count == 1
