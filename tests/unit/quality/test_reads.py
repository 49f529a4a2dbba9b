# SPDX-License-Identifier: Apache-2.0
"""What is read: no page for what the footers say, each needed column once, keys once more; seen by DuckDB."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

Writer = Callable[..., Path]
ROWS = 3000


def expect(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{name}", "kwargs": kwargs}


@pytest.fixture
def scanned(mocker: MockerFixture) -> Counter[str]:
    """How often DuckDB's scans read each column, as its own profile of every query says."""
    counted: Counter[str] = Counter()
    original = Session.query

    def query(session: Session, text: str) -> list[tuple[Any, ...]]:
        if "read_parquet" in text:
            # What is looked at twice is not kept twice.
            rows = text.partition(" AS ")[2] if text.startswith("CREATE") else text
            ((_, profile),) = original(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {rows}")
            for scan in _scans(json.loads(profile)["operator"]):
                columns = scan["extra_info"].get("Projections", [])
                for alias in [columns] if isinstance(columns, str) else columns:
                    if alias[:1] == "c" and alias[1:].isdigit():
                        counted[session.table.names[int(alias[1:])]] += 1
        return original(session, text)

    mocker.patch.object(Session, "query", query)
    return counted


def _scans(operators: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for operator in operators:
        if operator["type"] == "TABLE_SCAN":
            yield operator
        yield from _scans(operator.get("children", []))


@pytest.fixture
def flights(write_parquet: Writer) -> Path:
    start = datetime(2024, 1, 1)  # noqa: DTZ001
    columns = {
        "id": list(range(ROWS)),
        "code": [f"{number * 7919 % ROWS:05}" for number in range(ROWS)],
        "carrier": [("AA", "UA", "DL")[number % 3] for number in range(ROWS)],
        "origin": [f"A{number % 50:02}" for number in range(ROWS)],
        "number": [number % 700 for number in range(ROWS)],
        "delay": [float(number % 90) for number in range(ROWS)],
        "distance": [100.5 + number for number in range(ROWS)],
        "day": [date(2024, 1, 1) + timedelta(days=number % 300) for number in range(ROWS)],
        "left": pa.array([start + timedelta(minutes=number) for number in range(ROWS)], pa.timestamp("us")),
        "arrived": pa.array([start + timedelta(minutes=number + 9) for number in range(ROWS)]),
        "unused_text": ["x"] * ROWS,
        "unused_number": [0.5] * ROWS,
    }
    return write_parquet("flights.parquet", columns, row_group_size=1000)


SUITE = [
    expect("table_row_count_to_be_between", min_value=1),
    expect("column_values_to_not_be_null", column="id"),
    expect("column_values_to_be_unique", column="id"),
    expect("compound_columns_to_be_unique", column_list=["code", "carrier"]),
    expect("column_values_to_be_in_set", column="carrier", value_set=["AA", "UA", "DL"]),
    expect("column_values_to_not_be_in_set", column="carrier", value_set=["XX"]),
    expect("column_values_to_match_regex", column="origin", regex="^A[0-9]{2}$"),
    expect("column_value_lengths_to_equal", column="origin", value=3),
    expect("column_values_to_be_between", column="delay", min_value=-60, max_value=90),
    expect("column_mean_to_be_between", column="delay", min_value=0),
    expect("column_stdev_to_be_between", column="delay", min_value=0),
    expect("column_values_to_be_in_set", column="number", value_set=list(range(700))),
    expect("column_sum_to_be_between", column="distance", min_value=0),
    expect("column_max_to_be_between", column="distance", min_value=0),
    expect("column_values_to_be_between", column="day", min_value="2023-12-31"),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="arrived", column_B="left"),
    expect("column_values_to_not_be_null", column="delay"),
]


@pytest.mark.parametrize("trust_statistics", [True, False])
def test_each_needed_column_is_read_once_and_each_key_once_more(
    flights: Path, scanned: Counter[str], *, trust_statistics: bool
) -> None:
    report = validate(str(flights), SUITE, trust_statistics=trust_statistics)
    assert (report.success, len(report.results)) == (True, 17)
    once = dict.fromkeys(["origin", "delay", "number", "distance", "arrived", "left"], 1)
    # carrier is read in the pass and as part of a key, code and id as parts of keys alone.
    expected = {**once, "carrier": 2, "code": 1, "id": 1}
    if not trust_statistics:
        # The pass finds out what range the keys have.
        expected |= {"day": 1, "id": 2}
    assert scanned == expected


def test_all_expectations_on_a_key_share_one_grouping(flights: Path, scanned: Counter[str]) -> None:
    suite = [
        expect("column_values_to_be_unique", column="code"),
        expect("column_unique_value_count_to_be_between", column="code", min_value=ROWS),
        expect("column_proportion_of_unique_values_to_be_between", column="code", min_value=1),
        expect("column_distinct_values_to_contain_set", column="code", value_set=["00000"]),
        expect("column_most_common_value_to_be_in_set", column="code", value_set=["00000"], ties_okay=True),
        expect("column_median_to_be_between", column="number", min_value=0),
        expect(
            "column_quantile_values_to_be_between",
            column="number",
            quantile_ranges={"quantiles": [0.1, 0.9], "value_ranges": [[0, 700], [0, 700]]},
        ),
    ]
    report = validate(str(flights), suite)
    assert report.success
    assert scanned == {"code": 1, "number": 1}


def test_only_what_depends_on_the_data_takes_a_second_pass(flights: Path, scanned: Counter[str]) -> None:
    suite = [
        expect("column_value_z_scores_to_be_less_than", column="delay", threshold=3, double_sided=True),
        expect("column_values_to_not_be_outliers", column="delay", method="std", multiplier=3),
        expect("column_mean_to_be_between", column="distance", min_value=0),
    ]
    assert validate(str(flights), suite).success
    assert scanned == {"delay": 2, "distance": 1}


def test_what_the_footers_say_is_answered_without_a_page(flights: Path, mocker: MockerFixture) -> None:
    files = mocker.spy(Session, "query")
    raw = bytearray(flights.read_bytes())
    footer = len(raw) - 8 - struct.unpack("<I", raw[-8:-4])[0]
    raw[4:footer] = b"\xff" * (footer - 4)
    flights.write_bytes(raw)
    suite = [
        expect("table_row_count_to_equal", value=ROWS),
        expect("table_column_count_to_equal", value=12),
        expect("column_to_exist", column="delay"),
        expect("column_values_to_be_of_type", column="day", type_="date32"),
        expect("column_values_to_not_be_null", column="carrier"),
        expect("column_values_to_be_null", column="origin", mostly=0),
        expect("column_proportion_of_non_null_values_to_be_between", column="origin", min_value=1),
        expect("column_min_to_be_between", column="id", min_value=0, max_value=0),
        expect("column_max_to_be_between", column="left", max_value="2024-01-03T01:59:00"),
        expect("column_values_to_be_between", column="day", min_value="2024-01-01", max_value="2024-10-26"),
    ]
    report = validate(str(flights), suite, schema={"id": "int64"}, not_null=["left"])
    assert [(result.engine, result.success) for result in report.results] == [("footer", True)] * 12
    assert files.call_count == 0
    # The same file, read: every expectation that needs a page could not be checked.
    (result,) = validate(str(flights), suite[4:5], trust_statistics=False).results
    assert result.success is None
