# SPDX-License-Identifier: Apache-2.0
"""A snapshot as files of one schema, whatever it was pinned from."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError, SnapshotChangedError
from airflow_provider_mlbridge.results import PinnedFile, Snapshot
from airflow_provider_mlbridge.storage.evolution import union_schema
from airflow_provider_mlbridge.storage.parquet import Footer, read_footers
from airflow_provider_mlbridge.storage.rewriting import Scratch, rewrite
from airflow_provider_mlbridge.storage.schemas import stored_type
from airflow_provider_mlbridge.storage.scratch import check_unchanged
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.store import ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import local_path, stored_path

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client


@contextmanager
def opened_snapshot(
    snapshot: Snapshot,
    *,
    s3_client: S3Client | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> Iterator[Snapshot]:
    """
    A snapshot that the readers of files can take, for the length of the block.

    That is the snapshot itself, at no cost, unless it is one of ``schema_evolution="union"`` whose files
    really differ, or of an Iceberg table. Then it is one of local files that all have one schema: those that
    had it already are downloaded (linked where they are local), the others are written anew, as is every file
    of an Iceberg table that has deleted rows. URI, fingerprint, times and the order of rows are the same.

    :param scratch_dir: folder for these files; the system's when None.
    :param scratch_limit_bytes: the most bytes they may take; nine tenths of the free space when None.
    :raises InvalidParquetError: when the files fit into no common schema, or one cannot be read.
    :raises ScratchLimitError: when they take more space than allowed.
    :raises SnapshotChangedError: when a file is no longer the pinned one.
    :raises MissingExtraError: for an Iceberg table without the extra ``iceberg``.
    """
    if snapshot.iceberg:
        from airflow_provider_mlbridge.storage.iceberg.reading import write_current_rows
        from airflow_provider_mlbridge.storage.iceberg.table import load_again

        table = load_again(snapshot, s3_client=s3_client)
        with _scratch(scratch_dir, scratch_limit_bytes) as scratch:
            paths = write_current_rows(table, scratch, s3_client=s3_client)
            yield _near(snapshot, scratch, paths)
        return
    if snapshot.schema_evolution != "union":
        yield snapshot
        return
    footers = read_footers(snapshot, s3_client=s3_client)
    if all(_columns(footer.schema) == _columns(footers[0].schema) for footer in footers):
        yield snapshot
        return
    store = open_store(snapshot.root, s3_client=s3_client)
    schema = union_schema(snapshot, _newest_first(snapshot, footers, store))
    with _scratch(scratch_dir, scratch_limit_bytes) as scratch:
        near = _near(snapshot, scratch, _write_union(snapshot, footers, schema, store, scratch))
        try:
            yield near
        except SnapshotChangedError:
            # A linked file was replaced; the error should name the file and not the link.
            if not snapshot.root.startswith("s3://"):
                check_unchanged(snapshot)
            raise


@contextmanager
def _scratch(scratch_dir: str | Path | None, limit: int | None) -> Iterator[Scratch]:
    with scratch_folder(scratch_dir, "opened") as folder:
        yield Scratch(folder.resolve(), limit)


def _near(snapshot: Snapshot, scratch: Scratch, paths: list[Path]) -> Snapshot:
    root = f"{scratch.folder}/"
    store = open_store(root)
    files = []
    for path in paths:
        info = store.head(str(path))
        if info is None:
            raise SnapshotChangedError(f"a file of {snapshot.uri} was removed while it was read")
        files.append(PinnedFile(str(path).removeprefix(root), info.size, info.etag))
    return replace(
        snapshot,
        root=root,
        files=tuple(files),
        file_count=len(files),
        total_bytes=sum(file.size for file in files),
        schema_evolution="strict",
        iceberg={},
    )


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, stored_type(field.type)) for field in schema]


def _newest_first(snapshot: Snapshot, footers: tuple[Footer, ...], store: ObjectStore) -> list[Footer]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        infos = list(pool.map(lambda footer: store.head(snapshot.root + footer.file.path), footers))
    written = {}
    for footer, info in zip(footers, infos, strict=True):
        if info is None or info.etag != footer.file.etag:
            raise SnapshotChangedError(
                f"{snapshot.root}{footer.file.path} was replaced or removed since it was pinned. Run the "
                f"chain again from its first task."
            )
        written[footer.file.path] = info.modified_at
    return sorted(footers, key=lambda footer: (written[footer.file.path], footer.file.path), reverse=True)


def _write_union(
    snapshot: Snapshot, footers: tuple[Footer, ...], schema: pa.Schema, store: ObjectStore, scratch: Scratch
) -> list[Path]:
    remote = snapshot.root.startswith("s3://")
    if remote:
        scratch.require(snapshot.total_bytes, snapshot.uri)
    else:
        check_unchanged(snapshot)
    paths = []
    for number, footer in enumerate(footers):
        file = footer.file
        uri = snapshot.root + file.path
        target = _partition_folder(snapshot, file, scratch) / f"{number:06d}.parquet"
        fits = _columns(footer.schema) == _columns(schema)
        source = target if fits else scratch.folder / "source.parquet"
        if remote:
            scratch.take(file.size, uri)
            store.download(uri, source, size=file.size, etag=file.etag, version_id=file.version_id)
        elif fits:
            target.symlink_to(local_path(uri))
        else:
            source = local_path(uri)
        if not fits:
            rewrite(uri, source, target, schema, lambda batch, _: _fitted(batch, schema), scratch)
            if remote:
                source.unlink()
                scratch.take(-file.size, uri)
        paths.append(target)
    if not remote:
        check_unchanged(snapshot)
    return paths


def _partition_folder(snapshot: Snapshot, file: PinnedFile, scratch: Scratch) -> Path:
    # Hive partitions are columns, so their folders stay; nothing else of a key becomes part of a local path.
    path = stored_path(snapshot.root, file.path)
    folder = scratch.folder.joinpath(*(part for part in path.split("/")[:-1] if "=" in part))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ConfigurationError(
            f"{snapshot.root}{file.path}: the file has other columns than the rest, so that it is to be "
            f"written anew, but its hive folders are longer than names of local folders may be. Give all "
            f"files the same columns, or select other partitions."
        ) from error
    return folder


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The columns of a batch by name, widened, with nulls for those that are not there."""
    import pyarrow as pa

    columns = []
    for field in schema:
        position = batch.schema.get_field_index(field.name)
        column = None if position < 0 else batch.column(position)
        if column is None or pa.types.is_null(column.type):
            column = pa.nulls(batch.num_rows, field.type)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
