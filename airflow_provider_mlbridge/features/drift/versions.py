# SPDX-License-Identifier: Apache-2.0
"""
Statistics of published versions, to compare with.

A partitioned feature set has statistics for each of its partitions, and is compared by one of them: the one
that its URI names, as reports do (``.../versions/<version>/day=2026-01-31/``), else the last one. Their order
is that of their values: of numbers where all values of a column are whole numbers, else of texts, as dates
are written. What is compared with a partition that is being built is the last one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
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
from airflow_provider_mlbridge.features.published import DETAILS_KIND, PARTITION_COLUMNS, STATISTICS_FILE
from airflow_provider_mlbridge.storage import Manifest, open_store, read_manifest
from airflow_provider_mlbridge.storage.manifest import POINTER_NAME, VERSION_PATTERN, VERSIONS_FOLDER
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri, join

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREVIOUS = "previous"
_FEATURES_NAME = "features.parquet"
_PARTITION = re.compile(
    rf"(?P<version>.*/{VERSIONS_FOLDER}/{VERSION_PATTERN}/)(?P<folder>(?:[^/=]+=[^/]*/)+)"
)
"""URI of one partition of a version."""

_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class _Part:
    """
    Features with statistics of their own: a feature set in one file, or one partition of another.

    :param folder: where its files are in the manifest's names; empty for a feature set in one file.
    :param about: what the manifest says of it: its details, or those of the partition.
    """

    manifest: Manifest
    folder: str
    fingerprint: str
    about: Mapping[str, Any]
    statistics: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """Prefix of its files."""
        return self.manifest.file(self.folder + STATISTICS_FILE).uri.removesuffix(STATISTICS_FILE)

    @property
    def split_column(self) -> str | None:
        """The column that names the split of each row, if there is one."""
        return self.manifest.details.get("split_column") if self.about.get("split_rows") else None


@dataclass(frozen=True)
class Reference:
    """
    What a feature set is compared with.

    :param uri: the version; of a partitioned feature set, the prefix of the partition's files.
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
    reference: str | Mapping[str, Any] | None,
    output_uri: str,
    *,
    partition: Mapping[str, str] | None = None,
    s3_client: S3Client | None = None,
) -> Reference | None:
    """
    The reference that a build was told to compare with.

    :param reference: ``"previous"``, the version that is current below ``output_uri`` before this build
        publishes; the URI of a version, of a partition of one, or of the base prefix of versions, whose
        current one is taken; or a mapping with any of these as ``version`` and a ``split`` such as ``train``;
        None for no comparison.
    :param output_uri: prefix below which the build publishes.
    :param partition: the partition that is built, by column: of a reference that has partitions by the same
        columns, the last one before it is taken.
    :return: None when there is nothing to compare with: no reference was asked for, or ``previous`` and
        nothing has been published yet.
    :raises ConfigurationError: when ``reference`` is nothing of this, or names a split or partition that it
        does not have, or has no partition before the one that is built.
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
    return _reference(_read(version, s3_client, partition), split)


def reference_before(
    manifest: Manifest, partition: Mapping[str, str], *, split: str | None, s3_client: S3Client | None = None
) -> Reference | None:
    """
    The last partition of a version before another one; None when there is none.

    :param split: the split of it to compare with; None for all rows.
    :raises ConfigurationError: when it does not have that split.
    :raises InvalidManifestError: when its statistics are not those that were published.
    """
    entry = _before(manifest, partition)
    return None if entry is None else _reference(_partition(manifest, entry, s3_client), split)


def _reference(part: _Part, split: str | None) -> Reference:
    splits = {name for item in _features(part.statistics).values() for name in item["splits"]}
    if split is not None and splits and split not in splits:
        raise ConfigurationError(
            f"drift_reference: {part.uri} has no split {split!r}; it has {shown(sorted(splits))}"
        )
    return Reference(part.uri, part.fingerprint, part.statistics, split)


def read_statistics(uri: str, *, s3_client: S3Client | None = None) -> Mapping[str, Any]:
    """
    The statistics of a published feature set, checked against its manifest.

    :param uri: a version, its manifest, a partition of a version, or the base prefix of versions, whose
        current one is taken; of a partitioned feature set the last partition is meant.
    :raises InvalidManifestError: when it is no feature set, or the file is not the one that was published.
    """
    return _read(uri, s3_client).statistics


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
    Compare any two published versions, or partitions of them.

    Each is named as for :func:`read_statistics`.

    Where the current one was built with another reference or none, its features are read again to be counted
    over the edges of this one. Rows of the reference are never read.

    :param memory_limit: memory that the engine may use for that.
    :param scratch_dir: folder for the download.
    :raises InvalidManifestError: when one is no published feature set, or is not what was published.
    """
    before = _read(reference_uri, s3_client)
    current = _read(current_uri, s3_client)
    after = current.statistics
    wanted = edges_digest(before.statistics)
    counted = (after.get("over_reference") or {}).get("digest")
    if wanted is not None and wanted not in (counted, edges_digest(after)):
        again = _count_again(current, before.statistics, s3_client, memory_limit, scratch_dir)
        after = {**after, **again}
    return compare(
        before.statistics,
        after,
        alpha=alpha,
        reference_split=reference_split,
        current_split=current_split,
        reference=before.uri,
    )


def _count_again(
    part: _Part,
    reference: Mapping[str, Any],
    s3_client: S3Client | None,
    memory_limit: str,
    scratch_dir: str | Path | None,
) -> dict[str, Any]:
    import duckdb

    file = part.manifest.file(part.folder + _FEATURES_NAME)
    kinds = {name: item["kind"] for name, item in part.statistics["features"].items()}
    store = open_store(file.uri, s3_client=s3_client)
    with scratch_folder(scratch_dir, "drift") as folder:
        path = folder / _FEATURES_NAME
        store.download(file.uri, path, size=file.size, etag=file.etag)
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
            return measure(connection, path, kinds, split_column=part.split_column, reference=reference)
        finally:
            connection.close()


def _read(uri: str, s3_client: S3Client | None, building: Mapping[str, str] | None = None) -> _Part:
    """:param building: the partition to find the one before of, if there is such."""
    named = _PARTITION.fullmatch(as_prefix(uri))
    manifest = read_manifest(named["version"] if named else uri, s3_client=s3_client)
    if manifest.details.get("kind") != DETAILS_KIND:
        raise InvalidManifestError(
            f"{manifest.uri} describes {manifest.details.get('kind')!r}, not features: give a version that "
            f"FeatureBuildOperator published"
        )
    if PARTITION_COLUMNS not in manifest.details:
        if named:
            raise ConfigurationError(f"{manifest.version_uri} has no partitions; give that version itself")
        statistics = _statistics(manifest, "", s3_client)
        return _Part(manifest, "", manifest.fingerprint, manifest.details, statistics)
    entries = manifest.details["partitions"]
    if named:
        entry = next((item for item in entries if _folder(item) == named["folder"]), None)
        if entry is None:
            raise ConfigurationError(
                f"{manifest.version_uri} has no partition {named['folder']!r}; it has "
                f"{shown(_folder(item) for item in entries)}"
            )
    elif building is not None and list(building) == manifest.details[PARTITION_COLUMNS]:
        entry = _before(manifest, building)
        if entry is None:
            values = ", ".join(f"{name}={text}" for name, text in building.items())
            raise ConfigurationError(
                f"drift_reference: {manifest.version_uri} has no partition before {values}; name the one to "
                f'compare with, such as {manifest.version_uri}{_folder(_last(manifest))}, or use "previous"'
            )
    else:
        entry = _last(manifest)
    return _partition(manifest, entry, s3_client)


def _before(manifest: Manifest, partition: Mapping[str, str]) -> Mapping[str, Any] | None:
    entries = manifest.details["partitions"]
    *keys, key = _order([*(item["values"] for item in entries), partition])
    earlier = [(other, index) for index, other in enumerate(keys) if other < key]
    return entries[max(earlier)[1]] if earlier else None


def _last(manifest: Manifest) -> Mapping[str, Any]:
    entries: Sequence[Mapping[str, Any]] = manifest.details["partitions"]
    keys = _order([item["values"] for item in entries])
    return entries[max(range(len(entries)), key=keys.__getitem__)]


def _order(partitions: Sequence[Mapping[str, str]]) -> list[tuple[tuple[int, str], ...]]:
    """By what partitions are ordered: 9 is before 10 where all values of the column are whole numbers."""
    columns = list(partitions[0])
    numbers = {name for name in columns if all(_WHOLE.fullmatch(item[name]) for item in partitions)}
    return [
        tuple((int(item[name]) if name in numbers else 0, item[name]) for name in columns)
        for item in partitions
    ]


def _folder(entry: Mapping[str, Any]) -> str:
    """Where the files of a partition are in the manifest's names."""
    name = next(name for name in entry["files"] if name.endswith("/" + STATISTICS_FILE))
    return str(name).removesuffix(STATISTICS_FILE)


def _partition(manifest: Manifest, entry: Mapping[str, Any], s3_client: S3Client | None) -> _Part:
    folder = _folder(entry)
    statistics = _statistics(manifest, folder, s3_client)
    return _Part(manifest, folder, str(entry["fingerprint"]), entry, statistics)


def _statistics(manifest: Manifest, folder: str, s3_client: S3Client | None) -> dict[str, Any]:
    file = manifest.file(folder + STATISTICS_FILE)
    try:
        data = open_store(file.uri, s3_client=s3_client).read(file.uri)
    except DatasetNotFoundError as error:
        raise InvalidManifestError(f"{file.uri} is gone, though {manifest.uri} lists it") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise InvalidManifestError(
            f"{file.uri} is not the file that was published: its sha256 is not the one in {manifest.uri}"
        )
    document = json.loads(data)
    if not isinstance(document, dict):
        raise InvalidManifestError(f"{file.uri} is not a JSON object")
    return document


def _features(statistics: Mapping[str, Any]) -> Mapping[str, Any]:
    features: Mapping[str, Any] = statistics.get("distributions", {}).get("features", {})
    return features
