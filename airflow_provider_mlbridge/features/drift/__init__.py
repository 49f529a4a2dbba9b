# SPDX-License-Identifier: Apache-2.0
"""
Drift of feature sets: how a version is distributed, and whether that differs from an earlier one.

The names load when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.drift.comparison import compare
    from airflow_provider_mlbridge.features.drift.distributions import measure
    from airflow_provider_mlbridge.features.drift.page import to_html
    from airflow_provider_mlbridge.features.drift.report import DriftReport, FeatureDrift, Figure
    from airflow_provider_mlbridge.features.drift.sources import measure_sources
    from airflow_provider_mlbridge.features.drift.versions import (
        Reference,
        compare_versions,
        load_reference,
        read_statistics,
    )

_MODULES = {
    "DriftReport": "report",
    "FeatureDrift": "report",
    "Figure": "report",
    "Reference": "versions",
    "compare": "comparison",
    "compare_versions": "versions",
    "load_reference": "versions",
    "measure": "distributions",
    "measure_sources": "sources",
    "read_statistics": "versions",
    "to_html": "page",
}

__all__ = [
    "DriftReport",
    "FeatureDrift",
    "Figure",
    "Reference",
    "compare",
    "compare_versions",
    "load_reference",
    "measure",
    "measure_sources",
    "read_statistics",
    "to_html",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
