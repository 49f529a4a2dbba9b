# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Values as callers may hold them: what they mean, and what is refused instead of being passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.expectation import parse_expectation

Writer = Callable[..., Path]


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


@pytest.fixture
def mart(write_parquet: Writer) -> Path:
    return write_parquet(
        "mart.parquet",
        {
            "n": [1, 2, 3],
            "f": [0.5, 1.5, 2.5],
            "at": pa.array([datetime(2024, 1, day) for day in (1, 2, 3)], pa.timestamp("us")),
            "day": [date(2024, 1, day) for day in (1, 2, 3)],
            "s": ["a", "b", "c"],
        },
    )


@pytest.mark.parametrize(
    ("column", "member", "other"),
    [
        ("n", np.int64(1), np.int64(9)),
        ("n", np.uint8(1), np.uint8(9)),
        ("f", np.float32(0.5), np.float32(0.25)),
        ("at", np.datetime64("2024-01-01T00:00:00"), np.datetime64("2025-01-01")),
        ("at", np.datetime64("2024-01-01", "ns"), np.datetime64("2025-01-01", "ns")),
        ("at", pd.Timestamp("2024-01-01"), pd.Timestamp("2025-01-01")),
        ("day", np.datetime64("2024-01-01"), np.datetime64("2025-01-01")),
        ("s", np.str_("a"), np.str_("z")),
        ("n", Decimal(1), Decimal(9)),
    ],
)
def test_a_set_of_scalars_of_numpy_and_pandas(mart: Path, column: str, member: Any, other: Any) -> None:
    def unexpected(values: Any) -> int | None:
        suite = [expect("column_values_to_not_be_in_set", column=column, value_set=values)]
        report = validate(str(mart), suite)
        json.dumps(report.to_gx_json(), allow_nan=False)
        return report.results[0].unexpected_count

    assert [unexpected([member]), unexpected({member, other}), unexpected([other])] == [1, 1, 0]


def test_arrays_bounds_and_shares_of_numpy(mart: Path) -> None:
    report = validate(
        str(mart),
        [
            expect("column_values_to_be_in_set", column="n", value_set=np.array([1, 2, 3])),
            expect("column_values_to_be_in_set", column="n", value_set=pd.Series([1, 2, 3])),
            expect("column_values_to_be_in_set", column="n", value_set=range(1, 4)),
            expect("column_values_to_be_between", column="f", min_value=np.float32(0.5)),
            expect("column_max_to_be_between", column="at", max_value=np.datetime64("2024-01-03", "ns")),
            expect("column_values_to_be_between", column="n", min_value=2, mostly=np.float64(0.5)),
            expect("table_row_count_to_equal", value=np.int32(3)),
            expect("column_distinct_values_to_equal_set", column="n", value_set=np.array([3, 2, 1])),
        ],
    )
    assert [result.success for result in report.results] == [True] * 8
    json.dumps(report.to_gx_json(), allow_nan=False)


@pytest.mark.parametrize(
    "value",
    [Fraction(1, 2), 1j, UUID(int=1), object(), np.datetime64("2024-01-01T00:00:00.000000001"), [{"a": 1j}]],
)
def test_a_value_of_no_meaning_here_is_refused(value: Any) -> None:
    with pytest.raises(InvalidExpectationError, match="value_set"):
        parse_expectation(
            expect("column_values_to_not_be_in_set", column="n", value_set=[1, value]), "expectations[0]"
        )


def bounds(path: Path, column: str, **kwargs: Any) -> list[bool | None]:
    suite = [
        expect(f"column_{what}_to_be_between", column=column, **kwargs) for what in ("values", "min", "max")
    ]
    return [result.success for result in validate(str(path), suite).results]


def test_text_is_an_exact_integer_where_it_reads_as_one(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"n": [2**53 + 1]})
    assert bounds(path, "n", max_value=str(2**53)) == [False] * 3
    assert bounds(path, "n", min_value=f" {2**53 + 1} ", max_value=Decimal(2**53 + 1)) == [True] * 3


def test_digits_are_a_day_beside_a_date(mart: Path) -> None:
    for column in ("day", "at"):
        assert bounds(mart, column, max_value="20240102") == [False, True, False]
        assert bounds(mart, column, min_value="2024-01-01", max_value="20240103") == [True] * 3
        assert bounds(mart, column, max_value="2024") == [None] * 3, "no day, and no number is compared"
    assert bounds(mart, "n", max_value="20240102") == [True] * 3


def test_nanoseconds_count(write_parquet: Writer) -> None:
    midnight = 1_704_067_200_000_000_000
    for zone in (None, "UTC"):
        values = pa.array([midnight, midnight + 1], pa.timestamp("ns", zone))
        path = write_parquet(f"{zone}.parquet", {"at": values})
        report = validate(
            str(path),
            [
                expect("column_values_to_be_between", column="at", max_value="2024-01-01"),
                expect("column_values_to_be_in_set", column="at", value_set=["2024-01-01"]),
                expect("column_max_to_be_between", column="at", max_value="2024-01-01"),
                expect("column_min_to_be_between", column="at", min_value="0001-01-01", strict_min=True),
            ],
        )
        assert [result.unexpected_count for result in report.results[:2]] == [1, 1]
        assert [result.success for result in report.results[2:]] == [False, True]
        observed = report.results[2].observed_value
        assert observed == "2024-01-01T00:00:00.000000001" + ("+00:00" if zone else "")


def test_years_that_python_does_not_have(write_parquet: Writer) -> None:
    far, early = 400_000_000_000_000_000, -100_000_000_000_000_000
    for zone in (None, "UTC"):
        for position, value in enumerate((far, early)):
            path = write_parquet(
                f"{zone}{position}.parquet", {"at": pa.array([value], pa.timestamp("us", zone)), "n": [1]}
            )
            after = position == 0
            assert bounds(path, "at", min_value="9999-12-31") == [after] * 3
            assert bounds(path, "at", max_value="0001-01-01") == [not after] * 3
    report = validate(
        str(path),
        [expect("column_min_to_be_between", column="at", min_value="2024-01-01")],
        max_age={"column": "at", "max_age": 60},
        not_null=["n"],
    )
    assert [result.success for result in report.results] == [True, False, False]
    assert report.results[2].observed_value == "-001199-02-15T14:13:20+00:00"


def test_days_that_python_does_not_have(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"day": pa.array([10**7], pa.int32()).cast(pa.date32())})
    suite = [expect("column_max_to_be_between", column="day", max_value="9999-12-31")]
    report = validate(str(path), suite, max_age={"column": "day", "max_age": 60}, not_null=["day"])
    assert [result.success for result in report.results] == [True, False, False]
    assert report.results[2].observed_value == "+029349-01-26"


def test_numbers_beyond_all_doubles(mart: Path, write_parquet: Writer) -> None:
    for column in ("n", "f"):
        assert bounds(mart, column, min_value=10**400) == [False] * 3
        assert bounds(mart, column, min_value=-(10**400)) == [True] * 3
    path = write_parquet("t.parquet", {"f": [float("inf")], "n": [1]})
    nothing = [10**400, Decimal("NaN"), Decimal("1e400"), Decimal("sNaN")]
    suite = [expect("column_values_to_not_be_in_set", column=name, value_set=nothing) for name in ("f", "n")]
    report = validate(str(path), suite)
    assert report.success
    json.dumps(report.to_gx_json(), allow_nan=False)
    with pytest.raises(InvalidExpectationError, match="whole number"):
        validate(str(mart), [expect("table_row_count_to_be_between", min_value=float("inf"))])
