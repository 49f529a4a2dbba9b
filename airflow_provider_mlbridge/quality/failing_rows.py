# SPDX-License-Identifier: Apache-2.0
"""
A few of the rows that broke each expectation: where they are, their keys, and the values that were not as
expected. All of it goes through the masking policy, and values that are not shown are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.bad_rows import concerns_rows, origin_of
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.engines.cells import readable, shown
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.first_rows import Row, Wanted
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import Column, Table

if TYPE_CHECKING:
    from airflow_provider_mlbridge.results import Snapshot

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000

_UNIQUE_TYPES = ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique")
_TEXT_LIMIT = 200


def check_failing_rows(key_columns: Sequence[str], limit: int) -> None:
    """
    Check the arguments, before anything is read.

    :raises ConfigurationError: when one is wrong.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_LIMIT:
        raise ConfigurationError(f"failing_rows must be a number from 0 to {MAX_LIMIT}, got {limit!r}")
    if isinstance(key_columns, str) or not all(isinstance(name, str) for name in key_columns):
        raise ConfigurationError(f"key_columns must be a list of names, got {key_columns!r}")


def check_key_columns(key_columns: Sequence[str], table: Table) -> None:
    """
    Check that the columns exist.

    :raises ConfigurationError: naming the first that does not.
    """
    for name in key_columns:
        if name not in table.by_name:
            raise ConfigurationError(
                f"key_columns: there is no column {name!r}.{close_names(name, table.by_name)}"
            )


def key_of(
    expectations: Mapping[int, Expectation], outcomes: Mapping[int, Outcome], table: Table
) -> tuple[str, ...]:
    """The columns of a key that the expectations state: one that held rather than one that did not."""
    stated = [key for key, item in expectations.items() if item.type in _UNIQUE_TYPES]
    for key in sorted(stated, key=lambda key: not outcomes[key].success):
        columns = expectations[key].columns
        if all(name in table.by_name for name in columns):
            return columns
    return ()


class FailingRows:
    """
    ``failing_rows`` in the result of every expectation about rows that did not hold, as a
    :class:`~.first_rows.View`.

    That is ``{"shown": [...], "total": ..., "cap": ...}``. The first rows of the datamart are shown, each as
    ``{"row": ..., "file": ..., "file_row": ..., "keys": {...}, "values": {...}}``: its number in the datamart
    and in its file, both from 0, and its values by column. Where rows cannot be shown, ``note`` says why.

    :param expectations: all expectations, by the same key as ``outcomes``.
    :param outcomes: what was found of each.
    :param policy: what may be shown of which column.
    :param key_columns: columns that tell rows apart; when there are none, those of an expectation of unique
        values.
    :param limit: the most rows shown for one expectation.
    :param pinned: the snapshot that was pinned, where the table's is one of files that were made of it.
    """

    def __init__(
        self,
        table: Table,
        expectations: Mapping[int, Expectation],
        outcomes: Mapping[int, Outcome],
        policy: MaskingPolicy,
        *,
        key_columns: Sequence[str] = (),
        limit: int = DEFAULT_LIMIT,
        pinned: Snapshot | None = None,
    ) -> None:
        self._table = table
        self._expectations = expectations
        self._policy = policy
        self._limit = limit
        self._keys = self._shown_columns(tuple(key_columns) or key_of(expectations, outcomes, table))
        self._named = table.snapshot
        if pinned is not None and len(pinned.files) == len(table.snapshot.files):
            self._named = pinned

    def wants(self, key: int, outcome: Outcome) -> Wanted | None:
        """What the rows of one outcome are made of; None when none are shown."""
        expectation = self._expectations[key]
        unexpected = outcome.success is False and outcome.result.get("unexpected_count")
        if not unexpected or not concerns_rows(expectation):
            return None
        columns = [*self._keys, *self._shown_columns(expectation.columns)]
        return Wanted(tuple(map(self._read, columns)), self._limit)

    def add(self, key: int, outcome: Outcome, rows: Sequence[Row] | str) -> Outcome:
        """The outcome with its rows."""
        found: dict[str, Any] = {
            "shown": [],
            "total": int(outcome.result["unexpected_count"]),
            "cap": self._limit,
        }
        if isinstance(rows, str):
            found["note"] = rows
        else:
            judged = self._shown_columns(self._expectations[key].columns)
            found["shown"] = [self._entry(row, judged) for row in rows]
        return replace(outcome, result={**outcome.result, "failing_rows": found})

    def _entry(self, row: Row, judged: Sequence[Column]) -> dict[str, Any]:
        return {
            "row": row.position,
            "file": origin_of(self._named, row.file),
            "file_row": row.file_row,
            "keys": self._values(row, self._keys),
            "values": self._values(row, judged),
        }

    def _values(self, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
        return {
            column.name: _cut(shown(column, self._policy, row.values[self._read(column)]))
            for column in columns
        }

    def _read(self, column: Column) -> str:
        return readable(column, self._policy, nested_as_text=True)

    def _shown_columns(self, names: Sequence[str]) -> list[Column]:
        return [self._table.by_name[name] for name in names if not self._policy.is_dropped(name)]


def _cut(value: Any) -> Any:
    """A report is no place for a value of a megabyte."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"
