# SPDX-License-Identifier: Apache-2.0
"""Do all files of a datamart have the same columns?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.parquet import Footer

if TYPE_CHECKING:
    import pyarrow as pa


def common_schema(snapshot: Snapshot, footers: Sequence[Footer]) -> pa.Schema:
    """
    The Arrow schema that all files share.

    Metadata, nullability and what is only a matter of memory layout (dictionaries, large strings) may differ:
    Parquet stores the same values either way.

    :raises InvalidParquetError: when a file has no columns or the same name twice, or when the files disagree
        on names, types or order, which would let an engine convert values silently.
    """
    first = footers[0]
    for footer in footers:
        check_names(snapshot, footer)
    expected = {field.name: stored_type(field.type) for field in first.schema}
    for footer in footers[1:]:
        found = {field.name: stored_type(field.type) for field in footer.schema}
        if list(found.items()) == list(expected.items()):
            continue
        differences = [f"{name!r} is missing" for name in expected if name not in found]
        differences += [f"{name!r} is new" for name in found if name not in expected]
        differences += [
            f"{name!r} is {found[name]}, not {kind}"
            for name, kind in expected.items()
            if name in found and found[name] != kind
        ]
        if not differences:
            differences = ["the columns are in another order"]
        shown = ", ".join(differences[:10])
        more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
        raise InvalidParquetError(
            f"the files of {snapshot.uri} disagree on their columns: compared with {first.file.path}, in "
            f"{footer.file.path} {shown}{more}. Let its producer write all files with one schema, or allow "
            f'added and widened columns with schema_evolution="union".'
        )
    return first.schema


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type without what is only Arrow's layout in memory."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return stored_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(stored_type(kind.key_type), stored_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(stored_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, stored_type(field.type)) for field in kind.fields])
    return kind


def check_names(snapshot: Snapshot, footer: Footer) -> None:
    """
    Refuse a file without columns, or with the same name twice.

    :raises InvalidParquetError: naming the file and the column.
    """
    names = footer.schema.names
    uri = snapshot.root + footer.file.path
    if not names:
        raise InvalidParquetError(f"{uri} has no columns")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidParquetError(
            f"{uri} has {names.count(repeated[0])} columns named {repeated[0]!r}, so it is not clear which "
            f"one is meant. Let its producer give them names of their own."
        )
