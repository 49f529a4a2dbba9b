# SPDX-License-Identifier: Apache-2.0
"""Expectations about two columns, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.comparisons import comparable, require_comparable
from airflow_provider_mlbridge.quality.compiled.members import member
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Column, Table


def _domain(expectation: Expectation, a: Column, b: Column) -> str:
    return {
        "both_values_are_missing": f"({sql.present(a)} OR {sql.present(b)})",
        "either_value_is_missing": _both(a, b),
        "neither": "TRUE",
    }[expectation.kwargs.get("ignore_row_if") or "both_values_are_missing"]


def _both(a: Column, b: Column) -> str:
    return f"({sql.present(a)} AND {sql.present(b)})"


def _greater(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    require_comparable(a, b)
    if a.family == "bool":
        raise NotCompiledError
    operator = ">=" if expectation.kwargs.get("or_equal") else ">"
    # A comparison with a missing value is false for pandas; DuckDB would find NaN the greatest of all.
    valid = f"({_both(a, b)} AND {comparable(a)} {operator} {comparable(b)})"
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b))


def _equal(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    require_comparable(a, b)
    valid = f"({_both(a, b)} AND {comparable(a)} = {comparable(b)})"
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b))


def _in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    # Grouped by the first value, so that a long list of pairs does not become a long condition.
    partners: dict[str, list[Any]] = {}
    for first, second in expectation.kwargs["value_pairs_set"]:
        partners.setdefault(_one_of(a, [first]), []).append(second)
    conditions = [f"({first} AND {_one_of(b, seconds)})" for first, seconds in partners.items()]
    valid = f"({' OR '.join(conditions)})" if conditions else "FALSE"
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b))


def _one_of(column: Column, values: list[Any]) -> str:
    """One of the values; None among them stands for a missing one."""
    found = f"({sql.present(column)} AND {member(column, [v for v in values if v is not None])})"
    return f"(NOT {sql.present(column)} OR {found})" if any(v is None for v in values) else found


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": _equal,
    "expect_column_pair_values_to_be_in_set": _in_set,
}
