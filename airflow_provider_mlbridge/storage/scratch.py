# SPDX-License-Identifier: Apache-2.0
"""Pinned objects as local files, within a bounded scratch folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ScratchLimitError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.parquet import check_is_files
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.store import open_store
from airflow_provider_mlbridge.storage.uris import local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RESERVE = 0.9
"""Share of the free disk space that a snapshot may take."""


@contextmanager
def local_files(
    snapshot: Snapshot,
    *,
    s3_client: S3Client | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> Iterator[list[Path]]:
    """
    Local paths of the snapshot's files, in its order, for the length of the block.

    Objects in S3 are downloaded, pinned, into a folder of their own below ``scratch_dir``, and deleted at the
    end. They are numbered: nothing of a key becomes part of a local path, since keys may differ in ways that
    a file system does not tell apart (``a//b``), hold ``..``, or be longer than a file name may be. Files
    that are local already are used in place and checked before and after.

    :param scratch_dir: folder for temporary files; the system's when None.
    :param scratch_limit_bytes: the most that may be downloaded; nine tenths of the free space when None.
    :raises ScratchLimitError: when the snapshot is larger than that, before anything is downloaded.
    :raises SnapshotChangedError: when an object is no longer the pinned one.
    """
    check_is_files(snapshot)
    if not snapshot.root.startswith("s3://"):
        check_unchanged(snapshot)
        yield [local_path(snapshot.root + file.path) for file in snapshot.files]
        check_unchanged(snapshot)
        return
    with scratch_folder(scratch_dir, "downloads") as folder:
        _check_size(snapshot, folder, scratch_limit_bytes)
        store = open_store(snapshot.root, s3_client=s3_client)
        paths: list[Path] = []
        for number, file in enumerate(snapshot.files):
            path = folder / f"{number:06d}.parquet"
            store.download(
                snapshot.root + file.path, path, size=file.size, etag=file.etag, version_id=file.version_id
            )
            paths.append(path)
        yield paths


def _check_size(snapshot: Snapshot, folder: Path, limit: int | None) -> None:
    free = shutil.disk_usage(folder).free
    allowed = int(free * _RESERVE) if limit is None else min(limit, int(free * _RESERVE))
    if snapshot.total_bytes > allowed:
        raise ScratchLimitError(
            f"{snapshot.uri} has {snapshot.total_bytes} bytes, but only {allowed} may be used below {folder} "
            f"({free} are free, the limit is {limit}). Set scratch_dir to a larger disk, raise the limit, or "
            f"name fewer partitions."
        )


def check_unchanged(snapshot: Snapshot) -> None:
    """
    Look whether the files of a local snapshot are still the pinned ones.

    :raises SnapshotChangedError: naming the first that is not.
    """
    store = open_store(snapshot.root)
    for file in snapshot.files:
        store.read(snapshot.root + file.path, etag=file.etag, length=0)
