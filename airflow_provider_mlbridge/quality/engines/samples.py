# SPDX-License-Identifier: Apache-2.0
"""Great Expectations' lists of what is not as expected: values, and the rows that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.engines.cells import readable, shown
from airflow_provider_mlbridge.quality.first_rows import Row, Wanted
from airflow_provider_mlbridge.quality.masking import DROPPED, MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.result_formats import ResultFormat, UnexpectedRows, with_rows
from airflow_provider_mlbridge.quality.table import Column, Table


class Samples:
    """
    The lists that a format has, as a :class:`~..first_rows.View`.

    :param checks: the expectations that get them, compiled, by their key.
    :param policy: what may be shown of which column.
    """

    def __init__(
        self, table: Table, checks: Mapping[int, Check], policy: MaskingPolicy, result_format: ResultFormat
    ) -> None:
        self._checks = checks
        self._policy = policy
        self._format = result_format
        # One that does not exist is left out here; whoever read the arguments has said so.
        names = result_format.unexpected_index_column_names
        self._index = [table.by_name[name] for name in names if name in table.by_name]
        self._whole = table.columns if result_format.rows_wanted else ()

    def wants(self, key: int, outcome: Outcome) -> Wanted | None:
        """What the lists of one outcome are made of; None when it has none."""
        count = outcome.result.get("unexpected_count")
        if key not in self._checks or count is None or "element_count" not in outcome.result:
            return None
        if not count or self._is_plain_count(self._checks[key]):
            return Wanted()
        columns = self._columns(self._checks[key])
        return Wanted(tuple(readable(column, self._policy) for column in columns), self._format.limit)

    def add(self, key: int, outcome: Outcome, rows: Sequence[Row] | str) -> Outcome:
        """The outcome with its lists."""
        check, count = self._checks[key], int(outcome.result["unexpected_count"])
        if isinstance(rows, str):
            return outcome
        if not count or not self._format.limit:
            found = UnexpectedRows()
        elif self._is_plain_count(check):
            found = UnexpectedRows(values=self._repeated(check, count), positions=None)
        else:
            found = self._found(check, rows)
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
        return list(dict.fromkeys([*check.columns, *self._index, *self._whole]))

    def _found(self, check: Check, rows: Sequence[Row]) -> UnexpectedRows:
        fields = [(column, readable(column, self._policy)) for column in self._columns(check)]
        cells = [
            {column.name: shown(column, self._policy, row.values[read]) for column, read in fields}
            for row in rows
        ]
        values = [_value(check, row) for row in cells]
        judged = list(dict.fromkeys([*check.columns, *self._index]))
        return UnexpectedRows(
            values=None if DROPPED in values else values,
            positions=[row.position for row in rows],
            named=[_record(row, judged) for row in cells] if self._index else (),
            rows=[_record(row, self._whole) for row in cells[: self._format.rows_wanted]],
        )


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
