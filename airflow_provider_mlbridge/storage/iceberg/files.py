# SPDX-License-Identifier: Apache-2.0
"""
Iceberg's files through our own object store.

pyiceberg would open S3 with an engine and credentials of its own. Here every byte comes through the boto3
client of the Airflow connection: its role, session token, endpoint, region and retries hold.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.storage.store import open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_client: ContextVar[S3Client | None] = ContextVar("mlbridge_iceberg_s3_client", default=None)


@contextmanager
def reading_with(s3_client: S3Client | None) -> Iterator[None]:
    """Let every :class:`StoreIO` that is made within the block read with this client."""
    token = _client.set(s3_client)
    try:
        yield
    finally:
        _client.reset(token)


def location_uri(location: str) -> str:
    """
    A location in Iceberg's notation as a URI of ours.

    ``s3a`` and ``s3n`` are other names of ``s3``; locations on disk have no escapes, so they become plain
    paths.

    :raises ConfigurationError: for a store that cannot be read.
    """
    scheme, sign, rest = location.partition("://")
    if sign and scheme in ("s3", "s3a", "s3n"):
        return f"s3://{rest}"
    path = location.removeprefix("file://").removeprefix("file:")
    if path.startswith("/"):
        return path
    raise ConfigurationError(
        f"the Iceberg table has files at {location!r}; tables in s3:// and on the local disk can be read"
    )


class StoreIO:
    """
    pyiceberg's way to files (its ``FileIO``), read-only, over our own stores.

    Its classes are not inherited from, so that this module can be imported without it.

    :param properties: of the catalog and the table; nothing in them is needed.
    """

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        self.properties = dict(properties or {})
        self._client = _client.get()

    def new_input(self, location: str) -> StoredFile:
        """A file to read."""
        return StoredFile(location, self._client)

    def new_output(self, location: str) -> NoReturn:
        """Refused: nothing is ever written to a datamart."""
        raise ConfigurationError(f"{location}: datamarts are only read")

    def delete(self, location: object) -> NoReturn:
        """Refused: nothing is ever deleted from a datamart."""
        raise ConfigurationError(f"{location}: datamarts are only read")


class StoredFile:
    """
    A file that pyiceberg reads (its ``InputFile``).

    :param location: where it is, in Iceberg's notation.
    """

    def __init__(self, location: str, s3_client: S3Client | None) -> None:
        self.location = location
        self._uri = location_uri(location)
        self._store = open_store(self._uri, s3_client=s3_client)

    def __len__(self) -> int:
        info = self._store.head(self._uri)
        return 0 if info is None else info.size

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self._store.head(self._uri) is not None

    def open(self, seekable: bool = True) -> io.BytesIO:  # noqa: ARG002 - always seekable
        """The whole content: metadata and manifests are small."""
        return io.BytesIO(self._store.read(self._uri))
