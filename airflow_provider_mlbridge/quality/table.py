# SPDX-License-Identifier: Apache-2.0
"""What the footers of a snapshot say: columns, types, rows, nulls and extremes, without reading any data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.quality.column_types import Family, describe_type
from airflow_provider_mlbridge.quality.statistics import (
    UNKNOWN,
    Extreme,
    is_int96,
    leaf_positions,
    read_statistics,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Footer, common_schema, partition_columns, read_footers
from airflow_provider_mlbridge.storage.partitions import PartitionColumn

if TYPE_CHECKING:
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
    :param int96: whether timestamps are in the deprecated encoding, which is read in microseconds.
    :param bounds: its least and greatest value, or None when the footers do not say.
    """

    name: str
    type_name: str
    family: Family
    position: int
    null_count: int | None
    size: int
    partition: PartitionColumn | None = field(default=None, compare=False, repr=False)
    bounds: tuple[Extreme | None, Extreme | None] | None = field(default=None, compare=False, repr=False)
    int96: bool = False

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


def read_table(
    snapshot: Snapshot, *, s3_client: S3Client | None = None, trust_statistics: bool = True
) -> Table:
    """
    Read all footers.

    :param trust_statistics: whether null counts, minima and maxima of the footers are taken for the data's.
        Columns, types and numbers of rows are part of the files' structure and always taken from there.
    :raises InvalidParquetError: when a file is broken, has no columns or the same name twice, or when the
        files disagree on their columns or on their partition folders.
    """
    footers = read_footers(snapshot, s3_client=s3_client)
    schema = common_schema(snapshot, footers)
    leaves = leaf_positions(schema)
    columns = []
    for position, arrow in enumerate(schema):
        type_name, family = describe_type(arrow.type)
        known = read_statistics(footers, arrow.name, family) if trust_statistics else UNKNOWN
        size = _size(footers, leaves[arrow.name])
        columns.append(
            Column(
                arrow.name,
                type_name,
                family,
                position,
                known.null_count,
                size,
                bounds=known.bounds,
                int96=is_int96(footers, arrow.name),
            )
        )
    rows = sum(footer.metadata.num_rows for footer in footers)
    for partition in partition_columns(snapshot, schema.names):
        family = _PARTITION_FAMILIES[partition.type_name]
        columns.append(
            Column(partition.name, partition.type_name, family, len(columns), None, rows * 8, partition)
        )
    return Table(snapshot, tuple(columns), rows)


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
