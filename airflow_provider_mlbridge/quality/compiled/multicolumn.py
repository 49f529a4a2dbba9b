# SPDX-License-Identifier: Apache-2.0
"""Expectations about several columns, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import combinations

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import check_rows
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.comparisons import (
    comparable,
    require_comparable,
    require_room,
)
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Column, Table

_FEW = 8
"""From so many summands on, pandas adds doubles in another order, and the last digit may differ."""


def columns_of(expectation: Expectation, table: Table) -> tuple[Column, ...]:
    """The columns of ``column_list``, also those that it names twice."""
    return tuple(table.by_name[name] for name in expectation.kwargs["column_list"])


def domain_of(expectation: Expectation, columns: tuple[Column, ...]) -> str:
    """The rows that ``ignore_row_if`` leaves."""
    parts = [sql.present(column) for column in dict.fromkeys(columns)]
    return {
        "all_values_are_missing": f"({' OR '.join(parts)})",
        "any_value_is_missing": f"({' AND '.join(parts)})",
        "never": "TRUE",
    }[expectation.kwargs.get("ignore_row_if") or "all_values_are_missing"]


def _checked(expectation: Expectation, table: Table, columns: tuple[Column, ...], valid: str) -> Check:
    shown = tuple(dict.fromkeys(columns))
    return check_rows(expectation, table, domain_of(expectation, columns), valid, shown, as_records=True)


def _sum(expectation: Expectation, table: Table, _: datetime) -> Check:
    columns = columns_of(expectation, table)
    total = expectation.kwargs["sum_total"]
    families = {column.family for column in columns}
    if families <= {"int", "bool"}:
        parts = [f"{column.alias}::HUGEINT" for column in columns]
        expected = sql.number(total)
    elif families <= {"int", "bool", "decimal"}:
        require_room(*columns, more=len(str(len(columns))))
        parts = [
            column.alias if column.family == "decimal" else f"{column.alias}::DECIMAL(20,0)"
            for column in columns
        ]
        expected = sql.double(total)
    elif families <= {"int", "bool", "float"} and len(columns) <= _FEW and _adds_doubles(columns):
        parts = [f"{column.alias}::DOUBLE" for column in columns]
        expected = sql.double(total)
    else:
        raise NotCompiledError
    added = f"({' + '.join(parts)})"
    if "decimal" in families:
        added = f"{added}::DOUBLE"
    present = " AND ".join(sql.present(column) for column in dict.fromkeys(columns))
    # Nothing is equal to a sum with a missing value, also not to that of two opposite infinities.
    return _checked(expectation, table, columns, f"({present} AND {added} = {expected})")


def _adds_doubles(columns: tuple[Column, ...]) -> bool:
    """Whether pandas adds them as doubles: not when all of them fit into smaller floats."""
    return any(
        column.type_name == "float64" or (column.family == "int" and column.type_name[-2:] in ("32", "64"))
        for column in columns
    )


def _equal(expectation: Expectation, table: Table, _: datetime) -> Check:
    columns = columns_of(expectation, table)
    first, *others = dict.fromkeys(columns)
    parts = []
    for column in others:
        require_comparable(first, column)
        parts.append(f"({_same(first, column)})")
    return _checked(expectation, table, columns, f"({' AND '.join(parts)})")


def _all_different(expectation: Expectation, table: Table, _: datetime) -> Check:
    columns = columns_of(expectation, table)
    parts = []
    for a, b in combinations(columns, 2):
        require_comparable(a, b)
        if a.family != b.family and "decimal" in (a.family, b.family):
            # pandas tells the missing values of the two apart.
            raise NotCompiledError
        parts.append(f"({_same(a, b)})")
    return _checked(expectation, table, columns, f"(NOT ({' OR '.join(parts)}))")


def _same(a: Column, b: Column) -> str:
    """Equal, or both missing."""
    both = f"{sql.present(a)} AND {sql.present(b)} AND {comparable(a)} = {comparable(b)}"
    return f"({both}) OR NOT ({sql.present(a)} OR {sql.present(b)})"


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_multicolumn_sum_to_equal": _sum,
    "expect_multicolumn_values_to_be_equal": _equal,
    "expect_select_column_values_to_be_unique_within_record": _all_different,
}
