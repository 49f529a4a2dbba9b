# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Patterns, pairs and groups of columns: random tables, against Great Expectations on pandas."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality import validate

from .reference import EMPTY, FLOATS, INTS, MOSTLY, NULLS, TEXTS, TIMES, VALUES, assert_same, bounds, tables

pytestmark = [
    # Said by pandas inside Great Expectations about a pattern with groups, which are fine here.
    pytest.mark.filterwarnings("ignore:This pattern is interpreted as a regular expression:UserWarning"),
]

PATTERNS = st.lists(
    st.sampled_from(["a", "^a", "b$", "^.$", r"\d", "(?i)^AB", "", "True", "^-?1$", "-01-0[12]$", "\x00"]),
    min_size=1,
    max_size=3,
)
ZONED = TIMES.map(lambda moment: moment.isoformat() + "+00:00")
MISSING_PAIR = st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])
MISSING_KEYS = st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"])
SAME = [
    ["i", "small"],
    ["i", "f"],
    ["f", "g"],
    ["s", "s2"],
    ["d", "d2"],
    ["t", "t2"],
    ["f", "g", "i", "small"],
]
SUMS = [
    ["i", "small"],
    ["i", "f"],
    ["f", "g", "i"],
    ["b", "i"],
    ["b", "b2"],
    ["n", "n2"],
    ["i", "i", "small"],
]
WITHIN = [*SAME, ["n", "n2"], ["b", "b2"], ["z", "z2"], ["nz", "nz2"]]


@st.composite
def twice(draw: st.DrawFn) -> pa.Table:
    """A table with a second column of some types."""
    table = draw(tables())
    for name in ("s", "d", "t", "z", "b", "n"):
        strategy, data_type = VALUES[name]
        values = draw(
            st.lists(st.one_of(st.none(), strategy), min_size=table.num_rows, max_size=table.num_rows)
        )
        table = table.append_column(f"{name}2", pa.array(values, data_type))
    for name in ("nz", "nz2"):
        moments = draw(
            st.lists(st.one_of(st.none(), TIMES), min_size=table.num_rows, max_size=table.num_rows)
        )
        table = table.append_column(name, pa.array(moments, pa.timestamp("ns", tz="Europe/Zurich")))
    return table


@st.composite
def suites(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    text = st.sampled_from(["s", "s2", "b", "d"])
    a, b = draw(
        st.sampled_from([("i", "s"), ("s", "f"), ("d", "s"), ("b", "i"), ("i", "small"), ("s", "s2")])
    )
    one = {
        name: st.one_of(st.none(), VALUES[name.rstrip("2")][0].filter(lambda v: v == v), INTS, TEXTS)
        for name in (a, b)
    }
    pairs = draw(st.lists(st.tuples(one[a], one[b]), max_size=6))
    equal = draw(st.sampled_from([pair for pair in WITHIN if len(pair) == 2]))
    decimals = draw(
        st.lists(
            st.one_of(INTS, VALUES["n"][0], st.sampled_from([0.5, -1.25, 1e300, Decimal("0.001"), "1"])),
            max_size=5,
        )
    )
    suite: list[tuple[str, dict[str, Any]]] = [
        (
            "expect_column_values_to_match_regex_list",
            {
                "column": draw(text),
                "regex_list": draw(PATTERNS),
                "match_on": draw(st.sampled_from(["any", "all"])),
            },
        ),
        (
            "expect_column_values_to_not_match_regex_list",
            {"column": draw(text), "regex_list": draw(PATTERNS)},
        ),
        (
            "expect_column_values_to_match_regex",
            {"column": draw(st.sampled_from(["b", "d"])), "regex": draw(PATTERNS)[0]},
        ),
        (
            "expect_column_value_lengths_to_equal",
            {"column": draw(st.sampled_from(["b", "d"])), "value": draw(st.sampled_from([4, 5, 10]))},
        ),
        ("expect_column_values_to_be_between", {"column": "nz", **draw(bounds(ZONED))}),
        ("expect_column_values_to_be_unique", {"column": "nz"}),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "nz", "column_B": "nz2", "ignore_row_if": draw(MISSING_PAIR)},
        ),
        ("expect_column_values_to_be_in_set", {"column": "n", "value_set": decimals}),
        ("expect_column_values_to_not_be_in_set", {"column": "n", "value_set": decimals}),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": equal[0], "column_B": equal[1], "ignore_row_if": draw(MISSING_PAIR)},
        ),
        (
            "expect_column_pair_values_to_be_in_set",
            {"column_A": a, "column_B": b, "value_pairs_set": pairs, "ignore_row_if": draw(MISSING_PAIR)},
        ),
        (
            "expect_multicolumn_sum_to_equal",
            {
                "column_list": draw(st.sampled_from(SUMS)),
                "sum_total": draw(st.one_of(INTS, FLOATS.filter(math.isfinite))),
                "ignore_row_if": draw(MISSING_KEYS),
            },
        ),
        (
            "expect_multicolumn_values_to_be_equal",
            {"column_list": draw(st.sampled_from(SAME)), "ignore_row_if": draw(MISSING_KEYS)},
        ),
        (
            "expect_select_column_values_to_be_unique_within_record",
            {"column_list": draw(st.sampled_from(WITHIN)), "ignore_row_if": draw(MISSING_KEYS)},
        ),
    ]
    return [(type_, kwargs | draw(MOSTLY)) for type_, kwargs in suite]


OPPOSITE = pa.table({"f": [math.inf, 1.0, math.nan], "g": [-math.inf, math.nan, math.nan], "i": [0, 0, 0]})
SUITE: list[tuple[str, dict[str, Any]]] = [
    ("expect_multicolumn_sum_to_equal", {"column_list": ["f", "g", "i"], "sum_total": 0}),
    ("expect_multicolumn_values_to_be_equal", {"column_list": ["f", "g"], "ignore_row_if": "never"}),
    (
        "expect_select_column_values_to_be_unique_within_record",
        {"column_list": ["f", "g", "i"], "ignore_row_if": "never"},
    ),
    ("expect_column_pair_values_to_be_equal", {"column_A": "f", "column_B": "g", "ignore_row_if": "neither"}),
]
TEXT: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_match_regex_list", {"column": "s", "regex_list": ["a", "b"]}),
    ("expect_column_values_to_not_match_regex_list", {"column": "s", "regex_list": ["a", "b"]}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["i", "f"], "sum_total": 0}),
]


# Each failure costs many runs of Great Expectations, so that making one smaller would take minutes.
@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))
@given(table=twice(), suite=suites())
@example(table=OPPOSITE, suite=SUITE)
@example(table=EMPTY, suite=TEXT)
@example(table=NULLS, suite=TEXT)
def test_same_verdicts_and_counts_as_great_expectations(
    tmp_path: Path, table: pa.Table, suite: list[tuple[str, dict[str, Any]]]
) -> None:
    assert assert_same(tmp_path, table, suite) >= len(suite) // 2


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.parquet"
    values = ["a%", "ab", "a_c", "A%", None, "a\nb", "\u00e9", "a\\b", ""]
    pq.write_table(pa.table({"s": values, "n": [1, 22, -3, 4, 5, 6, 7, 8, 9]}), path)
    return path


@pytest.mark.parametrize(
    ("pattern", "escape", "matching"),
    [
        ("a%", None, ["a%", "ab", "a_c", "a\nb", "a\\b"]),
        ("a!%", "!", ["a%"]),
        ("a\u00e9%", "\u00e9", ["a%"]),
        ("a\\_c", "\\", ["a_c"]),
        ("a\\%", None, ["a\\b"]),
        ("a\\b", "!", ["a\\b"]),
        ("_", None, ["\u00e9"]),
        ("", None, [""]),
        ("%", None, ["a%", "ab", "a_c", "A%", "a\nb", "\u00e9", "a\\b", ""]),
        ("\udcff", None, []),
    ],
)
def test_like_patterns_are_those_of_sql(
    texts: Path, pattern: str, escape: str | None, matching: list[str]
) -> None:
    one = {"column": "s", "like_pattern": pattern, "escape": escape}
    several = {"column": "s", "like_pattern_list": [pattern], "escape": escape}
    expected = [8 - len(matching), len(matching)] * 2
    report = validate(
        str(texts),
        [
            {"type": "expect_column_values_to_match_like_pattern", "kwargs": one},
            {"type": "expect_column_values_to_not_match_like_pattern", "kwargs": one},
            {"type": "expect_column_values_to_match_like_pattern_list", "kwargs": several},
            {"type": "expect_column_values_to_not_match_like_pattern_list", "kwargs": several},
        ],
    )
    assert [result.engine for result in report.results] == ["duckdb"] * 4
    assert [result.unexpected_count for result in report.results] == expected
    assert [result.missing_count for result in report.results] == [1] * 4


@pytest.mark.parametrize(("match_on", "unexpected"), [("any", 2), ("all", 8), (None, 2)])
def test_a_list_of_like_patterns_is_met_by_any_or_all(
    texts: Path, match_on: str | None, unexpected: int
) -> None:
    kwargs: dict[str, Any] = {"column": "s", "like_pattern_list": ["a%", "%b", "A_"]}
    if match_on:
        kwargs |= {"match_on": match_on}
    expectation = {"type": "expect_column_values_to_match_like_pattern_list", "kwargs": kwargs}
    (result,) = validate(str(texts), [expectation]).results
    assert result.unexpected_count == unexpected


def test_integers_without_nulls_are_judged_as_text(texts: Path) -> None:
    lengths = {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "n", "value": 1}}
    (result,) = validate(str(texts), [lengths]).results
    assert (result.engine, result.unexpected_count) == ("duckdb", 2)


def test_conditions_and_arguments_that_make_no_sense_are_refused(texts: Path) -> None:
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("match_like_pattern", {"like_pattern": "a!", "escape": "!"}, "ends with its escape character"),
        ("match_like_pattern", {"like_pattern": "a", "escape": "!!"}, "single character"),
        ("match_like_pattern_list", {"like_pattern_list": []}, "at least one"),
        ("match_like_pattern_list", {"like_pattern_list": ["a"], "match_on": "some"}, "'any' or 'all'"),
        ("match_regex_list", {"regex_list": ["("]}, "not a regular expression"),
        ("match_regex_list", {"regex_list": "a"}, "list of at least one text"),
        ("not_be_null", {"row_condition": " "}, "must be a condition"),
        ("not_be_null", {"row_condition": "n > 1", "condition_parser": "sql"}, "must be one of 'great"),
    ]
    for type_, kwargs, message in refused:
        name = f"expect_column_values_to_{type_}"
        with pytest.raises(InvalidExpectationError, match=message):
            validate(str(texts), [{"type": name, "kwargs": {"column": "s", **kwargs}}])
    refused = [
        ("expect_multicolumn_sum_to_equal", {"column_list": ["n", "s"], "sum_total": "1"}, "a number"),
        (
            "expect_column_pair_values_to_be_in_set",
            {"column_A": "n", "column_B": "s", "value_pairs_set": [[1]]},
            "a pair of values",
        ),
    ]
    for name, kwargs, message in refused:
        with pytest.raises(InvalidExpectationError, match=message):
            validate(str(texts), [{"type": name, "kwargs": kwargs}])


def test_sums_of_integers_do_not_overflow(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [2**63 - 1], "b": [1]}), path)
    kwargs = {"column_list": ["a", "b"], "sum_total": 2**63}
    (result,) = validate(str(path), [{"type": "expect_multicolumn_sum_to_equal", "kwargs": kwargs}]).results
    assert result.success is True


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_pairs_of_moments_with_zones(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "table.parquet"
    start = datetime(2024, 1, 1)
    moments = [start + timedelta(hours=hour) for hour in (0, 1, 2)]
    zoned = pa.timestamp(unit, tz="Europe/Zurich")
    table = pa.table({"a": pa.array(moments, zoned), "b": pa.array([*moments[:2], None], zoned)})
    pq.write_table(table, path)
    pairs = [["2024-01-01T00:00:00+00:00", "2024-01-01T01:00:00+01:00"], ["2024-01-01T02:00:00", None]]
    report = validate(
        str(path),
        [
            {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "a", "column_B": "b"}},
            {
                "type": "expect_column_pair_values_to_be_in_set",
                "kwargs": {"column_A": "a", "column_B": "b", "value_pairs_set": pairs},
            },
        ],
    )
    assert [(result.engine, result.unexpected_count) for result in report.results] == [("duckdb", 1)] * 2
