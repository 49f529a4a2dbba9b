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
from airflow_provider_mlbridge.features.quantiles import (
    MOST_VALUES,
    SAMPLE_VALUES,
    Ranks,
    count_if,
    drawn,
    interpolate,
    numbered,
    positive_zero,
    ranks_of,
    sample_shares,
    values_at,
)
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX
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

    One pass gives counts and extremes of all columns together, a second one the moments of all. Quantiles go
    along with both, and take a third one (see :mod:`~.quantiles`).
    Each column whose categories are wanted is grouped in a query of its own, which reads that column only.

    :param lenient: leave mean and standard deviation out where the range is too large for them.
    :raises FitError: when it is, otherwise.
    """
    if any(request.needs.quantiles for request in requests):
        table = numbered(table, (FILE_INDEX, ROW_INDEX))
    summaries, searches = first_pass(query, table, requests, rows)
    wanted = [index for index, request in enumerate(requests) if request.needs.moments]
    moments = Moments(
        table, {index: (requests[index], summaries[index]) for index in wanted}, lenient=lenient
    )
    found = _later_passes(query, table, requests, searches, moments)
    for index, (mean, std) in moments.results(found).items():
        summaries[index] = replace(summaries[index], mean=mean, std=std)
    for index, search in searches.items():
        count = summaries[index].count
        values = {
            quantile: interpolate(quantile, count, search.found)
            for quantile in sorted(set(requests[index].needs.quantiles))
        }
        summaries[index] = replace(summaries[index], quantiles=values)
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


def first_pass(
    query: Query, table: Any, requests: Sequence[Request], rows: int
) -> tuple[list[Summary], dict[int, Ranks]]:
    """Counts and extremes of the columns of all requests, and where to search for quantiles, by index."""
    import ibis

    aggregates: dict[str, Any] = {}
    many = rows > MOST_VALUES
    for index, request in enumerate(requests):
        value, needs = table[request.alias], request.needs
        aggregates[f"n{index}"] = value.count()
        if (needs.extent or needs.moments) and request.kind in SCALAR:
            number = as_float(value, request.kind)
            aggregates[f"min{index}"] = number.min()
            aggregates[f"max{index}"] = number.max()
        if needs.magnitude:
            number = as_float(value, request.kind)
            finite = ibis.ifelse(number.isinf(), ibis.null("float64"), number.abs())
            aggregates[f"magnitude{index}"] = finite.max()
        if needs.quantiles and many:
            shares = sample_shares(needs.quantiles, min(rows, SAMPLE_VALUES)) or [0.5]
            number = as_float(value, request.kind)
            aggregates[f"sample{index}"] = values_at(number, shares, drawn(table, rows))
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    infinite = _infinite(query, table, requests, answer)
    summaries, searches = [], {}
    for index, request in enumerate(requests):
        count = answer[f"n{index}"]
        summary = Summary(
            where=request.where,
            rows=rows,
            count=count,
            minimum=positive_zero(answer.get(f"min{index}")),
            maximum=positive_zero(answer.get(f"max{index}")),
            infinite=infinite.get(f"inf{index}", 0),
            magnitude=answer.get(f"magnitude{index}"),
        )
        summaries.append(summary)
        if request.needs.quantiles and count:
            pivots = {positive_zero(value) for value in answer.get(f"sample{index}") or ()}
            searches[index] = Ranks(count, ranks_of(request.needs.quantiles, count), sorted(pivots))
    return summaries, searches


def _infinite(
    query: Query, table: Any, requests: Sequence[Request], answer: Mapping[str, Any]
) -> dict[str, int]:
    """How many values are infinite, in the few columns whose extremes say that some are."""
    counted: dict[str, Any] = {}
    for index, request in enumerate(requests):
        extremes = [answer.get(f"{name}{index}") for name in ("min", "max")]
        if any(value is not None and math.isinf(value) for value in extremes):
            counted[f"inf{index}"] = count_if(as_float(table[request.alias], request.kind).isinf())
    return query(table.aggregate(**counted))[0] if counted else {}


def _later_passes(
    query: Query,
    table: Any,
    requests: Sequence[Request],
    searches: Mapping[int, Ranks],
    moments: Moments,
) -> dict[str, Any]:
    """Ask for moments, and for ranks until all are found; return what is known of the moments."""
    found: dict[str, Any] = {}
    aggregates = moments.aggregates()
    while aggregates or not all(search.done for search in searches.values()):
        for index, search in searches.items():
            number = as_float(table[requests[index].alias], requests[index].kind)
            aggregates |= {f"{name}_{index}": count for name, count in search.counts(number).items()}
        answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
        for index, search in searches.items():
            own = f"_{index}"
            search.take_counts(
                {name.removesuffix(own): answer[name] for name in answer if name.endswith(own)}
            )
            search.pick(query, table, as_float(table[requests[index].alias], requests[index].kind))
        found |= answer
        aggregates = {}
    return found


def _range_overflows(summary: Summary) -> bool:
    return not math.isfinite(float(summary.maximum) - float(summary.minimum))


class Moments:
    """
    Mean and standard deviation of some columns.

    :param wanted: request and what is known so far, by index.
    :param lenient: leave out what cannot be computed.
    :raises FitError: when the range of a column is too large, unless ``lenient``.
    """

    def __init__(self, table: Any, wanted: Mapping[int, tuple[Request, Summary]], *, lenient: bool) -> None:
        self._table = table
        self._wanted = wanted
        self._known: dict[int, tuple[float | None, float | None]] = {}
        self._scales: dict[int, Scale] = {}
        for index, (_, summary) in wanted.items():
            if not summary.count or summary.infinite or (lenient and _range_overflows(summary)):
                self._known[index] = (None, None)
            elif summary.minimum == summary.maximum:
                self._known[index] = (float(summary.minimum), 0.0)
            elif _range_overflows(summary):
                raise FitError(
                    f"{summary.where}: the range of the values is too large for a float. Bound them with a "
                    f"clip step before this one."
                )
            else:
                self._scales[index] = Scale.of(float(summary.minimum), float(summary.maximum))

    def aggregates(self) -> dict[str, Any]:
        """What to ask, by name."""
        aggregates: dict[str, Any] = {}
        for index, scale in self._scales.items():
            request = self._wanted[index][0]
            number = as_float(self._table[request.alias], request.kind)
            aggregates[f"sum{index}"] = scale.sum_of(number)
            aggregates[f"squares{index}"] = scale.squares_of(number)
        return aggregates

    def results(self, answer: Mapping[str, Any]) -> dict[int, tuple[float | None, float | None]]:
        """Mean and standard deviation by index; None where they cannot be computed."""
        results = dict(self._known)
        for index, scale in self._scales.items():
            count = self._wanted[index][1].count
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
