# SPDX-License-Identifier: Apache-2.0
"""
Feature recipes: fit on the training split, transform everywhere alike. Knows no Airflow.

The names load when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.build import build_feature_set
    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.recipe import Recipe
    from airflow_provider_mlbridge.features.selectors import Selector
    from airflow_provider_mlbridge.features.splits import ColumnSplit, GroupSplit, HashSplit, TimeSplit
    from airflow_provider_mlbridge.features.steps import (
        Bins,
        Clip,
        Cyclical,
        DateParts,
        Expression,
        Frequency,
        GroupAggregate,
        Hashing,
        Impute,
        Interaction,
        Lag,
        Log1p,
        MinMax,
        OneHot,
        Ordinal,
        Passthrough,
        QuantileBins,
        Robust,
        Rolling,
        Standard,
        Target,
        YeoJohnson,
    )

_MODULES = {
    "Bins": "steps",
    "Clip": "steps",
    "ColumnSplit": "splits",
    "Cyclical": "steps",
    "DateParts": "steps",
    "Expression": "steps",
    "FittedRecipe": "fitted",
    "Frequency": "steps",
    "GroupAggregate": "steps",
    "GroupSplit": "splits",
    "HashSplit": "splits",
    "Hashing": "steps",
    "Impute": "steps",
    "Interaction": "steps",
    "Lag": "steps",
    "Log1p": "steps",
    "MinMax": "steps",
    "OneHot": "steps",
    "Ordinal": "steps",
    "Passthrough": "steps",
    "QuantileBins": "steps",
    "Recipe": "recipe",
    "Robust": "steps",
    "Rolling": "steps",
    "Selector": "selectors",
    "Standard": "steps",
    "Target": "steps",
    "TimeSplit": "splits",
    "YeoJohnson": "steps",
    "build_feature_set": "build",
}

__all__ = [
    "Bins",
    "Clip",
    "ColumnSplit",
    "Cyclical",
    "DateParts",
    "Expression",
    "FittedRecipe",
    "Frequency",
    "GroupAggregate",
    "GroupSplit",
    "HashSplit",
    "Hashing",
    "Impute",
    "Interaction",
    "Lag",
    "Log1p",
    "MinMax",
    "OneHot",
    "Ordinal",
    "Passthrough",
    "QuantileBins",
    "Recipe",
    "Robust",
    "Rolling",
    "Selector",
    "Standard",
    "Target",
    "TimeSplit",
    "YeoJohnson",
    "build_feature_set",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
