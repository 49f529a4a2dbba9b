# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import date

import pytest

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.results import PinnedFile, Snapshot
from airflow_provider_mlbridge.storage import partition_columns


def snapshot(*paths: str) -> Snapshot:
    files = tuple(PinnedFile(path, 1, "e") for path in paths)
    return Snapshot("s3://b/p=prod/", "s3://b/p=prod/", "f", len(files), 1, "", "", files)


@pytest.mark.parametrize(
    ("values", "type_name", "expected"),
    [
        (["1", "12", "-3"], "int64", (1, 12, -3)),
        (["01", "10"], "string", ("01", "10")),
        (["2024-02-29", "2023-01-01"], "date32", (date(2024, 2, 29), date(2023, 1, 1))),
        (["2024-02-31", "2023-01-01"], "string", ("2024-02-31", "2023-01-01")),
        (["2024-01-01 10%3A00", "x"], "string", ("2024-01-01 10:00", "x")),
        (["1", "__HIVE_DEFAULT_PARTITION__"], "int64", (1, None)),
        (["__HIVE_DEFAULT_PARTITION__"], "string", (None,)),
        (["9" * 30], "string", ("9" * 30,)),
    ],
)
def test_types_and_values(values: list[str], type_name: str, expected: tuple[object, ...]) -> None:
    (column,) = partition_columns(snapshot(*(f"k={value}/f.parquet" for value in values)), ["x"])
    assert (column.name, column.type_name, column.values) == ("k", type_name, expected)


def test_only_folders_below_the_root_count_and_a_files_own_column_wins() -> None:
    columns = partition_columns(snapshot("Y=7/q=8/f.parquet"), ["y", "x"])
    assert [(column.name, column.values) for column in columns] == [("q", (8,))]


def test_folders_that_disagree_are_refused_without_their_values() -> None:
    with pytest.raises(InvalidParquetError, match="disagree") as caught:
        partition_columns(snapshot("day=1/f.parquet", "user=ann@example.com/g.parquet"), [])
    assert "ann@example.com" not in str(caught.value)
