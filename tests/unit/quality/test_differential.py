# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Random tables and arguments through the compiled expectations and through Great Expectations on pandas."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.gx import import_gx

pytestmark = [
    # Said by pandas inside Great Expectations about a pattern with groups, which are fine here.
    pytest.mark.filterwarnings("ignore:This pattern is interpreted as a regular expression:UserWarning"),
]

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


@cache
def reference() -> Callable[[pa.Table, str, dict[str, Any]], tuple[bool, dict[str, Any]] | None]:
    gx = import_gx()
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("reference").add_dataframe_asset("table")
    definition = asset.add_batch_definition_whole_dataframe("all")

    def run(table: pa.Table, type_: str, kwargs: dict[str, Any]) -> tuple[bool, dict[str, Any]] | None:
        # A frame of its own for each: judging a decimal column changes it in place.
        batch = definition.get_batch({"dataframe": table.to_pandas()})
        expectation = ExpectationConfiguration(type=type_, kwargs=dict(kwargs)).to_domain_obj()
        try:
            found = batch.validate(expectation, result_format="SUMMARY")
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
@settings(phases=(Phase.explicit, Phase.generate))
@given(table=tables(), suite=suites())
@example(table=EMPTY, suite=SIMPLE)
@example(table=NULLS, suite=SIMPLE)
@example(table=FEW, suite=MISSING)
def test_same_verdicts_and_counts_as_great_expectations(
    tmp_path: Path, table: pa.Table, suite: list[tuple[str, dict[str, Any]]]
) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(table, path)
    expectations = [{"type": type_, "kwargs": kwargs} for type_, kwargs in suite]
    report = validate(str(path), expectations, min_rows=0)

    judged = 0
    for (type_, kwargs), ours in zip(suite, report.results[1:], strict=True):
        theirs = reference()(table, type_, kwargs)
        if theirs is None:
            # It raises on columns without values and on some pairs of types; ours has an answer.
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
    assert judged >= len(suite) // 2


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
