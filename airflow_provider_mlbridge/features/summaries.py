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

from airflow_provider_mlbridge.features.chains import source_ranks
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.moments import Moments
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
    sample_shares,
    values_at,
)
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX
from airflow_provider_mlbridge.features.steps.base import (
    as_float,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary
from airflow_provider_mlbridge.features.target_statistics import LabelColumn, target_statistics

Query = Callable[[Any], list[dict[str, Any]]]

Keep = Callable[[Any, str, int], Any]
"""A table whose rows are computed once, of one, a name for it, and how many bytes it takes at most."""

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
    :param known: what is known of its extremes already.
    :param made_of: whether the needs are those of a column made of this one, see :mod:`~.chains`: instead of
        quantiles the answer has the values of the ranks that they follow from.
    :param fills: whether that column has values in place of missing ones.
    """

    where: str
    alias: str
    kind: Kind
    needs: Needs
    label: LabelColumn | None = None
    known: Summary | None = None
    made_of: bool = False
    fills: bool = False


def summarise(
    query: Query,
    table: Any,
    requests: Sequence[Request],
    rows: int,
    *,
    lenient: bool = False,
    keep: Keep | None = None,
) -> list[Summary]:
    """
    Answer all requests over one table.

    One pass gives counts and extremes of all columns together, a second one the moments of all. Quantiles go
    along with both, and take a third one (see :mod:`~.quantiles`).
    Each column whose categories are wanted is grouped in a query of its own, which reads that column only.

    :param lenient: leave mean and standard deviation out where the range is too large for them.
    :param keep: for what is read again and again; without it, it is computed each time.
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
    for index, request in enumerate(requests):
        if request.alias in searches and request.needs.quantiles:
            order = searches[request.alias].found
            summaries[index] = _ranked(summaries[index], request, order)
    powers = {
        index: (request, summaries[index]) for index, request in enumerate(requests) if request.needs.power
    }
    for index, power in (fit_powers(query, table, powers, keep) if powers else {}).items():
        summaries[index] = replace(summaries[index], power=power)
    for index, request in enumerate(requests):
        if request.needs.mode:
            summaries[index] = _with_mode(query, table, request, summaries[index])
        if request.needs.categories:
            summaries[index] = _with_categories(query, table, request, summaries[index])
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


def _ranked(summary: Summary, request: Request, order: Mapping[int, float]) -> Summary:
    count, quantiles = summary.count, request.needs.quantiles
    if request.made_of:
        ranks = source_ranks(quantiles, count, summary.rows, fills=request.fills)
        return replace(summary, order={rank: order[rank] for rank in ranks})
    return replace(
        summary,
        quantiles={quantile: interpolate(quantile, count, order) for quantile in sorted(set(quantiles))},
    )


def first_pass(
    query: Query, table: Any, requests: Sequence[Request], rows: int
) -> tuple[list[Summary], dict[str, Ranks]]:
    """Counts and extremes of the columns of all requests, and where to search for quantiles, by alias."""
    import ibis

    # Names of users are no names for results: engines do not tell all of them apart.
    places = _places(requests)
    aggregates: dict[str, Any] = {}
    samples: dict[str, list[str]] = {}
    for index, request in enumerate(requests):
        value, needs, place = table[request.alias], request.needs, places[request.alias]
        if request.known is not None or needs.only_groups:
            continue
        aggregates[f"n{place}"] = value.count()
        if request.kind in SCALAR:
            number = as_float(value, request.kind)
            if needs.extent or needs.moments:
                aggregates[f"min{place}"] = number.min()
                aggregates[f"max{place}"] = number.max()
            if needs.magnitude:
                finite = ibis.ifelse(number.isinf(), ibis.null("float64"), number.abs())
                aggregates[f"magnitude{place}"] = finite.max()
            if needs.quantiles and rows > MOST_VALUES:
                found = _samples(number, request, rows, drawn(table, rows))
                names = {f"sample{index}_{number}": value for number, value in enumerate(found)}
                aggregates |= names
                samples.setdefault(request.alias, []).extend(names)
    answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
    infinite = _infinite(query, table, requests, answer, places)
    summaries: list[Summary] = []
    ranks: dict[str, set[int]] = {}
    for request in requests:
        if request.known is not None:
            summaries.append(replace(request.known, where=request.where))
            continue
        place = places[request.alias]
        count = answer.get(f"n{place}", 0)
        summaries.append(
            Summary(
                where=request.where,
                rows=rows,
                count=count,
                minimum=positive_zero(answer.get(f"min{place}")),
                maximum=positive_zero(answer.get(f"max{place}")),
                infinite=infinite.get(request.alias, 0),
                magnitude=answer.get(f"magnitude{place}"),
            )
        )
        if request.needs.quantiles and count:
            found = source_ranks(request.needs.quantiles, count, rows, fills=request.fills)
            ranks.setdefault(request.alias, set()).update(found)
    searches: dict[str, Ranks] = {}
    for alias, wanted in ranks.items():
        drawn_pivots = [value for name in samples.get(alias, ()) for value in answer[name] or ()]
        pivots = {positive_zero(value) for value in drawn_pivots if not math.isinf(value)}
        searches[alias] = Ranks(answer[f"n{places[alias]}"], sorted(wanted), sorted(pivots))
    return summaries, searches


def _samples(number: Any, request: Request, rows: int, where: Any) -> list[Any]:
    """Values of a sample that are likely to be next to the ranks that are wanted."""
    shares = sample_shares(request.needs.quantiles, min(rows, SAMPLE_VALUES)) or [0.5]
    if not request.fills:
        return [values_at(number, shares, where)]
    # Whatever is filled in for missing values lies between the smallest and the largest there are.
    ends = (number.fill_null(literal(end)) for end in (-math.inf, math.inf))
    return [values_at(filled, shares, where) for filled in ends]


def _infinite(
    query: Query,
    table: Any,
    requests: Sequence[Request],
    answer: Mapping[str, Any],
    places: Mapping[str, int],
) -> dict[str, int]:
    """How many values are infinite by alias, in the few columns whose extremes say that some are."""
    counted: dict[str, Any] = {}
    for request in requests:
        extremes = [answer.get(f"{name}{places[request.alias]}") for name in ("min", "max")]
        if any(value is not None and math.isinf(value) for value in extremes):
            number = as_float(table[request.alias], request.kind)
            counted[f"n{places[request.alias]}"] = count_if(number.isinf())
    found = query(table.aggregate(**counted))[0] if counted else {}
    return {alias: found[f"n{place}"] for alias, place in places.items() if f"n{place}" in found}


def _places(requests: Sequence[Request]) -> dict[str, int]:
    """A number for each alias."""
    return {alias: place for place, alias in enumerate(dict.fromkeys(item.alias for item in requests))}


def _later_passes(
    query: Query,
    table: Any,
    requests: Sequence[Request],
    searches: Mapping[str, Ranks],
    moments: Moments,
) -> dict[str, Any]:
    """Ask for moments, and for ranks until all are found; return what is known of the moments."""
    found: dict[str, Any] = {}
    aggregates = moments.aggregates()
    kinds = {request.alias: request.kind for request in requests}
    places = _places(requests)
    numbers = {alias: as_float(table[alias], kinds[alias]) for alias in searches}
    while aggregates or not all(search.done for search in searches.values()):
        for alias, search in searches.items():
            counts = search.counts(numbers[alias])
            aggregates |= {f"{name}_{places[alias]}": count for name, count in counts.items()}
        answer = query(table.aggregate(**aggregates))[0] if aggregates else {}
        for alias, search in searches.items():
            own = f"_{places[alias]}"
            search.take_counts(
                {name.removesuffix(own): answer[name] for name in answer if name.endswith(own)}
            )
            search.pick(query, table, numbers[alias])
        found |= answer
        aggregates = {}
    return found


def _with_mode(query: Query, table: Any, request: Request, summary: Summary) -> Summary:
    import ibis

    counted = _counted(table, request)
    counted = counted.mutate(total=counted.n.sum().over())
    rows = query(counted.order_by([ibis.desc("n"), ibis.asc("value")]).limit(1))
    if not rows:
        return summary
    return replace(summary, mode=rows[0]["value"], count=int(rows[0]["total"]))


def _with_categories(query: Query, table: Any, request: Request, summary: Summary) -> Summary:
    limit = _limit(request)
    rows = query(_counted(table, request).limit(limit + 1))
    if len(rows) > limit:
        # What else there is does not matter: no step goes on without the categories.
        return replace(summary, categories=None, count=sum(int(row["n"]) for row in rows))
    categories = tuple(sorted((row["value"], int(row["n"])) for row in rows))
    return replace(summary, categories=categories, count=sum(number for _, number in categories))


def _limit(request: Request) -> int:
    return request.needs.category_limit or CATEGORY_LIMIT


def _value(table: Any, request: Request) -> Any:
    value = table[request.alias]
    # -0.0 and 0.0 are one category.
    return value + literal(0.0) if request.kind == "float" else value


def _counted(table: Any, request: Request) -> Any:
    known = table.select(value=_value(table, request)).filter(lambda t: t.value.notnull())
    return known.group_by("value").aggregate(n=lambda t: t.count())
