# SPDX-License-Identifier: Apache-2.0
"""
Which rows of a data file were deleted; the rules are those of Iceberg's specification ("Scan Planning").

A position delete applies to data that is not newer than itself (sequence number at most its own) of the
same partition spec and partition. An equality delete applies to data that is older (a smaller sequence
number) of the same partition spec and partition, or of all, when it was written without a partition. Null
equals null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidParquetError, ScratchLimitError
from airflow_provider_mlbridge.storage.iceberg.files import location_uri
from airflow_provider_mlbridge.storage.iceberg.projection import Projection
from airflow_provider_mlbridge.storage.iceberg.table import Table, TableFile

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyiceberg.typedef import Record
    from pyiceberg.types import NestedField

_ROWS_LIMIT = 20_000_000
"""Deletes are held in memory: about a gigabyte for as many as this."""

Fetch = Callable[[TableFile], Path]
Partition = tuple[int, "Record"]


class Deletes:
    """
    The deletes of a table, read when first needed.

    :param fetch: gives the local path of a delete file.
    :raises ScratchLimitError: when they are too many to be held in memory.
    """

    def __init__(self, table: Table, fetch: Fetch) -> None:
        rows = sum(file.rows for file in (*table.position_deletes, *table.equality_deletes))
        if rows > _ROWS_LIMIT:
            raise ScratchLimitError(
                f"{table.snapshot.uri} has {rows} deletes in {len(table.position_deletes)} position and "
                f"{len(table.equality_deletes)} equality delete files; at most {_ROWS_LIMIT} can be applied. "
                f"Let its producer rewrite the data files (rewrite_data_files)."
            )
        self._table = table
        self._fetch = fetch
        everywhere = {
            spec_id
            for spec_id, spec in table.metadata.specs().items()
            if all(str(field.transform) == "void" for field in spec.fields)
        }
        self._global = [file for file in table.equality_deletes if file.spec_id in everywhere]
        self._equality = _by_partition(
            file for file in table.equality_deletes if file.spec_id not in everywhere
        )
        self._position = _by_partition(table.position_deletes)
        self._positions: dict[str, dict[str, np.ndarray]] = {}
        self._values: dict[str, pa.Table] = {}
        self._keys: dict[Partition, list[Keys]] = {}

    def positions(self, data: TableFile) -> np.ndarray:
        """The positions of the deleted rows of a data file, ascending, each once."""
        import numpy as np

        found = [np.empty(0, np.int64)]
        for file in self._position.get(_partition(data), ()):
            if data.sequence_number <= file.sequence_number:
                if file.uri not in self._positions:
                    self._positions[file.uri] = _read_positions(file, self._fetch(file))
                found.append(self._positions[file.uri].get(data.uri, found[0]))
        return np.unique(np.concatenate(found))

    def keys(self, data: TableFile) -> list[Keys]:
        """The keys of the deleted rows of a data file, by the columns that make up the key."""
        partition = _partition(data)
        if partition not in self._keys:
            # Data files come by their paths, so mostly partition by partition; one is kept.
            self._keys.clear()
            self._keys[partition] = list(self._keys_of(partition))
        return [keys for keys in self._keys[partition] if keys.newest > data.sequence_number]

    def _keys_of(self, partition: Partition) -> Iterator[Keys]:
        by_columns: dict[tuple[int, ...], list[TableFile]] = {}
        for file in (*self._global, *self._equality.get(partition, ())):
            by_columns.setdefault(file.equality_ids, []).append(file)
        for ids, files in sorted(by_columns.items()):
            fields = [self._field(field_id, files[0]) for field_id in ids]
            yield Keys(fields, [(self._read_keys(file), file.sequence_number) for file in files])

    def _read_keys(self, file: TableFile) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if file.uri not in self._values:
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
            self._values[file.uri] = pa.table(
                {field.name: _plain(keys[field.name], field) for field in fields}
            )
        return self._values[file.uri]

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
    :param deletes: per delete file its keys, one row each, and its sequence number.
    """

    def __init__(self, fields: Sequence[NestedField], deletes: Sequence[tuple[pa.Table, int]]) -> None:
        import numpy as np
        import pyarrow as pa

        self.fields = tuple(fields)
        self.newest = max(number for _, number in deletes)
        rows = pa.concat_tables([table for table, _ in deletes])
        columns = [rows[field.name].combine_chunks() for field in fields]
        self._values = [column.unique() for column in columns]
        self._pairs: list[pa.Array] = []
        numbers = self._numbers(columns)
        # The same key may have been deleted more than once; the newest reaches the most rows.
        ages = np.repeat([number for _, number in deletes], [table.num_rows for table, _ in deletes])
        self._ages = np.zeros(len(rows) + 1, np.int64)
        np.maximum.at(self._ages, numbers, ages)

    def hold(self, rows: pa.RecordBatch, sequence_number: int) -> np.ndarray:
        """For each row of data of this sequence number whether a newer delete has its key."""
        columns = [_plain(rows.column(field.name), field) for field in self.fields]
        held: np.ndarray = self._ages[self._numbers(columns)] > sequence_number
        return held

    def _numbers(self, columns: Sequence[pa.Array]) -> np.ndarray:
        """For each row the number of its key, or the last, which is no key's (and whose age is 0)."""
        import pyarrow.compute as pc

        numbers = None
        for position, (column, values) in enumerate(zip(columns, self._values, strict=True)):
            found = pc.index_in(column, value_set=values)
            if numbers is None:
                numbers = found
                continue
            pairs = _pair(numbers, found, len(values))
            if len(self._pairs) < position:
                self._pairs.append(pairs.unique())
            # A null pair means that one of the columns was not found; no key has one.
            numbers = pc.index_in(pairs, value_set=self._pairs[position - 1])
        found_numbers: np.ndarray = pc.fill_null(numbers, -1).to_numpy(zero_copy_only=False)
        return found_numbers


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


def _partition(file: TableFile) -> Partition:
    return file.spec_id, file.partition


def _by_partition(files: Iterable[TableFile]) -> dict[Partition, list[TableFile]]:
    found: dict[Partition, list[TableFile]] = {}
    for file in files:
        found.setdefault(_partition(file), []).append(file)
    return found


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
