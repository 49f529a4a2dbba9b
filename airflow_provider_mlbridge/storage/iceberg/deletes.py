# SPDX-License-Identifier: Apache-2.0
"""
Which rows of a data file were deleted; the rules are those of Iceberg's specification ("Scan Planning").

A position delete applies to data that is not newer than itself (sequence number at most its own) of the
same partition spec and partition. An equality delete applies to data that is older (a smaller sequence
number) of the same partition spec and partition, or of all, when it was written without a partition. Null
equals null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidParquetError, ScratchLimitError
from airflow_provider_mlbridge.storage.iceberg.files import location_uri
from airflow_provider_mlbridge.storage.iceberg.projection import Projection
from airflow_provider_mlbridge.storage.iceberg.table import Table, TableFile

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyiceberg.types import NestedField

_ROWS_LIMIT = 20_000_000
"""Deletes are held in memory: about a gigabyte for as many as this."""

Fetch = Callable[[TableFile], Path]


class Deletes:
    """
    The deletes of a table, read when first needed.

    :param fetch: gives the local path of a delete file.
    :raises ScratchLimitError: when they are too many to be held in memory.
    """

    def __init__(self, table: Table, fetch: Fetch) -> None:
        self._table = table
        self._fetch = fetch
        self._positions: dict[str, dict[str, np.ndarray]] = {}
        self._keys: dict[str, pa.Table] = {}
        self._keys_by_files: dict[tuple[str, ...], Keys] = {}
        self._global = {
            spec_id
            for spec_id, spec in table.metadata.specs().items()
            if all(str(field.transform) == "void" for field in spec.fields)
        }
        rows = sum(file.rows for file in (*table.position_deletes, *table.equality_deletes))
        if rows > _ROWS_LIMIT:
            raise ScratchLimitError(
                f"{table.snapshot.uri} has {rows} deletes in {len(table.position_deletes)} position and "
                f"{len(table.equality_deletes)} equality delete files; at most {_ROWS_LIMIT} can be applied. "
                f"Let its producer rewrite the data files (rewrite_data_files)."
            )

    def positions(self, data: TableFile) -> np.ndarray:
        """The positions of the deleted rows of a data file, ascending, each once."""
        import numpy as np

        found = [np.empty(0, np.int64)]
        for file in self._table.position_deletes:
            if data.sequence_number <= file.sequence_number and _same_partition(data, file):
                if file.uri not in self._positions:
                    self._positions[file.uri] = _read_positions(file, self._fetch(file))
                found.append(self._positions[file.uri].get(data.uri, found[0]))
        return np.unique(np.concatenate(found))

    def keys(self, data: TableFile) -> list[Keys]:
        """The keys of the deleted rows of a data file, by the columns that make up the key."""
        by_columns: dict[tuple[int, ...], list[TableFile]] = {}
        for file in self._table.equality_deletes:
            if data.sequence_number < file.sequence_number and (
                file.spec_id in self._global or _same_partition(data, file)
            ):
                by_columns.setdefault(file.equality_ids, []).append(file)
        return [self._keys_of(ids, files) for ids, files in sorted(by_columns.items())]

    def _keys_of(self, ids: tuple[int, ...], files: Sequence[TableFile]) -> Keys:
        import pyarrow as pa

        name = tuple(file.uri for file in files)
        if name not in self._keys_by_files:
            # Most data files of a partition share their deletes; those of the others need not be kept.
            self._keys_by_files.clear()
            fields = tuple(self._field(field_id, files[0]) for field_id in ids)
            self._keys_by_files[name] = Keys(fields, pa.concat_tables(map(self._read_keys, files)))
        return self._keys_by_files[name]

    def _read_keys(self, file: TableFile) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if file.uri not in self._keys:
            path = self._fetch(file)
            fields = [self._field(field_id, file) for field_id in file.equality_ids]
            try:
                rows = pq.read_table(path).combine_chunks()
            except (pa.ArrowException, OSError) as error:
                raise InvalidParquetError(f"{file.uri} cannot be read: {error}") from error
            projection = Projection(self._table, file, rows.schema, fields)
            projection.require({field.field_id for field in fields})
            batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
            keys = pa.Table.from_batches([projection.apply(batch) for batch in batches])
            self._keys[file.uri] = pa.table({field.name: _plain(keys[field.name], field) for field in fields})
        return self._keys[file.uri]

    def _field(self, field_id: int, file: TableFile) -> NestedField:
        """The column of a key; it may have been dropped from the table since, and still counts."""
        schemas = sorted(self._table.metadata.schemas, key=lambda schema: schema.schema_id, reverse=True)
        for schema in (self._table.schema, *schemas):
            for field in schema.fields:
                if field.field_id == field_id and field.field_type.is_primitive:
                    return field.model_copy(update={"name": f"__mlbridge_key_{field_id}", "required": False})
        raise InvalidParquetError(
            f"{file.uri} deletes rows by column id {field_id}, which is no column of a plain type in any "
            f"schema of {self._table.snapshot.uri}"
        )


class Keys:
    """
    Rows to delete, by the values of some columns.

    Each column's values get numbers, and numbers of several columns are combined two by two into new ones, so
    that a lookup is one search per column, for any number of columns and rows.

    :param fields: the columns.
    :param rows: their values, one row per key.
    """

    def __init__(self, fields: Sequence[NestedField], rows: pa.Table) -> None:
        import pyarrow.compute as pc

        self.fields = tuple(fields)
        self._values: list[pa.Array] = []
        self._pairs: list[pa.Array] = []
        numbers = None
        for field in self.fields:
            column = rows[field.name].combine_chunks()
            values = column.unique()
            self._values.append(values)
            found = pc.index_in(column, value_set=values)
            if numbers is None:
                numbers = found
                continue
            pairs = _pair(numbers, found, len(values))
            self._pairs.append(pairs.unique())
            numbers = pc.index_in(pairs, value_set=self._pairs[-1])

    def hold(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """For each row whether its key is among these; the columns as in :attr:`fields`."""
        import pyarrow.compute as pc

        numbers = None
        for position, (field, values) in enumerate(zip(self.fields, self._values, strict=True)):
            found = pc.index_in(_plain(rows.column(field.name), field), value_set=values)
            if numbers is None:
                numbers = found
            else:
                pairs = _pair(numbers, found, len(values))
                # A null pair means that one of the columns was not found, which is no key.
                numbers = pc.index_in(pairs, value_set=self._pairs[position - 1])
        return pc.is_valid(numbers)


def _pair(one: pa.Array, other: pa.Array, count: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.add(pc.multiply(one.cast(pa.int64()), count), other.cast(pa.int64()))


def _plain(values: Any, field: NestedField) -> Any:
    """In one Arrow type for all files, and without extension types, which Arrow's searches do not know."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = schema_to_pyarrow(field.field_type)
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values if values.type == kind else values.cast(kind)


def _same_partition(data: TableFile, delete: TableFile) -> bool:
    return data.spec_id == delete.spec_id and data.partition == delete.partition


def _read_positions(file: TableFile, path: Path) -> dict[str, np.ndarray]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=["file_path", "pos"])
    except (pa.ArrowException, OSError) as error:
        raise InvalidParquetError(f"{file.uri} cannot be read: {error}") from error
    paths = rows["file_path"].combine_chunks().dictionary_encode()
    codes = paths.indices.to_numpy(zero_copy_only=False)
    positions = rows["pos"].to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    codes, positions = codes[order], positions[order]
    starts = np.searchsorted(codes, np.arange(len(paths.dictionary) + 1))
    return {
        location_uri(location): positions[starts[code] : starts[code + 1]]
        for code, location in enumerate(paths.dictionary.to_pylist())
    }
