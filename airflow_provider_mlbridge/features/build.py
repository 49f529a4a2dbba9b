# SPDX-License-Identifier: Apache-2.0
"""Build a feature set and publish it as a new version."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidManifestError
from airflow_provider_mlbridge.features.batch import FEATURES_FILE, TransformResult, transform_session
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION, FittedRecipe
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN, Recipe
from airflow_provider_mlbridge.features.session import open_session
from airflow_provider_mlbridge.results import FeatureSet, Snapshot
from airflow_provider_mlbridge.storage import (
    PartitionSelector,
    Published,
    find_published,
    pin_snapshot,
    publish_version,
)
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri, local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def feature_fingerprint(snapshot: Snapshot, recipe: Recipe) -> str:
    """sha256 (hex) over what determines the content: snapshot, recipe, version of the computation."""
    identity = json.dumps([snapshot.fingerprint, recipe.hash, FEATURES_VERSION])
    return hashlib.sha256(identity.encode()).hexdigest()


def build_feature_set(
    datamart: str | Path | Mapping[str, Any] | Snapshot,
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output_uri: str,
    *,
    partitions: PartitionSelector | None = None,
    schema_evolution: str | None = None,
    s3_client: S3Client | None = None,
    latest_parquet: bool = False,
    keep_versions: int = 5,
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> FeatureSet:
    """
    Fit a recipe on the training split, transform all rows, publish the result.

    The version has ``features.parquet``, ``recipe.json``, ``recipe.yaml``, ``state.json`` and
    ``statistics.json``. When the current version was made from the same data by the same recipe, it is
    returned as it is. On any error nothing is published, and the previous version stays current.

    :param datamart: URI of the data, a snapshot, or the output of a quality check, whose snapshot is read.
    :param recipe: a recipe, its mapping, or the path or URI of its YAML file.
    :param output_uri: prefix that all versions share; neither the datamart's, nor below or above it.
    :param partitions: hive partition to value, or list of values: only these are read.
    :param schema_evolution: ``strict`` or ``union``, see
        :func:`~airflow_provider_mlbridge.storage.pin_snapshot`; that of an earlier result when None.
    :param s3_client: boto3 S3 client for ``s3://`` URIs.
    :param latest_parquet: also copy the features to ``latest.parquet`` below ``output_uri``.
    :param keep_versions: how many versions to keep.
    :param memory_limit: see :meth:`Recipe.fit`, as for the parameters after it.
    :raises ConfigurationError: when ``output_uri`` is none, or overlaps the datamart.
    :raises InvalidRecipeError: when the recipe is not well formed or does not fit the data.
    :raises FeatureError: when it cannot be fitted, or values break a policy.
    :raises StorageError: when data cannot be read, has changed since it was pinned, or another writer won.
    """
    started = time.monotonic()
    loaded = Recipe.load(recipe, s3_client=s3_client)
    source = str(datamart.absolute()) if isinstance(datamart, Path) else datamart
    snapshot = pin_snapshot(
        source, partitions=partitions, schema_evolution=schema_evolution, s3_client=s3_client
    )
    _check_apart(snapshot, output_uri)
    fingerprint = feature_fingerprint(snapshot, loaded)
    latest = FEATURES_FILE if latest_parquet else None
    published = find_published(
        output_uri, fingerprint=fingerprint, s3_client=s3_client, latest_parquet=latest
    )
    if published is not None:
        log.info("%s already has these features as %s", output_uri, published.version_uri)
        return _feature_set(published, started)

    with scratch_folder(scratch_dir, "features") as folder:
        with open_session(
            snapshot,
            s3_client=s3_client,
            memory_limit=memory_limit,
            threads=threads,
            scratch_dir=scratch_dir,
            scratch_limit_bytes=scratch_limit_bytes,
        ) as session:
            fitted = fit_session(session, loaded)
            written = transform_session(session, fitted, folder / FEATURES_FILE, fitted_on=True)
        # The session's end has shown that the data did not change while it was read.
        with publish_version(
            output_uri, fingerprint=fingerprint, s3_client=s3_client, keep_versions=keep_versions
        ) as version:
            version.add(folder / FEATURES_FILE, FEATURES_FILE)
            version.add_bytes("recipe.json", _json(loaded.to_dict()))
            version.add_bytes("recipe.yaml", loaded.to_yaml().encode(), content_type="application/yaml")
            version.add_bytes("state.json", fitted.to_json().encode())
            version.add_bytes("statistics.json", _json(written.statistics))
            details = _details(snapshot, fitted, written)
            published = version.commit(details, latest_parquet=latest)
    result = _feature_set(published, started)
    log.info(
        "%s: %d rows, %d features, fitted on %d rows, in %.1f s",
        result.uri,
        result.rows,
        result.feature_count,
        result.train_rows,
        result.duration_seconds,
    )
    return result


def _check_apart(snapshot: Snapshot, output_uri: str) -> None:
    # A pointer, a version or latest.parquet among the files of the datamart would become the datamart.
    output = _canonical(check_uri(output_uri, argument="output_uri"))
    for place in (snapshot.root,) if snapshot.iceberg else (snapshot.uri, snapshot.root):
        read = _canonical(place)
        if output.startswith(read) or read.startswith(output):
            raise ConfigurationError(
                f"output_uri={output_uri!r} overlaps the datamart {place!r}: features published there would "
                f"be taken for the datamart, or replace it. Give a prefix that is neither the datamart's, "
                f"nor below or above it."
            )


def _canonical(uri: str) -> str:
    """One notation for one place; a link is where it leads."""
    return as_prefix(uri if uri.startswith("s3://") else os.path.realpath(local_path(uri)))


def _details(snapshot: Snapshot, fitted: FittedRecipe, written: TransformResult) -> dict[str, Any]:
    recipe = fitted.recipe
    return {
        "kind": "mlbridge.features",
        "features_version": FEATURES_VERSION,
        "recipe_name": recipe.name,
        "recipe_hash": recipe.hash,
        "datamart_uri": snapshot.uri,
        "datamart_fingerprint": snapshot.fingerprint,
        "rows": written.rows,
        "train_rows": fitted.train_rows,
        "split_rows": dict(written.split_rows),
        "split_column": SPLIT_COLUMN,
        "keys": list(recipe.keys),
        "label": recipe.label,
        "event_time": recipe.event_time,
        "features": list(written.feature_names),
        "schema": [[name, kind] for name, kind in written.schema.items()],
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _feature_set(published: Published, started: float) -> FeatureSet:
    details = published.manifest.details
    try:
        return FeatureSet(
            uri=published.version_uri,
            fingerprint=published.manifest.fingerprint,
            recipe_hash=details["recipe_hash"],
            datamart_uri=details["datamart_uri"],
            datamart_fingerprint=details["datamart_fingerprint"],
            rows=details["rows"],
            train_rows=details["train_rows"],
            feature_count=len(details["features"]),
            label=details["label"],
            latest_uri=published.latest_uri,
            duration_seconds=round(time.monotonic() - started, 3),
        )
    except KeyError as error:
        raise InvalidManifestError(
            f"{published.manifest_uri} has no {error} in its details: it was not written by a feature build"
        ) from error
