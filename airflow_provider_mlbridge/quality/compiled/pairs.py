# SPDX-License-Identifier: Apache-2.0
"""Expectations about several columns, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Table

_COMPARABLE = ("int", "float", "decimal")


def _greater(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    same = a.family == b.family and a.family in ("string", "date", "timestamp", "timestamptz")
    if not same and not (a.family in _COMPARABLE and b.family in _COMPARABLE):
        raise NotCompiledError
    ignore = expectation.kwargs.get("ignore_row_if") or "both_values_are_missing"
    both = f"({sql.present(a)} AND {sql.present(b)})"
    domain = {
        "both_values_are_missing": f"({sql.present(a)} OR {sql.present(b)})",
        "either_value_is_missing": both,
        "neither": "TRUE",
    }[ignore]
    operator = ">=" if expectation.kwargs.get("or_equal") else ">"
    # A comparison with a missing value is false for pandas; DuckDB would find NaN the greatest of all.
    valid = f"({both} AND {a.alias} {operator} {b.alias})"
    return check_rows(expectation, table, domain, valid, (a, b))


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
}
