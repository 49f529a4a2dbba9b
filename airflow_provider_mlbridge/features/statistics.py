# SPDX-License-Identifier: Apache-2.0
"""Statistics of the columns of a feature set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.features.kinds import SCALAR
from airflow_provider_mlbridge.features.plan import Feature
from airflow_provider_mlbridge.features.steps import Needs
from airflow_provider_mlbridge.features.summaries import Query, Request, summarise

COLUMNS_AT_A_TIME = 50


def describe(
    query: Query, table: Any, features: Sequence[Feature], rows: int, aliases: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """
    Statistics by feature name, as strict JSON.

    Each has ``kind``, ``count`` (values), ``nulls`` (missing ones); numbers and booleans also ``infinite``,
    ``mean``, ``std`` (of the population), ``min`` and ``max`` (None where there is no finite one, and where
    the range is too large for a float); codes and strings ``distinct``; dates and timestamps ``min`` and
    ``max`` in ISO 8601, or in the engine's words beyond the year 9999.

    :param aliases: name of each feature's column in ``table``.
    """
    flags = [feature for feature in features if feature.flag]
    numbers = [feature for feature in features if feature.kind in SCALAR and not feature.flag]
    result: dict[str, dict[str, Any]] = {}
    for part in _parts(flags):
        result.update(_flags(query, table, part, rows, aliases))
    for part in _parts(numbers):
        result.update(_numbers(query, table, part, rows, aliases))
    for part in _parts([feature for feature in features if not feature.flag]):
        _others(query, table, part, rows, aliases, result)
    return {feature.name: result[feature.name] for feature in features}


def _parts(features: Sequence[Feature]) -> Iterator[Sequence[Feature]]:
    """Some columns at a time: the engine's time and memory grow faster than the width of a query."""
    for begin in range(0, len(features), COLUMNS_AT_A_TIME):
        yield features[begin : begin + COLUMNS_AT_A_TIME]


def _flags(
    query: Query, table: Any, features: Sequence[Feature], rows: int, aliases: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of columns that are 0 or 1 and never missing, the sum tells everything."""
    sums = {f"s{index}": table[aliases[feature.name]].sum() for index, feature in enumerate(features)}
    answer = query(table.aggregate(**sums))[0]
    for index, feature in enumerate(features):
        ones = int(answer[f"s{index}"] or 0)
        share = Fraction(ones, rows) if rows else None
        yield (
            feature.name,
            {
                "kind": feature.kind,
                "count": rows,
                "nulls": 0,
                "infinite": 0,
                "mean": None if share is None else float(share),
                "std": None if share is None else math.sqrt(share * (1 - share)),
                "min": None if share is None else float(ones == rows),
                "max": None if share is None else float(ones > 0),
                "distinct": (ones > 0) + (ones < rows),
            },
        )


def _numbers(
    query: Query, table: Any, numbers: Sequence[Feature], rows: int, aliases: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    requests = [
        Request(
            f"statistics of {feature.name!r}",
            aliases[feature.name],
            feature.kind,
            Needs(extent=True, moments=True),
        )
        for feature in numbers
    ]
    summaries = summarise(query, table, requests, rows, lenient=True)
    for feature, summary in zip(numbers, summaries, strict=True):
        yield (
            feature.name,
            {
                "kind": feature.kind,
                "count": summary.count,
                "nulls": rows - summary.count,
                "infinite": summary.infinite,
                "mean": summary.mean,
                "std": summary.std,
                "min": _finite(summary.minimum),
                "max": _finite(summary.maximum),
            },
        )


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
                statistics[name] = _iso(answer[f"{name}{index}"])


def _iso(moment: Any) -> str | None:
    # What Python's dates cannot hold (years beyond 9999, infinity) comes as the engine's text.
    if moment is None or isinstance(moment, str):
        return moment
    return str(moment.isoformat())


def _finite(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None
