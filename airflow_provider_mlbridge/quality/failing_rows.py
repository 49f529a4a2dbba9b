# SPDX-License-Identifier: Apache-2.0
"""
A few of the rows that broke each expectation: where they are, their keys, and the values that were not as
expected. All of it goes through the masking policy, and values that are not shown are not read.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, ExpectationNotCheckedError
from airflow_provider_mlbridge.quality.bad_rows import (
    Broken,
    concerns_rows,
    file_offsets,
    locate,
    located_source,
    origin_of,
    repeated_rows,
)
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.engines.cells import readable, shown
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import Column, Table

if TYPE_CHECKING:
    from airflow_provider_mlbridge.results import Snapshot

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000

_UNIQUE_TYPES = ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique")
_FILE_FACTOR = 2**40
"""More than any file has rows: file and row in one number that sorts."""
_AS_TEXT = ("time", "list", "struct", "map", "other")
_TEXT_LIMIT = 200


def check_failing_rows(key_columns: Sequence[str], limit: int, table: Table) -> None:
    """
    Check the arguments.

    :raises ConfigurationError: when one is wrong, or a key column does not exist.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_LIMIT:
        raise ConfigurationError(f"failing_rows must be a number from 0 to {MAX_LIMIT}, got {limit!r}")
    if isinstance(key_columns, str) or not all(isinstance(name, str) for name in key_columns):
        raise ConfigurationError(f"key_columns must be a list of names, got {key_columns!r}")
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


def add_failing_rows(
    session: Session,
    expectations: Mapping[int, Expectation],
    outcomes: Mapping[int, Outcome],
    policy: MaskingPolicy,
    *,
    checks: Mapping[int, Check] | None = None,
    key_columns: Sequence[str] = (),
    limit: int = DEFAULT_LIMIT,
    pinned: Snapshot | None = None,
) -> dict[int, Outcome]:
    """
    The outcomes, with ``failing_rows`` in the result of every expectation about rows that did not hold.

    That is ``{"shown": [...], "total": ..., "cap": ...}``. The first rows of the datamart are shown, each as
    ``{"row": ..., "file": ..., "file_row": ..., "keys": {...}, "values": {...}}``: its number in the datamart
    and in its file, both from 0, and its values by column. Where rows cannot be shown, ``note`` says why.

    :param expectations: all expectations, by the same key as ``outcomes``.
    :param outcomes: with ``unexpected_count``, whatever the ``result_format`` of the report.
    :param policy: what may be shown of which column.
    :param checks: the SQL of the compiled expectations, as it judged them.
    :param key_columns: columns that tell rows apart; when there are none, those of an expectation of unique
        values.
    :param limit: the most rows shown for one expectation.
    :param pinned: the snapshot that was pinned, where the session's is one of files that were made of it.
    """
    table = session.table
    wanted = {
        key
        for key, outcome in outcomes.items()
        if outcome.success is False
        and outcome.result.get("unexpected_count")
        and concerns_rows(expectations[key])
    }
    if not wanted:
        return dict(outcomes)
    keys = tuple(key_columns) or key_of(expectations, outcomes, table)
    finder = _Finder(session, policy, keys, limit, pinned or table.snapshot)
    return {
        key: replace(
            outcome,
            result={
                **outcome.result,
                "failing_rows": finder.find(key, expectations[key], outcome, checks or {}),
            },
        )
        if key in wanted
        else outcome
        for key, outcome in outcomes.items()
    }


class _Finder:
    """Finds the rows of one expectation after the other."""

    def __init__(
        self, session: Session, policy: MaskingPolicy, keys: Sequence[str], limit: int, pinned: Snapshot
    ) -> None:
        self._session = session
        self._policy = policy
        self._limit = limit
        self._keys = [session.table.by_name[name] for name in keys if not policy.is_dropped(name)]
        snapshot = session.table.snapshot
        self._named = pinned if len(pinned.files) == len(snapshot.files) else snapshot
        self._offsets: list[int] = []

    def find(
        self, key: int, expectation: Expectation, outcome: Outcome, checks: Mapping[int, Check]
    ) -> dict[str, Any]:
        """``failing_rows`` of one result."""
        found: dict[str, Any] = {
            "shown": [],
            "total": int(outcome.result["unexpected_count"]),
            "cap": self._limit,
        }
        if not self._limit:
            return found
        try:
            broken = locate(key, expectation, outcome, self._session.table, checks=checks)
            found["shown"] = self._rows(broken)
        except ExpectationNotCheckedError:
            found["note"] = f"the engine that judged it ({outcome.engine}) does not say which rows they are"
        except errors() as error:
            # The verdict stands; what is shown beside it is not worth losing it.
            found["note"] = self._session.explain(error)
        return found

    def _rows(self, broken: Broken) -> list[dict[str, Any]]:
        by_name = self._session.table.by_name
        judged = [by_name[name] for name in broken.expectation.columns if not self._policy.is_dropped(name)]
        columns = list(dict.fromkeys([*self._keys, *judged]))
        self._offsets = self._offsets or file_offsets(self._session)
        rows = []
        for row in self._query(broken, columns):
            values = {column.name: shown(column, self._policy, row[column.alias]) for column in columns}
            file, file_row = int(row["file_index"]), int(row["file_row_number"])
            rows.append(
                {
                    "row": self._offsets[file] + file_row,
                    "file": origin_of(self._named, file),
                    "file_row": file_row,
                    "keys": {column.name: _cut(values[column.name]) for column in self._keys},
                    "values": {column.name: _cut(values[column.name]) for column in judged},
                }
            )
        return sorted(rows, key=lambda row: row["row"])

    def _query(self, broken: Broken, columns: Sequence[Column]) -> list[dict[str, Any]]:
        fields = ["file_index := file_index", "file_row_number := file_row_number"]
        fields += [f"{column.alias} := {self._expression(column)}" for column in columns]
        values = f"struct_pack({', '.join(fields)})"
        # The first rows by their place, in one pass and with no more memory than they take.
        first = f"arg_min({values}, file_index::BIGINT * {_FILE_FACTOR} + file_row_number, {self._limit})"
        source = located_source(self._session)
        if broken.grouping is not None:
            query = repeated_rows(self._session, broken.grouping, first)
        elif broken.condition is not None:
            query = f"SELECT {first} FROM {source} WHERE {broken.condition}"  # noqa: S608
        else:
            query = f"SELECT {first} FROM {source} WHERE {self._places(broken)}"  # noqa: S608
        rows: list[dict[str, Any]] | None = self._session.query(query)[0][0]
        return rows or []

    def _places(self, broken: Broken) -> str:
        """The rows that Great Expectations named, as a condition."""
        import numpy as np

        positions = np.unique(np.asarray(broken.positions))[: self._limit]
        places = []
        for position in map(int, positions):
            # The last file that begins there or before, since files without rows begin where the next does.
            file = bisect_right(self._offsets, position) - 1
            places.append(f"(file_index = {file} AND file_row_number = {position - self._offsets[file]})")
        return " OR ".join(places) or "FALSE"

    def _expression(self, column: Column) -> str:
        """What is read of a column; nested values, and times of day, as DuckDB writes them."""
        if column.family in _AS_TEXT and self._policy.needs_value(column.name):
            return f"{column.alias}::VARCHAR"
        return readable(column, self._policy)


def _cut(value: Any) -> Any:
    """A report is no place for a value of a megabyte."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"
