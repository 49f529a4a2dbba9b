# SPDX-License-Identifier: Apache-2.0
"""
Remove old versions of a published dataset, but no file that a version which stays refers to.

A version may name files of earlier ones, see :mod:`~airflow_provider_mlbridge.storage.manifest`. Of an
expired version those stay that a kept manifest names; they go with the last version that names them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from airflow_provider_mlbridge.storage.local import is_temporary
from airflow_provider_mlbridge.storage.manifest import (
    MANIFEST_NAME,
    VERSIONS_FOLDER,
    manifest_of,
    read_pointer,
    version_prefix,
)
from airflow_provider_mlbridge.storage.store import ObjectStore

log = logging.getLogger(__name__)


def remove_old_versions(
    base_uri: str,
    store: ObjectStore,
    *,
    kept: Collection[str],
    expired: Collection[str],
    abandoned_after: timedelta,
) -> None:
    """
    Remove versions that have expired, and what publications that died have left.

    :param base_uri: the prefix that all versions share, with a slash at its end.
    :param kept: names of versions that stay; those that the pointer names stay in any case.
    :param expired: names of versions that were current once, and may go unless they are kept.
    :param abandoned_after: the age from which other versions go, too.
    :raises InvalidManifestError: when a version that stays has a manifest that cannot be understood; nothing
        is removed then, since it may refer to any file.
    """
    folder = base_uri + VERSIONS_FOLDER + "/"
    files: dict[str, list[str]] = {}
    newest: dict[str, datetime] = {}
    for info in store.list(folder):
        name = info.uri.removeprefix(folder).split("/", 1)[0]
        files.setdefault(name, []).append(info.uri)
        newest[name] = max(newest.get(name, info.modified_at), info.modified_at)
    kept = set(kept)
    pointer = read_pointer(base_uri, store)
    if pointer is not None:
        # Others may have published since.
        kept |= {pointer.version, *(name for name, _ in pointer.history)}
    now = datetime.now(UTC)
    # Others never became current, or so long ago that no pointer lists them. One that is young may be about
    # to become it.
    going = [
        name
        for name, modified_at in newest.items()
        if name not in kept and (name in expired or now - modified_at > abandoned_after)
    ]
    if going:
        referred = _referred(base_uri, store, kept & files.keys())
        for name in going:
            _remove(f"{folder}{name}/", files[name], referred, store)
    if not base_uri.startswith("s3://"):
        # What a process that was killed had not put into its place.
        store.delete(
            info.uri
            for info in store.level(base_uri)[1]
            if is_temporary(info.uri.rsplit("/", 1)[-1]) and now - info.modified_at > abandoned_after
        )


def _referred(base_uri: str, store: ObjectStore, versions: Iterable[str]) -> set[str]:
    """The files of other versions that these refer to, as :func:`_place`."""

    def of(name: str) -> list[str]:
        uri = version_prefix(base_uri, name)
        if store.head(uri + MANIFEST_NAME) is None:
            return []
        return [_place(file.uri) for file in manifest_of(uri, store).files if file.version is not None]

    with ThreadPoolExecutor(max_workers=8) as pool:
        return {place for places in pool.map(of, versions) for place in places}


def _place(uri: str) -> str:
    """One notation for one file, whether its publisher gave a path or a ``file://`` URI."""
    path = uri.rsplit(f"/{VERSIONS_FOLDER}/", 1)[-1]
    if not uri.startswith("s3://"):
        while path != (path := unquote(path)):
            pass
    return path


def _remove(version_uri: str, files: Collection[str], referred: Collection[str], store: ObjectStore) -> None:
    gone = [uri for uri in files if _place(uri) not in referred]
    if not gone:
        return
    # The manifest goes first, so that a reader never finds a complete-looking version with holes.
    store.delete([version_uri + MANIFEST_NAME])
    if len(gone) == len(files):
        store.delete_below(version_uri)
        log.info("removed %s", version_uri)
        return
    store.delete(uri for uri in gone if uri != version_uri + MANIFEST_NAME)
    log.info("removed %s but for %d files that others refer to", version_uri, len(files) - len(gone))
