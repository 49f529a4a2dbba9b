# SPDX-License-Identifier: Apache-2.0
"""
Publish a dataset so that readers see all of it or nothing of it.

The order is: files into a new version prefix, the manifest, the pointer by compare-and-swap, the optional
copy to ``latest.parquet``. A process that dies anywhere leaves the previous version current and whole; a
later publication removes what it left behind.

The pointer also lists the versions that were current before, so that those count which readers may know of,
and not those of publications that died.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError, PublishConflictError, StorageError
from airflow_provider_mlbridge.storage.manifest import (
    CARRIED_SCHEMA_VERSION,
    MANIFEST_NAME,
    MANIFEST_SCHEMA_VERSION,
    POINTER_NAME,
    Manifest,
    Pointer,
    read_current,
    read_pointer,
    version_prefix,
)
from airflow_provider_mlbridge.storage.pointer import honours_conditions, replace_pointer
from airflow_provider_mlbridge.storage.published import Published, copy_latest
from airflow_provider_mlbridge.storage.retention import remove_old_versions
from airflow_provider_mlbridge.storage.store import ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

ABANDONED_AFTER = timedelta(hours=24)
"""What is older than this and never became current belongs to a publication that died."""

OnConflict = Literal["raise", "retry"]
"""What to do when another writer has published since a version was opened."""

_POINTER_ATTEMPTS = 40
_ONTO_ATTEMPTS = 120
"""As many writers as a mapped task has may publish a part each at the same time, and all shall succeed."""

_LONGEST_PAUSE_SECONDS = 1.0
_HISTORY_LENGTH = 1000
"""The most earlier versions that a pointer lists; of older ones only their age is known."""


@dataclass(frozen=True)
class Content:
    """
    What a version is.

    :param fingerprint: identity of its content.
    :param details: what to say about it; plain JSON.
    :param carried: manifest entries of files of earlier versions that belong to it, see
        :meth:`~airflow_provider_mlbridge.storage.manifest.PublishedFile.carried`.
    """

    fingerprint: str
    details: Mapping[str, Any]
    carried: Sequence[Mapping[str, Any]] = ()


@contextmanager
def publish_version(
    base_uri: str,
    *,
    fingerprint: str,
    s3_client: S3Client | None = None,
    keep_versions: int = 5,
    keep_at_least: timedelta = timedelta(0),
    on_conflict: OnConflict = "raise",
    predecessor: Pointer | Literal["current"] | None = "current",
) -> Iterator[Version]:
    """
    Open a new version below ``base_uri``; it counts once :meth:`Version.commit` has returned.

    :param base_uri: the prefix that all versions share.
    :param fingerprint: identity of what is published.
    :param keep_versions: how many versions to keep, the new one included; at least 1. The one that was
        current until now is kept in any case.
    :param keep_at_least: how long to keep a version after it was current, whatever the count says.
    :param on_conflict: ``raise`` when a later version must be made in knowledge of the one before; ``retry``
        to put this version on top of another writer's, as long as that one has another fingerprint.
    :param predecessor: the pointer that this version replaces, as it was read when the work began that is to
        be published; None when there was none; ``current`` for whatever is there now.
    :raises ConfigurationError: when an argument is wrong.
    :raises PublishConflictError: here and from ``commit``, when another writer has published since
        ``predecessor`` was read.
    """
    check_uri(base_uri, argument="output_uri")
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict must be 'raise' or 'retry', got {on_conflict!r}")
    if keep_at_least < timedelta(0):
        raise ConfigurationError(f"keep_at_least must not be negative, got {keep_at_least}")
    check_keep_versions(keep_versions)
    store = open_store(base_uri, s3_client=s3_client)
    previous = read_pointer(base_uri, store)
    if predecessor != "current" and (previous and previous.etag) != (predecessor and predecessor.etag):
        # Found out before the upload; whoever comes after this look is found out by the pointer's write.
        done = f"published {previous.version}" if previous else f"removed {POINTER_NAME}"
        raise PublishConflictError(f"{base_uri}: another writer has {done} in the meantime")
    version = Version(
        base_uri,
        fingerprint,
        store,
        previous,
        keep_versions=keep_versions,
        keep_at_least=keep_at_least,
        on_conflict=on_conflict,
    )
    try:
        yield version
    finally:
        if not version.committed:
            version.discard()


def check_keep_versions(value: object) -> int:
    """
    How many versions to keep.

    :raises ConfigurationError: when it is no whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"keep_versions must be a whole number, got {value!r}")
    if value < 1:
        raise ConfigurationError(f"keep_versions must be at least 1, got {value}")
    return value


class Version:
    """A version under construction; made by :func:`publish_version`."""

    def __init__(
        self,
        base_uri: str,
        fingerprint: str,
        store: ObjectStore,
        previous: Pointer | None,
        *,
        keep_versions: int,
        keep_at_least: timedelta,
        on_conflict: OnConflict,
    ) -> None:
        now = datetime.now(UTC)
        # The time sorts versions, the fingerprint tells people which is which, the random part keeps two
        # writers of the same content out of each other's files.
        self.name = f"{now:%Y%m%dT%H%M%SZ}-{fingerprint[:12]}-{secrets.token_hex(4)}"
        self.uri = version_prefix(base_uri, self.name)
        self.committed = False
        self._base_uri = as_prefix(base_uri)
        self._fingerprint = fingerprint
        self._store = store
        self._keep = keep_versions
        self._keep_at_least = keep_at_least
        self._on_conflict = on_conflict
        self._previous = previous
        self._conditional: bool | None = None
        self._created_at = now
        self._files: list[dict[str, Any]] = []
        self._document: dict[str, Any] = {}

    def add(self, path: Path, name: str) -> None:
        """Upload a file as ``name`` below the version's prefix."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        info = self._store.upload(path, self.uri + name)
        self._files.append({"name": name, "size": info.size, "sha256": sha256, "etag": info.etag})

    def add_bytes(self, name: str, data: bytes, content_type: str = "application/json") -> None:
        """Store ``data`` as ``name`` below the version's prefix."""
        info = self._store.put(self.uri + name, data, content_type=content_type)
        sha256 = hashlib.sha256(data).hexdigest()
        self._files.append({"name": name, "size": info.size, "sha256": sha256, "etag": info.etag})

    def commit(self, details: Mapping[str, Any], *, latest_parquet: str | None = None) -> Published:
        """
        Write the manifest and make this version the current one.

        :param details: what to say about the content; plain JSON.
        :param latest_parquet: name of the file to copy to ``latest.parquet`` below the base prefix.
        :raises PublishConflictError: when another writer published since this version was opened, and
            ``on_conflict`` does not say to go on, or other writers kept doing so.
        """
        content = Content(self._fingerprint, details)
        for attempt in range(1, _POINTER_ATTEMPTS + 1):
            if attempt > 1:
                self._pause(attempt)
            conflict = self._try(content)
            if conflict is None:
                break
            pointer = self._previous
            # Another version of the same is as good as this one: the caller is told, and may take it.
            same = pointer is not None and pointer.fingerprint == self._fingerprint
            if self._on_conflict != "retry" or same or attempt == _POINTER_ATTEMPTS:
                raise conflict
        latest_uri = None
        if latest_parquet is not None:
            latest_uri = copy_latest(self._base_uri, latest_parquet, self._store)
        return self._published(latest_uri)

    def commit_onto(self, compose: Callable[[Manifest | None], Content | None]) -> Published | None:
        """
        Like :meth:`commit`, for a version that says something about the one before it.

        :param compose: what the version is, given the manifest of the current one, or None when nothing has
            been published; asked again whenever another writer was first. What it raises ends the
            publication. None when there is nothing to publish any more.
        :return: None when ``compose`` said so.
        :raises InvalidManifestError: when the current version cannot be read.
        :raises PublishConflictError: when other writers were first time after time.
        """
        for attempt in range(1, _ONTO_ATTEMPTS + 1):
            if attempt > 1:
                self._pause(attempt)
            current = read_current(self._base_uri, self._store)
            self._previous = current and current[0]
            content = compose(current and current[1])
            if content is None:
                return None
            conflict = self._try(content)
            if conflict is None:
                break
            if attempt == _ONTO_ATTEMPTS:
                raise conflict
        return self._published(None)

    @staticmethod
    def _pause(attempt: int) -> None:
        # Of all who try at once one succeeds; the pauses differ, so that they come less and less at once.
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.01 * 2**attempt)))  # noqa: S311

    def _try(self, content: Content) -> PublishConflictError | None:
        """One attempt to become the current version; the error when another writer was first."""
        document = {
            "schema_version": CARRIED_SCHEMA_VERSION if content.carried else MANIFEST_SCHEMA_VERSION,
            "created_at": self._created_at.isoformat(timespec="seconds"),
            "fingerprint": content.fingerprint,
            "files": [*content.carried, *self._files],
            "details": dict(content.details),
        }
        body = json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
        manifest_uri = self.uri + MANIFEST_NAME
        if self._document != document:
            # No pointer has named this version yet, so that nobody has read another manifest of it.
            self._store.put(manifest_uri, body, content_type="application/json")
            self._document = document
        # From here on the version may be the current one, even when no answer tells so: it is not discarded
        # unless the pointer is seen to name another.
        self.committed = True
        try:
            self._move_pointer(manifest_uri, body, content.fingerprint)
        except StorageError as error:
            pointer = self._pointer_after(error)
            if pointer is not None and self._was_current(pointer):
                log.info(
                    "%s has named this version: only the answer to its write was lost",
                    self._base_uri + POINTER_NAME,
                )
                return None
            self.committed = False
            if not isinstance(error, PublishConflictError):
                raise
            self._previous = pointer
            return error
        return None

    def _published(self, latest_uri: str | None) -> Published:
        before = self._was_current_before(datetime.now(UTC))
        try:
            remove_old_versions(
                self._base_uri,
                self._store,
                kept={self.name, *(name for name, _ in self._kept())},
                expired={name for name, _ in before},
                abandoned_after=max(ABANDONED_AFTER, self._keep_at_least),
            )
        except StorageError as error:
            # The new version is published, whatever becomes of the old ones.
            log.warning("old versions below %s were not removed: %s", self._base_uri, error)
        manifest_uri = self.uri + MANIFEST_NAME
        return Published(self.uri, manifest_uri, latest_uri, Manifest(manifest_uri, self.uri, self._document))

    def discard(self) -> None:
        """Delete what was uploaded; called when the block is left without a commit."""
        try:
            self._store.delete_below(self.uri)
        except StorageError as error:
            # The error that ended the block is the one to report; a later publication removes the rest.
            log.warning("%s could not be removed: %s", self.uri, error)

    def _pointer_after(self, error: StorageError) -> Pointer | None:
        try:
            return read_pointer(self._base_uri, self._store)
        except StorageError as unknown:
            raise error from unknown

    def _was_current(self, pointer: Pointer) -> bool:
        return self.name == pointer.version or any(self.name == name for name, _ in pointer.history)

    def _move_pointer(self, manifest_uri: str, manifest_body: bytes, fingerprint: str) -> None:
        pointer_uri = self._base_uri + POINTER_NAME
        history = [
            [name, until.isoformat(timespec="seconds")] for name, until in self._kept()[:_HISTORY_LENGTH]
        ]
        document = {"version": self.name, "fingerprint": fingerprint, "history": history}
        body = json.dumps(document).encode()
        if self._conditional is None:
            self._conditional = honours_conditions(manifest_uri, manifest_body, self._store)
        replace_pointer(pointer_uri, body, self._previous, self._store, conditional=self._conditional)

    def _was_current_before(self, now: datetime) -> list[tuple[str, datetime]]:
        """The versions that were current, and until when, the latest first."""
        if self._previous is None:
            return []
        return [(self._previous.version, now), *self._previous.history]

    def _kept(self) -> list[tuple[str, datetime]]:
        """Those of them that stay."""
        now = datetime.now(UTC)
        # The version that was current until now is kept whatever the count says: a reader may be at it.
        count = max(1, self._keep - 1)
        return [
            (name, until)
            for position, (name, until) in enumerate(self._was_current_before(now))
            if position < count or now - until < self._keep_at_least
        ]
