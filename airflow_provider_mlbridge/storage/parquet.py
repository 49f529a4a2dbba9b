# SPDX-License-Identifier: Apache-2.0
"""Parquet footers by ranged reads: schema, rows and statistics without the data."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidParquetError
from airflow_provider_mlbridge.results import PinnedFile, Snapshot
from airflow_provider_mlbridge.storage.store import ObjectStore, open_store

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from mypy_boto3_s3 import S3Client

_MAGIC = b"PAR1"
_TAIL_BYTES = 64 * 1024
"""First guess for a footer; a longer one takes a second request."""


@dataclass(frozen=True)
class Footer:
    """
    Footer of one file.

    :param file: the pinned file.
    :param metadata: row groups, statistics, number of rows.
    :param schema: Arrow schema of the file's own columns (without hive partition columns).
    """

    file: PinnedFile
    metadata: pq.FileMetaData
    schema: pa.Schema


def read_footers(snapshot: Snapshot, *, s3_client: S3Client | None = None) -> tuple[Footer, ...]:
    """
    Footers of all files, in order; one or two small pinned reads each, eight at a time.

    :raises InvalidParquetError: for a file that is truncated or no Parquet, naming it.
    :raises SnapshotChangedError: when a file is no longer the pinned one.
    """
    from concurrent.futures import ThreadPoolExecutor

    check_is_files(snapshot)
    store = open_store(snapshot.root, s3_client=s3_client)
    with ThreadPoolExecutor(max_workers=min(8, max(1, len(snapshot.files)))) as pool:
        return tuple(pool.map(lambda file: _read_footer(snapshot, file, store), snapshot.files))


def check_is_files(snapshot: Snapshot) -> None:
    """
    Refuse the snapshot of an Iceberg table, whose files hold rows that were deleted.

    :raises ConfigurationError: saying how to read it.
    """
    if snapshot.iceberg:
        raise ConfigurationError(
            f"{snapshot.uri} is a table of Iceberg: its files are read inside storage.opened_snapshot(), "
            f"which leaves out deleted rows"
        )


def _read_footer(snapshot: Snapshot, file: PinnedFile, store: ObjectStore) -> Footer:
    import pyarrow as pa
    import pyarrow.parquet as pq

    uri = snapshot.root + file.path
    if file.size < 12:
        raise InvalidParquetError(f"{uri} has {file.size} bytes; the smallest Parquet file has 12. {_ADVICE}")
    tail = _tail(store, uri, file, min(_TAIL_BYTES, file.size))
    if tail[-4:] != _MAGIC:
        raise InvalidParquetError(
            f"{uri} does not end with the Parquet magic PAR1 but with {tail[-4:]!r}: it is truncated or of "
            f"another format. {_ADVICE}"
        )
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if needed + 4 > file.size:
        raise InvalidParquetError(
            f"{uri} claims a footer of {needed - 8} bytes in a file of {file.size} bytes: it is corrupt. "
            f"{_ADVICE}"
        )
    if needed > len(tail):
        tail = _tail(store, uri, file, needed)
    # read_metadata wants a file that starts with the magic; the footer holds absolute offsets but reading it
    # follows none of them.
    try:
        metadata = pq.read_metadata(io.BytesIO(_MAGIC + tail[-needed:]))
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidParquetError(f"{uri} has a footer that cannot be read: {error}. {_ADVICE}") from error
    return Footer(file, metadata, schema)


_ADVICE = "Let its producer write it again."


def _tail(store: ObjectStore, uri: str, file: PinnedFile, length: int) -> bytes:
    return store.read(
        uri, etag=file.etag, version_id=file.version_id, start=file.size - length, length=length
    )
