# SPDX-License-Identifier: Apache-2.0
"""The steps of recipes, and how to find them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Step,
)
from airflow_provider_mlbridge.features.steps.bins import Bins, QuantileBins
from airflow_provider_mlbridge.features.steps.categories import OneHot, Ordinal
from airflow_provider_mlbridge.features.steps.dates import Cyclical, DateParts
from airflow_provider_mlbridge.features.steps.encoding import Frequency, Hashing
from airflow_provider_mlbridge.features.steps.expression import Expression, Interaction
from airflow_provider_mlbridge.features.steps.impute import Impute
from airflow_provider_mlbridge.features.steps.numeric import Clip, Log1p, MinMax, Standard
from airflow_provider_mlbridge.features.steps.passthrough import Passthrough
from airflow_provider_mlbridge.features.steps.scaling import Robust, YeoJohnson
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary
from airflow_provider_mlbridge.features.steps.target import Target
from airflow_provider_mlbridge.features.steps.windows import GroupAggregate, Lag, Rolling

STEP_TYPES: dict[str, type[Step]] = {
    step.TYPE: step
    for step in (
        Impute,
        Clip,
        Log1p,
        Standard,
        MinMax,
        Robust,
        YeoJohnson,
        OneHot,
        Ordinal,
        Frequency,
        Target,
        Hashing,
        DateParts,
        Cyclical,
        QuantileBins,
        Bins,
        Passthrough,
        Expression,
        Interaction,
        Lag,
        Rolling,
        GroupAggregate,
    )
}


def parse_step(document: object) -> Step:
    """
    A step from its mapping with ``type``, ``columns`` and options.

    :raises InvalidRecipeError: naming what is wrong and the valid choices.
    """
    if isinstance(document, Step):
        return document
    valid = ", ".join(STEP_TYPES)
    if not isinstance(document, Mapping):
        raise InvalidRecipeError(f"a step is a mapping with type and columns, got {document!r}")
    name: Any = document.get("type")
    if not isinstance(name, str) or name not in STEP_TYPES:
        raise InvalidRecipeError(f"unknown step type {name!r}; valid are {valid}")
    return STEP_TYPES[name].from_dict(document)


__all__ = [
    "STEP_TYPES",
    "Bins",
    "Check",
    "Clip",
    "Cyclical",
    "DateParts",
    "Expression",
    "Frequency",
    "GroupAggregate",
    "Hashing",
    "Impute",
    "Interaction",
    "Lag",
    "Log1p",
    "MinMax",
    "Needs",
    "OneHot",
    "Ordinal",
    "Passthrough",
    "QuantileBins",
    "Robust",
    "Rolling",
    "Standard",
    "Step",
    "Summary",
    "Target",
    "YeoJohnson",
    "parse_step",
]
