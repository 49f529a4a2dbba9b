# SPDX-License-Identifier: Apache-2.0
"""
One partition in, one partition out.

A version of a partitioned feature set is all of its partitions: those built before are named by the new
manifest where they are, and the one just built takes the place of its predecessor. Builds of different
partitions may run at the same time; whoever is not first puts its partition on top of the others'. Of builds
of one partition the first stays, see :mod:`~.predecessor`.

All partitions have the same recipe and the same state: a feature must mean the same in each.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import FeatureValueError, PublishConflictError
from airflow_provider_mlbridge.features.batch import FEATURES_FILE, TransformResult, transform_session
from airflow_provider_mlbridge.features.engines import open_engine
from airflow_provider_mlbridge.features.examination import (
    Examination,
    content_type,
    examine,
    reference_for,
)
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.options import shown
from airflow_provider_mlbridge.features.partitioned import (
    Build,
    Existing,
    check_refit,
    check_windows,
    partition_of,
    state_of,
)
from airflow_provider_mlbridge.features.plan import bind
from airflow_provider_mlbridge.features.predecessor import PINNED_AT, OvertakenError, Predecessor, Source
from airflow_provider_mlbridge.features.published import (
    ENGINE,
    PARTITION_COLUMNS,
    STATE_FILE,
    LearnedState,
    add_recipe,
    details_of,
    feature_fingerprint,
    load_state,
)
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.repeats import Repeat
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Manifest, Published, open_store, publish_version
from airflow_provider_mlbridge.storage.publish import Content
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.drift import Reference

log = logging.getLogger(__name__)

KEEP_AT_LEAST = timedelta(days=1)
"""
How long a version stays after it was current, whatever the count says: fifty partitions built by a mapped
task are fifty versions within a minute, and whoever was handed one shall find it. It holds little of its own.
"""


@dataclass(frozen=True)
class _Replaced:
    """
    What a build found of its partition, and may replace.

    :param identity: see :meth:`~.partitioned.Existing.identity`; None when it was never built.
    :param damaged: the version whose files of this partition are not whole.
    """

    identity: tuple[str, str] | None
    damaged: str | None


def build_partition(
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
) -> Published:
    """
    Build one partition and publish it with the others, see :func:`~.build.build_feature_set`.

    :param predecessor: what was current before the datamart was pinned.
    :param source: which datamart the snapshot is of.
    :param engine: memory, threads and scratch, see :func:`~.engines.open_engine`.
    :raises OvertakenError: when another build has published the first partition meanwhile, and with it the
        state of all, or the very same partition.
    """
    partition = partition_of(snapshot)
    check_windows(recipe, partition)
    given = None if state_uri is None else load_state(state_uri, recipe, s3_client=s3_client)
    build = Build(
        snapshot, recipe, output_uri, partition, given, keep_versions, s3_client, examination, engine, source
    )
    store = open_store(output_uri, s3_client=s3_client)
    state, damaged = given, None
    manifest = predecessor.readable
    existing = None if manifest is None else Existing.of(manifest, build)
    entry = None if existing is None else existing.partition(partition)
    if existing is not None:
        state = state_of(existing, build, store)
        if entry is not None and entry["fingerprint"] == feature_fingerprint(snapshot, recipe, state):
            if existing.is_whole(entry, store):
                log.info("%s already has %s as it is", output_uri, build.folder)
                manifest = existing.manifest
                Repeat(
                    manifest,
                    lambda: _reference(build, existing),
                    lambda: open_engine(snapshot, s3_client=s3_client, **engine),
                    folder=build.folder,
                    s3_client=s3_client,
                    scratch_dir=engine.get("scratch_dir"),
                ).judge(examination)
                return Published(manifest.version_uri, manifest.uri, None, manifest)
            damaged = existing.manifest.version
        if entry is not None:
            source.check_newest(entry, build.place)
    replaced = None if existing is None else existing.identity(entry)
    published = _build(build, state, _Replaced(replaced, damaged), _reference(build, existing))
    if published is None:
        raise OvertakenError(f"{build.place} has been built from the same data")
    return published


def _reference(build: Build, existing: Existing | None) -> Reference | None:
    """What this partition is compared with; ``previous`` is the one before it."""
    wanted = build.examination.drift_reference
    version = wanted.get("version") if isinstance(wanted, Mapping) else wanted
    if version != "previous":
        return reference_for(
            build.examination, build.output_uri, partition=build.partition, s3_client=build.s3_client
        )
    from airflow_provider_mlbridge.features.drift.versions import reference_before

    split = wanted.get("split") if isinstance(wanted, Mapping) else None
    reference = None
    if existing is not None:
        manifest = existing.manifest
        reference = reference_before(manifest, build.partition, split=split, s3_client=build.s3_client)
    if reference is None:
        log.info("%s has no partition before %s to compare with", build.output_uri, build.folder)
    return reference


def _build(
    build: Build, state: LearnedState | None, replaced: _Replaced, reference: Reference | None
) -> Published | None:
    """
    :return: None when another build has published the very same partition meanwhile.
    """
    with scratch_folder(build.engine.get("scratch_dir"), "features") as scratch:
        with open_engine(build.snapshot, s3_client=build.s3_client, **build.engine) as session:
            learned_here = state is None
            if state is None:
                plan = bind(build.recipe, session.kinds, session.engine_types)
                check_refit(build, plan.operations, {})
                state = LearnedState.learned(fit_session(session, build.recipe))
                check_refit(build, plan.operations, state.fitted.split_state)
            # Rows that were learned from are not told from others: they may be in any partition.
            written = transform_session(session, state.fitted, scratch / FEATURES_FILE, fitted_on=True)
            documents = examine(
                session,
                state.fitted,
                written,
                scratch / FEATURES_FILE,
                build.examination,
                reference,
                learned_here=learned_here,
                scratch_dir=build.engine.get("scratch_dir"),
            )
        # The session's end has shown that the data did not change while it was read.
        files = [build.folder + name for name in (FEATURES_FILE, *documents)]
        entry = {
            "values": dict(build.partition),
            "fingerprint": feature_fingerprint(build.snapshot, build.recipe, state),
            "datamart_uri": build.snapshot.uri,
            "datamart_fingerprint": build.snapshot.fingerprint,
            PINNED_AT: build.source.pinned_at,
            ENGINE: build.engine["engine"],
            "rows": written.rows,
            "split_rows": dict(written.split_rows),
            "files": files,
        }
        learned = state

        def compose(current: Manifest | None) -> Content | None:
            return _content(current, build, learned, written, entry, replaced)

        with publish_version(
            build.output_uri,
            fingerprint=str(entry["fingerprint"]),
            s3_client=build.s3_client,
            keep_versions=build.keep_versions,
            keep_at_least=KEEP_AT_LEAST,
        ) as version:
            version.add(scratch / FEATURES_FILE, files[0])
            for name, data in documents.items():
                version.add_bytes(build.folder + name, data, content_type=content_type(name))
            add_recipe(version, build.recipe, state)
            return version.commit_onto(compose)


def _content(
    current: Manifest | None,
    build: Build,
    state: LearnedState,
    written: TransformResult,
    entry: dict[str, Any],
    replaced: _Replaced,
) -> Content | None:
    details = details_of(build.snapshot, state, written)
    partitions, carried = [entry], []
    if current is not None:
        existing = Existing.of(current, build)
        if current.file(STATE_FILE).sha256 != state.sha256:
            raise OvertakenError(f"{build.output_uri} has another state")
        if existing.manifest.details["schema"] != details["schema"]:
            raise FeatureValueError(
                _difference(build, existing.manifest.details["schema"], details["schema"])
            )
        mine = existing.partition(build.partition)
        if (
            mine is not None
            and mine["fingerprint"] == entry["fingerprint"]
            and (current.version != replaced.damaged)
        ):
            return None
        if existing.identity(mine) != replaced.identity:
            if mine is not None:
                build.source.check_newest(mine, build.place)
            raise PublishConflictError(
                f"{build.place}: another build of this partition has published while this one was at work, "
                f"and stays current. A retry builds on top of it, from the datamart as it is then."
            )
        others = [item for item in existing.partitions if item is not mine]
        names = {name for item in others for name in item["files"]}
        carried = [file.carried(current.version) for file in current.files if file.name in names]
        partitions = sorted([*others, entry], key=lambda item: list(item["values"].values()))
    splits: Counter[str] = Counter()
    for item in partitions:
        splits.update(item["split_rows"])
    identities = [[item["values"], item["fingerprint"]] for item in partitions]
    sources = [[item["values"], item["datamart_fingerprint"]] for item in partitions]
    details |= {
        PARTITION_COLUMNS: list(build.partition),
        "partitions": partitions,
        "rows": sum(item["rows"] for item in partitions),
        "train_rows": splits["train"],
        "split_rows": dict(sorted(splits.items())),
        "datamart_fingerprint": _digest(sources),
    }
    return Content(_digest(identities), details, carried)


def _difference(build: Build, before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> str:
    old, new = {tuple(item) for item in before}, {tuple(item) for item in now}
    changed = [f"{name} is {kind}" for name, kind in sorted(new - old)]
    were = [f"{name} is {kind}" for name, kind in sorted(old - new)]
    return (
        f"{build.snapshot.uri}: partition {build.folder} would have other columns than the other partitions: "
        f"{shown(changed) or 'nothing new'}; there {shown(were) or 'it is the same in another order'}. Give "
        f"its files the types of the others."
    )


def _digest(items: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()
