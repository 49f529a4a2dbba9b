# SPDX-License-Identifier: Apache-2.0
"""
What a published dataset looks like, and how to read it.

::

    base/_latest.json                     pointer: {"version": "...", "fingerprint": "...", "history": [...]}
    base/versions/<version>/...           files; never changed once the manifest is there
    base/versions/<version>/manifest.json written last: a version without it does not count
    base/latest.parquet                   a copy of one file, for readers that know only a path
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    DatasetNotFoundError,
    InvalidManifestError,
    PublishConflictError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.storage.store import ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import as_prefix, join

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POINTER_NAME = "_latest.json"
MANIFEST_NAME = "manifest.json"
VERSIONS_FOLDER = "versions"
MANIFEST_SCHEMA_VERSION = 1

VERSION_PATTERN = r"\d{8}T\d{6}Z-[^/]+"
"""Names of versions; nothing else is followed, so that a pointer cannot lead out of its prefix."""

_READ_ATTEMPTS = 20


@dataclass(frozen=True)
class Manifest:
    """
    One published version.

    :param uri: where the manifest is.
    :param version_uri: prefix of the version, with a slash at its end.
    :param document: ``schema_version``, ``created_at``, ``fingerprint``, ``files`` (name, size, sha256, etag)
        and ``details``, which are the publisher's own.
    """

    uri: str
    version_uri: str
    document: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Identity of the content, as its publisher defines it."""
        return str(self.document["fingerprint"])

    @property
    def details(self) -> Mapping[str, Any]:
        """What the publisher wrote about the content."""
        details: Mapping[str, Any] = self.document["details"]
        return details

    @property
    def etags(self) -> dict[str, str]:
        """ETag by file name."""
        return {file["name"]: file["etag"] for file in self.document["files"]}


@dataclass(frozen=True)
class Pointer:
    """
    What ``_latest.json`` says.

    :param version: name of the current version.
    :param fingerprint: identity of its content.
    :param etag: what a replacement is conditional on.
    :param history: versions that were current before, and until when (aware), the latest first; those that
        were removed are left out.
    """

    version: str
    fingerprint: str
    etag: str
    history: tuple[tuple[str, datetime], ...] = ()


def read_pointer(base_uri: str, store: ObjectStore) -> Pointer | None:
    """
    The pointer below ``base_uri``, or None when nothing has been published there.

    :raises InvalidManifestError: when there is one, but it cannot be understood.
    :raises PublishConflictError: when it is replaced again and again while it is read.
    """
    uri = join(base_uri, POINTER_NAME)
    for _ in range(_READ_ATTEMPTS):
        info = store.head(uri)
        if info is None:
            return None
        try:
            # The ETag must be that of the bytes that are read; a replacement in between means reading again.
            document = _json_object(uri, store.read(uri, etag=info.etag))
        except SnapshotChangedError:
            continue
        return _pointer(uri, document, info.etag)
    raise PublishConflictError(
        f"{uri} changed {_READ_ATTEMPTS} times while it was read: who keeps publishing there?"
    )


def _pointer(uri: str, document: Mapping[str, Any], etag: str) -> Pointer:
    try:
        version, fingerprint = str(document["version"]), str(document["fingerprint"])
    except KeyError as error:
        raise InvalidManifestError(f"{uri} has no {error}") from error
    if not re.fullmatch(VERSION_PATTERN, version):
        raise InvalidManifestError(
            f"{uri} names {version[:100]!r}, which is no version such as "
            f"20260131T060412Z-3afba6144ca4-2660ec06: it was not written by this provider. Publish to "
            f"another prefix."
        )
    try:
        history = tuple(
            (str(name), datetime.fromisoformat(until)) for name, until in document.get("history", ())
        )
    except (TypeError, ValueError) as error:
        raise InvalidManifestError(f"{uri} has no valid 'history': {error}") from error
    if any(until.tzinfo is None for _, until in history):
        raise InvalidManifestError(f"{uri} has a 'history' with times that have no zone")
    return Pointer(version, fingerprint, etag, history)


def read_manifest(uri: str, *, s3_client: S3Client | None = None) -> Manifest:
    """
    Read the manifest of a published dataset.

    :param uri: its base prefix, whose pointer is followed, the prefix of one version, or the manifest itself.
    :raises InvalidManifestError: when there is none, or it cannot be understood.
    """
    store = open_store(uri, s3_client=s3_client)
    if uri.endswith("/" + MANIFEST_NAME):
        return _read(uri, store)
    pointer = read_pointer(uri, store)
    version_uri = as_prefix(uri) if pointer is None else version_prefix(uri, pointer.version)
    return _read(join(version_uri, MANIFEST_NAME), store)


def version_prefix(base_uri: str, version: str) -> str:
    """Prefix of one version, with a slash at its end."""
    return as_prefix(join(as_prefix(base_uri) + VERSIONS_FOLDER, version))


def _read(uri: str, store: ObjectStore) -> Manifest:
    try:
        document = _json_object(uri, store.read(uri))
    except DatasetNotFoundError as error:
        raise InvalidManifestError(
            f"{uri} does not exist: {uri.removesuffix(MANIFEST_NAME)} is not a published version, or its "
            f"publication did not finish ({error}). Give the output of FeatureBuildOperator, or the prefix "
            f"it published to."
        ) from error
    version = document.get("schema_version")
    if version != MANIFEST_SCHEMA_VERSION:
        raise InvalidManifestError(
            f"{uri} has schema_version {version!r}, this version of the provider reads "
            f"{MANIFEST_SCHEMA_VERSION}"
        )
    for name, kind in (("fingerprint", str), ("files", list), ("details", dict)):
        if not isinstance(document.get(name), kind):
            raise InvalidManifestError(f"{uri} has no valid {name!r}")
    for file in document["files"]:
        if not isinstance(file, dict) or not {"name", "size", "sha256", "etag"} <= file.keys():
            raise InvalidManifestError(f"{uri} lists a file without name, size, sha256 or etag: {file!r}")
    return Manifest(uri, uri.removesuffix(MANIFEST_NAME), document)


def _json_object(uri: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise InvalidManifestError(f"{uri} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifestError(f"{uri} is not a JSON object")
    return document
