# SPDX-License-Identifier: Apache-2.0
"""What has been published: the current version, whether it is the one that is wanted, and the copy of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import InvalidManifestError, PublishConflictError
from airflow_provider_mlbridge.storage.manifest import Manifest, read_manifest, read_pointer, version_prefix
from airflow_provider_mlbridge.storage.store import ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import join

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

LATEST_NAME = "latest.parquet"


@dataclass(frozen=True)
class Published:
    """
    A published version.

    :param version_uri: its prefix.
    :param manifest_uri: its manifest.
    :param latest_uri: ``latest.parquet``, when it was asked for.
    :param manifest: what the manifest says.
    """

    version_uri: str
    manifest_uri: str
    latest_uri: str | None
    manifest: Manifest


def find_published(
    base_uri: str,
    *,
    fingerprint: str,
    s3_client: S3Client | None = None,
    latest_parquet: str | None = None,
) -> Published | None:
    """
    The current version below ``base_uri`` if it has this fingerprint, so that a repeat need not build it.

    :param latest_parquet: as for :meth:`~.publish.Version.commit`; the copy is made again, since the earlier
        attempt may have died between the pointer and the copy.
    """
    store = open_store(base_uri, s3_client=s3_client)
    pointer = read_pointer(base_uri, store)
    if pointer is None or pointer.fingerprint != fingerprint:
        return None
    try:
        manifest = read_manifest(version_prefix(base_uri, pointer.version), s3_client=s3_client)
    except InvalidManifestError:
        # Somebody deleted the version under the pointer: building it again repairs that.
        log.warning("%s points to version %s, which has no manifest", base_uri, pointer.version)
        return None
    for file in manifest.files:
        info = store.head(file.uri)
        if info is None or info.etag != file.etag:
            log.warning("%s is gone or changed; publishing anew", file.uri)
            return None
    latest_uri = None if latest_parquet is None else copy_latest(base_uri, latest_parquet, store)
    return Published(manifest.version_uri, manifest.uri, latest_uri, manifest)


def copy_latest(base_uri: str, name: str, store: ObjectStore) -> str:
    """
    Copy file ``name`` of the current version to ``latest.parquet``, and return its URI.

    Whoever copies looks at the pointer again afterwards, so that of two writers the one that copies last
    copies what is current.

    :raises PublishConflictError: when the pointer moved under five copies in a row.
    """
    latest_uri = join(base_uri, LATEST_NAME)
    for _ in range(5):
        pointer = read_pointer(base_uri, store)
        if pointer is None:
            break
        store.copy(version_prefix(base_uri, pointer.version) + name, latest_uri)
        again = read_pointer(base_uri, store)
        if again is not None and again.version == pointer.version:
            return latest_uri
    raise PublishConflictError(f"{latest_uri}: other writers kept publishing while it was copied")
