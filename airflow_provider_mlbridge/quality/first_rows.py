# SPDX-License-Identifier: Apache-2.0
"""The first rows that break an expectation, looked up once for everything that shows some of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, get_args

from airflow_provider_mlbridge.exceptions import ExpectationNotCheckedError
from airflow_provider_mlbridge.quality.bad_rows import Broken, file_offsets, locate, located_source
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.engines.repeated import repeated_keys
from airflow_provider_mlbridge.quality.expectation import Expectation, Severity
from airflow_provider_mlbridge.quality.outcome import Outcome

_TOO_MANY = "rows are shown of {shown:,} expectations of one validation, the most severe failures first"
_FILE_FACTOR = 2**40
"""More than any file has rows: file and row in one number that sorts."""
_PLACE = f"file_index::BIGINT * {_FILE_FACTOR} + file_row_number"


EXPECTATIONS_SHOWN = 1000
"""Expectations of one validation of which rows are shown: each takes a query, and space in the report."""


@dataclass(frozen=True)
class Wanted:
    """
    What is to be read of the rows that break one expectation.

    :param fields: what is read of each row, in SQL.
    :param limit: the most rows.
    """

    fields: tuple[str, ...] = ()
    limit: int = 0


@dataclass(frozen=True)
class Row:
    """
    A row that breaks an expectation.

    :param position: its number in the datamart, from 0.
    :param file: the number of its file in the snapshot, from 0.
    :param file_row: its number in that file, from 0.
    :param values: what was read of it, by the SQL in :attr:`Wanted.fields`.
    """

    position: int
    file: int
    file_row: int
    values: Mapping[str, Any] = field(repr=False)


class View(Protocol):
    """Something in a result that is made of the first rows that break its expectation."""

    def wants(self, key: int, outcome: Outcome) -> Wanted | None:
        """What it is made of; None when the outcome is left as it is."""

    def add(self, key: int, outcome: Outcome, rows: Sequence[Row] | str) -> Outcome:
        """The outcome with it, made of the first rows, in order; or of the reason why there are none."""


def add_rows(
    session: Session,
    expectations: Mapping[int, Expectation],
    outcomes: Mapping[int, Outcome],
    views: Sequence[View],
    *,
    checks: Mapping[int, Check] | None = None,
) -> dict[int, Outcome]:
    """
    The outcomes with what the views make of the rows that break their expectations.

    Rows of :data:`EXPECTATIONS_SHOWN` expectations are looked up: those that failed first, the most severe
    of them first, then in the order of the suite. The others say so.

    :param expectations: all expectations, by the same key as ``outcomes``.
    :param outcomes: with ``unexpected_count``, whatever the ``result_format`` of the report.
    :param checks: the SQL of the compiled expectations, as it judged them.
    """
    reader = _Reader(session, checks or {})
    added = dict(outcomes)
    looked_up = 0
    for key in sorted(outcomes, key=lambda key: _rank(expectations[key], outcomes[key])):
        outcome = outcomes[key]
        asked = {view: wanted for view in views if (wanted := view.wants(key, outcome)) is not None}
        found: Sequence[Sequence[Row] | str]
        reads = any(wanted.limit for wanted in asked.values())
        too_many = reads and looked_up == EXPECTATIONS_SHOWN
        if too_many:
            found = [_TOO_MANY.format(shown=EXPECTATIONS_SHOWN)] * len(asked)
        else:
            looked_up += reads
            found = reader.find(key, expectations[key], outcome, list(asked.values()))
        for view, rows in zip(asked, found, strict=True):
            added[key] = view.add(key, added[key], rows)
        if too_many and "failing_rows" not in added[key].result:
            # Lists of Great Expectations are missing, and nothing else says why.
            note = {"unexpected_rows_note": _TOO_MANY.format(shown=EXPECTATIONS_SHOWN)}
            added[key] = replace(added[key], result={**added[key].result, **note})
    return added


def _rank(expectation: Expectation, outcome: Outcome) -> tuple[bool, int]:
    severity = outcome.severity or expectation.severity
    return outcome.success is not False, get_args(Severity).index(severity)


class _Reader:
    def __init__(self, session: Session, checks: Mapping[int, Check]) -> None:
        self._session = session
        self._checks = checks
        self._offsets: list[int] = []

    def find(
        self, key: int, expectation: Expectation, outcome: Outcome, wanted: Sequence[Wanted]
    ) -> list[Sequence[Row] | str]:
        """The first rows for everything that is wanted, or the reason why there are none."""
        limit = max((one.limit for one in wanted), default=0)
        if not limit:
            return [()] * len(wanted)
        try:
            broken = locate(key, expectation, outcome, self._session.table, checks=self._checks)
            fields = list(dict.fromkeys(name for one in wanted for name in one.fields))
            rows = self._read(broken, fields, min(limit, broken.count))
        except ExpectationNotCheckedError:
            reason = f"the engine that judged it ({outcome.engine}) does not say which rows they are"
            return [reason] * len(wanted)
        except errors() as error:
            # The verdict stands; what is shown beside it is not worth losing it.
            if len(wanted) == 1:
                return [self._session.explain(error)]
            # A column that only one of them shows is no loss for the others.
            return [rows for one in wanted for rows in self.find(key, expectation, outcome, [one])]
        return [rows[: one.limit] for one in wanted]

    def _read(self, broken: Broken, fields: Sequence[str], limit: int) -> list[Row]:
        if not self._offsets:
            several = len(self._session.table.snapshot.files) > 1
            self._offsets = file_offsets(self._session) if several else [0]
        source = located_source(self._session)
        condition = broken.condition
        if condition is None:
            repeats = broken.grouping is not None
            places = self._with_repeated_key(broken, limit) if repeats else self._at_positions(broken, limit)
            if not places:
                return []
            condition, limit = _at(places), len(places)
        # Rows come in their order, and none behind the last of these is read.
        query = f"SELECT {', '.join([_PLACE, *fields])} FROM {source} WHERE {condition} LIMIT {limit}"  # noqa: S608
        rows = []
        for place, *values in self._session.query(query):
            file, file_row = divmod(int(place), _FILE_FACTOR)
            found = dict(zip(fields, values, strict=True))
            rows.append(Row(self._offsets[file] + file_row, file, file_row, found))
        return rows

    def _with_repeated_key(self, broken: Broken, limit: int) -> list[tuple[int, int]]:
        """File and row in it of the first rows whose key occurs more than once."""
        if broken.grouping is None:
            return []
        # Only the key is read of rows that are not shown.
        first = repeated_keys(self._session, broken.grouping).select(
            f"min({_PLACE}, {limit})", located_source(self._session)
        )
        [(places,)] = self._session.query(first)
        return [divmod(int(place), _FILE_FACTOR) for place in places or ()]

    def _at_positions(self, broken: Broken, limit: int) -> list[tuple[int, int]]:
        """File and row in it of the first rows that Great Expectations named."""
        import numpy as np

        places = []
        for position in map(int, np.unique(np.asarray(broken.positions))[:limit]):
            # The last file that begins there or before, since files without rows begin where the next does.
            file = bisect_right(self._offsets, position) - 1
            places.append((file, position - self._offsets[file]))
        return places


def _at(places: Sequence[tuple[int, int]]) -> str:
    """Rows by their file and their number in it, in order, as a condition for as many rows."""
    listed = [f"(file_index = {file} AND file_row_number = {row})" for file, row in places]
    file, row = places[-1]
    # A reader stops at the first row too many, and without one it would read to the end.
    return f"({' OR '.join(listed)} OR {_PLACE} > {file * _FILE_FACTOR + row})"
