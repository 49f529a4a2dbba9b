# SPDX-License-Identifier: Apache-2.0
"""Statistics in footers: believed where they are exact, found out where they lie; and limits of memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.table import Column, read_table
from airflow_provider_mlbridge.storage import pin_snapshot

Writer = Callable[..., Path]
DAY_NS = 86_400_000_000_000


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_column_{type_}", "kwargs": {"column": "x", **kwargs}}


@pytest.fixture
def lying(tmp_path: Path) -> Path:
    """Values from -7 to 500 and nulls; the footer says from 1 to 5, and none."""
    path = tmp_path / "lying.parquet"
    values = [-7, 1, 2, 3, 4, 500] * 1000 + [None] * 777
    text = [f"{value}" for value in values]
    pq.write_table(pa.table({"x": values, "s": text}), path, use_dictionary=False)
    raw = path.read_bytes()
    start = len(raw) - 8 - struct.unpack("<I", raw[-8:-4])[0]
    footer = raw[start:]
    # A null count is a zigzag varint; 0 in as many bytes keeps the footer's length.
    nulls = b"\x16" + bytes([777 * 2 & 0x7F | 0x80, 777 * 2 >> 7])
    for told, lie in (
        (struct.pack("<q", 500), struct.pack("<q", 5)),
        (struct.pack("<q", -7), struct.pack("<q", 1)),
        (nulls, b"\x16\x80\x00"),
    ):
        assert told in footer
        footer = footer.replace(told, lie)
    path.write_bytes(raw[:start] + footer)
    return path


LIES: list[tuple[str, dict[str, Any]]] = [
    ("values_to_be_between", {"min_value": 1, "max_value": 5}),
    ("min_to_be_between", {"min_value": 1}),
    ("max_to_be_between", {"max_value": 5}),
    ("values_to_not_be_null", {}),
    ("proportion_of_non_null_values_to_be_between", {"min_value": 1}),
]


def test_lying_statistics_are_found_when_they_are_not_trusted(lying: Path) -> None:
    suite = [expect(type_, **kwargs) for type_, kwargs in LIES]
    trusting = validate(str(lying), suite)
    assert [(result.engine, result.success) for result in trusting.results] == [("footer", True)] * 5
    reading = validate(str(lying), suite, trust_statistics=False, unmasked_columns=["x"])
    assert [(result.engine, result.success) for result in reading.results] == [("duckdb", False)] * 5
    between, least, greatest, missing, share = reading.results
    assert (between.unexpected_count, between.missing_count) == (2000, 777)
    assert set(between.result["partial_unexpected_list"]) == {-7, 500}
    assert (least.observed_value, greatest.observed_value, missing.unexpected_count) == (-7, 500, 777)
    assert share.observed_value == pytest.approx(6000 / 6777)


@pytest.mark.parametrize("trust_statistics", [True, False])
def test_duckdb_believes_no_statistics_either(lying: Path, *, trust_statistics: bool) -> None:
    suite = [
        expect("values_to_be_unique"),
        expect("unique_value_count_to_be_between", min_value=6, max_value=6),
        expect("distinct_values_to_be_in_set", value_set=[1, 2, 3, 4, 5]),
        expect("values_to_be_in_set", value_set=[1, 2, 3, 4, 5]),
        expect("values_to_not_be_in_set", value_set=[-7]),
        expect("median_to_be_between", min_value=2, max_value=3),
        expect("sum_to_be_between", min_value=503_000, max_value=503_000),
        expect("values_to_not_be_outliers", multiplier=1),
        {
            "type": "expect_compound_columns_to_be_unique",
            "kwargs": {"column_list": ["x", "s"], "row_condition": "x == 500", "condition_parser": "pandas"},
        },
    ]
    report = validate(str(lying), suite, trust_statistics=trust_statistics, unmasked_columns=["x"])
    assert [result.engine for result in report.results] == ["duckdb"] * 9
    assert [result.success for result in report.results] == [False, True] + [False] * 3 + [True] * 2 + [
        False
    ] * 2
    counts = [report.results[position].unexpected_count for position in (0, 3, 4, 7, 8)]
    assert counts == [6000, 2000, 1000, 2000, 1000]
    assert report.results[2].result["partial_unexpected_list"] == [-7, 500]
    # Rows are looked up as well, not row groups that ought to hold them.
    assert set(report.results[4].result["partial_unexpected_list"]) == {-7}


def column(path: Path, name: str = "x", *, trust_statistics: bool = True) -> Column:
    table = read_table(pin_snapshot(str(path)), trust_statistics=trust_statistics)
    return table.by_name[name]


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        (pa.array([3, None, -2], pa.int8()), (-2, 3)),
        (pa.array([1, 2**64 - 5], pa.uint64()), (1, 2**64 - 5)),
        (pa.array([1, 2**32 - 5], pa.uint32()), (1, 2**32 - 5)),
        (
            pa.array([-(2**30), 2**30], pa.int32()).cast(pa.date32()),
            (Instant(-(2**30) * DAY_NS, "date"), Instant(2**30 * DAY_NS, "date")),
        ),
        (
            pa.array([1, 10**18 + 7], pa.timestamp("ns")),
            (Instant(1, "timestamp"), Instant(10**18 + 7, "timestamp")),
        ),
        (
            pa.array([-(2**60), 2**60], pa.timestamp("us", tz="UTC")),
            (Instant(-(2**60) * 1000, "timestamptz"), Instant(2**60 * 1000, "timestamptz")),
        ),
        (
            pa.array([1, 2], pa.timestamp("s")),
            (Instant(10**9, "timestamp"), Instant(2 * 10**9, "timestamp")),
        ),
        (pa.nulls(3, pa.int64()), (None, None)),
        (pa.array([], pa.int64()), (None, None)),
        (pa.array(["a", "b" * 100]), None),
        (pa.array([1.0, float("nan")]), None),
        (pa.array([Decimal("1.5")]), None),
        (pa.array([True, False]), None),
        (pa.array([[1, 2]]), None),
    ],
    ids=str,
)
def test_only_exact_extremes_are_taken(write_parquet: Writer, values: pa.Array, bounds: Any) -> None:
    path = write_parquet("t.parquet", {"x": values})
    assert column(path).bounds == bounds
    untrusted = column(path, trust_statistics=False)
    assert (untrusted.bounds, untrusted.null_count) == (None, None)


def test_deprecated_timestamps_have_no_extremes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"x": pa.array([1, 2], pa.timestamp("ns"))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert column(path).bounds is None


def test_a_single_file_without_statistics_is_enough_to_read(write_parquet: Writer, tmp_path: Path) -> None:
    write_parquet("mart/1.parquet", {"x": [1, 2]})
    write_parquet("mart/2.parquet", {"x": [3, None]}, write_statistics=False)
    assert column(tmp_path / "mart").bounds is None
    suite = [expect("max_to_be_between", max_value=3), expect("values_to_not_be_null")]
    report = validate(f"{tmp_path}/mart/", suite)
    assert [(result.engine, result.success) for result in report.results] == [
        ("duckdb", True), ("duckdb", False),
    ]  # fmt: skip
    write_parquet("mart/2.parquet", {"x": pa.nulls(2, pa.int64())})
    assert column(tmp_path / "mart").bounds == (1, 2)


def test_ranges_that_not_all_values_lie_within_are_read(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"x": [date(2024, 1, day) for day in (1, 2, 3)] + [None]})
    inside = expect("values_to_be_between", min_value="2024-01-01")
    outside = expect("values_to_be_between", min_value="2024-01-01", strict_min=True)
    wrong = expect("values_to_be_between", min_value=3)
    first, second, third = validate(str(path), [inside, outside, wrong]).results
    assert (first.engine, first.success, first.missing_count) == ("footer", True, 1)
    assert (second.engine, second.success, second.unexpected_count) == ("duckdb", False, 1)
    assert third.success is None
    read = validate(str(path), [inside], trust_statistics=False).results[0]
    assert {key: read.result[key] for key in first.result} == first.result


def test_the_number_of_rows_is_structure_and_not_statistics(lying: Path) -> None:
    count = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 6777}}
    (result,) = validate(str(lying), [count], trust_statistics=False).results
    assert (result.engine, result.success) == ("footer", True)


def test_more_keys_than_memory_holds_are_counted_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = 500_000
    texts = [f"{number * 7919 % rows:040}" for number in range(rows)]
    pq.write_table(pa.table({"x": texts, "y": [number * 10**6 for number in range(rows)]}), path)
    suite = [
        expect("values_to_be_unique"),
        expect("unique_value_count_to_be_between", min_value=rows, max_value=rows),
        expect("most_common_value_to_be_in_set", value_set=["a"]),
        {
            "type": "expect_column_median_to_be_between",
            "kwargs": {
                "column": "y",
                "min_value": (rows - 1) / 2 * 10**6,
                "max_value": (rows - 1) / 2 * 10**6,
            },
        },
    ]
    limits: dict[str, Any] = {"memory_limit": "30MB", "threads": 1}
    report = validate(str(path), suite, **limits)
    assert [result.success for result in report.results] == [True, True, False, True]
    assert report.results[2].result["details"]["most_common_values"] == rows
    # Without a place to put them they cannot be counted, and that is what is said.
    spilled = validate(str(path), suite[:1], scratch_limit_bytes=1_000_000, **limits).results[0]
    assert spilled.success is None
    assert "raise memory_limit or scratch_limit_bytes" in str(spilled.exception_message)


@pytest.mark.parametrize("spread", [1, 100])
def test_integer_keys_are_unique_or_not_however_they_lie(write_parquet: Writer, spread: int) -> None:
    for first, unexpected, distinct in ((0, 0, 1000), (1, 2, 999)):
        numbers = [first, *range(1, 1000)]
        path = write_parquet("t.parquet", {"x": [number * spread - 500 for number in numbers] + [None] * 3})
        suite = [
            expect("values_to_be_unique"),
            expect("unique_value_count_to_be_between", min_value=distinct, max_value=distinct),
        ]
        unique, count = validate(str(path), suite).results
        assert (unique.unexpected_count, unique.missing_count) == (unexpected, 3)
        assert count.success


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("ignore", ["all_values_are_missing", "any_value_is_missing", "never"])
def test_compound_integer_keys_are_counted_like_all_others(
    write_parquet: Writer, step: int, ignore: str
) -> None:
    numbers = [(a * step - 3, b) for a in range(40) for b in (-1, 0, 1)]
    keys = {"column_list": ["x", "y"], "ignore_row_if": ignore}
    for more, expected in (
        ([(None, 0), (0 - 3, None)], (0, 0, 0)),
        ([(None, 0), (None, 0), (None, -1)], (2, 0, 2)),
        ([(None, None), (None, None)], (0, 0, 2)),
        ([(-3, 1)], (2, 2, 2)),
    ):
        columns = {
            name: pa.array([row[part] for row in [*numbers, *more]], kind)
            for part, (name, kind) in enumerate((("x", pa.int64()), ("y", pa.int8())))
        }
        path = write_parquet("t.parquet", columns)
        for trust_statistics in (True, False):
            (result,) = validate(
                str(path),
                [{"type": "expect_compound_columns_to_be_unique", "kwargs": keys}],
                trust_statistics=trust_statistics,
            ).results
            position = ["all_values_are_missing", "any_value_is_missing", "never"].index(ignore)
            assert result.unexpected_count == expected[position], (more, ignore)


def test_a_suite_of_5000_expectations(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {f"c{number}": [1, 2, 3] for number in range(10)})
    suite = [
        {
            "type": "expect_column_values_to_be_in_set",
            # No two alike, so that each has measures of its own.
            "kwargs": {
                "column": f"c{number % 10}",
                "value_set": [1, 2, 3 if number != 4711 else 4, 1000 + number],
            },
        }
        for number in range(5000)
    ]
    report = validate(str(path), suite)
    assert len(report.results) == 5000
    assert [number for number, result in enumerate(report.results) if not result.success] == [4711]


def test_the_file_with_a_page_that_cannot_be_read_is_named(write_parquet: Writer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        columns = {"x": [float(number) for number in range(10_000)], "y": [1.0] * 10_000}
        path = write_parquet(f"mart/{name}.parquet", columns, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(raw)
    suite = [expect("mean_to_be_between", min_value=0)]
    suite.append({"type": "expect_column_mean_to_be_between", "kwargs": {"column": "y", "min_value": 1}})
    broken, whole = validate(f"{tmp_path}/mart/", suite).results
    assert broken.success is None
    assert "could not read b.parquet" in str(broken.exception_message)
    assert whole.success is True


@pytest.mark.parametrize("repeated", [False, True])
def test_keys_are_counted_slice_by_slice(
    write_parquet: Writer, mocker: MockerFixture, *, repeated: bool
) -> None:
    mocker.patch("airflow_provider_mlbridge.quality.engines.groupings._SLICE", 7)
    query = mocker.spy(Session, "query")
    ids: list[int | None] = [*range(40), None, 3 if repeated else 45]
    path = write_parquet("t.parquet", {"x": ids})
    suite = [
        expect("values_to_be_unique"),
        expect("unique_value_count_to_be_between", min_value=41, max_value=41),
    ]
    report = validate(str(path), suite)
    if repeated:
        assert [item.success for item in report.results] == [False, False]
        assert report.results[0].unexpected_count == 2
    else:
        assert [item.success for item in report.results] == [True, True]
        slices = [call for call in query.call_args_list if "bitstring_agg" in call.args[1]]
        # 46 possible keys, seven at a time.
        assert len(slices) == 7
