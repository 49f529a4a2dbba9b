# SPDX-License-Identifier: Apache-2.0
"""What the footers of a snapshot say: columns, types, rows and null counts, without reading any data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.quality.column_types import Family, describe_type
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Footer, common_schema, partition_columns, read_footers
from airflow_provider_mlbridge.storage.partitions import PartitionColumn

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

_PARTITION_FAMILIES: dict[str, Family] = {"int64": "int", "date32": "date", "string": "string"}


@dataclass(frozen=True)
class Column:
    """
    One column of the datamart.

    :param name: its name.
    :param type_name: its type, see :mod:`~airflow_provider_mlbridge.quality.column_types`.
    :param family: the family of that type.
    :param position: its place, from 0; partition columns come last.
    :param null_count: nulls in all files, or None when a footer does not say.
    :param size: bytes of its values in memory, roughly.
    :param partition: its value in each file, where it stands in the folders' names instead of in the files.
    """

    name: str
    type_name: str
    family: Family
    position: int
    null_count: int | None
    size: int
    partition: PartitionColumn | None = field(default=None, compare=False, repr=False)

    @property
    def alias(self) -> str:
        """What the column is called in SQL. Names of columns never enter it, so they need no quoting."""
        return f"c{self.position}"


@dataclass(frozen=True)
class Table:
    """
    The datamart as its footers describe it.

    :param snapshot: the pinned files.
    :param columns: in the order of the files, then partition columns.
    :param rows: number of rows.
    """

    snapshot: Snapshot
    columns: tuple[Column, ...]
    rows: int

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> list[str]:
        """Names of all columns, in order."""
        return [column.name for column in self.columns]

    @property
    def partitions(self) -> tuple[Column, ...]:
        """Columns whose values stand in folder names."""
        return tuple(column for column in self.columns if column.partition)


def read_table(snapshot: Snapshot, *, s3_client: S3Client | None = None) -> Table:
    """
    Read all footers.

    :raises InvalidParquetError: when a file is broken, has no columns or the same name twice, or when the
        files disagree on their columns or on their partition folders.
    """
    footers = read_footers(snapshot, s3_client=s3_client)
    schema = common_schema(snapshot, footers)
    leaves = _leaf_positions(schema)
    columns = []
    for position, (arrow, leaf) in enumerate(zip(schema, leaves, strict=True)):
        type_name, family = describe_type(arrow.type)
        nulls, size = _null_count(footers, leaf), _size(footers, leaf)
        columns.append(Column(arrow.name, type_name, family, position, nulls, size))
    rows = sum(footer.metadata.num_rows for footer in footers)
    for partition in partition_columns(snapshot, schema.names):
        family = _PARTITION_FAMILIES[partition.type_name]
        columns.append(
            Column(partition.name, partition.type_name, family, len(columns), None, rows * 8, partition)
        )
    return Table(snapshot, tuple(columns), rows)


def _leaf_positions(schema: pa.Schema) -> list[int | None]:
    """Index of each top-level column among the leaf columns; None for nested ones, which have several."""
    positions: list[int | None] = []
    offset = 0
    for column in schema:
        count = _leaves(column.type)
        positions.append(offset if count == 1 and not _is_nested(column.type) else None)
        offset += count
    return positions


def _is_nested(data_type: pa.DataType) -> bool:
    return bool(data_type.num_fields)


def _leaves(data_type: pa.DataType) -> int:
    if not _is_nested(data_type):
        return 1
    return sum(_leaves(data_type.field(index).type) for index in range(data_type.num_fields))


def _null_count(footers: Sequence[Footer], leaf: int | None) -> int | None:
    if leaf is None:
        return None
    total = 0
    for footer in footers:
        # A column that the file's schema calls required has no nulls, whatever the statistics say.
        if footer.metadata.schema.column(leaf).max_definition_level == 0:
            continue
        for group in range(footer.metadata.num_row_groups):
            statistics = footer.metadata.row_group(group).column(leaf).statistics
            # The writer may leave the count out; the reader then says 0 in some versions.
            if statistics is None or not getattr(statistics, "has_null_count", False):
                return None
            total += statistics.null_count or 0
    return total


def _size(footers: Sequence[Footer], leaf: int | None) -> int:
    total = 0
    for footer in footers:
        for group in range(footer.metadata.num_row_groups):
            row_group = footer.metadata.row_group(group)
            # A nested column takes at most what the row group takes.
            total += (
                row_group.total_byte_size if leaf is None else row_group.column(leaf).total_uncompressed_size
            )
    return total
