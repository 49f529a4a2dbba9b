# SPDX-License-Identifier: Apache-2.0
"""Build a feature set and publish it as a new version."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, PublishConflictError
from airflow_provider_mlbridge.features.batch import FEATURES_FILE, transform_session
from airflow_provider_mlbridge.features.engines import check_engine, open_engine
from airflow_provider_mlbridge.features.examination import (
    Examination,
    content_type,
    examine,
    reference_for,
)
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.incremental import build_partition
from airflow_provider_mlbridge.features.predecessor import OvertakenError, Predecessor, Source
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
from airflow_provider_mlbridge.features.repeats import Repeat
from airflow_provider_mlbridge.results import FeatureSet, Snapshot
from airflow_provider_mlbridge.storage import (
    PartitionSelector,
    Published,
    find_published,
    open_store,
    pin_snapshot,
    publish_version,
)
from airflow_provider_mlbridge.storage.publish import check_keep_versions
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.uris import check_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_ATTEMPTS = 5
"""How often a build begins anew because another one was the first to learn what all take over."""


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

    Of builds that run at the same time (of one partition, when there are some), the one that publishes first
    stays current. One of the same data and recipe returns its version, any other raises, however late it
    began to upload. Called again it builds on top of what is current then.

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
    :raises PublishConflictError: when another build has published since this one began.
    :raises SnapshotChangedError: when the data has changed since it was pinned, or when another task has
        pinned it and what would be replaced was built from the same datamart, pinned later.
    :raises StorageError: when data cannot be read.
    """
    started = time.monotonic()
    if partitioned and latest_parquet:
        raise ConfigurationError(
            "latest_parquet goes with one file, but a partitioned feature set has one for each partition. "
            "Leave latest_parquet out, and let its readers follow the manifest."
        )
    check_keep_versions(keep_versions)
    check_uri(output_uri, argument="output_uri")
    check_engine(engine, spark)
    examination = Examination(lint, drift_reference, fail_on_drift, on_drift)
    loaded = Recipe.load(recipe, s3_client=s3_client)
    source = str(datamart.absolute()) if isinstance(datamart, Path) else datamart
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
    for _ in range(_ATTEMPTS):
        # Before the datamart is pinned: whoever has published by then has not read newer data.
        predecessor = Predecessor.of(output_uri, s3_client=s3_client)
        snapshot = pin_snapshot(
            source, partitions=partitions, schema_evolution=schema_evolution, s3_client=s3_client
        )
        check_apart(snapshot, output_uri)
        try:
            published = build(
                snapshot,
                loaded,
                output_uri,
                predecessor=predecessor,
                source=Source.of(source, snapshot),
                state_uri=state_uri,
                keep_versions=keep_versions,
                examination=examination,
                s3_client=s3_client,
                engine=reading,
                **options,
            )
            break
        except OvertakenError as overtaken:
            log.info("%s by now; building again", overtaken)
    else:
        raise PublishConflictError(f"{output_uri}: other builds kept changing it while this one was at work")
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
    predecessor: Predecessor,
    source: Source,
    state_uri: str | None,
    keep_versions: int,
    examination: Examination,
    s3_client: S3Client | None,
    engine: Mapping[str, Any],
    latest_parquet: bool,
) -> Published:
    known = _known_state(predecessor, recipe, output_uri, state_uri, s3_client)
    latest = FEATURES_FILE if latest_parquet else None

    def find(state: LearnedState | None) -> Published | None:
        return find_published(
            output_uri,
            fingerprint=feature_fingerprint(snapshot, recipe, state),
            s3_client=s3_client,
            latest_parquet=latest,
        )

    def repeat(published: Published) -> None:
        Repeat(
            published.manifest,
            lambda: reference_for(examination, output_uri, s3_client=s3_client),
            lambda: open_engine(snapshot, s3_client=s3_client, **engine),
            s3_client=s3_client,
            scratch_dir=engine["scratch_dir"],
        ).judge(examination)

    if known is not None or recipe.refit == "always":
        published = find(known)
        if published is not None:
            log.info("%s already has these features as %s", output_uri, published.version_uri)
            repeat(published)
            return published
    source.check_newest(predecessor.details, output_uri)
    reference = reference_for(examination, output_uri, s3_client=s3_client)
    with scratch_folder(engine["scratch_dir"], "features") as folder:
        with open_engine(snapshot, s3_client=s3_client, **engine) as session:
            state = known or LearnedState.learned(fit_session(session, recipe))
            # With a state of earlier data, some of these rows may be among those that were learned from.
            written = transform_session(session, state.fitted, folder / FEATURES_FILE, fitted_on=True)
            documents = examine(
                session,
                state.fitted,
                written,
                folder / FEATURES_FILE,
                examination,
                reference,
                learned_here=known is None,
                scratch_dir=engine["scratch_dir"],
            )
        # The session's end has shown that the data did not change while it was read.
        learned_here = known is None and recipe.refit == "always"
        identity = None if learned_here else state
        try:
            with publish_version(
                output_uri,
                fingerprint=feature_fingerprint(snapshot, recipe, identity),
                s3_client=s3_client,
                keep_versions=keep_versions,
                predecessor=predecessor.pointer,
            ) as version:
                version.add(folder / FEATURES_FILE, FEATURES_FILE)
                add_recipe(version, recipe, state)
                for name, data in documents.items():
                    version.add_bytes(name, data, content_type=content_type(name))
                details = details_of(snapshot, state, written) | {ENGINE: engine["engine"]}
                return version.commit(details | source.details, latest_parquet=latest)
        except PublishConflictError as conflict:
            published = find(identity)
            if published is not None:
                log.info("%s has these features by now as %s", output_uri, published.version_uri)
                repeat(published)
                return published
            now = Predecessor.of(output_uri, s3_client=s3_client)
            source.check_newest(now.details, output_uri)
            if known is None and recipe.refit == "never" and _is_of(now.details, recipe):
                raise OvertakenError(f"{output_uri} has a state") from conflict
            raise PublishConflictError(
                f"{output_uri}: another build has published while this one was at work, and stays current. A "
                f"retry builds on top of it, from the datamart as it is then. ({conflict})"
            ) from conflict


def _known_state(
    predecessor: Predecessor,
    recipe: Recipe,
    output_uri: str,
    state_uri: str | None,
    s3_client: S3Client | None,
) -> LearnedState | None:
    """What is not to be learned again: what the caller names, or what the current version has learned."""
    if predecessor.error is not None:
        if recipe.refit == "never" and state_uri is None:
            raise predecessor.error
        # Building it again repairs a version that was damaged.
        log.warning("the current version of %s cannot be read", output_uri)
    details = predecessor.details
    if PARTITION_COLUMNS in details:
        raise ConfigurationError(
            f"output_uri={output_uri!r} holds {len(details['partitions'])} partitions by "
            f"{', '.join(details[PARTITION_COLUMNS])}, which a build of one file would replace. Set "
            f"partitioned, or give another prefix."
        )
    if state_uri is not None:
        return load_state(state_uri, recipe, s3_client=s3_client)
    if predecessor.manifest is None or recipe.refit == "always" or not _is_of(details, recipe):
        return None
    return published_state(predecessor.manifest, open_store(output_uri, s3_client=s3_client))


def _is_of(details: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a version was made by this recipe, so that its state is one of it."""
    return (details.get("recipe_hash"), details.get("features_version")) == (recipe.hash, FEATURES_VERSION)
