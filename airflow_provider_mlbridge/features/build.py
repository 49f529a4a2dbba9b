# SPDX-License-Identifier: Apache-2.0
"""Build a feature set and publish it as a new version."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidManifestError
from airflow_provider_mlbridge.features.batch import FEATURES_FILE, transform_session
from airflow_provider_mlbridge.features.engines import check_engine, open_engine
from airflow_provider_mlbridge.features.examination import (
    Examination,
    content_type,
    examine,
    judge_published,
    reference_for,
)
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.incremental import build_partition
from airflow_provider_mlbridge.features.published import (
    ENGINE,
    PARTITION_COLUMNS,
    LearnedState,
    add_recipe,
    check_apart,
    details_of,
    feature_fingerprint,
    feature_set,
    load_state,
    published_state,
)
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.results import FeatureSet, Snapshot
from airflow_provider_mlbridge.storage import (
    Manifest,
    PartitionSelector,
    Published,
    find_published,
    open_store,
    pin_snapshot,
    publish_version,
)
from airflow_provider_mlbridge.storage.manifest import read_current
from airflow_provider_mlbridge.storage.publish import check_keep_versions
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def build_feature_set(
    datamart: str | Path | Mapping[str, Any] | Snapshot,
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output_uri: str,
    *,
    partitions: PartitionSelector | None = None,
    partitioned: bool = False,
    state_uri: str | None = None,
    schema_evolution: str | None = None,
    s3_client: S3Client | None = None,
    latest_parquet: bool = False,
    keep_versions: int = 5,
    lint: str = "warn",
    drift_reference: str | Mapping[str, Any] | None = None,
    fail_on_drift: bool = False,
    on_drift: Callable[[Mapping[str, Any]], None] | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
    engine: str = "duckdb",
    spark: Any = None,
) -> FeatureSet:
    """
    Fit a recipe on the training split, transform all rows, publish the result.

    The version has ``features.parquet``, ``recipe.json``, ``recipe.yaml``, ``state.json``,
    ``statistics.json``, the same as a page, ``statistics.html``, and what was found by ``lint`` and by the
    comparison with ``drift_reference``, ``lint.json`` and ``drift.json``. When the current version was made
    from the same data by the same recipe, it is returned as it is. On any error nothing is published, and the
    previous version stays current.

    With ``partitioned`` the datamart's one partition becomes one partition of the features: the new version
    has ``day=2026-01-31/features.parquet`` and ``day=2026-01-31/statistics.json``, and names the files of the
    other partitions where earlier builds have put them. Builds of different partitions may run at the same
    time. All partitions have one state, see :class:`Recipe` about ``refit``.

    :param datamart: URI of the data, a snapshot, or the output of a quality check, whose snapshot is read.
    :param recipe: a recipe, its mapping, or the path or URI of its YAML file.
    :param output_uri: prefix that all versions share; neither the datamart's, nor below or above it.
    :param partitions: hive partition to value, or list of values: only these are read.
    :param partitioned: publish the one partition that was selected together with those built before; versions
        then stay for at least a day, whatever ``keep_versions`` says.
    :param state_uri: take over what this version has learned (its URI, the prefix of its versions, or a
        ``state.json``), instead of fitting; it must have been learned by the same recipe.
    :param schema_evolution: ``strict`` or ``union``, see
        :func:`~airflow_provider_mlbridge.storage.pin_snapshot`; that of an earlier result when None.
    :param s3_client: boto3 S3 client for ``s3://`` URIs.
    :param latest_parquet: also copy the features to ``latest.parquet`` below ``output_uri``; not with
        ``partitioned``.
    :param keep_versions: how many versions to keep, at least 1.
    :param lint: ``warn`` logs columns that a model should not learn from, ``error`` publishes nothing then,
        ``off`` does not look.
    :param drift_reference: a version to compare with: ``"previous"`` (of a partitioned feature set: the
        partition before this one), a URI, or a mapping with ``version`` and ``split``; see
        :func:`~.drift.load_reference`.
    :param fail_on_drift: publish nothing when a feature drifted or could not be compared.
    :param on_drift: called with the comparison, as in ``drift.json``, before it is judged.
    :param memory_limit: see :meth:`Recipe.fit`, as for the parameters after it. The engine is no part of the
        fingerprint, see :func:`~.published.feature_fingerprint`; the manifest says which one it was.
    :raises MissingExtraError: when the engine is not there.
    :raises ConfigurationError: when ``output_uri`` is none, or overlaps the datamart; when a partitioned
        feature set would be mixed of recipes or states, or there is not exactly one partition.
    :raises InvalidRecipeError: when the recipe is not well formed or does not fit the data.
    :raises FeatureError: when it cannot be fitted, or values break a policy.
    :raises LeakageError: see ``lint``.
    :raises DriftError: see ``fail_on_drift``.
    :raises StorageError: when data cannot be read, has changed since it was pinned, or another writer won.
    """
    started = time.monotonic()
    if partitioned and latest_parquet:
        raise ConfigurationError(
            "latest_parquet goes with one file, but a partitioned feature set has one for each partition. "
            "Leave latest_parquet out, and let its readers follow the manifest."
        )
    check_keep_versions(keep_versions)
    check_engine(engine, spark)
    examination = Examination(lint, drift_reference, fail_on_drift, on_drift)
    loaded = Recipe.load(recipe, s3_client=s3_client)
    source = str(datamart.absolute()) if isinstance(datamart, Path) else datamart
    snapshot = pin_snapshot(
        source, partitions=partitions, schema_evolution=schema_evolution, s3_client=s3_client
    )
    check_apart(snapshot, output_uri)
    reading = {
        "engine": engine,
        "spark": spark,
        "memory_limit": memory_limit,
        "threads": threads,
        "scratch_dir": scratch_dir,
        "scratch_limit_bytes": scratch_limit_bytes,
    }
    build = build_partition if partitioned else _build_whole
    options: dict[str, Any] = {} if partitioned else {"latest_parquet": latest_parquet}
    published = build(
        snapshot,
        loaded,
        output_uri,
        state_uri=state_uri,
        keep_versions=keep_versions,
        examination=examination,
        s3_client=s3_client,
        engine=reading,
        **options,
    )
    result = feature_set(published, started)
    log.info(
        "%s: %d rows, %d features, %d rows to train on, in %.1f s",
        result.uri,
        result.rows,
        result.feature_count,
        result.train_rows,
        result.duration_seconds,
    )
    return result


def _build_whole(
    snapshot: Snapshot,
    recipe: Recipe,
    output_uri: str,
    *,
    state_uri: str | None,
    keep_versions: int,
    examination: Examination,
    s3_client: S3Client | None,
    engine: Mapping[str, Any],
    latest_parquet: bool,
) -> Published:
    state = _known_state(recipe, output_uri, state_uri, s3_client)
    latest = FEATURES_FILE if latest_parquet else None
    if state is not None or recipe.refit == "always":
        published = find_published(
            output_uri,
            fingerprint=feature_fingerprint(snapshot, recipe, state),
            s3_client=s3_client,
            latest_parquet=latest,
        )
        if published is not None:
            log.info("%s already has these features as %s", output_uri, published.version_uri)
            judge_published(examination, published.manifest, s3_client=s3_client)
            return published
    reference = reference_for(examination, output_uri, s3_client=s3_client)
    with scratch_folder(engine["scratch_dir"], "features") as folder:
        with open_engine(snapshot, s3_client=s3_client, **engine) as session:
            known = state
            state = state or LearnedState.learned(fit_session(session, recipe))
            # With a state of earlier data, some of these rows may be among those that were learned from.
            written = transform_session(session, state.fitted, folder / FEATURES_FILE, fitted_on=True)
            documents = examine(
                session,
                state.fitted,
                written,
                folder / FEATURES_FILE,
                examination,
                reference,
                scratch_dir=engine["scratch_dir"],
            )
        # The session's end has shown that the data did not change while it was read.
        learned_here = known is None and recipe.refit == "always"
        fingerprint = feature_fingerprint(snapshot, recipe, None if learned_here else state)
        with publish_version(
            output_uri, fingerprint=fingerprint, s3_client=s3_client, keep_versions=keep_versions
        ) as version:
            version.add(folder / FEATURES_FILE, FEATURES_FILE)
            add_recipe(version, recipe, state)
            for name, data in documents.items():
                version.add_bytes(name, data, content_type=content_type(name))
            details = details_of(snapshot, state, written) | {ENGINE: engine["engine"]}
            return version.commit(details, latest_parquet=latest)


def _known_state(
    recipe: Recipe, output_uri: str, state_uri: str | None, s3_client: S3Client | None
) -> LearnedState | None:
    """What is not to be learned again: what the caller names, or what the current version has learned."""
    store = open_store(output_uri, s3_client=s3_client)
    manifest: Manifest | None = None
    try:
        current = read_current(output_uri, store)
        manifest = current and current[1]
    except InvalidManifestError:
        if recipe.refit == "never" and state_uri is None:
            raise
        # Building it again repairs a version that was damaged.
        log.warning("the current version of %s cannot be read", output_uri)
    details = {} if manifest is None else manifest.details
    if PARTITION_COLUMNS in details:
        raise ConfigurationError(
            f"output_uri={output_uri!r} holds {len(details['partitions'])} partitions by "
            f"{', '.join(details[PARTITION_COLUMNS])}, which a build of one file would replace. Set "
            f"partitioned, or give another prefix."
        )
    if state_uri is not None:
        return load_state(state_uri, recipe, s3_client=s3_client)
    same = (details.get("recipe_hash"), details.get("features_version")) == (recipe.hash, FEATURES_VERSION)
    if manifest is None or recipe.refit == "always" or not same:
        return None
    return published_state(manifest, store)
