# SPDX-License-Identifier: Apache-2.0
"""One interface over S3 and the local file system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from airflow_provider_mlbridge.storage.uris import check_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class ObjectInfo:
    """
    One stored object.

    :param uri: where it is.
    :param size: bytes.
    :param etag: changes whenever the content does; without quotes.
    :param version_id: in a bucket that keeps versions, when the call that found the object tells it.
    :param modified_at: aware, UTC.
    """

    uri: str
    size: int
    etag: str
    version_id: str | None
    modified_at: datetime


class ObjectStore(Protocol):
    """
    What the storage modules need of a store.

    Every method raises ``StorageAccessError`` when the store refuses the credentials and
    ``StorageUnavailableError`` when it does not answer.
    """

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        """All objects below the prefix, recursively, sorted by URI."""

    def level(self, prefix_uri: str) -> tuple[Sequence[str], Sequence[ObjectInfo]]:
        """The folders (with a slash at their end) and the objects directly below the prefix, sorted."""

    def head(self, uri: str) -> ObjectInfo | None:
        """The object, or None when there is none."""

    def read(
        self,
        uri: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """
        Bytes ``start`` to ``start + length`` of the object, all when ``length`` is None.

        :raises DatasetNotFoundError: when there is no such object.
        :raises SnapshotChangedError: when ``etag`` is given and the object is another one by now.
        """

    def download(self, uri: str, path: Path, *, size: int, etag: str, version_id: str | None = None) -> None:
        """
        Write the pinned object to ``path``.

        :raises SnapshotChangedError: when the object is another one by now, or gone.
        :raises ScratchLimitError: when the disk of ``path`` is full.
        """

    def put(
        self,
        uri: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """
        Store ``data``; readers see the old object or the new one, never a part.

        :param if_absent: only when there is no object yet.
        :param if_match: only when the object has this ETag.
        :raises PublishConflictError: when the condition does not hold.
        :raises ConditionalWriteUnsupportedError: when the store says that it knows no such condition.
        """

    def upload(self, path: Path, uri: str, *, content_type: str = "application/octet-stream") -> ObjectInfo:
        """Store a file, in parts when it is large."""

    def copy(self, source_uri: str, target_uri: str) -> ObjectInfo:
        """Copy within the store, without the bytes passing through here where the store can do that."""

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over."""

    def delete_below(self, prefix_uri: str) -> None:
        """Delete all objects below the prefix, and the folder that it is where the store has folders."""


class ConditionalWriteUnsupportedError(Exception):
    """The store answered that it does not implement the condition of a write."""


def open_store(uri: str, *, s3_client: S3Client | None = None) -> ObjectStore:
    """
    The store that holds ``uri``.

    :param s3_client: boto3 S3 client for ``s3://`` URIs; one from boto3's default session when None.
    :raises ConfigurationError: for a URI of another kind.
    """
    check_uri(uri)
    if uri.startswith("s3://"):
        from airflow_provider_mlbridge.storage.s3 import S3Store

        return S3Store(s3_client)
    from airflow_provider_mlbridge.storage.local import LocalStore

    return LocalStore()
