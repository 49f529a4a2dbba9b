# SPDX-License-Identifier: Apache-2.0
"""
Exact quantiles of many columns together, in bounded memory.

A quantile lies between two values of known rank. To find the value of a rank, values are narrowed down
between two *pivots*: a pass counts how many values are below each pivot and at most each pivot, and that
tells exactly between which two the rank lies, or that it is a pivot itself. When few enough values are left
between them (:data:`MOST_VALUES`), one more pass over the column takes those and picks the rank.
Pivots are quantiles of a sample, somewhat below and above the one wanted. So there are three passes:

1. sample (of :data:`SAMPLE_VALUES` rows; taken along in the pass that finds the extremes),
2. count (taken along in the pass that adds up the moments),
3. pick.

A column with no more values than :data:`MOST_VALUES` takes the last one only. A sample that misled costs
another round and changes no result: the counts are exact, so a rank beyond the pivots is known to be there,
and is looked for there. Equal values are no burden: a pivot counts all of its equals, however many, and what
lies strictly between two neighbours of one sample is about as much as was meant to.

Columns are picked from one after the other, so no pass holds more than :data:`MOST_VALUES` values, or
:data:`SAMPLE_VALUES` of each column: 64 MB, or 4 MB for each column, whatever the number of rows. (The
engine's own exact quantile holds every value of every column.) Neither the sample nor the order of rows nor
the number of threads leaves a trace in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_mlbridge.features.steps.base import literal

Query = Callable[[Any], list[dict[str, Any]]]

SAMPLE_VALUES = 500_000
"""Rows in a sample."""

MOST_VALUES = 8_000_000
"""Most values that one pass picks from; 64 MB of them."""

_DEVIATIONS = 4.0
"""How many standard deviations of a sample's quantile the pivots stand away from it."""

_DRAW_LIMIT = 2**31


def numbered(table: Any, place: Sequence[str]) -> Any:
    """
    ``table`` with a column ``draw``, by which rows are drawn: a number from 0 to below 2**31.

    :param place: columns with whole numbers that tell rows apart; those that the table has not are left out.
    """
    known = [table[name] for name in place if name in table.columns]
    mixed: Any = literal(0)
    for number in known:
        mixed = mixed * literal(1_000_000_007) + number
    # Each engine's own hash will do (a few operations of our own took ten times as long): what was drawn
    # leaves no trace in results.
    return table.mutate(draw=mixed.hash() & literal(_DRAW_LIMIT - 1))


def drawn(table: Any, rows: int) -> Any:
    """The condition for a sample, of a table of so many rows."""
    return table["draw"] < literal(_draws(SAMPLE_VALUES, rows))


def sample_shares(quantiles: Iterable[float], size: float) -> list[float]:
    """Which quantiles of a sample of this size to take as pivots for these quantiles of the whole."""
    shares: set[float] = set()
    for quantile in quantiles:
        away = _DEVIATIONS * math.sqrt(quantile * (1 - quantile) / size) + 2 / size
        shares.update(share for share in (quantile - away, quantile + away) if 0 < share < 1)
    return sorted(shares)


def values_at(value: Any, shares: Sequence[float], where: Any = None) -> Any:
    """The values at these shares of all, as one Ibis array; none is made up by interpolation."""
    import ibis

    kind = value.type()

    # Ibis' own quantile() interpolates between numbers.
    @ibis.udf.agg.builtin(name="quantile_disc", signature=((kind, "array<float64>"), f"array<{kind}>"))
    def quantile_disc(value, shares):  # type: ignore[no-untyped-def]
        """DuckDB's."""

    return quantile_disc(value, ibis.literal(list(shares), type="array<float64>"), where=where)


@dataclass
class _Gap:
    """Values strictly between ``low`` and ``high`` (None: no bound), which have these ranks."""

    low: Any
    high: Any
    first: int
    end: int
    draws: int = field(default_factory=lambda: SAMPLE_VALUES)

    @property
    def size(self) -> int:
        return self.end - self.first

    @property
    def key(self) -> tuple[int, int]:
        return self.first, self.end

    def holds(self, value: Any) -> Any:
        condition: Any = None
        if self.low is not None:
            condition = value > _literal(self.low)
        if self.high is not None:
            below = value < _literal(self.high)
            condition = below if condition is None else condition & below
        return value.notnull() if condition is None else condition


@dataclass
class Ranks:
    """
    The search for the values of some ranks of one column.

    :param count: how many values it has.
    :param ranks: the ranks, from 0.
    :param pivots: values that are likely to be close to those ranks, on both sides.
    :param found: value by rank, as far as known.
    """

    count: int
    ranks: Sequence[int]
    pivots: Sequence[Any] = ()
    found: dict[int, Any] = field(default_factory=dict)
    _gaps: dict[int, _Gap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gaps = {rank: _Gap(None, None, 0, self.count) for rank in self.ranks}

    @property
    def done(self) -> bool:
        """Whether all is known."""
        return not self._gaps

    def counts(self, value: Any) -> dict[str, Any]:
        """What to count in the next pass, by name, when there are pivots."""
        asked: dict[str, Any] = {}
        for number, pivot in enumerate(self.pivots):
            asked[f"below{number}"] = count_if(value < _literal(pivot))
            asked[f"most{number}"] = count_if(value <= _literal(pivot))
        return asked

    def take_counts(self, answer: Mapping[str, Any]) -> None:
        """Conclude from the counts, by their names, between which pivots the ranks lie."""
        if self.pivots:
            self._narrow(answer)

    def pick(self, query: Query, table: Any, value: Any) -> None:
        """
        Take the values of the ranks that have few enough others around them, and pivots for the others.

        :param table: see :func:`numbered`.
        :param value: the column, an expression of ``table``.
        """
        gaps = sorted({gap.key: gap for gap in self._gaps.values()}.values(), key=lambda gap: gap.size)
        held = 0
        asked: dict[str, tuple[_Gap, list[int], Any]] = {}
        data = table.select(value=value, draw=table["draw"])
        for number, gap in enumerate(gaps):
            inside = sorted(rank for rank, other in self._gaps.items() if other.key == gap.key)
            part = [(rank - gap.first + 0.5) / gap.size for rank in inside]
            where = gap.holds(data["value"])
            size = gap.draws if gap.size > MOST_VALUES else gap.size
            if held + size > MOST_VALUES:
                continue
            held += size
            if gap.size > MOST_VALUES:
                part = sample_shares(part, size) or [0.5]
                where = where & (data["draw"] < literal(_draws(size, gap.size)))
            asked[f"at{number}"] = gap, inside, (part, where)
        if not asked:
            return
        # Leaving the other rows out first is much cheaper than to pass them over in each aggregate.
        wanted = data.filter(_any([gap.holds(data["value"]) for gap, _, _ in asked.values()]))
        picked = {name: values_at(data["value"], *how) for name, (_, _, how) in asked.items()}
        answer = query(wanted.aggregate(**picked))[0]
        pivots: set[Any] = set()
        for name, (gap, inside, _) in asked.items():
            values = [positive_zero(value) for value in answer[name] or ()]
            if gap.size > MOST_VALUES:
                pivots.update(values)
                for rank in inside:
                    self._gaps[rank] = replace(gap, draws=min(4 * gap.draws, MOST_VALUES))
                continue
            self.found.update(zip(inside, values, strict=True))
            for rank in inside:
                del self._gaps[rank]
        # Times beyond the year 9999 come as texts, which compare with nothing.
        self.pivots = sorted(value for value in pivots if not isinstance(value, str))
        if pivots and not self.pivots:
            self.found.update(dict.fromkeys(self._gaps, next(iter(pivots))))
            self._gaps.clear()

    def _narrow(self, answer: Mapping[str, Any]) -> None:
        for number, pivot in enumerate(self.pivots):
            below, most = int(answer[f"below{number}"] or 0), int(answer[f"most{number}"] or 0)
            for rank, gap in list(self._gaps.items()):
                if below <= rank < most:
                    self.found[rank] = pivot
                    del self._gaps[rank]
                elif rank >= most and most > gap.first:
                    self._gaps[rank] = _Gap(pivot, gap.high, most, gap.end)
                elif rank < below < gap.end:
                    self._gaps[rank] = _Gap(gap.low, pivot, gap.first, below)
        self.pivots = ()


def values_of_ranks(query: Query, table: Any, value: Any, ranks: Iterable[int], count: int) -> dict[int, Any]:
    """
    The values of these ranks of one column.

    :param table: see :func:`numbered`.
    :param value: the column, an expression of ``table``, of any type that has an order.
    :param count: how many values it has.
    """
    search = Ranks(count, sorted(set(ranks)))
    while not search.done:
        if search.pivots:
            search.take_counts(query(table.aggregate(**search.counts(value)))[0])
        search.pick(query, table, value)
    return search.found


def ranks_of(quantiles: Iterable[float], count: int) -> list[int]:
    """Ranks (from 0) of the values next to these quantiles of so many values."""
    ranks: set[int] = set()
    for quantile in quantiles:
        low = math.floor((count - 1) * quantile)
        ranks.update((low, min(low + 1, count - 1)))
    return sorted(ranks)


def interpolate(quantile: float, count: int, values: Mapping[int, float]) -> float:
    """
    The quantile by linear interpolation, computed as NumPy does.

    :param values: value by rank, see :func:`ranks_of`.
    """
    place = (count - 1) * quantile
    rank = math.floor(place)
    low, high = values[rank], values[min(rank + 1, count - 1)]
    part = place - rank
    if part == 0 or low == high:
        return low
    distance = high - low
    if math.isinf(distance) and not (math.isinf(low) or math.isinf(high)):
        return low * (1 - part) + high * part
    return high - distance * (1 - part) if part >= 0.5 else low + distance * part


def positive_zero(value: Any) -> Any:
    """Which of two equal zeros an engine finds depends on the order of rows."""
    return value + 0.0 if isinstance(value, float) else value


def count_if(condition: Any) -> Any:
    """How often an Ibis condition is true; a third of the cost of a sum of ones and zeros."""
    import ibis

    @ibis.udf.agg.builtin(name="count_if", signature=(("boolean",), "int64"))
    def function(condition):  # type: ignore[no-untyped-def]
        """The engine's."""

    return function(condition)


def _draws(wanted: int, rows: int) -> int:
    """Below which number to draw, to get about so many of these rows."""
    return min(_DRAW_LIMIT, _DRAW_LIMIT * wanted // max(rows, 1) + 1)


def _any(conditions: Sequence[Any]) -> Any:
    import ibis

    return ibis.or_(*conditions)


def _literal(value: Any) -> Any:
    import ibis

    return literal(value) if isinstance(value, float) else ibis.literal(value)
