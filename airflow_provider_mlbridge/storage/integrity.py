# SPDX-License-Identifier: Apache-2.0
"""Whether a published dataset is still all of what its manifest says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import InvalidManifestError, StorageAccessError
from airflow_provider_mlbridge.results import PinnedFile
from airflow_provider_mlbridge.storage.manifest import (
    MANIFEST_NAME,
    VERSION_PATTERN,
    VERSIONS_FOLDER,
    Manifest,
    read_manifest,
)
from airflow_provider_mlbridge.storage.store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_VERSION = re.compile(rf".*/{VERSIONS_FOLDER}/{VERSION_PATTERN}/")
_SHOWN = 10
"""The most names in a message."""


def manifest_above(root: str, store: ObjectStore, s3_client: S3Client | None) -> Manifest | None:
    """The manifest of the version that ``root`` is, or is a part of; None when there is none."""
    version = _VERSION.match(root)
    if version is None:
        return None
    uri = version[0] + MANIFEST_NAME
    try:
        return None if store.head(uri) is None else read_manifest(uri, s3_client=s3_client)
    except StorageAccessError:
        # A role may be allowed to read one part alone.
        log.info("%s cannot be read; the files below %s are taken as they are", uri, root)
        return None


def published_below(root: str, manifest: Manifest, wanted: Callable[[str], bool]) -> dict[str, str]:
    """
    ETags of the published files below ``root``, by their path below it as the store knows it.

    :param root: the version's prefix, or one below that.
    :param wanted: tells of such a path whether it counts.
    """
    part = _known(root, root.removeprefix(manifest.version_uri))
    known = {_known(root, name): etag for name, etag in manifest.etags.items()}
    below = {name.removeprefix(part): etag for name, etag in known.items() if name.startswith(part)}
    return {path: etag for path, etag in below.items() if wanted(path)}


def check_unchanged_since(root: str, published: Mapping[str, str], files: Iterable[PinnedFile]) -> None:
    """
    Compare files that are there with those that were published.

    :raises InvalidManifestError: naming the first that is another one, or was added.
    """
    for file in files:
        etag = published.get(_known(root, file.path))
        if etag != file.etag:
            raise InvalidManifestError(
                f"{root}{file.path} is not the file that was published: ETag {file.etag}, the manifest says "
                f"{etag}. Published versions must not be changed; publish anew."
            )


def check_complete(root: str, published: Iterable[str], found: Iterable[str]) -> None:
    """
    Look whether all published files are there.

    :raises InvalidManifestError: naming those that are not.
    """
    there = {_known(root, path) for path in found}
    missing = [path for path in published if path not in there]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InvalidManifestError(
            f"of what was published in {root}, {len(missing)} files are missing: "
            f"{', '.join(missing[:_SHOWN])}{more}. Published versions must not be changed; publish anew."
        )


def _known(root: str, path: str) -> str:
    # A manifest has the names of its publisher: escaped when that gave a file:// URI. The reader's URI of the
    # same folder may be of the other kind.
    return path if root.startswith("s3://") else unquote(path)
