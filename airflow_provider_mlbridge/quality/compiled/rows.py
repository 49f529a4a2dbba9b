# SPDX-License-Identifier: Apache-2.0
"""Expectations about each value of a column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import bound_of, check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.members import member
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Table


def _not_null(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    # What is shown of such rows is that they have no value: no column needs to be read for it.
    return check_rows(expectation, table, "TRUE", sql.present(column), (), with_missing=False)


def _null(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    return check_rows(expectation, table, "TRUE", f"NOT {sql.present(column)}", (column,), with_missing=False)


def _between(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    if column.family == "null":
        return check_rows(expectation, table, sql.present(column), "FALSE", (column,))
    if column.family in ("time", "duration", "binary", "list", "struct", "map", "other"):
        raise NotCompiledError
    conditions = []
    for name, sign, strict in (("min_value", ">", "strict_min"), ("max_value", "<", "strict_max")):
        bound = bound_of(expectation, column, name)
        if bound is not None:
            operator = sign if expectation.kwargs.get(strict) else f"{sign}="
            conditions.append(f"{sql.operand(column, bound)} {operator} {sql.literal(column, bound)}")
    return check_rows(expectation, table, sql.present(column), f"({' AND '.join(conditions)})", (column,))


def _in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    values = expectation.kwargs["value_set"]
    found, counted = member(column, values), member(column, values, counted=True)
    return check_rows(expectation, table, sql.present(column), found, (column,), counted=counted)


def _not_in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    values = expectation.kwargs["value_set"]
    found, counted = f"NOT {member(column, values)}", f"NOT {member(column, values, counted=True)}"
    return check_rows(expectation, table, sql.present(column), found, (column,), counted=counted)


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_not_be_null": _not_null,
}
