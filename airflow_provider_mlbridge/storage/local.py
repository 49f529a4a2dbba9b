# SPDX-License-Identifier: Apache-2.0
"""Datasets on the local file system, with the guarantees of an object store: whole files, pinned reads."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from airflow_provider_mlbridge.exceptions import (
    DatasetNotFoundError,
    PublishConflictError,
    SnapshotChangedError,
    StorageAccessError,
)
from airflow_provider_mlbridge.storage.disk import scratch_errors, target_errors
from airflow_provider_mlbridge.storage.store import ObjectInfo
from airflow_provider_mlbridge.storage.uris import local_path

_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = "._", ".tmp"


class LocalStore:
    """Files below ``file://`` URIs. An ETag is modification time, inode and size."""

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        """All files below the folder, recursively, sorted by URI."""
        root = local_path(prefix_uri)
        if not root.is_dir():
            return
        found: list[ObjectInfo] = []
        try:
            for folder, _, names in os.walk(root, onerror=_raise_unless_removed):
                for name in names:
                    path = Path(folder) / name
                    relative = path.relative_to(root).as_posix()
                    if prefix_uri.startswith("file://"):
                        relative = quote(relative, safe="/=")
                    with suppress(FileNotFoundError):  # removed between listing and stat
                        found.append(_info(prefix_uri.rstrip("/") + "/" + relative, path))
        except PermissionError as error:
            raise StorageAccessError(f"{prefix_uri}: not readable: {error.strerror}") from error
        yield from sorted(found, key=lambda item: item.uri)

    def level(self, prefix_uri: str) -> tuple[Sequence[str], Sequence[ObjectInfo]]:
        """The folders and the files directly below the folder."""
        root = local_path(prefix_uri)
        folders: list[str] = []
        files: list[ObjectInfo] = []
        if not root.is_dir():
            return folders, files
        try:
            for path in sorted(root.iterdir()):
                name = quote(path.name, safe="=") if prefix_uri.startswith("file://") else path.name
                uri = prefix_uri.rstrip("/") + "/" + name
                if path.is_dir():
                    folders.append(uri + "/")
                else:
                    with suppress(FileNotFoundError):  # removed between listing and stat
                        files.append(_info(uri, path))
        except PermissionError as error:
            raise StorageAccessError(f"{prefix_uri}: not readable: {error.strerror}") from error
        return folders, files

    def head(self, uri: str) -> ObjectInfo | None:
        """The file, or None when there is none or it is a folder."""
        path = local_path(uri)
        try:
            return _info(uri, path) if path.is_file() else None
        except FileNotFoundError:
            return None

    def read(
        self,
        uri: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,  # noqa: ARG002 - files have no versions
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Bytes of the file; with ``etag``, checked on the open file, so a replacement cannot slip in."""
        path = local_path(uri)
        try:
            with path.open("rb") as file:
                _check(uri, file.fileno(), etag)
                file.seek(start)
                data = file.read() if length is None else file.read(length)
                _check(uri, file.fileno(), etag)
                return data
        except FileNotFoundError as error:
            if etag is not None:
                raise SnapshotChangedError(f"{uri} was removed after it was pinned") from error
            raise DatasetNotFoundError(f"{uri} does not exist") from error
        except PermissionError as error:
            raise StorageAccessError(f"{uri}: not readable: {error.strerror}") from error

    def download(
        self,
        uri: str,
        path: Path,
        *,
        size: int,  # noqa: ARG002 - the ETag holds it
        etag: str,
        version_id: str | None = None,  # noqa: ARG002 - files have no versions
    ) -> None:
        """Copy the pinned file to ``path``."""
        try:
            with (
                scratch_errors(uri, path),
                local_path(uri).open("rb") as source,
                path.open("wb") as target,
            ):
                _check(uri, source.fileno(), etag)
                shutil.copyfileobj(source, target)
                _check(uri, source.fileno(), etag)
        except FileNotFoundError as error:
            raise SnapshotChangedError(f"{uri} was removed after it was pinned") from error

    def put(
        self,
        uri: str,
        data: bytes,
        *,
        content_type: str = "",  # noqa: ARG002 - files have no content type
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Write beside the target, then link or rename it into place."""
        target = local_path(uri)
        with target_errors(target), _temporary(target) as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _place(temporary, target, uri, if_absent=if_absent, if_match=if_match)
            return _info(uri, target)

    def upload(self, path: Path, uri: str, *, content_type: str = "") -> ObjectInfo:  # noqa: ARG002
        """Copy a file to its place, atomically."""
        target = local_path(uri)
        with target_errors(target), _temporary(target) as temporary:
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            return _info(uri, target)

    def copy(self, source_uri: str, target_uri: str) -> ObjectInfo:
        """Copy a file, atomically."""
        return self.upload(local_path(source_uri), target_uri)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete files, and folders that are empty after that."""
        for uri in uris:
            path = local_path(uri)
            with target_errors(path):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty, or already removed by another process
                path.parent.rmdir()

    def delete_below(self, prefix_uri: str) -> None:
        """Delete all files below the folder, the folders among them, and the folder itself."""
        self.delete([info.uri for info in self.list(prefix_uri)])
        for folder, _, _ in os.walk(local_path(prefix_uri), topdown=False):
            with suppress(OSError):  # not empty, or already removed by another process
                Path(folder).rmdir()


def _raise_unless_removed(error: OSError) -> None:
    # A folder may go away between its listing and the look into it.
    if not isinstance(error, FileNotFoundError):
        raise error


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}"


def _info(uri: str, path: Path) -> ObjectInfo:
    stat = path.stat()
    return ObjectInfo(uri, stat.st_size, _etag(stat), None, datetime.fromtimestamp(stat.st_mtime, UTC))


def _check(uri: str, descriptor: int, etag: str | None) -> None:
    found = _etag(os.fstat(descriptor))
    if etag is not None and found != etag:
        raise SnapshotChangedError(
            f"{uri} was replaced since it was pinned (ETag {etag} then, {found} now). Run the chain again "
            f"from its first task."
        )


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a writer had not put into its place yet."""
    return name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A file beside the target, for the length of the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        prefix=f"{_TEMPORARY_PREFIX}{target.name}.", suffix=_TEMPORARY_SUFFIX, dir=target.parent
    )
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _place(temporary: Path, target: Path, uri: str, *, if_absent: bool, if_match: str | None) -> None:
    if if_absent:
        try:
            os.link(temporary, target)
        except FileExistsError as error:
            raise PublishConflictError(f"{uri} already exists: another writer was first") from error
        return
    if if_match is None:
        temporary.replace(target)
        return
    # POSIX has no compare-and-swap for names, so writers take turns. The kernel drops the lock of a writer
    # that dies; the lock file itself stays, since removing it would let two writers lock different inodes.
    with target.with_name(f"._{target.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file() or _etag(target.stat()) != if_match:
            raise PublishConflictError(f"{uri} was replaced by another writer in the meantime")
        temporary.replace(target)
