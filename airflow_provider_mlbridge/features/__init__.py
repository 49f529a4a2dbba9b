# SPDX-License-Identifier: Apache-2.0
"""Feature recipes: fit on the training split, transform everywhere alike. Knows no Airflow."""

from __future__ import annotations

from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.selectors import Selector
from airflow_provider_mlbridge.features.splits import ColumnSplit, HashSplit, TimeSplit
from airflow_provider_mlbridge.features.steps import (
    Clip,
    DateParts,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Standard,
)

__all__ = [
    "Clip",
    "ColumnSplit",
    "DateParts",
    "FittedRecipe",
    "HashSplit",
    "Impute",
    "Log1p",
    "MinMax",
    "OneHot",
    "Ordinal",
    "Passthrough",
    "QuantileBins",
    "Recipe",
    "Selector",
    "Standard",
    "TimeSplit",
    "build_feature_set",
]
