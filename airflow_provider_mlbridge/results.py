# SPDX-License-Identifier: Apache-2.0
"""
What one step hands to the next: small, frozen, plain JSON.

These classes are the XCom schemas. ``to_dict`` gives strict JSON (no NaN, no objects) that names its
``kind`` and ``schema_version``; ``from_dict`` refuses what it does not know, so that a DAG never goes on
with half a result. Anything large travels by URI; a serialised result stays under 2 kB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from airflow_provider_mlbridge.exceptions import ConfigurationError

XCOM_LIMIT_BYTES = 2048
"""The most that one serialised result may take in XCom."""


@dataclass(frozen=True)
class _Result:
    KIND: ClassVar[str] = ""
    SCHEMA_VERSION: ClassVar[int] = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with ``kind`` and ``schema_version`` first."""
        document: dict[str, Any] = {"kind": self.KIND, "schema_version": self.SCHEMA_VERSION}
        for item in fields(self):
            document[item.name] = _plain(getattr(self, item.name))
        return document

    def to_json(self) -> str:
        """Strict, compact JSON of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """
        Read what :meth:`to_dict` wrote.

        :raises ConfigurationError: for another kind, a newer schema version, or fields missing or unknown.
        """
        if not isinstance(document, Mapping) or document.get("kind") != cls.KIND:
            found = document.get("kind") if isinstance(document, Mapping) else type(document).__name__
            raise ConfigurationError(f"expected a {cls.KIND!r} result, found {found!r}")
        version = document.get("schema_version")
        if version != cls.SCHEMA_VERSION:
            raise ConfigurationError(
                f"{cls.KIND} has schema_version {version!r}; this version of the provider reads "
                f"{cls.SCHEMA_VERSION}. Use the same provider version in both tasks."
            )
        values = {name: value for name, value in document.items() if name not in ("kind", "schema_version")}
        names = {item.name for item in fields(cls)}
        unknown = sorted(values.keys() - names)
        if unknown:
            raise ConfigurationError(f"{cls.KIND} has unknown fields {unknown}")
        try:
            return cls(**cls._typed(values))
        except TypeError as error:
            raise ConfigurationError(f"{cls.KIND} is incomplete: {error}") from error

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Hook for nested types; the default takes the values as they are."""
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, _Result):
        return value.to_dict()
    if isinstance(value, PinnedFile):
        return value.to_list()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class PinnedFile:
    """
    One object of a snapshot.

    :param path: path below the snapshot's URI; empty when the URI itself is the file.
    :param size: bytes.
    :param etag: the store's ETag without quotes; for a local file, modification time, inode and size.
    :param version_id: the object's version, in a bucket that keeps versions.
    """

    path: str
    size: int
    etag: str
    version_id: str | None = None

    def to_list(self) -> list[Any]:
        """The shortest JSON form, because a snapshot may hold many files."""
        return [self.path, self.size, self.etag, self.version_id]


@dataclass(frozen=True)
class Snapshot(_Result):
    """
    Exactly these objects, in exactly this state.

    :param uri: the datamart as the user named it.
    :param root: the prefix or file that the files' paths are relative to; differs from ``uri`` when ``uri``
        is a published dataset, whose pointer was followed; left out of the JSON when it is the same.
    :param version: the published version whose manifest lists the files, when those of earlier versions are
        among them and the root is the folder of all versions; left out of the JSON when empty.
    :param fingerprint: sha256 (hex) over path, size and ETag of every file in order.
    :param file_count: number of files.
    :param total_bytes: sum of their sizes.
    :param pinned_at: UTC time of the listing, ISO 8601.
    :param modified_at: UTC time of the newest file, ISO 8601.
    :param files: the files; empty in the XCom form of a large snapshot, which is listed anew and compared
        with the fingerprint when it is read, and of an Iceberg table, whose manifests are read anew.
    :param partitions: the partitions that were asked for, by column: the texts of the folders, decoded; empty
        for all. Left out of the JSON when empty.
    :param schema_evolution: ``union`` when files may have different columns, see
        :func:`~airflow_provider_mlbridge.storage.opened_snapshot`; ``strict`` when not, then left out of the
        JSON.
    :param iceberg: for an Iceberg table ``metadata`` (its metadata file, below the root where it is there),
        ``snapshot_id`` and ``schema_id``; left out of the JSON when empty.
    """

    KIND: ClassVar[str] = "mlbridge.snapshot"
    INLINE_LIMIT_BYTES: ClassVar[int] = 1300

    uri: str
    root: str
    fingerprint: str
    file_count: int
    total_bytes: int
    pinned_at: str
    modified_at: str
    files: tuple[PinnedFile, ...] = ()
    partitions: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    schema_evolution: str = "strict"
    iceberg: Mapping[str, str] = field(default_factory=dict, hash=False)
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``files`` is left out when it would not fit into XCom."""
        document = super().to_dict()
        defaults = {
            "partitions": {},
            "schema_evolution": "strict",
            "iceberg": {},
            "version": "",
            "root": self.uri,
        }
        for name, default in defaults.items():
            if document[name] == default:
                del document[name]
        if len(json.dumps(document).encode()) > self.INLINE_LIMIT_BYTES:
            document["files"] = []
        return document

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        files = tuple(PinnedFile(*item) for item in values.get("files") or ())
        given = values.get("partitions") or {}
        if not isinstance(given, Mapping):
            raise TypeError("partitions must map columns to lists of texts")
        values.setdefault("root", values.get("uri"))
        partitions = {name: tuple(texts) for name, texts in given.items()}
        return {**values, "files": files, "partitions": partitions}


@dataclass(frozen=True)
class QualitySummary(_Result):
    """
    The verdict on one snapshot.

    :param snapshot: what was judged.
    :param success: whether every expectation that counts for ``fail_on`` held.
    :param rows: rows judged.
    :param evaluated: number of expectations.
    :param passed: how many held.
    :param failed: how many did not.
    :param not_checked: how many could not be evaluated; never counted as passed.
    :param failed_expectations: up to ten short descriptions of what failed.
    :param report_uri: where the full result is, or None when no ``report_uri`` was asked for.
    :param duration_seconds: wall time of the check.
    :param unsupported: constraints of an imported contract that no expectation stands for.
    :param clean_uri: where the rows that broke nothing are, when the bad ones were quarantined; its files
        never change, and it is a datamart like any other.
    :param clean_fingerprint: fingerprint of the snapshot of those rows; None when there are none.
    :param quarantined_rows: how many they are; None without a quarantine.
    """

    KIND: ClassVar[str] = "mlbridge.quality"

    snapshot: Snapshot
    success: bool
    rows: int
    evaluated: int
    passed: int
    failed: int
    not_checked: int
    failed_expectations: tuple[str, ...]
    report_uri: str | None
    duration_seconds: float
    unsupported: int = 0
    clean_uri: str | None = None
    clean_fingerprint: str | None = None
    quarantined_rows: int | None = None

    @property
    def quarantine_uri(self) -> str | None:
        """Where the bad rows are, with the reasons: beside the others."""
        return self.clean_uri and self.clean_uri.removesuffix("clean/") + "quarantined/"

    @property
    def pass_ratio(self) -> float:
        """Share of the expectations that held; one that could not be checked did not."""
        return self.passed / self.evaluated if self.evaluated else 0.0

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {
            **values,
            "snapshot": Snapshot.from_dict(values.get("snapshot") or {}),
            "failed_expectations": tuple(values.get("failed_expectations") or ()),
        }


@dataclass(frozen=True)
class FeatureSet(_Result):
    """
    One published version of a feature set.

    :param uri: the prefix of this version; its files never change.
    :param fingerprint: identity of the features: snapshot, recipe, engine version, and the state when it was
        not learned from the snapshot alone; of a partitioned set that of all its partitions.
    :param recipe_hash: sha256 (hex) of the canonical recipe.
    :param datamart_uri: the datamart the features come from.
    :param datamart_fingerprint: fingerprint of the snapshot they were built from; of a partitioned set sha256
        over those of all its partitions.
    :param rows: rows in all splits.
    :param train_rows: rows of the training split; everything learned was fitted on these, unless the build
        took over the state of an earlier one.
    :param feature_count: number of feature columns.
    :param label: name of the label column, or None.
    :param latest_uri: ``latest.parquet`` when the caller asked for it, else None.
    :param duration_seconds: wall time of the build.
    """

    KIND: ClassVar[str] = "mlbridge.features"

    uri: str
    fingerprint: str
    recipe_hash: str
    datamart_uri: str
    datamart_fingerprint: str
    rows: int
    train_rows: int
    feature_count: int
    label: str | None
    latest_uri: str | None
    duration_seconds: float

    @property
    def base_uri(self) -> str:
        """The prefix that all versions share, with the pointer ``_latest.json``."""
        return self.uri.rstrip("/").rsplit("/", 2)[0] + "/"

    @property
    def manifest_uri(self) -> str:
        """The manifest: schema, files with checksums, recipe, fingerprints."""
        return self.uri + "manifest.json"


@dataclass(frozen=True)
class TrainingResult(_Result):
    """
    What a finished training reports, the same for every mode.

    :param state: ``succeeded``; other states raise instead of returning a result.
    :param mode: ``ssh``, ``api`` or ``dag``.
    :param key: identity of the training in its task instance.
    :param generation: how many times the key was really started.
    :param job_id: the job at the backend.
    :param metrics: name to finite number.
    :param model_uri: where the model is, as the training named it.
    :param mlflow_run_id: the MLflow run, when the training named one.
    :param extra: whatever else the training wrote, if small.
    :param features_uri: the features that were trained on.
    :param features_fingerprint: their fingerprint.
    :param started_at: UTC, ISO 8601.
    :param finished_at: UTC, ISO 8601.
    :param duration_seconds: from start to finish, on the backend's clock.
    :param log_uri: where the full log is.
    """

    KIND: ClassVar[str] = "mlbridge.training"

    state: str
    mode: str
    key: str
    generation: int
    job_id: str
    metrics: Mapping[str, float]
    model_uri: str | None
    mlflow_run_id: str | None
    features_uri: str
    features_fingerprint: str
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    log_uri: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
