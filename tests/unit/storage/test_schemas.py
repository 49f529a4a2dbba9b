# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.storage import common_schema, pin_snapshot, read_footers

WriteParquet = Callable[..., Path]


def schema_of(tmp_path: Path) -> Any:
    snapshot = pin_snapshot(f"{tmp_path}/mart/")
    return common_schema(snapshot, read_footers(snapshot))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_what_is_only_layout_in_memory_may_differ(
    tmp_path: Path, write_parquet: WriteParquet, kind: pa.DataType
) -> None:
    write_parquet("mart/a.parquet", {"x": pa.array(["a"])})
    write_parquet("mart/b.parquet", {"x": pa.array(["b"], pa.string()).cast(kind)})
    assert schema_of(tmp_path).names == ["x"]


@pytest.mark.parametrize(
    ("columns", "difference"),
    [
        ({"x": pa.array([1.5])}, "'x' is double, not int64"),
        ({"y": pa.array([1])}, "'x' is missing, 'y' is new"),
    ],
)
def test_files_that_disagree_are_named(
    tmp_path: Path, write_parquet: WriteParquet, columns: dict[str, Any], difference: str
) -> None:
    write_parquet("mart/a.parquet", {"x": pa.array([1])})
    write_parquet("mart/b.parquet", columns)
    with pytest.raises(InvalidParquetError, match=difference) as caught:
        schema_of(tmp_path)
    assert "b.parquet" in str(caught.value)


def test_columns_in_another_order_are_refused(tmp_path: Path, write_parquet: WriteParquet) -> None:
    write_parquet("mart/a.parquet", {"x": [1], "y": [2]})
    write_parquet("mart/b.parquet", {"y": [2], "x": [1]})
    with pytest.raises(InvalidParquetError, match="another order"):
        schema_of(tmp_path)
