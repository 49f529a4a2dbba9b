# SPDX-License-Identifier: Apache-2.0
"""
One partition in, one partition out.

A version of a partitioned feature set is all of its partitions: those built before are named by the new
manifest where they are, and the one just built takes the place of its predecessor. Builds of different
partitions may run at the same time; whoever is not first puts its partition on top of the others'.

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
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    FeatureValueError,
    PublishConflictError,
)
from airflow_provider_mlbridge.features.batch import FEATURES_FILE, TransformResult, transform_session
from airflow_provider_mlbridge.features.engines import open_engine
from airflow_provider_mlbridge.features.examination import (
    Examination,
    content_type,
    examine,
    judge_published,
    reference_for,
)
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.options import shown
from airflow_provider_mlbridge.features.plan import Operation, bind
from airflow_provider_mlbridge.features.published import (
    DETAILS_KIND,
    ENGINE,
    PARTITION_COLUMNS,
    STATE_FILE,
    LearnedState,
    add_recipe,
    details_of,
    feature_fingerprint,
    load_state,
    published_state,
)
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Manifest, Published, open_store, publish_version
from airflow_provider_mlbridge.storage.manifest import read_current
from airflow_provider_mlbridge.storage.partitions import folder_values
from airflow_provider_mlbridge.storage.publish import Content
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.store import ObjectStore
from airflow_provider_mlbridge.storage.uris import stored_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.drift import Reference

log = logging.getLogger(__name__)

KEEP_AT_LEAST = timedelta(days=1)
"""
How long a version stays after it was current, whatever the count says: fifty partitions built by a mapped
task are fifty versions within a minute, and whoever was handed one shall find it. It holds little of its own.
"""

_STATE_ATTEMPTS = 5


class _OtherStateError(Exception):
    """Another build has published the first partition meanwhile, and with it the state of all."""


@dataclass(frozen=True)
class _Existing:
    """A partitioned feature set as it is now."""

    manifest: Manifest

    @classmethod
    def of(cls, manifest: Manifest, build: _Build) -> _Existing:
        """:raises ConfigurationError: when the partition cannot be a part of it."""
        details, recipe = manifest.details, build.recipe
        columns = details.get(PARTITION_COLUMNS)
        if details.get("kind") != DETAILS_KIND or columns is None:
            raise ConfigurationError(
                f"output_uri={build.output_uri!r} holds {details.get('recipe_name', 'something')!r}, which "
                f"is not a partitioned feature set. Give another prefix, or build without partitioned."
            )
        if columns != list(build.partition):
            raise ConfigurationError(
                f"output_uri={build.output_uri!r} holds features by {shown(columns)}, this build is of one "
                f"partition by {shown(build.partition)}. Give another prefix, or the same columns."
            )
        was, now = (details["recipe_hash"], details["features_version"]), (recipe.hash, FEATURES_VERSION)
        if was != now:
            raise ConfigurationError(
                f"the {len(details['partitions'])} partitions of {build.output_uri!r} were built by another "
                f"recipe or version (recipe hash {was[0][:12]}, features version {was[1]}; now "
                f"{now[0][:12]}, {now[1]}). A feature set must not be mixed: {build.rebuild}"
            )
        return cls(manifest)

    def partition(self, values: Mapping[str, str]) -> dict[str, Any] | None:
        """What is known of a partition; None when it was never built."""
        return next((item for item in self.partitions if item["values"] == values), None)

    @cached_property
    def partitions(self) -> list[dict[str, Any]]:
        """What is known of all of them."""
        return list(self.manifest.details["partitions"])

    def is_whole(self, entry: Mapping[str, Any], store: ObjectStore) -> bool:
        """Whether the files of a partition and those of the version itself are what was published."""
        own = [file for file in self.manifest.files if file.version is None or file.name in entry["files"]]
        for file in own:
            info = store.head(file.uri)
            if info is None or info.etag != file.etag:
                log.warning("%s is gone or changed; building its partition anew", file.uri)
                return False
        return True


@dataclass(frozen=True)
class _Build:
    """
    What is to be built.

    :param partition: value by partition column, as in the names of the folders, decoded.
    :param given: the state that the caller named.
    :param engine: how to read, see :func:`~.engines.open_engine`.
    """

    snapshot: Snapshot
    recipe: Recipe
    output_uri: str
    partition: Mapping[str, str]
    given: LearnedState | None
    keep_versions: int
    s3_client: S3Client | None
    examination: Examination
    engine: Mapping[str, Any]

    @property
    def rebuild(self) -> str:
        """What to do when partitions would differ."""
        return (
            "publish to another output_uri (such as this one with the recipe's version in it), build all "
            "partitions there, and then let the readers go there."
        )

    @cached_property
    def folder(self) -> str:
        """Where its files are below the version, in the names that the output's URI takes."""
        folders = "".join(
            f"{quote(name, safe='')}={quote(text, safe='')}/" for name, text in self.partition.items()
        )
        return quote(folders, safe="/=") if self.output_uri.startswith("file://") else folders


def build_partition(
    snapshot: Snapshot,
    recipe: Recipe,
    output_uri: str,
    *,
    state_uri: str | None,
    keep_versions: int,
    examination: Examination,
    s3_client: S3Client | None,
    engine: Mapping[str, Any],
) -> Published:
    """
    Build one partition and publish it with the others, see :func:`~.build.build_feature_set`.

    :param engine: memory, threads and scratch, see :func:`~.engines.open_engine`.
    """
    partition = partition_of(snapshot)
    _check_windows(recipe, partition)
    given = None if state_uri is None else load_state(state_uri, recipe, s3_client=s3_client)
    build = _Build(
        snapshot, recipe, output_uri, partition, given, keep_versions, s3_client, examination, engine
    )
    store = open_store(output_uri, s3_client=s3_client)
    for _ in range(_STATE_ATTEMPTS):
        current = read_current(output_uri, store)
        state, damaged = given, None
        existing = None if current is None else _Existing.of(current[1], build)
        if existing is not None:
            state = _state_of(existing, build, store)
            entry = existing.partition(partition)
            if entry is not None and entry["fingerprint"] == feature_fingerprint(snapshot, recipe, state):
                if existing.is_whole(entry, store):
                    log.info("%s already has %s as it is", output_uri, build.folder)
                    manifest = existing.manifest
                    judge_published(examination, manifest, folder=build.folder, s3_client=s3_client)
                    return Published(manifest.version_uri, manifest.uri, None, manifest)
                damaged = existing.manifest.version
        try:
            published = _build(build, state, damaged, _reference(build, existing))
        except _OtherStateError:
            log.info("%s has a state by now; building %s again with that", output_uri, build.folder)
            continue
        if published is not None:
            return published
    raise PublishConflictError(f"{output_uri}: other builds kept changing it while {build.folder} was built")


def partition_of(snapshot: Snapshot) -> dict[str, str]:
    """
    The one partition that a snapshot is: the texts of its folders, in their order.

    :raises ConfigurationError: when it is not exactly one.
    """
    if not snapshot.partitions:
        raise ConfigurationError(
            f"partitioned: {snapshot.uri} was not restricted to one partition. Give partitions, such as "
            f"{{'day': '2026-01-31'}}, here or where the datamart was checked."
        )
    for column, texts in snapshot.partitions.items():
        if len(texts) != 1:
            raise ConfigurationError(
                f"partitioned: one build makes one partition, but {len(texts)} values of {column!r} were "
                f"selected ({shown(texts)}). Build them one by one, for example as a mapped task."
            )
    folders = folder_values(stored_path(snapshot.root, snapshot.files[0].path))
    return {column: snapshot.partitions[column][0] for column in folders if column in snapshot.partitions}


def _check_windows(recipe: Recipe, partition: Mapping[str, str]) -> None:
    for position, step in enumerate(recipe.steps, start=1):
        missing = [column for column in partition if column not in getattr(step, "by", ())]
        if step.HISTORY and missing:
            raise ConfigurationError(
                f"partitioned: step {position} ({step.TYPE}) looks at earlier rows, which may be in other "
                f"partitions, and one build reads one partition. Have by include {shown(missing)}, so that "
                f"every group is in one partition; or build without partitioned."
            )


def _state_of(existing: _Existing, build: _Build, store: ObjectStore) -> LearnedState:
    state = published_state(existing.manifest, store)
    if build.given is not None and build.given.sha256 != state.sha256:
        raise ConfigurationError(
            f"the {len(existing.partitions)} partitions of {build.output_uri!r} were built with another "
            f"state (sha256 {state.sha256[:12]}) than state_uri has ({build.given.sha256[:12]}). A feature "
            f"set must not be mixed: {build.rebuild}"
        )
    _check_refit(build, state.fitted.operations, state.fitted.split_state)
    return state


def _check_refit(build: _Build, operations: Sequence[Operation], split_state: Mapping[str, Any]) -> None:
    if build.recipe.refit == "never" or build.given is not None:
        return
    learning = dict.fromkeys(f"{item.position} ({item.step.TYPE})" for item in operations if item.needs)
    if learning or split_state:
        what = f"steps {shown(learning)} learn" if learning else "its split learns"
        raise ConfigurationError(
            f"partitioned: recipe {build.recipe.name!r} has refit: always, and {what} from the data: what a "
            f"feature means would differ from partition to partition. Write refit: never (the first "
            f"partition is learned from), or give state_uri, a version that was learned from more than one."
        )


def _reference(build: _Build, existing: _Existing | None) -> Reference | None:
    """What this partition is compared with; ``previous`` is the one before it, by the text of its values."""
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
    build: _Build, state: LearnedState | None, damaged: str | None, reference: Reference | None
) -> Published | None:
    """
    :param damaged: the version whose files of this partition are not whole.
    :return: None when another build has published the very same partition meanwhile.
    """
    with scratch_folder(build.engine.get("scratch_dir"), "features") as scratch:
        with open_engine(build.snapshot, s3_client=build.s3_client, **build.engine) as session:
            if state is None:
                plan = bind(build.recipe, session.kinds, session.engine_types)
                _check_refit(build, plan.operations, {})
                state = LearnedState.learned(fit_session(session, build.recipe))
                _check_refit(build, plan.operations, state.fitted.split_state)
            # Rows that were learned from are not told from others: they may be in any partition.
            written = transform_session(session, state.fitted, scratch / FEATURES_FILE, fitted_on=True)
            documents = examine(
                session,
                state.fitted,
                written,
                scratch / FEATURES_FILE,
                build.examination,
                reference,
                scratch_dir=build.engine.get("scratch_dir"),
            )
        # The session's end has shown that the data did not change while it was read.
        files = [build.folder + name for name in (FEATURES_FILE, *documents)]
        entry = {
            "values": dict(build.partition),
            "fingerprint": feature_fingerprint(build.snapshot, build.recipe, state),
            "datamart_uri": build.snapshot.uri,
            "datamart_fingerprint": build.snapshot.fingerprint,
            ENGINE: build.engine["engine"],
            "rows": written.rows,
            "split_rows": dict(written.split_rows),
            "files": files,
        }
        learned = state

        def compose(current: Manifest | None) -> Content | None:
            return _content(current, build, learned, written, entry, damaged)

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
    build: _Build,
    state: LearnedState,
    written: TransformResult,
    entry: dict[str, Any],
    damaged: str | None,
) -> Content | None:
    details = details_of(build.snapshot, state, written)
    partitions, carried = [entry], []
    if current is not None:
        existing = _Existing.of(current, build)
        if current.file(STATE_FILE).sha256 != state.sha256:
            raise _OtherStateError
        if existing.manifest.details["schema"] != details["schema"]:
            raise FeatureValueError(
                _difference(build, existing.manifest.details["schema"], details["schema"])
            )
        mine = existing.partition(build.partition)
        if mine is not None and mine["fingerprint"] == entry["fingerprint"] and current.version != damaged:
            return None
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


def _difference(build: _Build, before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> str:
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
