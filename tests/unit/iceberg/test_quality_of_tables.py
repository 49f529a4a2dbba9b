# SPDX-License-Identifier: Apache-2.0
"""A quality check judges the rows that a table has, and no deleted ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table

from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.storage import pin_snapshot
from tests.unit.iceberg.tables import catalog_in, data_files, delete_keys, delete_positions


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    """Rows of which the bad ones are deleted: a repeated id, a null, a negative price."""
    catalog = catalog_in(tmp_path)
    rows = pa.table({"id": pa.array([1, 2, 2, None, 5]), "price": [1.0, 2.0, 9.0, 4.0, -5.0]})
    table = catalog.create_table("shop.sales", rows.schema)
    table.append(rows)
    delete_positions(table, {data_files(table)[0].file_path: [2]})
    delete_keys(table, {"id": [None, 5]})
    yield table
    catalog.close()


EXPECTED: list[dict[str, Any]] = [
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "price", "min_value": 0}},
    {"type": "expect_column_max_to_be_between", "kwargs": {"column": "price", "max_value": 2.0}},
]


def test_rows_that_were_deleted_are_not_judged(table: Table) -> None:
    report = validate(table.metadata_location, EXPECTED, not_null=["id"], unique=["id"], min_rows=2)
    assert report.success
    assert report.rows == 2
    assert report.summary().snapshot.fingerprint == pin_snapshot(table.metadata_location).fingerprint


def test_what_was_judged_is_what_features_are_built_from(table: Table, tmp_path: Path) -> None:
    summary = validate(table.metadata_location, EXPECTED).summary()
    table.append(pa.table({"id": pa.array([7]), "price": [7.0]}))
    recipe = {
        "name": "shop",
        "keys": ["id"],
        "split": {"by": "hash", "train": 1.0},
        "steps": [{"type": "passthrough", "columns": ["price"]}],
    }
    built = build_feature_set(summary.to_dict(), recipe, f"{tmp_path}/features/")
    assert built.rows == 2
    assert built.datamart_fingerprint == summary.snapshot.fingerprint


def test_selected_partitions_of_an_evolving_schema_are_judged(tmp_path: Path) -> None:
    months = {
        "01": pa.table({"id": pa.array([1], pa.int32())}),
        "02": pa.table({"id": pa.array([2], pa.int32())}),
        "03": pa.table({"id": pa.array([3], pa.int64()), "note": ["x"]}),
    }
    for month, rows in months.items():
        folder = tmp_path / "mart" / f"month={month}"
        folder.mkdir(parents=True)
        pq.write_table(rows, folder / "a.parquet")
    report = validate(
        f"{tmp_path}/mart/",
        [
            {"type": "expect_column_values_to_be_null", "kwargs": {"column": "note", "mostly": 0.5}},
            {
                "type": "expect_column_distinct_values_to_equal_set",
                "kwargs": {"column": "month", "value_set": ["02", "03"]},
            },
            {
                "type": "expect_column_sum_to_be_between",
                "kwargs": {"column": "id", "min_value": 5, "max_value": 5},
            },
        ],
        partitions={"month": [2, 3]},
        schema_evolution="union",
        schema={"id": "int64"},
    )
    assert report.success
    assert report.rows == 2
