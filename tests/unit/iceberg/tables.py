# SPDX-License-Identifier: Apache-2.0
"""
Tables of Iceberg with delete files, which pyiceberg cannot write.

The delete files are Parquet with the field ids of the specification; they enter the table by a manifest of
content "deletes" in a new snapshot, written with pyiceberg's own classes and committed through the catalog.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.typedef import Record

_numbers = itertools.count(1)


class DeleteManifestWriter(ManifestWriterV2):
    """A manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def catalog_in(folder: Path, **properties: str) -> SqlCatalog:
    """A catalog that needs no server, with an empty namespace."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/lake", **properties}
    catalog = SqlCatalog("lake", **options)
    catalog.create_namespace_if_not_exists("shop")
    return catalog


def data_files(table: Table) -> list[DataFile]:
    """Live data files, oldest first."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    entries = [
        entry
        for manifest in snapshot.manifests(table.io)
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(table.io)
    ]
    entries.sort(key=lambda entry: (entry.sequence_number or 0, entry.data_file.file_path))
    return [entry.data_file for entry in entries]


def delete_positions(table: Table, positions: Mapping[str, Sequence[int]], **options: Any) -> None:
    """Commit one position delete file: by data file, the positions of the deleted rows."""
    rows = sorted((path, position) for path, found in positions.items() for position in found)
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
            pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
        ]
    )
    columns = [[path for path, _ in rows], [position for _, position in rows]]
    _commit(
        table,
        pa.Table.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
        ),
        DataFileContent.POSITION_DELETES,
        **options,
    )


def delete_keys(table: Table, keys: Mapping[str, Sequence[Any]], **options: Any) -> None:
    """Commit one equality delete file: by column, the values of the deleted keys."""
    schema = schema_to_pyarrow(table.schema().select(*keys))
    schema = pa.schema([field.with_nullable(True) for field in schema])
    ids = [table.schema().find_field(name).field_id for name in schema.names]
    _commit(
        table,
        pa.table({field.name: pa.array(keys[field.name], field.type) for field in schema}).cast(schema),
        DataFileContent.EQUALITY_DELETES,
        equality_ids=ids,
        **options,
    )


def _commit(
    table: Table,
    rows: pa.Table,
    content: DataFileContent,
    *,
    equality_ids: list[int] | None = None,
    partition: Record | None = None,
    spec_id: int = 0,
    sequence_number: int | None = None,
    file_format: FileFormat = FileFormat.PARQUET,
) -> None:
    """
    Commit a delete file.

    :param sequence_number: of the deletes; that of the commit when None.
    """
    table.refresh()
    parent = table.current_snapshot()
    assert parent is not None
    number = next(_numbers)
    location = f"{table.location()}/data/deletes-{number}.parquet"
    with table.io.new_output(location).create() as sink:
        pq.write_table(rows, sink)
    file = DataFile.from_args(
        content=content,
        file_path=location,
        file_format=file_format,
        partition=partition or Record(),
        record_count=rows.num_rows,
        file_size_in_bytes=len(table.io.new_input(location)),
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        equality_ids=equality_ids,
    )
    snapshot_id = time.time_ns() % 2**62
    next_number = table.metadata.next_sequence_number()
    manifest = f"{table.location()}/metadata/deletes-{number}.avro"
    spec = table.metadata.specs()[spec_id]
    with DeleteManifestWriter(
        spec, table.schema(), table.io.new_output(manifest), snapshot_id, "null"
    ) as writer:
        writer.add_entry(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=snapshot_id,
                sequence_number=sequence_number,
                data_file=file,
            )
        )
    listed = f"{table.location()}/metadata/snap-{number}.avro"
    with write_manifest_list(
        2, table.io.new_output(listed), snapshot_id, parent.snapshot_id, next_number, "null"
    ) as listing:
        listing.add_manifests([*parent.manifests(table.io), writer.to_manifest_file()])
    snapshot = Snapshot.model_validate(
        {
            "snapshot-id": snapshot_id,
            "parent-snapshot-id": parent.snapshot_id,
            "sequence-number": next_number,
            "timestamp-ms": max(time.time_ns() // 1_000_000, parent.timestamp_ms + 1),
            "manifest-list": listed,
            "summary": Summary(Operation.DELETE),
            "schema-id": table.schema().schema_id,
        }
    )
    reference = {
        "action": "set-snapshot-ref",
        "ref-name": "main",
        "type": "branch",
        "snapshot-id": snapshot_id,
    }
    with table.transaction() as transaction:
        transaction._apply(
            (AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate.model_validate(reference))
        )
    table.refresh()
