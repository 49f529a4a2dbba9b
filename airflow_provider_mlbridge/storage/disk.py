# SPDX-License-Identifier: Apache-2.0
"""What a disk says when it cannot take more, as errors of this package."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_mlbridge.exceptions import (
    MLBridgeError,
    ScratchLimitError,
    StorageAccessError,
    StorageUnavailableError,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full; those of Arrow say it as well."""
    return isinstance(error, OSError) and error.errno in _FULL


def full_scratch(subject: str, folder: Path) -> ScratchLimitError:
    """The error for a disk that has filled up since its free space was looked at."""
    return ScratchLimitError(
        f"{subject}: the disk of {folder} became full while temporary files were written. Set "
        f"scratch_dir to a larger disk, or free some space."
    )


@contextmanager
def scratch_errors(subject: str, path: Path) -> Iterator[None]:
    """
    Report a disk that fills up while a temporary file is written.

    :param subject: what is written there, for the message.
    :raises ScratchLimitError: when the disk of ``path`` is full.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise full_scratch(subject, path.parent) from error


@contextmanager
def target_errors(path: Path) -> Iterator[None]:
    """
    Report what keeps a dataset's file from being written.

    :raises StorageAccessError: when the process may not write there.
    :raises StorageUnavailableError: when the disk is full, or fails.
    """
    try:
        yield
    except MLBridgeError:
        # Some of them are OSErrors too.
        raise
    except PermissionError as error:
        raise StorageAccessError(f"{path.parent}: not writable: {error.strerror}") from error
    except OSError as error:
        advice = ". Free some space, or publish to a larger disk" if is_full(error) else ""
        raise StorageUnavailableError(
            f"{path.parent}: cannot write: {error.strerror or error}{advice}"
        ) from error
