# SPDX-License-Identifier: Apache-2.0
"""Tables of Iceberg: find the metadata, pin a snapshot, list its data and delete files."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetEmptyError,
    DatasetNotFoundError,
    InvalidManifestError,
    MissingExtraError,
    MLBridgeError,
    SnapshotChangedError,
    StorageAccessError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.iceberg.files import StoreIO, location_uri, reading_with
from airflow_provider_mlbridge.storage.uris import as_prefix, table_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyiceberg.io import FileIO, InputFile
    from pyiceberg.manifest import ManifestEntry
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot as TableSnapshot
    from pyiceberg.typedef import Record

_INSTALL = "pip install 'airflow-provider-mlbridge[iceberg]'"
_READ_ONLY = {
    "py-io-impl": "airflow_provider_mlbridge.storage.iceberg.files.StoreIO",
    # A catalog in a database would otherwise make its tables where there are none.
    "init_catalog_tables": "false",
}
_COMPACT = "Let its producer rewrite the data files (rewrite_data_files), or write copy-on-write"
_SECRETS = (
    # User and password, up to the last @: a password may hold anything.
    (re.compile(r"://.*@"), "://***@"),
    (re.compile(r"\?[^\s()]*=[^\s()]*"), "?***"),
    (
        re.compile(
            r"(?i)((?:pass|pwd|secret|token|credential|key)\w*[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&)]+)"
        ),
        r"\1***",
    ),
)
"""What is cut out of messages about a catalog, and what stands in its place."""
_LONGEST = 300


@dataclass(frozen=True)
class TableFile:
    """
    One data or delete file.

    :param uri: where it is.
    :param size: bytes.
    :param rows: its rows; in a delete file, those that it deletes by position, or its keys.
    :param sequence_number: age of the content, for the rules which delete applies to which data.
    :param spec_id: the partition spec it was written with.
    :param partition: its values, in the order of that spec.
    :param equality_ids: for an equality delete, the field ids of its key; empty for others.
    """

    uri: str
    size: int
    rows: int
    sequence_number: int
    spec_id: int
    partition: Record
    equality_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """
    A table at one snapshot.

    :param snapshot: what travels to later tasks.
    :param metadata: pyiceberg's table metadata.
    :param schema: the columns to read.
    :param data: data files, by URI.
    :param position_deletes: files that delete rows by file and position, by URI.
    :param equality_deletes: files that delete rows by key, by URI.
    """

    snapshot: Snapshot
    metadata: TableMetadata
    schema: Schema
    data: tuple[TableFile, ...]
    position_deletes: tuple[TableFile, ...]
    equality_deletes: tuple[TableFile, ...]


def load_table(uri: str, *, s3_client: S3Client | None = None) -> Table:
    """
    A table at its current snapshot, or at the one that the URI names.

    The columns are those of the table now; for a snapshot that the URI names, those it had then.

    :param uri: ``iceberg://catalog/namespace.table``, with ``?snapshot_id=`` behind it or not, or the URI of
        a metadata file.
    :raises DatasetNotFoundError: when there is no such table.
    :raises DatasetEmptyError: when nothing was ever written to it.
    :raises MissingExtraError: without the extra ``iceberg``.
    """
    with _translated(uri, s3_client):
        metadata, location = _find(uri)
        wanted = table_name(uri).snapshot_id if uri.startswith("iceberg://") else None
        if wanted is None:
            snapshot = metadata.current_snapshot()
            if snapshot is None:
                raise DatasetEmptyError(
                    f"{uri} is a table of Iceberg without a snapshot: nothing was ever written to it"
                )
            schema_id = metadata.current_schema_id
        else:
            snapshot = metadata.snapshot_by_id(wanted)
            if snapshot is None:
                raise ConfigurationError(
                    f"{uri}: the table has no snapshot {wanted}; the newest are {_newest(metadata)}. It may "
                    f"have expired."
                )
            schema_id = metadata.current_schema_id if snapshot.schema_id is None else snapshot.schema_id
        return _table(uri, metadata, location, snapshot, schema_id)


def load_again(earlier: Snapshot, *, s3_client: S3Client | None = None) -> Table:
    """
    The table of an earlier snapshot, as it was pinned.

    :raises SnapshotChangedError: when that snapshot no longer exists.
    """
    metadata_path, snapshot_id = earlier.iceberg["metadata"], int(earlier.iceberg["snapshot_id"])
    location = metadata_path if _is_whole(metadata_path) else earlier.root + metadata_path
    with _translated(earlier.uri, s3_client):
        try:
            metadata = _read_metadata(location)
        except DatasetNotFoundError as error:
            # Old metadata files may be deleted after a commit, while their snapshots live on in newer ones.
            if not earlier.uri.startswith("iceberg://"):
                raise _changed(earlier, f"{location} was removed") from error
            metadata, location = _find(earlier.uri)
        snapshot = metadata.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise _changed(earlier, f"snapshot {snapshot_id} of the table has expired")
        try:
            table = _table(earlier.uri, metadata, location, snapshot, int(earlier.iceberg["schema_id"]))
        except DatasetNotFoundError as error:
            raise _changed(earlier, str(error)) from error
    if table.snapshot.fingerprint != earlier.fingerprint:
        raise _changed(earlier, f"snapshot {snapshot_id} of the table has other files now")
    return table


def _changed(earlier: Snapshot, what: str) -> SnapshotChangedError:
    return SnapshotChangedError(
        f"{earlier.uri} is no longer what was pinned at {earlier.pinned_at}: {what}. Run the chain again "
        f"from its first task."
    )


def _find(uri: str) -> tuple[TableMetadata, str]:
    """The table's metadata, and where it is."""
    if not uri.startswith("iceberg://"):
        return _read_metadata(uri), uri
    from pyiceberg.catalog import load_catalog

    name = table_name(uri)
    # The catalog is reached as pyiceberg is configured; the files below it as everything else here.
    try:
        opened = load_catalog(name.catalog, **_READ_ONLY)
    except ValueError as error:
        raise ConfigurationError(
            f"{uri}: pyiceberg has no valid configuration of a catalog {name.catalog!r} ({_told(error)}). "
            f"Set PYICEBERG_CATALOG__{name.catalog.upper()}__URI and the like, or write ~/.pyiceberg.yaml."
        ) from None
    with opened as catalog:
        table = catalog.load_table(name.identifier)
        return table.metadata, table.metadata_location


def _read_metadata(location: str) -> TableMetadata:
    from pyiceberg.exceptions import ValidationError
    from pyiceberg.serializers import FromInputFile

    file = StoreIO().new_input(location)
    try:
        return FromInputFile.table_metadata(cast("InputFile", file))
    except MLBridgeError:
        raise
    except (ValueError, OSError, EOFError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidManifestError(f"{location} is no readable metadata file of Iceberg: {reason}") from error


def _table(
    uri: str, metadata: TableMetadata, location: str, snapshot: TableSnapshot, schema_id: int
) -> Table:
    schema = metadata.schema_by_id(schema_id)
    if schema is None:
        raise InvalidManifestError(f"{location} has no schema {schema_id}, which its snapshot names")
    files: dict[str, list[TableFile]] = {"data": [], "position": [], "equality": []}
    for entry in _entries(snapshot):
        files[_kind(uri, entry)].append(_file(entry))
    data, position, equality = (
        tuple(sorted(files[kind], key=lambda file: file.uri)) for kind in ("data", "position", "equality")
    )
    root = as_prefix(location_uri(metadata.location))
    every = (*data, *position, *equality)
    pinned = Snapshot(
        uri=uri,
        root=root,
        fingerprint=_fingerprint([str(metadata.table_uuid), snapshot.snapshot_id, schema_id], every),
        file_count=len(every),
        total_bytes=sum(file.size for file in every),
        pinned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        modified_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC).isoformat(timespec="seconds"),
        iceberg={
            "metadata": location_uri(location).removeprefix(root),
            "snapshot_id": str(snapshot.snapshot_id),
            "schema_id": str(schema_id),
        },
    )
    return Table(pinned, metadata, schema, data, position, equality)


def _entries(snapshot: TableSnapshot) -> Iterator[ManifestEntry]:
    files = cast("FileIO", StoreIO())
    where = snapshot.manifest_list
    try:
        for manifest in snapshot.manifests(files):
            where = manifest.manifest_path
            yield from manifest.fetch_manifest_entry(files)
    except MLBridgeError:
        raise
    # Whatever a decoder meets in corrupt Avro: a SystemError has been seen.
    except Exception as error:
        raise InvalidManifestError(
            f"{where} is no readable manifest of Iceberg: {type(error).__name__}: {error}"
        ) from error


def _kind(uri: str, entry: ManifestEntry) -> str:
    from pyiceberg.manifest import DataFileContent, FileFormat

    file = entry.data_file
    if file.file_format == FileFormat.PUFFIN:
        raise ConfigurationError(
            f"{uri} has deletion vectors ({file.file_path}), which cannot be read yet. {_COMPACT}."
        )
    if file.file_format != FileFormat.PARQUET:
        raise ConfigurationError(
            f"{uri} has files of format {file.file_format.value} ({file.file_path}); only Parquet can be "
            f"read. {_COMPACT}, with write.format.default=parquet."
        )
    if file.key_metadata is not None:
        raise ConfigurationError(f"{uri} has encrypted files ({file.file_path}), which cannot be read")
    kinds = {
        DataFileContent.DATA: "data",
        DataFileContent.POSITION_DELETES: "position",
        DataFileContent.EQUALITY_DELETES: "equality",
    }
    return kinds[file.content]


def _file(entry: ManifestEntry) -> TableFile:
    file = entry.data_file
    return TableFile(
        location_uri(file.file_path),
        file.file_size_in_bytes,
        file.record_count,
        entry.sequence_number or 0,
        file.spec_id,
        file.partition,
        tuple(sorted(file.equality_ids or ())),
    )


def _fingerprint(identity: list[Any], files: tuple[TableFile, ...]) -> str:
    digest = hashlib.sha256(json.dumps(identity).encode())
    for file in files:
        digest.update(json.dumps([file.uri, file.size, file.sequence_number, file.equality_ids]).encode())
    return digest.hexdigest()


def _newest(metadata: TableMetadata) -> str:
    known = sorted(metadata.snapshots, key=lambda item: item.timestamp_ms, reverse=True)
    return ", ".join(str(item.snapshot_id) for item in known[:10]) or "none"


def _is_whole(path: str) -> bool:
    return path.startswith(("s3://", "/"))


def _database_errors() -> tuple[type[Exception], ...]:
    """What catalogs in a database raise; nothing when none is in use."""
    module = sys.modules.get("sqlalchemy.exc")
    return () if module is None else (module.SQLAlchemyError,)


def _told(error: Exception) -> str:
    """
    The first line of an error of a catalog, without what may be secret in it.

    Where a catalog is, pyiceberg takes from its own configuration, which often has a password or a token in
    it; its messages, and those of the libraries below it, quote it. They are therefore not chained either.
    """
    line = str(error).strip().partition("\n")[0]
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line)
    return line[:_LONGEST] or type(error).__name__


@contextmanager
def _translated(uri: str, s3_client: S3Client | None) -> Iterator[None]:
    """Read with this client, and translate pyiceberg's errors."""
    try:
        from pyiceberg import exceptions
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyiceberg":
            raise
        raise MissingExtraError(f"{uri} is a table of Iceberg; to read it: {_INSTALL}") from error
    refused = (
        exceptions.UnauthorizedError,
        exceptions.ForbiddenError,
        exceptions.AuthorizationExpiredError,
        exceptions.OAuthError,
    )
    try:
        with reading_with(s3_client):
            yield
    except MLBridgeError:
        raise
    except (exceptions.NoSuchTableError, exceptions.NoSuchNamespaceError) as error:
        raise DatasetNotFoundError(f"{uri}: the catalog has no such table ({_told(error)})") from None
    except refused as error:
        raise StorageAccessError(f"{uri}: the catalog refused access ({_told(error)})") from None
    except exceptions.RESTError as error:
        raise StorageUnavailableError(
            f"{uri}: the catalog did not answer properly ({_told(error)})"
        ) from None
    except OSError as error:
        raise StorageUnavailableError(f"{uri}: the catalog cannot be reached ({_told(error)})") from None
    except _database_errors() as error:
        raise StorageUnavailableError(f"{uri}: the catalog's database failed ({_told(error)})") from None
    except exceptions.NotInstalledError as error:
        raise MissingExtraError(f"{uri}: the catalog needs another package ({_told(error)})") from None
