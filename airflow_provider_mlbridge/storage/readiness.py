# SPDX-License-Identifier: Apache-2.0
"""Is a datamart there, complete and fresh enough to start from?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import (
    DatasetEmptyError,
    DatasetIncompleteError,
    DatasetNotFoundError,
    InvalidParquetError,
    SnapshotChangedError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.parquet import read_footers
from airflow_provider_mlbridge.storage.selection import PartitionSelector
from airflow_provider_mlbridge.storage.snapshot import pin_snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Readiness:
    """
    What one look found.

    :param snapshot: the datamart, when it is complete.
    :param reason: why it is not, else empty.
    """

    snapshot: Snapshot | None
    reason: str


def look(
    datamart: str,
    *,
    modified_after: datetime | None = None,
    min_files: int = 1,
    partitions: PartitionSelector | None = None,
    s3_client: S3Client | None = None,
) -> Readiness:
    """
    Look at a datamart once.

    Complete means: no writer's temporary files, at least ``min_files`` Parquet files, every one with a
    readable footer, at least one row, and the newest file not older than ``modified_after``. That nothing
    changes any more takes two looks, see :func:`unchanged`.

    A table of Iceberg is complete, since its commits are atomic, when it has a snapshot with at least
    ``min_files`` files and a row in its data files (deletes are not counted off) that is not older either.

    :param modified_after: aware datetime; None for any age.
    :param partitions: look at these only, see :func:`~.snapshot.pin_snapshot`.
    :raises StorageAccessError: when the store refuses the credentials, since waiting cannot mend that.
    """
    try:
        snapshot = pin_snapshot(datamart, partitions=partitions, s3_client=s3_client)
        if snapshot.file_count < min_files:
            return Readiness(None, f"{datamart} has {snapshot.file_count} of {min_files} files")
        if modified_after is not None:
            modified_at = datetime.fromisoformat(snapshot.modified_at)
            # S3 keeps whole seconds, so a write within the same second counts as after.
            if modified_at < modified_after.astimezone(UTC).replace(microsecond=0):
                return Readiness(
                    None, f"{datamart} was written at {snapshot.modified_at}, not after {modified_after}"
                )
        rows = _rows(snapshot, s3_client)
    except (
        DatasetEmptyError,
        DatasetIncompleteError,
        DatasetNotFoundError,
        InvalidParquetError,
        SnapshotChangedError,
        StorageUnavailableError,
    ) as error:
        return Readiness(None, str(error))
    if rows == 0:
        return Readiness(None, f"{datamart} has {snapshot.file_count} files, but no row")
    return Readiness(snapshot, "")


def _rows(snapshot: Snapshot, s3_client: S3Client | None) -> int:
    if snapshot.iceberg:
        from airflow_provider_mlbridge.storage.iceberg.table import load_again

        return sum(file.rows for file in load_again(snapshot, s3_client=s3_client).data)
    return sum(footer.metadata.num_rows for footer in read_footers(snapshot, s3_client=s3_client))


def unchanged(first: Readiness, second: Readiness) -> Readiness:
    """The second look if both found the same complete datamart, else why not."""
    if first.snapshot is None or second.snapshot is None:
        return second if second.snapshot is None else first
    if first.snapshot.fingerprint != second.snapshot.fingerprint:
        return Readiness(
            None, f"{second.snapshot.uri} is changing: {_difference(first.snapshot, second.snapshot)}"
        )
    return second


def _difference(first: Snapshot, second: Snapshot) -> str:
    return (
        f"{first.file_count} files of {first.total_bytes} bytes at {first.pinned_at}, {second.file_count} of "
        f"{second.total_bytes} at {second.pinned_at}"
    )
