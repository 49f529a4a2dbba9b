# SPDX-License-Identifier: Apache-2.0
"""Rows that are not as expected, for those expectations that have any: their values and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.quality.bad_rows import file_offsets, located_source
from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Check, Grouping
from airflow_provider_mlbridge.quality.engines.cells import readable, shown
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.masking import DROPPED, MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.result_formats import ResultFormat, UnexpectedRows, with_rows
from airflow_provider_mlbridge.quality.table import Column

_FILE_FACTOR = 2**40
"""More than any file has rows: file and row in one number that sorts."""
_PLACE = f"file_index::BIGINT * {_FILE_FACTOR} + file_row_number"


def add_samples(
    session: Session,
    checks: Mapping[int, Check],
    outcomes: Mapping[int, Outcome],
    policy: MaskingPolicy,
    result_format: ResultFormat | None = None,
) -> dict[int, Outcome]:
    """
    The outcomes with what their format shows of the rows that are not as expected, the first ones.

    :param outcomes: one per check, by the same key.
    :param policy: what may be shown of which column.
    :param result_format: ``SUMMARY`` when None.
    """
    sampler = _Sampler(session, policy, result_format or ResultFormat())
    return {key: sampler.add(checks[key], outcome) for key, outcome in outcomes.items()}


class _Sampler:
    def __init__(self, session: Session, policy: MaskingPolicy, result_format: ResultFormat) -> None:
        self._session = session
        self._policy = policy
        self._format = result_format
        by_name = session.table.by_name
        # One that does not exist is left out here; whoever read the arguments has said so.
        self._index = [
            by_name[name] for name in result_format.unexpected_index_column_names if name in by_name
        ]
        self._offsets: list[int] = []

    def add(self, check: Check, outcome: Outcome) -> Outcome:
        count = outcome.result.get("unexpected_count")
        if count is None or "element_count" not in outcome.result:
            return outcome
        if not count or not self._format.limit:
            found = UnexpectedRows()
        elif self._is_plain_count(check):
            found = UnexpectedRows(values=self._repeated(check, int(count)), positions=None)
        else:
            try:
                found = self._found(check, self._rows(check))
            except errors():
                # The verdict stands; what is shown beside it is not worth losing it.
                return outcome
        return replace(outcome, result=with_rows(outcome.result, found, self._format))

    def _is_plain_count(self, check: Check) -> bool:
        """Whether all that is shown of the rows is known without looking at them."""
        if self._format.places_wanted or self._format.rows_wanted:
            return False
        return len(check.columns) < 2 and not any(self._policy.needs_value(c.name) for c in check.columns)

    def _repeated(self, check: Check, count: int) -> list[Any] | None:
        value = _value(check, {column.name: shown(column, self._policy, True) for column in check.columns})
        return None if value is DROPPED else [value] * min(count, self._format.values_wanted)

    def _columns(self, check: Check) -> list[Column]:
        whole = self._session.table.columns if self._format.rows_wanted else ()
        return list(dict.fromkeys([*check.columns, *self._index, *whole]))

    def _rows(self, check: Check) -> list[tuple[Any, ...]]:
        """Place and values of the first rows, in order."""
        columns = self._columns(check)
        fields = [_PLACE, *(readable(column, self._policy) for column in columns)]
        if check.grouping is not None:
            return self._repeated_rows(check.grouping, fields)
        source, limit = located_source(self._session), self._format.limit
        if " IN (" not in str(check.unexpected):
            listed = ", ".join(fields)
            query = f"SELECT {listed} FROM {source} WHERE {check.unexpected} LIMIT {limit}"  # noqa: S608
            return self._session.query(query)
        # A long list becomes a join, which does not keep the order of the rows.
        return self._first(f"{source} WHERE {check.unexpected}", fields)

    def _first(self, source: str, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        packed = ", ".join(f"f{position} := {field}" for position, field in enumerate(fields))
        first = f"arg_min(struct_pack({packed}), {_PLACE}, {self._format.limit})"
        rows = self._session.query(f"SELECT {first} FROM {source}")[0][0]  # noqa: S608
        return [tuple(row.values()) for row in rows or []]

    def _repeated_rows(self, grouping: Grouping, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        """The first rows whose key occurs more than once; they have the keys that occur first."""
        source = located_source(self._session)
        keys = [sql.key(column) for column in grouping.keys]
        named = ", ".join(f"{key} AS k{position}" for position, key in enumerate(keys))
        packed = ", ".join(f"k{position} := k{position}" for position in range(len(keys)))
        same = " AND ".join(f"{key} IS NOT DISTINCT FROM d.k{position}" for position, key in enumerate(keys))
        repeated = (
            f"SELECT {named}, min({_PLACE}) AS place FROM {source} WHERE {grouping.where} "  # noqa: S608
            f"GROUP BY ALL HAVING count(*) > 1"
        )
        first = f"arg_min(struct_pack({packed}), place, {self._format.limit})"
        return self._first(
            f"(SELECT * FROM {source} WHERE {grouping.where}) SEMI JOIN "  # noqa: S608
            f"(SELECT unnest({first}, recursive := true) FROM ({repeated})) d ON {same}",
            fields,
        )

    def _found(self, check: Check, rows: Sequence[tuple[Any, ...]]) -> UnexpectedRows:
        columns = self._columns(check)
        cells = [
            {
                column.name: shown(column, self._policy, value)
                for column, value in zip(columns, row[1:], strict=True)
            }
            for row in rows
        ]
        values = [_value(check, row) for row in cells]
        judged = list(dict.fromkeys([*check.columns, *self._index]))
        return UnexpectedRows(
            values=None if DROPPED in values else values,
            positions=self._positions([int(row[0]) for row in rows]),
            named=[_record(row, judged) for row in cells] if self._index else (),
            rows=[_record(row, self._session.table.columns) for row in cells[: self._format.rows_wanted]],
        )

    def _positions(self, places: Sequence[int]) -> list[int]:
        if len(self._session.table.snapshot.files) > 1 and not self._offsets:
            self._offsets = file_offsets(self._session)
        offsets = self._offsets or [0]
        return [offsets[place // _FILE_FACTOR] + place % _FILE_FACTOR for place in places]


def _record(cells: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    return {column.name: cells[column.name] for column in columns if cells[column.name] is not DROPPED}


def _value(check: Check, cells: Mapping[str, Any]) -> Any:
    """One unexpected value in the form of Great Expectations: a value, a pair, or a mapping."""
    if not check.columns:
        # Of rows without a value there is nothing to show but that.
        return None
    if len(check.columns) == 1:
        return cells[check.columns[0].name]
    kept = _record(cells, check.columns)
    if check.as_records or check.grouping is not None:
        return kept or DROPPED
    return [kept.get(column.name) for column in check.columns] if kept else DROPPED
