# SPDX-License-Identifier: Apache-2.0
"""
What a published dataset looks like, and how to read it.

::

    base/_latest.json                     pointer: {"version": "...", "fingerprint": "...", "history": [...]}
    base/versions/<version>/...           files; never changed once the version is current
    base/versions/<version>/manifest.json written last: a version without it does not count
    base/latest.parquet                   a copy of one file, for readers that know only a path

A file that the manifest lists is below the version's own prefix, unless its entry has a ``version``: then it
is at ``base/versions/<that version>/<name>``, where it was written. So a version that changes one part of a
dataset names the other parts as they are, and none of them is copied.
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
CARRIED_SCHEMA_VERSION = 2
"""Version of a manifest that names files of other versions, which readers of version 1 would not find."""

VERSION_PATTERN = r"\d{8}T\d{6}Z-[^/]+"
"""Names of versions; nothing else is followed, so that a pointer cannot lead out of its prefix."""

_READ_ATTEMPTS = 20


@dataclass(frozen=True)
class PublishedFile:
    """
    One file of a version.

    :param name: its name below the prefix of the version that wrote it.
    :param size: bytes.
    :param sha256: of its bytes, hex.
    :param etag: the store's.
    :param uri: where it is.
    :param version: the version that wrote it; None for the one whose manifest lists it.
    """

    name: str
    size: int
    sha256: str
    etag: str
    uri: str
    version: str | None = None

    def carried(self, by: str) -> dict[str, Any]:
        """
        Its entry in the manifest of another version.

        :param by: the version whose manifest lists it now.
        """
        return {
            "name": self.name,
            "size": self.size,
            "sha256": self.sha256,
            "etag": self.etag,
            "version": self.version or by,
        }


@dataclass(frozen=True)
class Manifest:
    """
    One published version.

    :param uri: where the manifest is.
    :param version_uri: prefix of the version, with a slash at its end.
    :param document: ``schema_version``, ``created_at``, ``fingerprint``, ``files`` (name, size, sha256, etag,
        and ``version`` when another version wrote it) and ``details``, which are the publisher's own.
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
    def version(self) -> str:
        """Name of the version."""
        return self.version_uri.rstrip("/").rsplit("/", 1)[-1]

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        """All files of the version, those that earlier ones have written among them."""
        folder = self.version_uri.rstrip("/").rsplit("/", 1)[0]
        files = []
        for item in self.document["files"]:
            version = item.get("version")
            prefix = self.version_uri if version is None else f"{folder}/{version}/"
            values = (item["name"], item["size"], item["sha256"], item["etag"])
            files.append(PublishedFile(*values, prefix + item["name"], version))
        return tuple(files)

    def file(self, name: str) -> PublishedFile:
        """
        The file of this name.

        :raises InvalidManifestError: when there is none.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise InvalidManifestError(f"{self.uri} lists no {name}")

    @property
    def etags(self) -> dict[str, str]:
        """ETag by name of the files below the version's own prefix."""
        return {file.name: file.etag for file in self.files if file.version is None}


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
    current = read_current(uri, store)
    return manifest_of(as_prefix(uri), store) if current is None else current[1]


def read_current(base_uri: str, store: ObjectStore) -> tuple[Pointer, Manifest] | None:
    """
    The pointer below ``base_uri`` and the manifest of the version it names; None without a pointer.

    :raises InvalidManifestError: when one of them cannot be understood, or there is no such version.
    :raises PublishConflictError: when the pointer moves on again and again in between.
    """
    for _ in range(_READ_ATTEMPTS):
        pointer = read_pointer(base_uri, store)
        if pointer is None:
            return None
        try:
            return pointer, manifest_of(version_prefix(base_uri, pointer.version), store)
        except InvalidManifestError:
            # Others may have published so often meanwhile that this version is an old one by now.
            again = read_pointer(base_uri, store)
            if again is None or again.version == pointer.version:
                raise
    raise PublishConflictError(f"{base_uri}: other writers kept publishing while it was read")


def manifest_of(version_uri: str, store: ObjectStore) -> Manifest:
    """
    The manifest of the version with this prefix.

    :raises InvalidManifestError: when there is none, or it cannot be understood.
    """
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
    if version not in (MANIFEST_SCHEMA_VERSION, CARRIED_SCHEMA_VERSION):
        raise InvalidManifestError(
            f"{uri} has schema_version {version!r}, this version of the provider reads "
            f"{MANIFEST_SCHEMA_VERSION} and {CARRIED_SCHEMA_VERSION}"
        )
    for name, kind in (("fingerprint", str), ("files", list), ("details", dict)):
        if not isinstance(document.get(name), kind):
            raise InvalidManifestError(f"{uri} has no valid {name!r}")
    for file in document["files"]:
        if not isinstance(file, dict) or not {"name", "size", "sha256", "etag"} <= file.keys():
            raise InvalidManifestError(f"{uri} lists a file without name, size, sha256 or etag: {file!r}")
        if "version" in file and not re.fullmatch(VERSION_PATTERN, str(file["version"])):
            raise InvalidManifestError(
                f"{uri} lists {file['name']!r} as a file of {str(file['version'])[:100]!r}, which is no "
                f"version"
            )
    return Manifest(uri, uri.removesuffix(MANIFEST_NAME), document)


def _json_object(uri: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise InvalidManifestError(f"{uri} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifestError(f"{uri} is not a JSON object")
    return document
