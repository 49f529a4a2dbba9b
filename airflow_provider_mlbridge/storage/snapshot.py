# SPDX-License-Identifier: Apache-2.0
"""
Pin a datamart: the exact objects it consists of at one moment.

What the first task pins is what all later tasks read, or they fail. See :class:`~..results.Snapshot`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
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
from airflow_provider_mlbridge.storage.manifest import POINTER_NAME, VERSIONS_FOLDER, read_manifest
from airflow_provider_mlbridge.storage.store import ObjectInfo, ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_IN_PROGRESS = ("_temporary", ".hive-staging", "_delta_log_tmp", ".spark-staging")
"""Folders that Spark and Hive committers fill before they move the files to their place."""

_UNPUBLISHED = re.compile(rf"{VERSIONS_FOLDER}/\d{{8}}T\d{{6}}Z-[^/]+/")


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
    datamart: str | Mapping[str, Any] | Snapshot, *, s3_client: S3Client | None = None
) -> Snapshot:
    """
    List the Parquet files of a datamart and pin them.

    :param datamart: the URI of one file, of a prefix (also hive-partitioned) or of a dataset published by
        this package, whose pointer is followed; or an earlier result that carries a snapshot, which is then
        checked to be unchanged.
    :param s3_client: boto3 S3 client for ``s3://`` URIs.
    :return: the snapshot, with all its files.
    :raises DatasetNotFoundError: when nothing is stored there.
    :raises DatasetEmptyError: when there is no Parquet file, or one of no bytes.
    :raises DatasetIncompleteError: when a writer is at work there.
    :raises SnapshotChangedError: when an earlier snapshot no longer holds.
    """
    earlier = earlier_snapshot(datamart)
    if earlier is None:
        if not isinstance(datamart, str):
            raise ConfigurationError(f"datamart must be a URI or the output of a task, got {datamart!r}")
        return _pin(check_uri(datamart, argument="datamart"), s3_client)
    if earlier.files:
        return earlier
    found = _pin_root(earlier.uri, earlier.root, open_store(earlier.root, s3_client=s3_client))
    if found.fingerprint != earlier.fingerprint:
        raise SnapshotChangedError(
            f"{earlier.uri} is no longer what was pinned at {earlier.pinned_at}: {earlier.file_count} files "
            f"of {earlier.total_bytes} bytes (fingerprint {earlier.fingerprint[:12]}) then, "
            f"{found.file_count} of {found.total_bytes} ({found.fingerprint[:12]}) now. "
            f"Run the chain again from its first task."
        )
    return found


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


def _pin(uri: str, s3_client: S3Client | None) -> Snapshot:
    store = open_store(uri, s3_client=s3_client)
    if not uri.endswith("/"):
        info = store.head(uri)
        if info is not None:
            return _snapshot(uri, uri, [PinnedFile("", info.size, info.etag, info.version_id)], [info])
    root = as_prefix(uri)
    pointer = store.head(root + POINTER_NAME)
    if pointer is not None:
        manifest = read_manifest(root, s3_client=s3_client)
        root = manifest.version_uri
    snapshot = _pin_root(uri, root, store)
    if pointer is not None:
        _check_against_manifest(snapshot, manifest.etags)
    return snapshot


def _pin_root(uri: str, root: str, store: ObjectStore) -> Snapshot:
    if not root.endswith("/"):
        info = store.head(root)
        if info is None:
            raise DatasetNotFoundError(f"{root} does not exist any more")
        return _snapshot(uri, root, [PinnedFile("", info.size, info.etag, info.version_id)], [info])
    objects: list[ObjectInfo] = []
    seen = 0
    for info in store.list(root):
        seen += 1
        relative = info.uri.removeprefix(root)
        folders = relative.split("/")[:-1]
        busy = next((folder for folder in folders if folder.startswith(_IN_PROGRESS)), None)
        if busy is not None:
            raise DatasetIncompleteError(
                f"{uri} is being written: {info.uri} is a temporary file of a writer. Wait for the writer; "
                f"if it died, delete {root}{busy}/."
            )
        if any(part.startswith(("_", ".")) for part in relative.split("/")):
            continue
        if _UNPUBLISHED.match(relative):
            raise DatasetIncompleteError(
                f"{uri} is being published for the first time: {info.uri} belongs to a version, but there is "
                f"no {POINTER_NAME} yet. Wait for the publisher, or run it again if it died."
            )
        if relative.endswith((".parquet", ".parq", ".pq")) or _is_athena_file(relative):
            objects.append(info)
    if not seen:
        raise DatasetNotFoundError(
            f"nothing is stored at {uri}: no object of that name and none below {root}"
        )
    if not objects:
        raise DatasetEmptyError(
            f"{root} holds {seen} object{'s' if seen > 1 else ''}, but none is a Parquet file (*.parquet, "
            f"*.parq, *.pq; names that begin with _ or . are passed over)"
        )
    files = [PinnedFile(info.uri.removeprefix(root), info.size, info.etag) for info in objects]
    return _snapshot(uri, root, files, objects)


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


def _check_against_manifest(snapshot: Snapshot, etags: Mapping[str, str]) -> None:
    for file in snapshot.files:
        if etags.get(file.path) != file.etag:
            raise InvalidManifestError(
                f"{snapshot.root}{file.path} is not the file that was published: ETag {file.etag}, the "
                f"manifest says {etags.get(file.path)}. Published versions must not be changed; publish anew."
            )
