# SPDX-License-Identifier: Apache-2.0
"""The rows that a table of Iceberg has now, as local Parquet files of one schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import InvalidParquetError, SnapshotChangedError
from airflow_provider_mlbridge.storage.iceberg.deletes import Deletes, Keys
from airflow_provider_mlbridge.storage.iceberg.projection import Projection, arrow_schema
from airflow_provider_mlbridge.storage.iceberg.table import Table, TableFile
from airflow_provider_mlbridge.storage.rewriting import Scratch, rewrite
from airflow_provider_mlbridge.storage.store import open_store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client


def write_current_rows(table: Table, scratch: Scratch, *, s3_client: S3Client | None = None) -> list[Path]:
    """
    Bring every data file close, without deleted rows, in the table's columns.

    A file that has no deleted rows and the table's very columns is taken as it is. Folders of the table's
    partitions are not kept: their values are in the files, and transformed ones are no columns.

    :return: one file per data file, in the order of their URIs; one without rows when there is none.
    :raises SnapshotChangedError: when a file is gone, or not as large as the manifest says.
    """
    return _Writing(table, scratch, s3_client).run()


class _Writing:
    def __init__(self, table: Table, scratch: Scratch, s3_client: S3Client | None) -> None:
        self._table = table
        self._scratch = scratch
        self._client = s3_client
        self._target = arrow_schema(table.schema)
        self._deletes = Deletes(table, self._fetch_deletes)

    def run(self) -> list[Path]:
        import pyarrow.parquet as pq

        table = self._table
        remote = [file for file in table.data if file.uri.startswith("s3://")]
        self._scratch.require(sum(file.size for file in remote), table.snapshot.uri)
        paths = []
        for number, file in enumerate(table.data):
            path = self._scratch.folder / _name(number, file)
            self._write(file, path)
            paths.append(path)
        if not paths:
            paths = [self._scratch.folder / "000000.parquet"]
            pq.write_table(self._target.empty_table(), paths[0])
        return paths

    def _write(self, data: TableFile, target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        positions = self._deletes.positions(data)
        keys = self._deletes.keys(data)
        source = self._fetch(data, self._scratch.folder / "source.parquet")
        try:
            schema = pq.read_schema(source)
        except (pa.ArrowException, OSError) as error:
            raise InvalidParquetError(f"{data.uri} is no readable Parquet file: {error}") from error
        fields = list(self._table.schema.fields)
        plain = Projection(self._table, data, schema, fields)
        if not len(positions) and not keys and plain.changes_nothing(schema, self._target):
            source.rename(target)
            return
        extra = {field.name: field for key in keys for field in key.fields}
        current = _Current(
            Projection(self._table, data, schema, [*fields, *extra.values()]),
            self._target,
            data,
            positions,
            keys,
        )
        rewrite(data.uri, source, target, self._target, current.rows, self._scratch)
        if not source.is_symlink():
            self._scratch.take(-data.size, data.uri)
        source.unlink()

    def _fetch_deletes(self, file: TableFile) -> Path:
        """A delete file; it is read at once, so the next one may take its place."""
        path = self._scratch.folder / "deletes.parquet"
        if path.exists():
            self._scratch.take(0 if path.is_symlink() else -path.stat().st_size, file.uri)
            path.unlink()
        return self._fetch(file, path)

    def _fetch(self, file: TableFile, path: Path) -> Path:
        store = open_store(file.uri, s3_client=self._client)
        info = store.head(file.uri)
        if info is None or info.size != file.size:
            what = "was removed" if info is None else f"has {info.size} bytes instead of {file.size}"
            raise SnapshotChangedError(
                f"{file.uri} {what}, but snapshot {self._table.snapshot.iceberg['snapshot_id']} of "
                f"{self._table.snapshot.uri} needs it: the snapshot has expired, or its files were touched. "
                f"Run the chain again from its first task."
            )
        if file.uri.startswith("s3://"):
            self._scratch.take(file.size, file.uri)
            store.download(file.uri, path, size=info.size, etag=info.etag)
        else:
            path.symlink_to(file.uri)
        return path


def _name(number: int, file: TableFile) -> str:
    """A name that tells which data file it was, where a report gives the place of a row."""
    name = re.sub(r"[^\w.-]", "_", file.uri.rsplit("/", 1)[-1].removesuffix(".parquet"), flags=re.ASCII)
    return f"{number:06d}-{name[:200]}.parquet"


class _Current:
    """The rows of one data file that were not deleted."""

    def __init__(
        self,
        projection: Projection,
        target: pa.Schema,
        data: TableFile,
        positions: np.ndarray,
        keys: list[Keys],
    ) -> None:
        self._projection = projection
        self._target = target
        self._age = data.sequence_number
        self._positions = positions
        self._keys = keys

    def rows(self, batch: pa.RecordBatch, position: int) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        kept = np.ones(batch.num_rows, dtype=bool)
        first, end = np.searchsorted(self._positions, [position, position + batch.num_rows])
        kept[self._positions[first:end] - position] = False
        rows = self._projection.apply(batch)
        for keys in self._keys:
            kept &= ~keys.hold(rows, self._age)
        table = pa.Table.from_batches([rows]).select(self._target.names)
        if not kept.all():
            table = table.filter(pa.array(kept))
        return table.cast(self._target)
