# SPDX-License-Identifier: Apache-2.0
"""
What is learned from a column: counts, extremes, quantiles, categories, mean and standard deviation.

The result must not depend on the order of rows or on the number of threads, and adding floats does: every
order rounds differently. So sums are added as integers (see :mod:`~.sums`), for which a first pass gives the
smallest and largest value. That loses far less than adding floats does, and costs about twice a plain
``sum``. (One thread over sorted rows would be deterministic too, but slower by the number of cores.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.power import fit_powers
from airflow_provider_mlbridge.features.steps.base import Needs, Summary, as_float, literal
from airflow_provider_mlbridge.features.sums import Scale
from airflow_provider_mlbridge.features.target_statistics import LabelColumn, target_statistics

Query = Callable[[Any], list[dict[str, Any]]]

CATEGORY_LIMIT = 10_000
"""More different values than this are not looked at."""


@dataclass(frozen=True)
class Request:
    """
    What is wanted of one column.

    :param where: for messages.
    :param alias: its name in the table.
    :param kind: its kind.
    :param needs: what is wanted.
    :param label: the label, for needs that concern it.
    """

    where: str
    alias: str
    kind: Kind
    needs: Needs
    label: LabelColumn | None = None


def summarise(
    query: Query, table: Any, requests: Sequence[Request], rows: int, *, lenient: bool = False
) -> list[Summary]:
    """
    Answer all requests over one table.

    One pass gives counts, extremes and quantiles of all columns together, a second one the moments of all.
    Each column whose categories are wanted is grouped in a query of its own, which reads that column only.

    :param lenient: leave mean and standard deviation out where the range is too large for them.
    :raises FitError: when it is, otherwise.
    """
    summaries = _first_pass(query, table, requests, rows)
    wanted = [index for index, request in enumerate(requests) if request.needs.moments]
    for index, (mean, std) in _moments(
        query, table, {index: (requests[index], summaries[index]) for index in wanted}, lenient=lenient
    ).items():
        summaries[index] = replace(summaries[index], mean=mean, std=std)
    powers = {
        index: (request, summaries[index]) for index, request in enumerate(requests) if request.needs.power
    }
    for index, power in (fit_powers(query, table, powers) if powers else {}).items():
        summaries[index] = replace(summaries[index], power=power)
    for index, request in enumerate(requests):
        if request.needs.mode:
            summaries[index] = replace(summaries[index], mode=_mode(query, table, request))
        if request.needs.categories:
            summaries[index] = replace(summaries[index], categories=_categories(query, table, request))
        if request.needs.target_folds and request.label is not None:
            target = target_statistics(
                query,
                table,
                request.label,
                _value(table, request),
                where=request.where,
                needs=request.needs,
                limit=_limit(request),
            )
            summaries[index] = replace(summaries[index], target=target)
    return summaries


def _first_pass(query: Query, table: Any, requests: Sequence[Request], rows: int) -> list[Summary]:
    import ibis

    aggregates: dict[str, Any] = {}
    for index, request in enumerate(requests):
        value, needs = table[request.alias], request.needs
        aggregates[f"n{index}"] = value.count()
        if (needs.extent or needs.moments) and request.kind in SCALAR:
            number = as_float(value, request.kind)
            aggregates[f"min{index}"] = number.min()
            aggregates[f"max{index}"] = number.max()
            aggregates[f"inf{index}"] = ibis.ifelse(number.isinf(), 1, 0).sum()
        if needs.magnitude:
            number = as_float(value, request.kind)
            finite = ibis.ifelse(number.isinf(), ibis.null("float64"), number.abs())
            aggregates[f"magnitude{index}"] = finite.max()
        if needs.quantiles:
            aggregates[f"q{index}"] = as_float(value, request.kind).quantile(sorted(set(needs.quantiles)))
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    summaries = []
    for index, request in enumerate(requests):
        quantiles = sorted(set(request.needs.quantiles))
        summaries.append(
            Summary(
                where=request.where,
                rows=rows,
                count=answer[f"n{index}"],
                minimum=answer.get(f"min{index}"),
                maximum=answer.get(f"max{index}"),
                infinite=answer.get(f"inf{index}") or 0,
                quantiles=dict(zip(quantiles, answer.get(f"q{index}") or (), strict=False)),
                magnitude=answer.get(f"magnitude{index}"),
            )
        )
    return summaries


def _range_overflows(summary: Summary) -> bool:
    return not math.isfinite(float(summary.maximum) - float(summary.minimum))


def _moments(
    query: Query, table: Any, wanted: Mapping[int, tuple[Request, Summary]], *, lenient: bool
) -> dict[int, tuple[float | None, float | None]]:
    """
    Mean and standard deviation by index.

    :raises FitError: when the range of a column is too large, unless ``lenient``.
    """
    results: dict[int, tuple[float | None, float | None]] = {}
    scales: dict[int, Scale] = {}
    for index, (_, summary) in wanted.items():
        if not summary.count or summary.infinite or (lenient and _range_overflows(summary)):
            results[index] = (None, None)
        elif summary.minimum == summary.maximum:
            results[index] = (float(summary.minimum), 0.0)
        elif _range_overflows(summary):
            raise FitError(
                f"{summary.where}: the range of the values is too large for a float. Bound them with a clip "
                f"step before this one."
            )
        else:
            scales[index] = Scale.of(float(summary.minimum), float(summary.maximum))
    aggregates: dict[str, Any] = {}
    for index, scale in scales.items():
        request = wanted[index][0]
        number = as_float(table[request.alias], request.kind)
        aggregates[f"sum{index}"] = scale.sum_of(number)
        aggregates[f"squares{index}"] = scale.squares_of(number)
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    for index, scale in scales.items():
        count = wanted[index][1].count
        results[index] = scale.moments(answer[f"sum{index}"], answer[f"squares{index}"], count)
    return results


def _mode(query: Query, table: Any, request: Request) -> Any:
    counted = _counted(table, request)
    import ibis

    rows = query(counted.order_by([ibis.desc("n"), ibis.asc("value")]).limit(1))
    return rows[0]["value"] if rows else None


def _categories(query: Query, table: Any, request: Request) -> tuple[tuple[Any, int], ...] | None:
    limit = _limit(request)
    rows = query(_counted(table, request).limit(limit + 1))
    if len(rows) > limit:
        return None
    return tuple(sorted((row["value"], int(row["n"])) for row in rows))


def _limit(request: Request) -> int:
    return request.needs.category_limit or CATEGORY_LIMIT


def _value(table: Any, request: Request) -> Any:
    value = table[request.alias]
    # -0.0 and 0.0 are one category.
    return value + literal(0.0) if request.kind == "float" else value


def _counted(table: Any, request: Request) -> Any:
    known = table.select(value=_value(table, request)).filter(lambda t: t.value.notnull())
    return known.group_by("value").aggregate(n=lambda t: t.count())
