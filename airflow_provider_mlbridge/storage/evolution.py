# SPDX-License-Identifier: Apache-2.0
"""
One schema for files whose columns changed over time: the policy ``schema_evolution="union"``.

Columns are matched by name. One that a file does not have is null there. Types may differ only where every
value of each stays exactly what it is: integers in a wider integer, floating-point numbers in a wider one,
integers of up to 32 bits in a double, decimals of one scale in a larger precision, columns of nothing but
nulls (Arrow's type null) in any type. Whatever else differs is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.parquet import Footer
from airflow_provider_mlbridge.storage.partitions import partition_columns
from airflow_provider_mlbridge.storage.schemas import check_names, stored_type

if TYPE_CHECKING:
    import pyarrow as pa


def union_schema(snapshot: Snapshot, footers: Sequence[Footer]) -> pa.Schema:
    """
    The schema that the rows of all files fit into without loss.

    :param footers: the newest file first; its columns come first, in its order, then those that only older
        files have. All columns may be null.
    :raises InvalidParquetError: when two files have a column of types that no common type holds, or columns
        whose names differ in case only, or when a folder names a partition as a column that only some files
        have.
    """
    import pyarrow as pa

    fields: dict[str, tuple[pa.DataType, Footer]] = {}
    spelled: dict[str, tuple[str, Footer]] = {}
    for footer in footers:
        check_names(snapshot, footer)
        for field in footer.schema:
            kind = stored_type(field.type)
            other, where = spelled.setdefault(field.name.lower(), (field.name, footer))
            if other != field.name and footer is not where:
                raise _disagree(
                    snapshot,
                    f"{field.name!r} in {_path(footer)} and {other!r} in {_path(where)} differ in case only",
                )
            if field.name not in fields:
                fields[field.name] = (kind, footer)
                continue
            known, where = fields[field.name]
            common = common_type(known, kind)
            if common is None:
                raise _disagree(
                    snapshot,
                    f"column {field.name!r} is {kind} in {_path(footer)} and {known} in {_path(where)}, and "
                    f"no type holds the values of both unchanged",
                )
            if common != known:
                fields[field.name] = (common, footer)
    _check_partitions(snapshot, footers, list(fields))
    return pa.schema([pa.field(name, kind) for name, (kind, _) in fields.items()])


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds every value of both unchanged, or None."""
    import pyarrow as pa

    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if types.is_integer(one) and types.is_integer(other):
        return _common_integer(one, other)
    if types.is_floating(one) and types.is_floating(other):
        return one if one.bit_width > other.bit_width else other
    if types.is_integer(one) and types.is_floating(other):
        return pa.float64() if one.bit_width <= 32 else None
    if types.is_floating(one) and types.is_integer(other):
        return common_type(other, one)
    if types.is_decimal(one) and types.is_decimal(other) and one.scale == other.scale:
        precision = max(one.precision, other.precision)
        return pa.decimal128(precision, one.scale) if precision <= 38 else pa.decimal256(precision, one.scale)
    return None


def _common_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa

    signed, unsigned = pa.types.is_signed_integer, pa.types.is_unsigned_integer
    if signed(one) == signed(other):
        return one if one.bit_width > other.bit_width else other
    negative, positive = (one, other) if unsigned(other) else (other, one)
    width = max(negative.bit_width, 2 * positive.bit_width)
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width)


def _check_partitions(snapshot: Snapshot, footers: Sequence[Footer], names: list[str]) -> None:
    # A column inside the files goes before the folders' one, but null is not the value of the folder.
    inside = {column.name for column in partition_columns(snapshot, names)}
    for column in partition_columns(snapshot, ()):
        if column.name in inside:
            continue
        for footer in footers:
            if column.name.lower() not in {name.lower() for name in footer.schema.names}:
                raise _disagree(
                    snapshot,
                    f"{column.name!r} is a partition of the folders and a column of some files, but not of "
                    f"{_path(footer)}",
                )


def _path(footer: Footer) -> str:
    return footer.file.path


def _disagree(snapshot: Snapshot, difference: str) -> InvalidParquetError:
    return InvalidParquetError(
        f"the files of {snapshot.uri} cannot be read as one table: {difference}. Let its producer write all "
        f"files with one schema."
    )
