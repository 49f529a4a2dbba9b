# SPDX-License-Identifier: Apache-2.0
"""Which columns of the datamart each feature comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.results import FeatureSet

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STATE_FILE = "state.json"


def column_sources(fitted: FittedRecipe) -> dict[str, tuple[str, ...]]:
    """
    The datamart's columns that each feature is computed from, by feature, in the recipe's order of inputs.

    What a step read of the label while it was fitted counts too.
    """
    label = fitted.recipe.label
    sources: dict[str, frozenset[str]] = {name: frozenset((name,)) for name in fitted.inputs}
    for operation, state in zip(fitted.operations, fitted.states, strict=True):
        read = frozenset[str]().union(*(sources[name] for name in (operation.column, *operation.reads)))
        if operation.step.SUPERVISED and label is not None:
            read |= {label}
        sources.update((name, read) for name, _ in operation.outputs(state))
    order = [*fitted.inputs, *([label] if label is not None and label not in fitted.inputs else [])]
    return {
        name: tuple(column for column in order if column in sources[name]) for name in fitted.feature_names
    }


def published_sources(
    features: FeatureSet, *, s3_client: S3Client | None = None
) -> dict[str, tuple[str, ...]]:
    """
    The same of a published version, from its ``state.json``.

    :raises StorageError: when that cannot be read.
    :raises InvalidRecipeError: when it is none, or was changed.
    """
    from airflow_provider_mlbridge.storage import open_store

    uri = features.uri + STATE_FILE
    return column_sources(FittedRecipe.from_json(open_store(uri, s3_client=s3_client).read(uri)))
