# SPDX-License-Identifier: Apache-2.0
"""Statistics of published versions, to compare with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetNotFoundError,
    InvalidManifestError,
)
from airflow_provider_mlbridge.features.drift.comparison import compare
from airflow_provider_mlbridge.features.drift.distributions import edges_digest, measure
from airflow_provider_mlbridge.features.drift.report import DriftReport
from airflow_provider_mlbridge.features.options import known_keys, shown
from airflow_provider_mlbridge.storage import Manifest, open_store, read_manifest
from airflow_provider_mlbridge.storage.manifest import POINTER_NAME
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.uris import check_uri, join

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STATISTICS_NAME = "statistics.json"
PREVIOUS = "previous"
_FEATURES_NAME = "features.parquet"


@dataclass(frozen=True)
class Reference:
    """
    What a feature set is compared with.

    :param uri: the version.
    :param fingerprint: identity of its features.
    :param statistics: its ``statistics.json``.
    :param split: the split of it to compare with; None for all rows.
    """

    uri: str
    fingerprint: str
    statistics: Mapping[str, Any]
    split: str | None = None

    def compare(self, current_statistics: Mapping[str, Any], *, alpha: float = 0.05) -> DriftReport:
        """:func:`~.comparison.compare` a feature set with this reference."""
        return compare(
            self.statistics, current_statistics, alpha=alpha, reference_split=self.split, reference=self.uri
        )


def load_reference(
    reference: str | Mapping[str, Any] | None, output_uri: str, *, s3_client: S3Client | None = None
) -> Reference | None:
    """
    The reference that a build was told to compare with.

    :param reference: ``"previous"``, the version that is current below ``output_uri`` before this build
        publishes; the URI of a version, or of the base prefix of versions, whose current one is taken; or a
        mapping with either as ``version`` and a ``split`` such as ``train``; None for no comparison.
    :param output_uri: prefix below which the build publishes.
    :return: None when there is nothing to compare with: no reference was asked for, or ``previous`` and
        nothing has been published yet.
    :raises ConfigurationError: when ``reference`` is nothing of this, or names a split that it does not have.
    :raises InvalidManifestError: when the version is not one, or its statistics are not those it published.
    """
    if reference is None:
        return None
    split: object = None
    version: object = reference
    if isinstance(reference, Mapping):
        known_keys("drift_reference", reference, ("version", "split"))
        version, split = reference.get("version"), reference.get("split")
    if not isinstance(version, str) or not version or not (split is None or isinstance(split, str)):
        raise ConfigurationError(
            f'drift_reference={reference!r} is not valid; use "previous", the URI of a version of features, '
            f'or {{"version": one of both, "split": "train"}}'
        )
    if version == PREVIOUS:
        pointer = open_store(output_uri, s3_client=s3_client).head(join(output_uri, POINTER_NAME))
        if pointer is None:
            return None
        version = output_uri
    check_uri(version, argument="drift_reference")
    manifest, statistics = _read(version, s3_client)
    splits = {name for item in _features(statistics).values() for name in item["splits"]}
    if split is not None and splits and split not in splits:
        raise ConfigurationError(
            f"drift_reference: {manifest.version_uri} has no split {split!r}; it has {shown(sorted(splits))}"
        )
    return Reference(manifest.version_uri, manifest.fingerprint, statistics, split)


def read_statistics(uri: str, *, s3_client: S3Client | None = None) -> dict[str, Any]:
    """
    The statistics of a published feature set, checked against its manifest.

    :param uri: a version, its manifest, or the base prefix of versions, whose current one is taken.
    :raises InvalidManifestError: when it is no feature set, or the file is not the one that was published.
    """
    return _read(uri, s3_client)[1]


def compare_versions(
    current_uri: str,
    reference_uri: str,
    *,
    alpha: float = 0.05,
    reference_split: str | None = None,
    current_split: str | None = None,
    s3_client: S3Client | None = None,
    memory_limit: str = "2GB",
    scratch_dir: str | Path | None = None,
) -> DriftReport:
    """
    Compare any two published versions.

    Where the current one was built with another reference or none, its features are read again to be counted
    over the edges of this one. Rows of the reference are never read.

    :param memory_limit: memory that the engine may use for that.
    :param scratch_dir: folder for the download.
    :raises InvalidManifestError: when one is no published feature set, or is not what was published.
    """
    reference_manifest, before = _read(reference_uri, s3_client)
    manifest, after = _read(current_uri, s3_client)
    wanted = edges_digest(before)
    counted = (after.get("over_reference") or {}).get("digest")
    if wanted is not None and wanted not in (counted, edges_digest(after)):
        after = {**after, **_count_again(manifest, after, before, s3_client, memory_limit, scratch_dir)}
    return compare(
        before,
        after,
        alpha=alpha,
        reference_split=reference_split,
        current_split=current_split,
        reference=reference_manifest.version_uri,
    )


def _count_again(
    manifest: Manifest,
    statistics: Mapping[str, Any],
    reference: Mapping[str, Any],
    s3_client: S3Client | None,
    memory_limit: str,
    scratch_dir: str | Path | None,
) -> dict[str, Any]:
    import duckdb

    entry = next((file for file in manifest.document["files"] if file["name"] == _FEATURES_NAME), None)
    if entry is None:
        raise InvalidManifestError(f"{manifest.uri} lists no {_FEATURES_NAME}")
    kinds = {name: item["kind"] for name, item in statistics["features"].items()}
    split = manifest.details.get("split_column") if manifest.details.get("split_rows") else None
    store = open_store(manifest.uri, s3_client=s3_client)
    with scratch_folder(scratch_dir, "drift") as folder:
        path = folder / _FEATURES_NAME
        uri = manifest.version_uri + _FEATURES_NAME
        store.download(uri, path, size=entry["size"], etag=entry["etag"])
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "temp_directory": f"{folder}/spill",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            # Otherwise the engine takes isnan(x) for false wherever the file has statistics (duckdb#25521).
            connection.execute("SET disabled_optimizers = 'statistics_propagation'")
            return measure(connection, path, kinds, split_column=split, reference=reference)
        finally:
            connection.close()


def _read(uri: str, s3_client: S3Client | None) -> tuple[Manifest, dict[str, Any]]:
    manifest = read_manifest(uri, s3_client=s3_client)
    if manifest.details.get("kind") != "mlbridge.features":
        raise InvalidManifestError(
            f"{manifest.uri} describes {manifest.details.get('kind')!r}, not features: give a version that "
            f"FeatureBuildOperator published"
        )
    path = manifest.version_uri + STATISTICS_NAME
    entry = next((file for file in manifest.document["files"] if file["name"] == STATISTICS_NAME), None)
    if entry is None:
        raise InvalidManifestError(f"{manifest.uri} lists no {STATISTICS_NAME}")
    try:
        data = open_store(path, s3_client=s3_client).read(path)
    except DatasetNotFoundError as error:
        raise InvalidManifestError(f"{path} is gone, though {manifest.uri} lists it") from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise InvalidManifestError(
            f"{path} is not the file that was published: its sha256 is not the one in {manifest.uri}"
        )
    document = json.loads(data)
    if not isinstance(document, dict):
        raise InvalidManifestError(f"{path} is not a JSON object")
    return manifest, document


def _features(statistics: Mapping[str, Any]) -> Mapping[str, Any]:
    features: Mapping[str, Any] = statistics.get("distributions", {}).get("features", {})
    return features
