# SPDX-License-Identifier: Apache-2.0
"""Whether a published dataset is still all of what its manifest says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import InvalidManifestError, StorageAccessError
from airflow_provider_mlbridge.results import PinnedFile
from airflow_provider_mlbridge.storage.manifest import (
    MANIFEST_NAME,
    VERSION_PATTERN,
    VERSIONS_FOLDER,
    Manifest,
    PublishedFile,
    read_manifest,
)
from airflow_provider_mlbridge.storage.store import ObjectInfo, ObjectStore

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


def files_below(root: str, manifest: Manifest, wanted: Callable[[str], bool]) -> list[PublishedFile]:
    """
    All published files whose names put them below ``root``, wherever they were written, sorted by URI.

    :param root: the version's prefix, or one below that.
    :param wanted: tells of a path below the root, as the store knows it, whether it counts.
    """
    part = _known(root, root.removeprefix(manifest.version_uri))
    found = []
    for file in manifest.files:
        name = _known(root, file.name)
        if name.startswith(part) and wanted(name.removeprefix(part)):
            found.append(file)
    return sorted(found, key=lambda file: file.uri)


def heads(files: Sequence[PublishedFile], store: ObjectStore) -> list[ObjectInfo]:
    """
    Published files as they are in the store.

    :raises InvalidManifestError: when some are gone, or one is another than was published.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        infos = list(pool.map(lambda file: store.head(file.uri), files))
    missing = [file.uri for file, info in zip(files, infos, strict=True) if info is None]
    if missing:
        raise _missing(f"{len(files)} published files", missing)
    found = [info for info in infos if info is not None]
    for file, info in zip(files, found, strict=True):
        if info.etag != file.etag:
            raise _another(file.uri, info.etag, file.etag)
    return found


def check_unchanged_since(root: str, published: Mapping[str, str], files: Iterable[PinnedFile]) -> None:
    """
    Compare files that are there with those that were published.

    :raises InvalidManifestError: naming the first that is another one, or was added.
    """
    for file in files:
        etag = published.get(_known(root, file.path))
        if etag != file.etag:
            raise _another(root + file.path, file.etag, etag)


def check_complete(root: str, published: Iterable[str], found: Iterable[str]) -> None:
    """
    Look whether all published files are there.

    :raises InvalidManifestError: naming those that are not.
    """
    there = {_known(root, path) for path in found}
    missing = [path for path in published if path not in there]
    if missing:
        raise _missing(f"what was published in {root}", missing)


def _another(uri: str, found: str, published: str | None) -> InvalidManifestError:
    return InvalidManifestError(
        f"{uri} is not the file that was published: ETag {found}, the manifest says {published}. Published "
        f"versions must not be changed; publish anew."
    )


def _missing(whole: str, missing: Sequence[str]) -> InvalidManifestError:
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return InvalidManifestError(
        f"of {whole}, {len(missing)} files are missing: {', '.join(missing[:_SHOWN])}{more}. Published "
        f"versions must not be changed; publish anew."
    )


def _known(root: str, path: str) -> str:
    # A manifest has the names of its publisher: escaped when that gave a file:// URI. The reader's URI of the
    # same folder may be of the other kind.
    return path if root.startswith("s3://") else unquote(path)
