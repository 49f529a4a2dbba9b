# SPDX-License-Identifier: Apache-2.0
"""
The groups of a key, counted once for all checks on it; exact, and on disk where memory does not hold them.

A key of integers that lie close together is counted by a bit for each possible key instead of a hash table,
which takes a fraction of the time; the verdict is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import DISTINCT, REPEATED, ROWS, Grouping
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.engines.repeated import RepeatedKeys, count_repeated, repeated_keys
from airflow_provider_mlbridge.quality.outcome import CannotCheckError
from airflow_provider_mlbridge.quality.table import Column

_SIMPLE = frozenset({ROWS, REPEATED, DISTINCT})
"""Measures that are known when it is known how many rows and how many different keys there are."""
_SPARSE = 8
"""Possible keys per row from which on a hash table is faster than bits."""
_SHARE = 16
"""The part of the memory limit that the bits of all threads may take."""
_SLICE = 125 * 10**6
"""Possible keys that are counted at a time: 16 MB of bits for each thread."""
_SLICES = 8
"""Slices up to which reading the key again and again is faster than a hash table."""

_COUNTED = 4_000_000
"""Rows from which on a counter for each possible key finds those that repeat faster than a hash table."""

Measure = Callable[[Sequence[str]], Mapping[str, Any]]


class Groupings:
    """
    Answers measures over groups.

    :param measure: evaluates measures over rows, an error in the place of one that cannot be.
    """

    def __init__(self, session: Session, measure: Measure) -> None:
        self._session = session
        self._measure = measure
        self._unique: list[frozenset[str]] = []

    def ranges(self, wanted: Mapping[Grouping, Collection[str]]) -> list[str]:
        """Measures over rows that :meth:`answer` will ask for, so that they are part of the same pass."""
        return [
            measure
            for grouping, measures in wanted.items()
            if _may_be_dense(grouping, measures)
            for measure in _range(grouping)
        ]

    def answer(self, wanted: Mapping[Grouping, Collection[str]]) -> dict[Grouping, dict[str, Any]]:
        """The value of every measure, or an error in its place."""
        answers: dict[Grouping, dict[str, Any]] = {}
        # Short keys first: a key that holds a unique column without nulls is unique as well.
        for grouping, measures in sorted(wanted.items(), key=lambda item: len(item[0].keys)):
            try:
                answers[grouping] = self._count(grouping, measures)
            except errors() as error:
                answers[grouping] = dict.fromkeys(measures, CannotCheckError(self._session.explain(error)))
        return answers

    def _count(self, grouping: Grouping, measures: Collection[str]) -> dict[str, Any]:
        names = frozenset(column.name for column in grouping.keys)
        simple = _SIMPLE.issuperset(measures)
        values: dict[str, Any] | None = None
        if simple and any(known < names for known in self._unique):
            rows = self._rows(grouping)
            values = {ROWS: rows, DISTINCT: rows, REPEATED: 0}
        elif simple and _may_be_dense(grouping, measures):
            values = self._count_bits(grouping, measures)
        if values is None and simple and REPEATED in measures:
            values = _measures_of(repeated_keys(self._session, grouping))
        if values is None:
            listed = list(dict.fromkeys((*measures, ROWS, REPEATED)))
            values = dict(zip(listed, self._session.query(self._query(grouping, listed))[0], strict=True))
        if values.get(REPEATED) == 0 and values[ROWS] == self._session.table.rows:
            self._unique.append(names)
        return values

    def _rows(self, grouping: Grouping) -> int:
        measure = _count_of(grouping)
        found = self._measure([measure])[measure]
        if isinstance(found, CannotCheckError):
            raise ValueError(str(found))
        return int(found)

    def _count_bits(self, grouping: Grouping, measures: Collection[str]) -> dict[str, Any] | None:
        """Rows and different keys by a bit for each possible one; None when that does not answer or pay."""
        count = _count_of(grouping)
        asked = _range(grouping)
        found = self._measure(asked)
        if any(isinstance(found[measure], CannotCheckError) for measure in asked):
            return None
        rows = found[count] if asked else self._session.table.rows
        if not rows:
            return {ROWS: 0, DISTINCT: 0, REPEATED: 0}
        extremes = [
            column.bounds or tuple(found[measure] for measure in _extremes(column))
            for column in grouping.keys
        ]
        key, size = _numbered(grouping, extremes)
        # Bits of a slice at a time, so that memory does not grow with the number of possible keys.
        limits = self._session.limits
        slice_size = min(_SLICE, limits.memory_bytes // _SHARE * 8 // self._session.threads)
        if size > min(_SPARSE * rows, _SLICES * slice_size):
            return None
        distinct = 0
        for start in range(0, size, slice_size):
            bits = _bits(key, grouping.where, start, min(start + slice_size, size), size)
            found = self._measure([bits, count])
            if isinstance(found[bits], CannotCheckError) or isinstance(found[count], CannotCheckError):
                return None
            distinct += found[bits] or 0
        rows = found[count]
        if not rows:
            return {ROWS: 0, DISTINCT: 0, REPEATED: 0}
        if distinct == rows:
            return {ROWS: rows, DISTINCT: rows, REPEATED: 0}
        if REPEATED not in measures:
            return {ROWS: rows, DISTINCT: distinct}
        # Which keys repeat is more than bits can tell.
        if rows < _COUNTED:
            return None
        return _measures_of(
            count_repeated(self._session, grouping, number=key, size=size, total=rows, distinct=distinct)
        )

    def _query(self, grouping: Grouping, measures: Sequence[str]) -> str:
        keys = ", ".join(f"{sql.key(column)} AS {column.alias}" for column in grouping.keys)
        by = ", ".join(str(position + 1) for position in range(len(grouping.keys)))
        groups = (
            f"SELECT {keys}, count(*) AS n FROM {self._session.source} "  # noqa: S608
            f"WHERE {grouping.where} GROUP BY {by}"
        )
        listed = ", ".join(measures)
        over = "groups"
        if _mention(measures, "upto"):
            over = (
                f"(SELECT *, sum(n) OVER (ORDER BY {grouping.keys[0].alias} "  # noqa: S608
                f"ROWS UNBOUNDED PRECEDING) AS upto FROM groups)"
            )
        if _mention(measures, "total") or _mention(measures, "most"):
            over += ", (SELECT sum(n) AS total, max(n) AS most FROM groups)"
            groups = f"MATERIALIZED ({groups})"
        else:
            groups = f"({groups})"
        return f"WITH groups AS {groups} SELECT {listed} FROM {over}"  # noqa: S608


def _measures_of(found: RepeatedKeys) -> dict[str, Any]:
    return {ROWS: found.total, REPEATED: found.rows, DISTINCT: found.total - found.rows + found.count}


def _bits(key: str, where: str, start: int, stop: int, size: int) -> str:
    """A measure: how many keys numbered from ``start`` to ``stop`` there are."""
    if start or stop < size:
        where = f"{where} AND {key} BETWEEN {start} AND {stop - 1}"
    return f"bit_count(bitstring_agg({key}, {start}, {stop - 1}) FILTER (WHERE {where}))"


def _mention(measures: Iterable[str], name: str) -> bool:
    return any(name in measure for measure in measures)


def _may_be_dense(grouping: Grouping, measures: Collection[str]) -> bool:
    integers = all(column.family == "int" and column.partition is None for column in grouping.keys)
    return integers and _SIMPLE.issuperset(measures)


def _count_of(grouping: Grouping) -> str:
    return sql.count_rows(grouping.where)


def _range(grouping: Grouping) -> list[str]:
    """The least and the greatest number of parts whose footers do not say, and with these how many rows."""
    unknown = [measure for column in grouping.keys if column.bounds is None for measure in _extremes(column)]
    return [_count_of(grouping), *unknown] if unknown else []


def _extremes(column: Column) -> list[str]:
    # Of all rows: a few numbers too many cost less than looking for those that count.
    return [f"{function}({column.alias})" for function in ("min", "max")]


def _numbered(grouping: Grouping, extremes: Sequence[Sequence[Any]]) -> tuple[str, int]:
    """
    A number from 0 for each possible key (SQL), and how many there are.

    Null is a value of its own in a key of several columns, and in no other.
    """
    terms: list[str] = []
    size = 1
    for column, (low, high) in zip(grouping.keys, extremes, strict=True):
        if low is None or high is None:
            continue
        values = high - low + 1
        number = f"({column.alias}::BIGINT - {sql.number(low)})"
        if len(grouping.keys) > 1:
            number = f"coalesce({number}, {values})"
            values += 1
        terms.append(f"{number} * {size}")
        size *= values
    return f"({' + '.join(terms)})", size
