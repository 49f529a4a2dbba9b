# SPDX-License-Identifier: Apache-2.0
"""A partitioned feature set: what is there, and which partition may join it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features.examination import Examination
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION
from airflow_provider_mlbridge.features.options import shown
from airflow_provider_mlbridge.features.plan import Operation
from airflow_provider_mlbridge.features.predecessor import Source
from airflow_provider_mlbridge.features.published import (
    DETAILS_KIND,
    PARTITION_COLUMNS,
    LearnedState,
    published_state,
)
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import Manifest
from airflow_provider_mlbridge.storage.partitions import folder_values
from airflow_provider_mlbridge.storage.store import ObjectStore
from airflow_provider_mlbridge.storage.uris import stored_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
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
    source: Source

    @property
    def rebuild(self) -> str:
        """What to do when partitions would differ."""
        return (
            "publish to another output_uri (such as this one with the recipe's version in it), build all "
            "partitions there, and then let the readers go there."
        )

    @property
    def place(self) -> str:
        """The partition, for a message."""
        return f"{self.output_uri}: {self.folder}"

    @cached_property
    def folder(self) -> str:
        """Where its files are below the version, in the names that the output's URI takes."""
        folders = "".join(
            f"{quote(name, safe='')}={quote(text, safe='')}/" for name, text in self.partition.items()
        )
        return quote(folders, safe="/=") if self.output_uri.startswith("file://") else folders


@dataclass(frozen=True)
class Existing:
    """A partitioned feature set as it is now."""

    manifest: Manifest

    @classmethod
    def of(cls, manifest: Manifest, build: Build) -> Existing:
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

    def identity(self, entry: Mapping[str, Any] | None) -> tuple[str, str] | None:
        """Which build of a partition it is: its content, and the version that has written its files."""
        if entry is None:
            return None
        written = self.manifest.file(entry["files"][0]).version or self.manifest.version
        return entry["fingerprint"], written

    def is_whole(self, entry: Mapping[str, Any], store: ObjectStore) -> bool:
        """Whether the files of a partition and those of the version itself are what was published."""
        own = [file for file in self.manifest.files if file.version is None or file.name in entry["files"]]
        for file in own:
            info = store.head(file.uri)
            if info is None or info.etag != file.etag:
                log.warning("%s is gone or changed; building its partition anew", file.uri)
                return False
        return True


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


def check_windows(recipe: Recipe, partition: Mapping[str, str]) -> None:
    """:raises ConfigurationError: when a step looks at rows that other partitions may have."""
    for position, step in enumerate(recipe.steps, start=1):
        missing = [column for column in partition if column not in getattr(step, "by", ())]
        if step.HISTORY and missing:
            raise ConfigurationError(
                f"partitioned: step {position} ({step.TYPE}) looks at earlier rows, which may be in other "
                f"partitions, and one build reads one partition. Have by include {shown(missing)}, so that "
                f"every group is in one partition; or build without partitioned."
            )


def state_of(existing: Existing, build: Build, store: ObjectStore) -> LearnedState:
    """
    The state that all partitions have.

    :raises ConfigurationError: when the build was told to have another one.
    """
    state = published_state(existing.manifest, store)
    if build.given is not None and build.given.sha256 != state.sha256:
        raise ConfigurationError(
            f"the {len(existing.partitions)} partitions of {build.output_uri!r} were built with another "
            f"state (sha256 {state.sha256[:12]}) than state_uri has ({build.given.sha256[:12]}). A feature "
            f"set must not be mixed: {build.rebuild}"
        )
    check_refit(build, state.fitted.operations, state.fitted.split_state)
    return state


def check_refit(build: Build, operations: Sequence[Operation], split_state: Mapping[str, Any]) -> None:
    """
    :raises ConfigurationError: when each partition would learn a state of its own.
    """
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
