# SPDX-License-Identifier: Apache-2.0
"""
Temporary folders that do not outlive their process, even one that was killed.

A folder is deleted at the end of its block. A process that is killed cannot do so, and what it leaves may be
as large as a datamart, so whoever makes the next folder in the same place deletes it first::

    <place>/mlbridge-scratch-<purpose>-<random>/lock     locked (flock) for as long as the process lives
    <place>/mlbridge-scratch-<purpose>-<random>/files    what the block gets

The kernel drops the lock with the last process that has the file open. A child that was forked inside of the
block has it open too, and may be using the folder still, so the folder then stays until the child has ended.

Other folders are never touched, those that earlier releases left (``mlbridge-spill-...`` and the like)
included: without a lock nothing tells whether they are in use, and a task may run for longer than any age.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = "mlbridge-scratch-"
"""What the names of folders with a lock begin with."""

_LOCK, _FILES = "lock", "files"
_ATTEMPTS = 20

_LOCAL = frozenset(
    {b"bcachefs", b"btrfs", b"ext2", b"ext3", b"ext4", b"f2fs", b"overlay", b"tmpfs", b"xfs", b"zfs"}
)
"""
File systems that one kernel has to itself, whose locks every process that sees a file therefore sees.

Elsewhere a lock may be unknown, or known on the machine that took it only (NFS with ``local_lock``, Lustre
with ``localflock``, many FUSE file systems): the folder of a live task of another worker would look free.
"""

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@contextmanager
def scratch_folder(place: str | Path | None, purpose: str) -> Iterator[Path]:
    """
    A new empty folder for the length of the block, which only this user may enter.

    Folders that killed processes of this user left in the same place are deleted first. Neither that nor the
    deletion at the end ever fails the block: what cannot be deleted is logged. On file systems whose locks
    cannot be relied on (NFS for one) the folder has no lock, and nothing is deleted but it itself.

    :param place: the folder to make it in, which is made if need be; the system's for temporary files when
        None.
    :param purpose: a word for its name.
    """
    parent = Path(tempfile.gettempdir() if place is None else place).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    made = None
    if _is_local(parent):
        remove_abandoned(parent)
        made = _make_locked(parent, purpose)
    folder, lock = made or (Path(tempfile.mkdtemp(prefix=f"mlbridge-{purpose}-", dir=parent)), None)
    owner = os.getpid()
    try:
        yield folder if lock is None else folder / _FILES
    finally:
        # A forked child that leaves the block has no say over the folder of its parent.
        if os.getpid() == owner:
            _remove_own(folder, locked=lock is not None)
        if lock is not None:
            # Unlocking instead would, in a child, take the lock from the parent too.
            os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """
    Delete the folders in ``parent`` that killed processes of this user left.

    What cannot be deleted is logged.

    :param parent: a folder on a file system whose locks can be relied on.
    """
    try:
        within = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(within) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(PREFIX)]
            for name in names:
                _remove_if_abandoned(parent, within, name)
        finally:
            os.close(within)
    except OSError as error:
        log.warning("%s: cannot look for abandoned scratch folders: %s", parent, error.strerror)


def _remove_if_abandoned(parent: Path, within: int, name: str) -> None:
    try:
        # Where everyone may write, a link of this name may lead anywhere.
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except OSError:
        # A link, a file, of another user, or gone.
        return
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o777 != 0o700:
            return
        try:
            lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            # Just made, or almost removed. If it is empty nobody misses it: its maker takes another name.
            with suppress(OSError):
                os.rmdir(name, dir_fd=within)
            return
        try:
            if _try_lock(lock) and _is_at(lock, folder):
                _remove(folder, within, name)
                log.info("Deleted %s, which a killed process had left", parent / name)
        finally:
            os.close(lock)
    except OSError as error:
        log.warning(
            "%s: cannot delete what a killed process left: %s", parent / name, error.strerror or error
        )
    finally:
        os.close(folder)


def _make_locked(parent: Path, purpose: str) -> tuple[Path, int] | None:
    """
    A new folder and the open lock file in it; None when there are no locks.

    Before the lock is taken the folder looks abandoned, and somebody else may delete it. Nothing is in it
    then: once the lock is held, and still is the file of that name, nobody does.
    """
    for _ in range(_ATTEMPTS):
        folder = parent / f"{PREFIX}{purpose}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            raise
        try:
            if _try_lock(lock) and _is_at(lock, folder):
                (folder / _FILES).mkdir(mode=0o700)
                return folder, lock
        except OSError as error:
            os.close(lock)
            log.info("%s: no scratch folder with a lock: %s", parent, error.strerror)
            with suppress(OSError):
                (folder / _LOCK).unlink()
                folder.rmdir()
            return None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
    return None


def _try_lock(lock: int) -> bool:
    """Whether the lock was taken, which it is not when another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(lock: int, folder: int | Path) -> bool:
    """Whether an open lock file is still the one in the folder."""
    try:
        if isinstance(folder, int):
            found = os.stat(_LOCK, dir_fd=folder, follow_symlinks=False)
        else:
            found = (folder / _LOCK).lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(lock), found)


def _remove(folder: int, within: int, name: str) -> None:
    """Delete a folder whose lock is held. The lock goes last, so that whoever is killed here leaves it."""
    with suppress(FileNotFoundError):
        shutil.rmtree(_FILES, dir_fd=folder)
    os.unlink(_LOCK, dir_fd=folder)
    # Without its lock and empty, others take it for one just made and remove it too.
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=within)


def _remove_own(folder: Path, *, locked: bool) -> None:
    try:
        if locked:
            with suppress(FileNotFoundError):
                shutil.rmtree(folder / _FILES)
            (folder / _LOCK).unlink()
            with suppress(FileNotFoundError):
                folder.rmdir()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        log.warning("%s: cannot delete temporary files: %s", folder, error.strerror or error)


def _is_local(place: Path) -> bool:
    """Whether the file system of a folder is one whose locks can be relied on."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    path = os.fsencode(os.path.realpath(place)).rstrip(b"/") + b"/"
    kind, longest = b"", 0
    for mount in mounts:
        left, _, right = mount.partition(b" - ")
        point = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), left.split(b" ")[4]).rstrip(b"/") + b"/"
        # Of two in one place, the later one covers the earlier.
        if len(point) >= longest and path.startswith(point):
            kind, longest = right.split(b" ")[0], len(point)
    return kind in _LOCAL
