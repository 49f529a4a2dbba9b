# SPDX-License-Identifier: Apache-2.0
"""
Fifteen kinds of faults in a million rows: each is found by the expectation that is meant for it and by no
other, and nothing is found in the clean datamart.

Faults of values are a single row, or two that repeat each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE
from benchmarks.quality import generate

ROWS = 1_000_000
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""Nine hours after the newest load of the generated datamart."""
COLUMNS = (
    "order_line_id", "order_id", "line_number", "customer_id", "product_id", "order_date", "ordered_at",
    "shipped_at", "status", "unit_price", "discount_pct", "net_amount", "email", "product_name", "remark",
    "loaded_at",
)  # fmt: skip
LAST = 9
"""The file that carries the fault; it holds the newest rows."""

EXPECTATIONS: dict[str, dict[str, Any]] = {
    "rows": {"type": "expect_table_row_count_to_equal", "kwargs": {"value": ROWS}},
    "remark exists": {"type": "expect_column_to_exist", "kwargs": {"column": "remark"}},
    "product type": {
        "type": "expect_column_values_to_be_of_type",
        "kwargs": {"column": "product_id", "type_": "int32"},
    },
    "customer given": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer_id"}},
    "discount given": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "discount_pct"}},
    "line id unique": {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "order_line_id"}},
    "line unique": {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["order_id", "line_number"]},
    },
    "price range": {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "unit_price", "min_value": 0, "max_value": 10_000},
    },
    "status known": {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "status", "value_set": list(generate.STATUSES)},
    },
    "email form": {
        "type": "expect_column_values_to_match_regex",
        "kwargs": {"column": "email", "regex": r"^[a-z]+\.[a-z]+[0-9]*@[a-z]+(\.[a-z]+)+$"},
    },
    "name length": {
        "type": "expect_column_value_lengths_to_be_between",
        "kwargs": {"column": "product_name", "min_value": 3, "max_value": 60},
    },
    "date range": {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "order_date", "min_value": "2024-01-01", "max_value": "2026-01-01"},
    },
    "shipped after ordered": {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {
            "column_A": "shipped_at",
            "column_B": "ordered_at",
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        },
    },
    "total": {
        "type": "expect_column_sum_to_be_between",
        "kwargs": {"column": "net_amount", "min_value": 350_000_000, "max_value": 530_000_000},
    },
    "fresh": {
        "type": COLUMN_MAX_AGE,
        "kwargs": {"column": "loaded_at", "max_age_seconds": timedelta(days=1).total_seconds()},
    },
}


def _replace(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """The first value of a column."""

    def change(table: pa.Table) -> pa.Table:
        column = table[name].combine_chunks()
        changed = pa.concat_arrays([pa.array([value], column.type), column[1:]])
        return _with(table, name, changed)

    return change


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def _repeat_key(table: pa.Table) -> pa.Table:
    return _replace("order_line_id", table["order_line_id"][1].as_py())(table)


def _repeat_compound_key(table: pa.Table) -> pa.Table:
    """The first row becomes a line of another order, which has a line of that number."""
    lines = table["line_number"].to_pylist()
    other = lines.index(lines[0], 1)
    return _replace("order_id", table["order_id"][other].as_py())(table)


def _in_cents(table: pa.Table) -> pa.Table:
    return _with(table, "net_amount", pc.multiply(table["net_amount"], 100.0))


def _stale(table: pa.Table) -> pa.Table:
    return _with(
        table, "loaded_at", pc.subtract(table["loaded_at"], pa.scalar(timedelta(days=3), pa.duration("us")))
    )


def _truncated(table: pa.Table) -> pa.Table:
    return table.slice(0, table.num_rows // 2)


ONE_FILE: dict[str, tuple[Callable[[pa.Table], pa.Table], str, int | None]] = {
    "a foreign key without a value": (_replace("customer_id", None), "customer given", 1),
    "not a number": (_replace("discount_pct", math.nan), "discount given", 1),
    "a key twice": (_repeat_key, "line id unique", 2),
    "a compound key twice": (_repeat_compound_key, "line unique", 2),
    "a negative price": (_replace("unit_price", -0.01), "price range", 1),
    "an unknown category": (_replace("status", "lost"), "status known", 1),
    "a malformed address": (_replace("email", "anna.adler at example.com"), "email form", 1),
    "a text too long": (_replace("product_name", "x" * 61), "name length", 1),
    "a date in the future": (_replace("order_date", date(2062, 1, 1)), "date range", 1),
    "an end before its start": (_replace("shipped_at", datetime(1990, 1, 1)), "shipped after ordered", 1),  # noqa: DTZ001
    "amounts in cents": (_in_cents, "total", None),
    "stale data": (_stale, "fresh", None),
    "rows that are missing": (_truncated, "rows", None),
}
"""What is done to the last file, the expectation that finds it, and how many rows it finds."""


def _without_remark(table: pa.Table) -> pa.Table:
    return table.drop_columns(["remark"])


def _product_as_text(table: pa.Table) -> pa.Table:
    return _with(table, "product_id", table["product_id"].cast(pa.string()))


ALL_FILES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a missing column": (_without_remark, "remark exists"),
    "a wrong type": (_product_as_text, "product type"),
}
"""What is done to every file: files that differ are a fault of another kind."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million rows in ten files, without a fault."""
    folder = tmp_path_factory.mktemp("clean")
    for number, (start, count) in enumerate(generate.file_spans(ROWS)):
        table = generate.table(start, count, ROWS).select(COLUMNS)
        generate.write_file(_file(folder, number), table)
    return folder


def _file(folder: Path, number: int) -> Path:
    return folder / f"part-{number}.parquet"


def _findings(folder: Path) -> dict[str, tuple[bool | None, int | None]]:
    """Verdict and number of rows of every expectation that did not hold."""
    report = validate(str(folder), list(EXPECTATIONS.values()), now=NOW)
    assert {result.engine for result in report.results} <= {"footer", "duckdb"}
    return {
        name: (result.success, result.unexpected_count)
        for name, result in zip(EXPECTATIONS, report.results, strict=True)
        if result.success is not True
    }


def test_there_are_fifteen() -> None:
    assert len(ONE_FILE) + len(ALL_FILES) == 15
    meant = [fault[1] for fault in ONE_FILE.values()] + [fault[1] for fault in ALL_FILES.values()]
    assert sorted(meant) == sorted(EXPECTATIONS)


def test_the_clean_datamart_raises_no_alarm(clean: Path) -> None:
    assert _findings(clean) == {}


@pytest.mark.parametrize("fault", ONE_FILE)
def test_a_fault_in_one_file_is_found(clean: Path, tmp_path: Path, fault: str) -> None:
    change, expectation, rows = ONE_FILE[fault]
    for number in range(LAST):
        os.link(_file(clean, number), _file(tmp_path, number))
    generate.write_file(_file(tmp_path, LAST), change(pq.read_table(_file(clean, LAST))))
    assert _findings(tmp_path) == {expectation: (False, rows)}


@pytest.mark.parametrize("fault", ALL_FILES)
def test_a_fault_of_all_files_is_found(clean: Path, tmp_path: Path, fault: str) -> None:
    change, expectation = ALL_FILES[fault]
    for number in range(LAST + 1):
        generate.write_file(_file(tmp_path, number), change(pq.read_table(_file(clean, number))))
    assert _findings(tmp_path) == {expectation: (False, None)}
