# SPDX-License-Identifier: Apache-2.0
"""Statistics of the columns of a feature set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.features.kinds import SCALAR
from airflow_provider_mlbridge.features.moments import Moments
from airflow_provider_mlbridge.features.plan import Feature
from airflow_provider_mlbridge.features.quantiles import positive_zero
from airflow_provider_mlbridge.features.session import Extent
from airflow_provider_mlbridge.features.steps import Needs, Summary
from airflow_provider_mlbridge.features.steps.base import literal
from airflow_provider_mlbridge.features.summaries import Query, Request, first_pass

COLUMNS_AT_A_TIME = 50

_BITS = 60
"""Different values of codes are counted by bits when there can be no more than this."""


def describe(
    query: Query,
    table: Any,
    features: Sequence[Feature],
    rows: int,
    aliases: Mapping[str, str],
    extents: Mapping[str, Extent] | None = None,
) -> dict[str, dict[str, Any]]:
    """
    Statistics by feature name, as strict JSON.

    Each has ``kind``, ``count`` (values), ``nulls`` (missing ones); numbers and booleans also ``infinite``,
    ``mean``, ``std`` (of the population), ``min`` and ``max`` (None where there is no finite one, and where
    the range is too large for a float); codes and strings ``distinct``; dates and timestamps ``min`` and
    ``max`` in ISO 8601, or in the engine's words beyond the year 9999.

    :param aliases: name of each feature's column in ``table``.
    :param extents: what is known of columns beforehand, by their names in ``table``; with that of all
        numbers there is one pass over the data, and two without.
    """
    result: dict[str, dict[str, Any]] = {}
    for part in _parts(features):
        summaries = _extremes(query, table, part, rows, aliases, extents or {})
        result.update(_described(query, table, part, rows, aliases, summaries))
    return result


def _parts(features: Sequence[Feature]) -> Iterator[Sequence[Feature]]:
    """Some columns at a time: the engine's time and memory grow faster than the width of a query."""
    for begin in range(0, len(features), COLUMNS_AT_A_TIME):
        yield features[begin : begin + COLUMNS_AT_A_TIME]


def _extremes(
    query: Query,
    table: Any,
    features: Sequence[Feature],
    rows: int,
    aliases: Mapping[str, str],
    extents: Mapping[str, Extent],
) -> dict[str, tuple[Request, Summary]]:
    """Counts and extremes of numbers by feature name, with the request that they answer."""
    found: dict[str, tuple[Request, Summary]] = {}
    asked: dict[str, Request] = {}
    for feature in features:
        if feature.kind not in SCALAR or feature.flag:
            continue
        needs = Needs(extent=True, moments=True)
        request = Request(f"statistics of {feature.name!r}", aliases[feature.name], feature.kind, needs)
        known = extents.get(request.alias)
        if known is None:
            asked[feature.name] = request
        else:
            low, high = positive_zero(float(known.minimum)), positive_zero(float(known.maximum))
            found[feature.name] = request, Summary(request.where, rows, known.count, low, high)
    answers, _ = first_pass(query, table, list(asked.values()), rows)
    return {**found, **dict(zip(asked, zip(asked.values(), answers, strict=True), strict=True))}


def _described(
    query: Query,
    table: Any,
    features: Sequence[Feature],
    rows: int,
    aliases: Mapping[str, str],
    numbers: Mapping[str, tuple[Request, Summary]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    places = {index: numbers[item.name] for index, item in enumerate(features) if item.name in numbers}
    moments = Moments(table, places, lenient=True)
    aggregates = moments.aggregates()
    # The engine takes several times as long when it has to find different values next to something else.
    apart: dict[str, Any] = {}
    codes: dict[int, bool] = {}
    for index, feature in enumerate(features):
        value = table[aliases[feature.name]]
        if feature.flag:
            # Of a column that is 0 or 1 and never missing, the sum tells everything.
            aggregates[f"ones{index}"] = value.sum()
            continue
        if feature.kind == "string" or feature.discrete:
            summary = places[index][1] if index in places else None
            codes[index] = feature.kind == "int" and summary is not None and _narrow(summary)
            if codes[index] and summary is not None:
                aggregates[f"d{index}"] = _bits(value, summary)
            else:
                apart[f"d{index}"] = value.nunique()
        if feature.kind not in SCALAR:
            aggregates[f"n{index}"] = value.count()
        if feature.kind in ("date", "timestamp"):
            aggregates[f"min{index}"] = value.min()
            aggregates[f"max{index}"] = value.max()
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    answer |= query(table.aggregate(**apart))[0] if apart else {}
    known = moments.results(answer)
    for index, feature in enumerate(features):
        if feature.flag:
            yield feature.name, _flag(feature, int(answer[f"ones{index}"] or 0), rows)
            continue
        statistics: dict[str, Any] = {"kind": feature.kind}
        if index in places:
            summary = places[index][1]
            mean, std = known[index]
            statistics |= {"count": summary.count, "nulls": rows - summary.count}
            statistics |= {"infinite": summary.infinite, "mean": mean, "std": std}
            statistics |= {"min": _finite(summary.minimum), "max": _finite(summary.maximum)}
        if f"n{index}" in answer:
            statistics |= {"count": answer[f"n{index}"], "nulls": rows - answer[f"n{index}"]}
        if index in codes:
            found = answer[f"d{index}"]
            statistics["distinct"] = int(found or 0).bit_count() if codes[index] else found
        if feature.kind in ("date", "timestamp"):
            statistics |= {name: _iso(answer[f"{name}{index}"]) for name in ("min", "max")}
        yield feature.name, statistics


def _flag(feature: Feature, ones: int, rows: int) -> dict[str, Any]:
    share = Fraction(ones, rows) if rows else None
    return {
        "kind": feature.kind,
        "count": rows,
        "nulls": 0,
        "infinite": 0,
        "mean": None if share is None else float(share),
        "std": None if share is None else math.sqrt(share * (1 - share)),
        "min": None if share is None else float(ones == rows),
        "max": None if share is None else float(ones > 0),
        "distinct": (ones > 0) + (ones < rows),
    }


def _narrow(summary: Summary) -> bool:
    return summary.count > 0 and summary.maximum - summary.minimum < _BITS


def _bits(value: Any, summary: Summary) -> Any:
    """A number with one bit set for each different value, which is cheaper than to keep them."""
    # Ibis takes codes for 64 bits wide already, so that it is the one that is cast.
    return (literal(1).cast("int64") << (value - literal(int(summary.minimum)))).bit_or()


def _iso(moment: Any) -> str | None:
    # What Python's dates cannot hold (years beyond 9999, infinity) comes as the engine's text.
    if moment is None or isinstance(moment, str):
        return moment
    return str(moment.isoformat())


def _finite(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None
