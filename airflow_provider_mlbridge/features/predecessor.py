# SPDX-License-Identifier: Apache-2.0
"""
What a build comes after, and whether it may.

A build notes what is current before it pins the datamart, and replaces only that. Whoever published meanwhile
may have read newer data, and the judgement of drift and the state that was taken over are of the version
that was noted. A repeat begins anew: it pins what was given by URI again. What another task has pinned stays
as old as it is, so that it must not replace what was built from the same datamart, pinned later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidManifestError, SnapshotChangedError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Manifest, earlier_snapshot, open_store
from airflow_provider_mlbridge.storage.manifest import (
    VERSION_PATTERN,
    VERSIONS_FOLDER,
    Pointer,
    read_current,
    read_pointer,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PINNED_AT = "datamart_pinned_at"
"""Key of the time at which the datamart was pinned: in the details, or in those of each partition."""

PARTITIONS_READ = "datamart_partitions"
"""Key, in the details, of the partitions of the datamart that were asked for."""

_VERSION = re.compile(rf"/{VERSIONS_FOLDER}/{VERSION_PATTERN}(?=/)")


class OvertakenError(Exception):
    """Another build has published meanwhile what this one should have known. To be begun anew."""


@dataclass(frozen=True)
class Predecessor:
    """
    What was current when a build began.

    :param pointer: the pointer; None when nothing had been published.
    :param manifest: of the version that it names; None when there is none, or it cannot be read.
    :param error: why it cannot be read.
    """

    pointer: Pointer | None
    manifest: Manifest | None
    error: InvalidManifestError | None = None

    @classmethod
    def of(cls, output_uri: str, *, s3_client: S3Client | None = None) -> Predecessor:
        """
        Read it.

        :raises InvalidManifestError: when the pointer itself cannot be understood.
        """
        store = open_store(output_uri, s3_client=s3_client)
        try:
            current = read_current(output_uri, store)
        except InvalidManifestError as error:
            return cls(read_pointer(output_uri, store), None, error)
        return cls(None, None) if current is None else cls(*current)

    @property
    def readable(self) -> Manifest | None:
        """:raises InvalidManifestError: when there is a version that cannot be read."""
        if self.error is not None:
            raise self.error
        return self.manifest

    @property
    def details(self) -> Mapping[str, Any]:
        """What the version says of itself; nothing when there is none to read."""
        return {} if self.manifest is None else self.manifest.details


@dataclass(frozen=True)
class Source:
    """
    Which datamart a build reads, and since when that has been settled.

    :param uri: the datamart.
    :param partitions: the partitions of it that were asked for.
    :param pinned_at: UTC time, ISO 8601.
    :param earlier: whether another task has pinned it, before this build began.
    """

    uri: str
    partitions: Mapping[str, Sequence[str]]
    pinned_at: str
    earlier: bool

    @classmethod
    def of(cls, given: object, snapshot: Snapshot) -> Source:
        """
        :param given: the datamart as the caller named it.
        :param snapshot: what was pinned of it.
        """
        earlier = earlier_snapshot(given)
        if earlier is None:
            return cls(snapshot.uri, snapshot.partitions, snapshot.pinned_at, earlier=False)
        # The rows that a check has left over are in no partitions, but are of those that it was asked for.
        partitions = {**earlier.partitions, **snapshot.partitions}
        return cls(snapshot.uri, partitions, earlier.pinned_at, earlier=True)

    @property
    def details(self) -> dict[str, Any]:
        """What to say of it in a manifest."""
        return {PINNED_AT: self.pinned_at, PARTITIONS_READ: _lists(self.partitions)}

    def check_newest(self, existing: Mapping[str, Any], place: str) -> None:
        """
        :param existing: what is said of the features that would be replaced.
        :param place: where they are.
        :raises SnapshotChangedError: when they were built from the same datamart, pinned later.
        """
        pinned_at = existing.get(PINNED_AT)
        if not self.earlier or pinned_at is None or pinned_at <= self.pinned_at:
            return
        if existing.get(PARTITIONS_READ, _lists(self.partitions)) != _lists(self.partitions):
            return
        if _VERSION.sub("", existing["datamart_uri"]) != _VERSION.sub("", self.uri):
            return
        raise SnapshotChangedError(
            f"{place} was built from {existing['datamart_uri']} as it was at {pinned_at}, and would be "
            f"replaced by features of the same datamart as it was at {self.pinned_at}. Run the chain again "
            f"from its first task; to go back to earlier data, give the URI of that data as the datamart."
        )


def _lists(partitions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {column: list(texts) for column, texts in partitions.items()}
