# SPDX-License-Identifier: Apache-2.0
"""Statistics of the columns of a feature set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlbridge.features.kinds import SCALAR
from airflow_provider_mlbridge.features.plan import Feature
from airflow_provider_mlbridge.features.steps import Needs
from airflow_provider_mlbridge.features.summaries import Query, Request, summarise


def describe(
    query: Query, table: Any, features: Sequence[Feature], rows: int, aliases: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """
    Statistics by feature name, as strict JSON.

    Each has ``kind``, ``count`` (values), ``nulls`` (missing ones); numbers and booleans also ``infinite``,
    ``mean``, ``std`` (of the population), ``min`` and ``max`` (None where there is no finite one); codes and
    strings ``distinct``; dates and timestamps ``min`` and ``max`` in ISO 8601.

    :param aliases: name of each feature's column in ``table``.
    """
    numbers = [feature for feature in features if feature.kind in SCALAR]
    requests = [
        Request(
            f"statistics of {feature.name!r}",
            aliases[feature.name],
            feature.kind,
            Needs(extent=True, moments=True),
        )
        for feature in numbers
    ]
    summaries = summarise(query, table, requests, rows) if requests else []
    result: dict[str, dict[str, Any]] = {}
    for feature, summary in zip(numbers, summaries, strict=True):
        result[feature.name] = {
            "kind": feature.kind,
            "count": summary.count,
            "nulls": rows - summary.count,
            "infinite": summary.infinite,
            "mean": summary.mean,
            "std": summary.std,
            "min": _finite(summary.minimum),
            "max": _finite(summary.maximum),
        }
    _others(query, table, features, rows, aliases, result)
    return {feature.name: result[feature.name] for feature in features}


def _others(
    query: Query,
    table: Any,
    features: Sequence[Feature],
    rows: int,
    aliases: Mapping[str, str],
    result: dict[str, dict[str, Any]],
) -> None:
    aggregates: dict[str, Any] = {}
    for index, feature in enumerate(features):
        value = table[aliases[feature.name]]
        if feature.kind == "string" or feature.discrete:
            aggregates[f"d{index}"] = value.nunique()
        if feature.kind not in SCALAR:
            aggregates[f"n{index}"] = value.count()
        if feature.kind in ("date", "timestamp"):
            aggregates[f"min{index}"] = value.min()
            aggregates[f"max{index}"] = value.max()
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    for index, feature in enumerate(features):
        statistics = result.setdefault(feature.name, {"kind": feature.kind})
        if f"n{index}" in answer:
            statistics["count"] = answer[f"n{index}"]
            statistics["nulls"] = rows - answer[f"n{index}"]
        if f"d{index}" in answer:
            statistics["distinct"] = answer[f"d{index}"]
        if feature.kind in ("date", "timestamp"):
            for name in ("min", "max"):
                moment = answer[f"{name}{index}"]
                statistics[name] = None if moment is None else moment.isoformat()


def _finite(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None
