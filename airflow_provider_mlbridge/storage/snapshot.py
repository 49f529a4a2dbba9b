# SPDX-License-Identifier: Apache-2.0
"""
Pin a datamart: the exact objects it consists of at one moment.

What the first task pins is what all later tasks read, or they fail. See :class:`~..results.Snapshot`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetEmptyError,
    DatasetIncompleteError,
    DatasetNotFoundError,
    InvalidManifestError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.results import FeatureSet, PinnedFile, QualitySummary, Snapshot
from airflow_provider_mlbridge.storage.integrity import (
    check_complete,
    check_unchanged_since,
    files_below,
    heads,
    manifest_above,
    published_below,
)
from airflow_provider_mlbridge.storage.manifest import (
    POINTER_NAME,
    VERSION_PATTERN,
    VERSIONS_FOLDER,
    Manifest,
    manifest_of,
    read_manifest,
)
from airflow_provider_mlbridge.storage.selection import PartitionSelector, Selection, check_selector
from airflow_provider_mlbridge.storage.store import ObjectInfo, ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri, is_table, pattern_hint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_IN_PROGRESS = ("_temporary", ".hive-staging", "_delta_log_tmp", ".spark-staging")
"""Folders that Spark and Hive committers fill before they move the files to their place."""

_DELTA_LOG = re.compile(r"(^|/)_delta_log/[^/]+\.json$")

_UNPUBLISHED = re.compile(rf"{VERSIONS_FOLDER}/{VERSION_PATTERN}/")

_TABLE_METADATA = re.compile(r"(^|/)metadata/[^/]+\.metadata\.json$")

SCHEMA_EVOLUTION = ("strict", "union")


def fingerprint_of(files: Iterable[PinnedFile]) -> str:
    """
    sha256 (hex) over path, size and ETag of every file, in order of path.

    Version ids are left out, so that uploading the same bytes again gives the same fingerprint.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda item: item.path):
        digest.update(json.dumps([file.path, file.size, file.etag]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def pin_snapshot(
    datamart: str | Mapping[str, Any] | Snapshot,
    *,
    partitions: PartitionSelector | None = None,
    schema_evolution: str | None = None,
    s3_client: S3Client | None = None,
) -> Snapshot:
    """
    List the Parquet files of a datamart and pin them.

    :param datamart: the URI of one file, of a prefix (also hive-partitioned), of a dataset published by
        this package, whose pointer is followed, or of an Iceberg table (``iceberg://catalog/namespace.table``
        or its metadata file); or an earlier result that carries a snapshot, which is then checked to be
        unchanged.
    :param partitions: by partition column the value or the values to read, see
        :mod:`~airflow_provider_mlbridge.storage.selection`; all when None. With an earlier result they choose
        among its files.
    :param schema_evolution: what to do with files of different columns, see
        :func:`~airflow_provider_mlbridge.storage.opened_snapshot`: ``strict`` or ``union``; as in the earlier
        result, or ``strict``, when None. An Iceberg table has rules of its own for that.
    :param s3_client: boto3 S3 client for ``s3://`` URIs.
    :return: the snapshot, with all its files (those of an Iceberg table stay in its manifests).
    :raises ConfigurationError: for an argument that is wrong, among them a partition column that there is
        none of.
    :raises DatasetNotFoundError: when nothing is stored there, or nothing in those partitions.
    :raises DatasetEmptyError: when there is no Parquet file, or one of no bytes.
    :raises DatasetIncompleteError: when a writer is at work there.
    :raises InvalidManifestError: when a published dataset is not all of what its manifest says.
    :raises SnapshotChangedError: when an earlier snapshot no longer holds.
    """
    selection = check_selector(partitions)
    if schema_evolution not in (None, *SCHEMA_EVOLUTION):
        raise ConfigurationError(
            f"schema_evolution={schema_evolution!r} is not valid; valid are "
            f"{', '.join(map(repr, SCHEMA_EVOLUTION))}"
        )
    clean = _clean_part(datamart, s3_client)
    earlier = earlier_snapshot(datamart) if clean is None else clean
    if earlier is None:
        if not isinstance(datamart, str):
            raise ConfigurationError(f"datamart must be a URI or the output of a task, got {datamart!r}")
        uri = check_uri(datamart, argument="datamart", tables=True)
        snapshot = _pin(uri, selection, s3_client)
    else:
        snapshot = _chosen(_checked(earlier, s3_client), selection, s3_client)
    if schema_evolution is not None and not snapshot.iceberg:
        snapshot = replace(snapshot, schema_evolution=schema_evolution)
    _check_size(snapshot)
    return snapshot


def _checked(earlier: Snapshot, s3_client: S3Client | None) -> Snapshot:
    """The earlier snapshot with its files, if they are still what they were."""
    if earlier.iceberg:
        from airflow_provider_mlbridge.storage.iceberg.table import load_again

        return load_again(earlier, s3_client=s3_client).snapshot
    if earlier.files:
        return earlier
    found = _listed_again(earlier, check_selector(earlier.partitions), s3_client)
    if found.fingerprint != earlier.fingerprint:
        raise SnapshotChangedError(
            f"{earlier.uri} is no longer what was pinned at {earlier.pinned_at}: {earlier.file_count} files "
            f"of {earlier.total_bytes} bytes (fingerprint {earlier.fingerprint[:12]}) then, "
            f"{found.file_count} of {found.total_bytes} ({found.fingerprint[:12]}) now. "
            f"Run the chain again from its first task."
        )
    return replace(found, schema_evolution=earlier.schema_evolution)


def _chosen(earlier: Snapshot, selection: Selection, s3_client: S3Client | None) -> Snapshot:
    """Of an earlier snapshot the files that are selected."""
    if not selection.wanted:
        return earlier
    if earlier.iceberg:
        raise _no_partitions(earlier.uri)
    if earlier.partitions:
        if all(selection.holds(earlier.root, file.path) for file in earlier.files):
            return earlier
        raise ConfigurationError(
            f"{earlier.uri} was pinned with the partitions {check_selector(earlier.partitions).describe()}, "
            f"not {selection.describe()}. Leave partitions out here, or give the URI."
        )
    # Listed anew, since only a listing tells when the newest of the selected files was written.
    found = _listed_again(earlier, selection, s3_client)
    pinned = {file.path: (file.size, file.etag) for file in earlier.files}
    for file in found.files:
        if pinned.get(file.path) != (file.size, file.etag):
            raise SnapshotChangedError(
                f"{earlier.root}{file.path} is not as it was pinned at {earlier.pinned_at}. Run the chain "
                f"again from its first task."
            )
    return replace(found, schema_evolution=earlier.schema_evolution)


def _listed_again(earlier: Snapshot, selection: Selection, s3_client: S3Client | None) -> Snapshot:
    store = open_store(earlier.root, s3_client=s3_client)
    if not earlier.version:
        return _pin_root(earlier.uri, earlier.root, store, selection)
    try:
        manifest = manifest_of(earlier.root + earlier.version, store)
        return _pin_listed(earlier.uri, manifest.version_uri, store, selection, manifest)
    except InvalidManifestError as error:
        raise SnapshotChangedError(
            f"{earlier.uri} is no longer what was pinned at {earlier.pinned_at}: {error} Run the chain "
            f"again from its first task."
        ) from error


def _no_partitions(uri: str) -> ConfigurationError:
    return ConfigurationError(
        f"partitions: {uri} is a table of Iceberg, whose partitions are no folders. Leave partitions out; "
        f"row_condition restricts an expectation to some rows."
    )


def _check_size(snapshot: Snapshot) -> None:
    size = len(json.dumps(replace(snapshot, files=()).to_dict()).encode())
    if size > Snapshot.INLINE_LIMIT_BYTES:
        raise ConfigurationError(
            f"the snapshot of {snapshot.uri} takes {size} bytes without its files, at most "
            f"{Snapshot.INLINE_LIMIT_BYTES} can travel in XCom. Select fewer values of partitions (now "
            f"{sum(map(len, snapshot.partitions.values()))}), or the level of folders above them."
        )


def earlier_snapshot(value: object) -> Snapshot | None:
    """
    The snapshot inside a task's output, or None when ``value`` is a URI.

    :raises ConfigurationError: for a mapping that carries no snapshot.
    """
    if isinstance(value, Snapshot):
        return value
    if isinstance(value, QualitySummary):
        return value.snapshot
    if not isinstance(value, Mapping):
        return None
    if value.get("kind") == QualitySummary.KIND:
        return QualitySummary.from_dict(value).snapshot
    if value.get("kind") == FeatureSet.KIND:
        raise ConfigurationError(
            "datamart is the output of a feature build; give the datamart or its quality"
        )
    return Snapshot.from_dict(value)


def _clean_part(value: object, s3_client: S3Client | None) -> Snapshot | None:
    """
    The rows that a check has left over, when it put bad ones into quarantine; else None.

    :raises DatasetEmptyError: when it left none.
    :raises SnapshotChangedError: when they are not what it wrote.
    """
    if isinstance(value, Mapping) and value.get("kind") == QualitySummary.KIND:
        value = QualitySummary.from_dict(value)
    if not isinstance(value, QualitySummary) or value.clean_uri is None:
        return None
    if value.clean_fingerprint is None:
        raise DatasetEmptyError(
            f"all {value.rows} rows of {value.snapshot.uri} are in quarantine, in {value.quarantine_uri}"
        )
    try:
        found = _pin(value.clean_uri, Selection({}), s3_client)
    except InvalidManifestError as error:
        raise SnapshotChangedError(
            f"{value.clean_uri} is not what was written there when {value.snapshot.uri} was checked: {error} "
            f"Run the chain again from its first task."
        ) from error
    if found.fingerprint != value.clean_fingerprint:
        raise SnapshotChangedError(
            f"{value.clean_uri} is not what was written there when {value.snapshot.uri} was checked: "
            f"{found.file_count} files of {found.total_bytes} bytes now. Run the chain again from its first "
            f"task."
        )
    return found


def _pin(uri: str, selection: Selection, s3_client: S3Client | None) -> Snapshot:
    if is_table(uri):
        if selection.wanted:
            raise _no_partitions(uri)
        from airflow_provider_mlbridge.storage.iceberg.table import load_table

        return load_table(uri, s3_client=s3_client).snapshot
    store = open_store(uri, s3_client=s3_client)
    if not uri.endswith("/"):
        info = store.head(uri)
        if info is not None:
            if selection.wanted:
                raise ConfigurationError(f"partitions: {uri} is one file, which has no partitions")
            return _snapshot(uri, uri, [PinnedFile("", info.size, info.etag, info.version_id)], [info])
    root = as_prefix(uri)
    if store.head(root + POINTER_NAME) is None:
        manifest = manifest_above(root, store, s3_client)
    else:
        manifest = read_manifest(root, s3_client=s3_client)
        root = manifest.version_uri
    if manifest is None:
        return _pin_root(uri, root, store, selection)
    return _pin_published(uri, root, store, selection, manifest)


def _pin_published(
    uri: str, root: str, store: ObjectStore, selection: Selection, manifest: Manifest
) -> Snapshot:
    """Pin what a manifest says is below ``root``, all of it, and unchanged."""
    if any(file.version is not None for file in manifest.files):
        return _pin_listed(uri, root, store, selection, manifest)
    same = Selection(selection.wanted)
    published = published_below(root, manifest, lambda path: _is_data(path) and same.holds("", path))
    try:
        snapshot = _pin_root(uri, root, store, selection)
    except (DatasetNotFoundError, DatasetEmptyError):
        check_complete(root, published, (info.uri.removeprefix(root) for info in store.list(root)))
        raise
    check_unchanged_since(root, published, snapshot.files)
    check_complete(root, published, (file.path for file in snapshot.files))
    return snapshot


def _pin_listed(
    uri: str, root: str, store: ObjectStore, selection: Selection, manifest: Manifest
) -> Snapshot:
    """Pin what a manifest lists, when some of it lies below other versions; their folder is the root then."""
    versions = manifest.version_uri.removesuffix(manifest.version + "/")
    wanted = files_below(root, manifest, _is_data)
    chosen = [
        file
        for file in wanted
        if not selection.wanted or selection.holds(versions, file.uri.removeprefix(versions))
    ]
    if selection.wanted and not chosen and (wanted or selection.met):
        raise selection.nothing_found(uri)
    if not chosen:
        raise DatasetEmptyError(f"{manifest.uri} lists no Parquet file")
    if selection.wanted and selection.passed_over():
        log.warning("%s has no file of partitions %s; the others are read", uri, selection.passed_over())
    objects = heads(chosen, store)
    files = [PinnedFile(info.uri.removeprefix(versions), info.size, info.etag) for info in objects]
    return replace(
        _snapshot(uri, versions, files, objects), partitions=selection.texts(), version=manifest.version
    )


def _pin_root(uri: str, root: str, store: ObjectStore, selection: Selection) -> Snapshot:
    if not root.endswith("/"):
        info = store.head(root)
        if info is None:
            raise DatasetNotFoundError(f"{root} does not exist any more")
        return _snapshot(uri, root, [PinnedFile("", info.size, info.etag, info.version_id)], [info])
    objects: list[ObjectInfo] = []
    seen = 0
    _check_no_table_above(root, store)
    for info in selection.objects(root, store):
        seen += 1
        relative = info.uri.removeprefix(root)
        if _TABLE_METADATA.search(relative):
            raise _is_table_of_iceberg(uri, info.uri)
        if _DELTA_LOG.search(relative):
            raise ConfigurationError(
                f"{uri} is a table of Delta Lake ({info.uri}): read as plain files it would show deleted "
                f"rows and files that were replaced. Delta Lake is not supported: let its producer write "
                f"plain Parquet files, or a table of Iceberg."
            )
        folders = relative.split("/")[:-1]
        busy = next((folder for folder in folders if folder.startswith(_IN_PROGRESS)), None)
        if busy is not None:
            raise DatasetIncompleteError(
                f"{uri} is being written: {info.uri} is a temporary file of a writer. Wait for the writer; "
                f"if it died, delete {root}{busy}/."
            )
        if _is_hidden(relative):
            continue
        if _UNPUBLISHED.match(relative):
            raise DatasetIncompleteError(
                f"{uri} is being published for the first time: {info.uri} belongs to a version, but there is "
                f"no {POINTER_NAME} yet. Wait for the publisher, or run it again if it died."
            )
        if _is_data(relative):
            objects.append(info)
    if selection.wanted:
        selected = [info for info in objects if selection.holds(root, info.uri.removeprefix(root))]
        if not selected and (objects or selection.met):
            raise selection.nothing_found(uri)
        objects = selected
        if objects and selection.passed_over():
            log.warning("%s has no file of partitions %s; the others are read", uri, selection.passed_over())
    if not seen:
        raise DatasetNotFoundError(
            f"nothing is stored at {uri}: no object of that name and none below {root}{pattern_hint(uri)}"
        )
    if not objects:
        raise DatasetEmptyError(
            f"{root} holds {seen} object{'s' if seen > 1 else ''}, but none is a Parquet file (*.parquet, "
            f"*.parq, *.pq; names that begin with _ or . are passed over)"
        )
    files = [PinnedFile(info.uri.removeprefix(root), info.size, info.etag) for info in objects]
    return replace(_snapshot(uri, root, files, objects), partitions=selection.texts())


def _check_no_table_above(root: str, store: ObjectStore) -> None:
    # The folder "data" of an Iceberg table holds deleted rows, and files that no longer belong to it.
    if root.endswith("/data/"):
        for info in store.level(root.removesuffix("data/") + "metadata/")[1]:
            if info.uri.endswith(".metadata.json"):
                raise _is_table_of_iceberg(root, info.uri)


def _is_table_of_iceberg(uri: str, metadata: str) -> ConfigurationError:
    return ConfigurationError(
        f"{uri} belongs to a table of Iceberg ({metadata}): read as plain files it would show deleted rows "
        f"and files that were replaced. Give iceberg://catalog/namespace.table, or the URI of its newest "
        f"metadata file."
    )


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _is_data(relative: str) -> bool:
    """Whether an object of this name below the root belongs to the datamart."""
    return not _is_hidden(relative) and (
        relative.endswith((".parquet", ".parq", ".pq")) or _is_athena_file(relative)
    )


def _is_athena_file(relative: str) -> bool:
    """Athena's CTAS and INSERT write files without an ending, named by the query's id."""
    name = relative.rsplit("/", 1)[-1]
    return "." not in name and len(name) >= 30 and name.count("_") >= 4


def _snapshot(uri: str, root: str, files: list[PinnedFile], objects: list[ObjectInfo]) -> Snapshot:
    for file in files:
        if file.size == 0:
            raise DatasetEmptyError(f"{root}{file.path} has no bytes: was a writer interrupted?")
    return Snapshot(
        uri=uri,
        root=root,
        fingerprint=fingerprint_of(files),
        file_count=len(files),
        total_bytes=sum(file.size for file in files),
        pinned_at=datetime.now(UTC).isoformat(timespec="seconds"),
        modified_at=max(info.modified_at for info in objects).astimezone(UTC).isoformat(timespec="seconds"),
        files=tuple(files),
    )
