# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Values that a double, or a type of DuckDB, does not hold as they are."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.values import json_value


def judged(path: Path, *suite: tuple[str, dict[str, Any]], **options: Any) -> list[Any]:
    expectations = [{"type": f"expect_{type_}", "kwargs": kwargs} for type_, kwargs in suite]
    return list(validate(str(path), expectations, unmasked_columns=["*"], **options).results)


def test_sums_and_means_are_precise_to_the_last_digit_whatever_the_threads(tmp_path: Path) -> None:
    rows = 300_000
    values = np.random.default_rng(0).random(rows) * 1e3
    decimals = pa.array([Decimal("19.99")] * rows, pa.decimal128(9, 2))
    table = pa.table({"x": values, "n": decimals})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10_000)
    suite: list[tuple[str, dict[str, Any]]] = []
    for column, total in (("x", math.fsum(values)), ("n", 19.99 * rows)):
        for measure, exact in (("sum", total), ("mean", total / rows)):
            # Which thread adds first may still change the last digit.
            low, high = exact - 2 * math.ulp(exact), exact + 2 * math.ulp(exact)
            bounds = {"column": column, "min_value": low, "max_value": high}
            suite.append((f"column_{measure}_to_be_between", bounds))
    for threads in (1, 2, 2, 2):
        results = judged(tmp_path / "t.parquet", *suite, threads=threads)
        assert [result.success for result in results] == [True] * 4, results


@pytest.mark.parametrize(
    ("values", "total", "mean"),
    [
        ([], 0, None),
        ([None, math.nan], 0, None),
        ([1.0, math.inf], "Infinity", "Infinity"),
        ([-math.inf, 1.0, None], "-Infinity", "-Infinity"),
        ([1e308, 1e308], "Infinity", "Infinity"),
        ([math.inf, -math.inf], None, None),
    ],
    ids=str,
)
def test_sums_of_nothing_and_of_infinite_numbers(
    tmp_path: Path, values: list[Any], total: Any, mean: Any
) -> None:
    pq.write_table(pa.table({"x": pa.array(values, pa.float64())}), tmp_path / "t.parquet")
    bounds = {"column": "x", "min_value": -1e300}
    found = judged(
        tmp_path / "t.parquet",
        ("column_sum_to_be_between", bounds),
        ("column_mean_to_be_between", bounds),
        min_rows=0,
    )[-2:]
    assert [result.observed_value for result in found] == [total, mean]


LONG = "12345678901234567890123456789012345678901.0"


@pytest.mark.parametrize(
    ("type_", "kwargs", "unexpected"),
    [
        ("column_pair_values_to_be_equal", {"column_A": "a", "column_B": "b"}, 1),
        ("column_pair_values_a_to_be_greater_than_b", {"column_A": "b", "column_B": "a"}, 1),
        ("multicolumn_values_to_be_equal", {"column_list": ["a", "b"]}, 1),
        ("column_values_to_be_unique", {"column": "a"}, 2),
        ("column_values_to_be_unique", {"column": "b"}, 0),
        (
            "column_values_to_not_be_null",
            {"column": "a", "row_condition": "a != b", "condition_parser": "pandas"},
            0,
        ),
    ],
)
def test_decimals_of_many_digits_are_not_taken_for_doubles(
    tmp_path: Path, type_: str, kwargs: dict[str, Any], unexpected: int
) -> None:
    columns = {
        name: pa.array([Decimal(LONG + digit) for digit in digits], pa.decimal256(60, 2))
        for name, digits in (("a", "11"), ("b", "21"))
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (result,) = judged(tmp_path / "t.parquet", (type_, kwargs))
    assert (result.engine, result.unexpected_count) == ("gx", unexpected), result.exception_message


def test_decimals_of_many_digits_are_read_for_nulls(tmp_path: Path) -> None:
    column = pa.array([Decimal(LONG), None], pa.decimal256(60, 2))
    pq.write_table(pa.table({"a": column}), tmp_path / "t.parquet")
    options: dict[str, Any] = {"trust_statistics": False}
    (result,) = judged(tmp_path / "t.parquet", ("column_values_to_not_be_null", {"column": "a"}), **options)
    assert (result.engine, result.unexpected_count) == ("duckdb", 1)


@pytest.mark.parametrize(
    ("type_", "kwargs", "engine", "unexpected"),
    [
        ("column_values_to_be_in_set", {"column": "n", "value_set": [True, 2]}, "duckdb", 0),
        ("column_pair_values_to_be_equal", {"column_A": "w", "column_B": "i"}, "gx", 1),
        ("column_pair_values_a_to_be_greater_than_b", {"column_A": "i", "column_B": "w"}, "gx", 1),
        ("column_pair_values_to_be_equal", {"column_A": "n", "column_B": "i"}, "duckdb", 1),
        ("multicolumn_values_to_be_equal", {"column_list": ["w", "i"]}, "gx", 1),
        ("multicolumn_sum_to_equal", {"column_list": ["w", "i"], "sum_total": 4}, "gx", 1),
        ("multicolumn_sum_to_equal", {"column_list": ["n", "i"], "sum_total": 4}, "duckdb", 1),
        ("multicolumn_sum_to_equal", {"column_list": ["n", "u"], "sum_total": 7}, "duckdb", 1),
    ],
)
def test_numbers_of_several_types_fit_beside_each_other(
    tmp_path: Path, type_: str, kwargs: dict[str, Any], engine: str, unexpected: int
) -> None:
    columns = {
        "n": pa.array([Decimal(1), Decimal(2)], pa.decimal128(9, 2)),
        "w": pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 30)),
        "i": pa.array([10**9, 2]),
        "u": pa.array([2**64 - 1, 5], pa.uint64()),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (result,) = judged(tmp_path / "t.parquet", (type_, kwargs))
    assert (result.engine, result.unexpected_count) == (engine, unexpected), result.exception_message


@pytest.mark.parametrize("trust_statistics", [True, False])
def test_deprecated_timestamps_are_microseconds_of_any_year(
    tmp_path: Path, *, trust_statistics: bool
) -> None:
    moments = [datetime(2024, 1, 1), datetime(9999, 12, 31), None, datetime(1, 1, 1)]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    results = judged(
        tmp_path / "t.parquet",
        ("column_values_to_be_between", {"column": "t", "max_value": "2024-01-01"}),
        ("column_max_to_be_between", {"column": "t", "min_value": "9999-12-31", "max_value": "9999-12-31"}),
        ("column_values_to_be_in_set", {"column": "t", "value_set": ["0001-01-01", "9999-12-31"]}),
        ("column_values_to_be_unique", {"column": "t"}),
        ("column_values_to_not_be_null", {"column": "t"}),
        ("column_values_to_be_increasing", {"column": "t"}),
        trust_statistics=trust_statistics,
    )
    assert [result.engine for result in results[:4]] == ["duckdb"] * 4
    assert [result.unexpected_count for result in results] == [1, None, 1, 0, 1, 1], results
    assert results[1].success
    assert results[5].engine == "gx"


@pytest.mark.parametrize("negated", [False, True])
def test_long_sets_find_the_same_rows_in_order(tmp_path: Path, *, negated: bool) -> None:
    rows = 3000
    numbers = [None if number % 11 == 0 else number * 7919 % rows for number in range(rows)]
    integers = pa.array(numbers, pa.int64())
    table = pa.table(
        {
            "i": integers,
            "u": integers.cast(pa.uint64()),
            "f": integers.cast(pa.float64()),
            "n": integers.cast(pa.decimal128(21, 2)),
            "s": integers.cast(pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=500)
    values = list(range(1000))
    expected = [
        row for row, number in enumerate(numbers) if number is not None and (number in values) == negated
    ]
    type_ = f"column_values_to_{'not_' if negated else ''}be_in_set"
    for name in table.column_names:
        members = list(map(str, values)) if name == "s" else values
        (result,) = judged(
            tmp_path / "t.parquet",
            (type_, {"column": name, "value_set": members}),
            result_format="COMPLETE",
        )
        assert (result.engine, result.unexpected_count) == ("duckdb", len(expected)), result
        assert (
            result.result["unexpected_index_list"] == expected[: len(result.result["unexpected_index_list"])]
        )
        assert result.missing_count == numbers.count(None)


_DAY = datetime(1969, 1, 1)
_LONG: dict[str, tuple[pa.DataType, Any]] = {
    "string": (pa.string(), lambda n: f"é'{n}\0" if n % 2 else f"É{n}"),
    "int": (pa.int64(), lambda n: (n - 200) * 10**15),
    "uint": (pa.uint64(), lambda n: 2**64 - 1 - n),
    "float": (pa.float64(), lambda n: (n - 200) / 7),
    "decimal": (pa.decimal128(38, 2), lambda n: Decimal(n - 200) / 4),
    "fraction": (pa.decimal128(4, 4), lambda n: Decimal(n - 200) / 1000),
    "date": (pa.date32(), lambda n: (_DAY + timedelta(days=n)).date()),
    "timestamp": (pa.timestamp("us"), lambda n: _DAY + timedelta(hours=n, microseconds=n)),
    "nano": (pa.timestamp("ns"), lambda n: _DAY + timedelta(hours=n, microseconds=n)),
    "zoned": (pa.timestamp("ms", "UTC"), lambda n: (_DAY + timedelta(hours=n)).replace(tzinfo=UTC)),
}


@pytest.mark.parametrize("kind", list(_LONG))
def test_long_lists_hold_the_same_values_as_short_ones(tmp_path: Path, kind: str) -> None:
    """Values 0 to 449 are in the column; those from 50 to 499 are expected, which is a long list."""
    type_, make = _LONG[kind]
    held, expected = [make(n) for n in range(450)], [make(n) for n in range(50, 500)]
    if kind == "float":
        held[200] = -0.0
    table = pa.table(
        {
            "x": pa.array([*held, None], type_),
            "y": pa.array([*(None if n == 300 else n // 2 for n in range(450)), None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    pairs = [(value, n // 2) for n, value in enumerate(expected, 50)]
    values = {"column": "x", "value_set": expected}
    columns = {"column_A": "x", "column_B": "y", "value_pairs_set": pairs, "ignore_row_if": "neither"}
    results = judged(
        tmp_path / "t.parquet",
        ("column_values_to_be_in_set", values),
        ("column_values_to_not_be_in_set", values),
        ("column_pair_values_to_be_in_set", columns),
        ("column_pair_values_to_be_in_set", {**columns, "value_pairs_set": [*pairs, (None, None)]}),
        (
            "column_pair_values_to_be_in_set",
            {**columns, "value_pairs_set": [(value, n) for value in expected for n in (None, 60)]},
        ),
        ("column_distinct_values_to_be_in_set", values),
        ("column_distinct_values_to_contain_set", values),
        ("column_distinct_values_to_equal_set", values),
        result_format={"result_format": "COMPLETE", "partial_unexpected_count": 200},
    )
    assert {result.engine for result in results} == {"duckdb"}, [
        result.exception_message for result in results
    ]
    inside, outside, pair, pair_with_null, half_null, within, contains, equal = results
    assert inside.result["unexpected_index_list"] == list(range(50))
    assert (outside.unexpected_count, outside.result["unexpected_index_list"]) == (400, list(range(50, 450)))
    assert (pair.unexpected_count, pair_with_null.unexpected_count) == (52, 51)
    # Two rows have 60 beside the value, and one has nothing.
    assert half_null.unexpected_count == 448
    others = [row for row in range(451) if row not in (120, 121, 300)]
    assert half_null.result["unexpected_index_list"] == others
    assert pair.result["unexpected_index_list"] == [*range(50), 300, 450]
    assert pair_with_null.result["unexpected_index_list"] == [*range(50), 300]
    assert within.unexpected_count == equal.unexpected_count == 50
    assert contains.result["missing_count"] == equal.result["missing_count"] == 50
    assert contains.result["partial_missing_list"] == [json_value(make(n)) for n in range(450, 470)]


def test_the_most_common_value_may_be_of_a_long_list(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": ["v1", "v450", "v450"]}), tmp_path / "t.parquet")
    for first, success in ((0, True), (451, False)):
        values = {"column": "x", "value_set": [f"v{n}" for n in range(first, first + 500)]}
        (result,) = judged(tmp_path / "t.parquet", ("column_most_common_value_to_be_in_set", values))
        assert (result.engine, result.success) == ("duckdb", success)
