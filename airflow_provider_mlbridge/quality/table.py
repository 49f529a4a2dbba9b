# SPDX-License-Identifier: Apache-2.0
"""What the footers of a snapshot say: columns, types, rows and null counts, without reading any data."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.quality.column_types import Family, describe_type
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Footer, read_footers

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


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
    :param partition: whether its values stand in the folders' names instead of in the files.
    """

    name: str
    type_name: str
    family: Family
    position: int
    null_count: int | None
    size: int
    partition: bool = False

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
        files disagree on their columns.
    """
    footers = read_footers(snapshot, s3_client=s3_client)
    first = footers[0]
    described = _describe(snapshot, first)
    for footer in footers[1:]:
        if footer.schema != first.schema:
            _check_same(snapshot, first, described, footer, _describe(snapshot, footer))
    leaves = _leaf_positions(first.schema)
    columns = [
        Column(
            name,
            type_name,
            family,
            position,
            _null_count(footers, leaves[position]),
            _size(footers, leaves[position]),
        )
        for position, (name, (type_name, family)) in enumerate(described.items())
    ]
    rows = sum(footer.metadata.num_rows for footer in footers)
    columns.extend(_partition_columns(snapshot, described.keys(), len(columns), rows))
    return Table(snapshot, tuple(columns), rows)


def _describe(snapshot: Snapshot, footer: Footer) -> dict[str, tuple[str, Family]]:
    names = footer.schema.names
    uri = snapshot.root + footer.file.path
    if not names:
        raise InvalidParquetError(f"{uri} has no columns")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidParquetError(
            f"{uri} has {names.count(repeated[0])} columns named {repeated[0]!r}, so it is not clear which "
            f"one an expectation means. Let its producer give them names of their own."
        )
    return {field.name: describe_type(field.type) for field in footer.schema}


def _check_same(
    snapshot: Snapshot,
    first: Footer,
    expected: dict[str, tuple[str, Family]],
    other: Footer,
    found: dict[str, tuple[str, Family]],
) -> None:
    if list(found.items()) == list(expected.items()):
        return
    differences = [f"{name!r} is missing" for name in expected if name not in found]
    differences += [f"{name!r} is new" for name in found if name not in expected]
    differences += [
        f"{name!r} is {found[name][0]}, not {type_name}"
        for name, (type_name, _) in expected.items()
        if name in found and found[name] != expected[name]
    ]
    if not differences:
        differences = ["the columns are in another order"]
    shown = ", ".join(differences[:10])
    more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
    raise InvalidParquetError(
        f"the files of {snapshot.uri} disagree on their columns: compared with {first.file.path}, in "
        f"{other.file.path} {shown}{more}. Let its producer write all files with one schema."
    )


def _leaf_positions(schema: pa.Schema) -> list[int | None]:
    """Index of each top-level column among the leaf columns; None for nested ones, which have several."""
    positions: list[int | None] = []
    offset = 0
    for field in schema:
        count = _leaves(field.type)
        positions.append(offset if count == 1 and not _is_nested(field.type) else None)
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


def partition_values(path: str) -> dict[str, str | None]:
    """Hive partition values in a file's path: ``day=2026-01-01/part.parquet`` has ``day``."""
    values: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, sign, value = folder.partition("=")
        if sign and name:
            values[unquote(name)] = None if value == _NULL_PARTITION else unquote(value)
    return values


def _partition_columns(snapshot: Snapshot, taken: Collection[str], position: int, rows: int) -> list[Column]:
    per_file = [partition_values(file.path) for file in snapshot.files]
    names = list(per_file[0])
    for file, values in zip(snapshot.files, per_file, strict=True):
        if list(values) != names:
            raise InvalidParquetError(
                f"the partition folders of {snapshot.uri} disagree: {snapshot.files[0].path} has {names}, "
                f"{file.path} has {list(values)}. Name one level of partitions, or let its producer "
                f"write one."
            )
    columns: list[Column] = []
    lowered = {name.lower() for name in taken}
    if any(name.lower() in lowered for name in names):
        # The files repeat the partition's column; their own values are taken, and no folder's.
        return []
    for name in names:
        values_of = {values[name] for values in per_file} - {None}
        type_name, family = _partition_type({value for value in values_of if value is not None})
        columns.append(
            Column(name, type_name, family, position + len(columns), None, rows * 8, partition=True)
        )
    return columns


def _partition_type(values: set[str]) -> tuple[str, Family]:
    if values and all(re.fullmatch(r"-?\d{1,18}", value) for value in values):
        return "int64", "int"
    if values and all(
        re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", value) for value in values
    ):
        return "date32", "date"
    return "string", "string"
