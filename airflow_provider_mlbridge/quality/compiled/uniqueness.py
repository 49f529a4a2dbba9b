# SPDX-License-Identifier: Apache-2.0
"""Expectations about keys that do not repeat, and about how many different values there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import column_of
from airflow_provider_mlbridge.quality.compiled.check import (
    DISTINCT,
    REPEATED,
    ROWS,
    Check,
    Grouping,
    NotCompiledError,
)
from airflow_provider_mlbridge.quality.compiled.conditions import condition_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome, between_outcome, map_outcome
from airflow_provider_mlbridge.quality.table import Column, Table

UNHASHABLE = ("list", "struct", "map", "other")
"""Families of columns whose values pandas cannot tell apart."""


def groups_of(expectation: Expectation, table: Table, column: Column) -> Grouping:
    """
    The values of a column, each with its number of rows.

    :raises NotCompiledError: for columns whose values are not counted this way.
    """
    if column.family in UNHASHABLE:
        raise NotCompiledError
    condition = condition_of(expectation, table)
    where = sql.present(column) if condition is None else f"{condition} AND {sql.present(column)}"
    return Grouping((column,), where)


def _unique(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    return _grouped(expectation, table, (column,), sql.present(column))


def _compound_unique(expectation: Expectation, table: Table, _: datetime) -> Check:
    columns = tuple(table.by_name[name] for name in dict.fromkeys(expectation.kwargs["column_list"]))
    ignore = expectation.kwargs.get("ignore_row_if") or "all_values_are_missing"
    parts = [sql.present(column) for column in columns]
    where = {
        "all_values_are_missing": f"({' OR '.join(parts)})",
        "any_value_is_missing": f"({' AND '.join(parts)})",
        "never": "TRUE",
    }[ignore]
    return _grouped(expectation, table, columns, where)


def _grouped(expectation: Expectation, table: Table, columns: tuple[Column, ...], where: str) -> Check:
    condition = condition_of(expectation, table)

    def judge(values: Sequence[Any]) -> Outcome:
        *counted, considered, unexpected = values
        return map_outcome(
            "duckdb",
            mostly=expectation.mostly,
            rows=table.rows if condition is None else int(counted[0]),
            considered=int(considered),
            unexpected=int(unexpected),
        )

    return Check(
        judge,
        () if condition is None else (sql.count_rows(condition),),
        grouping=Grouping(columns, where if condition is None else f"{condition} AND {where}"),
        group_measures=(ROWS, REPEATED),
        columns=columns,
    )


def _distinct_count(expectation: Expectation, table: Table, _: datetime) -> Check:
    def judge(values: Sequence[Any]) -> Outcome:
        return between_outcome("duckdb", int(values[0]), expectation.kwargs)

    grouping = groups_of(expectation, table, column_of(expectation, table))
    return Check(judge, grouping=grouping, group_measures=(DISTINCT,))


def _distinct_proportion(expectation: Expectation, table: Table, _: datetime) -> Check:
    def judge(values: Sequence[Any]) -> Outcome:
        distinct, rows = int(values[0]), int(values[1])
        return between_outcome("duckdb", distinct / rows if rows else 0, expectation.kwargs)

    grouping = groups_of(expectation, table, column_of(expectation, table))
    return Check(judge, grouping=grouping, group_measures=(DISTINCT, ROWS))


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_proportion_of_unique_values_to_be_between": _distinct_proportion,
    "expect_column_unique_value_count_to_be_between": _distinct_count,
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _compound_unique,
}
