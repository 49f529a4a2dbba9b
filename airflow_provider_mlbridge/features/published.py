# SPDX-License-Identifier: Apache-2.0
"""What builds share: what a published feature set says of itself, and the state of an earlier one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidManifestError
from airflow_provider_mlbridge.features.fitted import FEATURES_VERSION, FittedRecipe
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN, Recipe
from airflow_provider_mlbridge.results import FeatureSet, Snapshot
from airflow_provider_mlbridge.storage import Manifest, Published, Version, open_store, read_manifest
from airflow_provider_mlbridge.storage.store import ObjectStore
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri, local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.batch import TransformResult

DETAILS_KIND = "mlbridge.features"
STATE_FILE = "state.json"
STATISTICS_FILE = "statistics.json"
PARTITION_COLUMNS = "partition_columns"
"""Key in the details of a partitioned feature set, and of no other."""

ENGINE = "engine"
"""Key of the engine that has made the files: in the details, or in those of each partition."""


@dataclass(frozen=True)
class LearnedState:
    """
    A fitted recipe as it is stored.

    :param fitted: the recipe with its states.
    :param text: the bytes of its ``state.json``.
    :param origin: the version it was taken from; None when it was learned just now.
    """

    fitted: FittedRecipe
    text: bytes
    origin: str | None = None

    @classmethod
    def learned(cls, fitted: FittedRecipe) -> LearnedState:
        """Of what was fitted just now."""
        return cls(fitted, fitted.to_json().encode())

    @cached_property
    def sha256(self) -> str:
        """Its identity."""
        return hashlib.sha256(self.text).hexdigest()


def feature_fingerprint(snapshot: Snapshot, recipe: Recipe, state: LearnedState | None = None) -> str:
    """
    sha256 (hex) over what determines the content: snapshot, recipe, version of the computation.

    The engine is left out. A fingerprint says which features these are, and whether they have to be computed
    again; the engines agree on them to 1e-9, which is tested for every step, and no model can tell. With the
    engine in it, whoever moves to a cluster would publish every version anew, train every model anew, and
    could not add a partition to those that the other engine has made. Which bytes were trained on is said by
    the checksums in the manifest, and which engine wrote them by its :data:`ENGINE`.

    :param state: what was learned, when the snapshot alone does not determine that.
    """
    identity = [snapshot.fingerprint, recipe.hash, FEATURES_VERSION]
    if state is not None:
        identity.append(state.sha256)
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def load_state(state_uri: str, recipe: Recipe, *, s3_client: S3Client | None = None) -> LearnedState:
    """
    The state that the caller names.

    :param state_uri: a version of a feature set, the prefix of its versions, or a ``state.json``.
    :raises ConfigurationError: when it is the state of another recipe.
    :raises InvalidManifestError: when the version is none, or its state is not the one it published.
    :raises InvalidRecipeError: when the state was changed, or is of another version.
    """
    check_uri(state_uri, argument="state_uri")
    store = open_store(state_uri, s3_client=s3_client)
    if state_uri.endswith(".json"):
        text = store.read(state_uri)
        state = LearnedState(FittedRecipe.from_json(text), text, state_uri)
    else:
        state = published_state(read_manifest(state_uri, s3_client=s3_client), store)
    if state.fitted.recipe.hash != recipe.hash:
        raise ConfigurationError(
            f"state_uri={state_uri!r} has the state of recipe {state.fitted.recipe.name!r} with the hash "
            f"{state.fitted.recipe.hash[:12]}, the recipe given has {recipe.hash[:12]}. A state goes with "
            f"the very recipe that it was learned by: build once with this recipe, and name that version."
        )
    return state


def published_state(manifest: Manifest, store: ObjectStore) -> LearnedState:
    """
    The state of a published version, checked against its manifest.

    :raises InvalidManifestError: when it is not the one that was published.
    :raises InvalidRecipeError: when it was changed, or is of another version.
    """
    file = manifest.file(STATE_FILE)
    text = store.read(file.uri)
    if hashlib.sha256(text).hexdigest() != file.sha256:
        raise InvalidManifestError(
            f"{file.uri} is not the file that was published: its sha256 is not the one in {manifest.uri}. "
            f"Build from a version that is whole (state_uri), or publish to another prefix."
        )
    return LearnedState(FittedRecipe.from_json(text), text, manifest.version_uri)


def check_apart(snapshot: Snapshot, output_uri: str, *, argument: str = "output_uri") -> None:
    """
    :raises ConfigurationError: when the output lies in the datamart, or the datamart in the output.
    """
    # A pointer, a version or latest.parquet among the files of the datamart would become the datamart.
    output = _canonical(check_uri(output_uri, argument=argument))
    for place in (snapshot.root,) if snapshot.iceberg else (snapshot.uri, snapshot.root):
        read = _canonical(place)
        if output.startswith(read) or read.startswith(output):
            raise ConfigurationError(
                f"{argument}={output_uri!r} overlaps the datamart {place!r}: features published there would "
                f"be taken for the datamart, or replace it. Give a prefix that is neither the datamart's, "
                f"nor below or above it."
            )


def _canonical(uri: str) -> str:
    """One notation for one place; a link is where it leads."""
    return as_prefix(uri if uri.startswith("s3://") else os.path.realpath(local_path(uri)))


def add_recipe(version: Version, recipe: Recipe, state: LearnedState) -> None:
    """Store recipe and state; every version has its own, so that it can be served from its prefix alone."""
    version.add_bytes("recipe.json", to_json(recipe.to_dict()))
    version.add_bytes("recipe.yaml", recipe.to_yaml().encode(), content_type="application/yaml")
    version.add_bytes(STATE_FILE, state.text)


def details_of(snapshot: Snapshot, state: LearnedState, written: TransformResult) -> dict[str, Any]:
    """What the manifest says about features that were written."""
    fitted, recipe = state.fitted, state.fitted.recipe
    train_rows = fitted.train_rows if state.origin is None else written.split_rows.get("train", 0)
    return {
        "kind": DETAILS_KIND,
        "features_version": FEATURES_VERSION,
        "recipe_name": recipe.name,
        "recipe_hash": recipe.hash,
        "datamart_uri": snapshot.uri,
        "datamart_fingerprint": snapshot.fingerprint,
        "rows": written.rows,
        "train_rows": train_rows,
        "fitted_rows": fitted.train_rows,
        "state_sha256": state.sha256,
        "split_rows": dict(written.split_rows),
        "split_column": SPLIT_COLUMN,
        "keys": list(recipe.keys),
        "label": recipe.label,
        "event_time": recipe.event_time,
        "features": list(written.feature_names),
        "schema": [[name, kind] for name, kind in written.schema.items()],
    }


def to_json(document: Mapping[str, Any]) -> bytes:
    """Strict JSON for people to read."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def feature_set(published: Published, started: float) -> FeatureSet:
    """
    The result of a build.

    :param started: when it began, of :func:`time.monotonic`.
    :raises InvalidManifestError: when the version is no feature set.
    """
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
