# SPDX-License-Identifier: Apache-2.0
"""Expectations about one number of a column: its minimum, mean, sum and the like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE
from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import MOMENTS, bound_of, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.engines.footers import age_outcome
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome, between_outcome
from airflow_provider_mlbridge.quality.table import Column, Table


def _extreme(function: str) -> Callable[[Expectation, Table, datetime], Check]:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        if column.family not in ("int", "float", "decimal", "date", "timestamp", "timestamptz"):
            raise NotCompiledError
        for name in ("min_value", "max_value"):
            bound = bound_of(expectation, column, name)
            if bound is not None:
                sql.operand(column, bound)
                sql.literal(column, bound)
        return Check(
            lambda values: between_outcome("duckdb", _observed(column, values[0]), expectation.kwargs),
            (_extreme_measure(column, function),),
        )

    return compiler


def _extreme_measure(column: Column, function: str) -> str:
    # Points in time as numbers: Python's types have neither their years nor their nanoseconds.
    if column.family == "date":
        return f"({function}({column.alias}) - DATE '1970-01-01')"
    if column.family in MOMENTS:
        unit = "ns" if sql.in_nanoseconds(column) else "us"
        return f"epoch_{unit}({function}({column.alias}))"
    return f"{function}({column.alias}) FILTER (WHERE {sql.present(column)})"


def _observed(column: Column, value: Any) -> Any:
    if value is None or column.family not in ("date", "timestamp", "timestamptz"):
        return value
    unit = 86_400_000_000_000 if column.family == "date" else 1 if sql.in_nanoseconds(column) else 1000
    return Instant(value * unit, column.family)


def _total(function: str) -> Callable[[Expectation, Table, datetime], Check]:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        if column.family not in ("int", "float", "decimal"):
            raise NotCompiledError
        operand = column.alias if column.family == "int" else f"{column.alias}::DOUBLE"
        measure = f"{function}({operand}) FILTER (WHERE {sql.present(column)})"
        if function == "sum":
            # The sum of nothing is 0, as in pandas.
            measure = f"coalesce({measure}, 0)"
        return Check(lambda values: between_outcome("duckdb", values[0], expectation.kwargs), (measure,))

    return compiler


def _max_age(expectation: Expectation, table: Table, now: datetime) -> Check:
    column = column_of(expectation, table)
    if column.family not in MOMENTS:
        raise CannotCheckError(
            f"column {column.name!r} is {column.type_name}; an age needs a date or a timestamp"
        )

    def judge(values: Sequence[Any]) -> Outcome:
        return age_outcome("duckdb", _observed(column, values[0]), expectation.kwargs, now)

    return Check(judge, (_extreme_measure(column, "max"),))


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    COLUMN_MAX_AGE: _max_age,
    "expect_column_max_to_be_between": _extreme("max"),
    "expect_column_mean_to_be_between": _total("avg"),
    "expect_column_min_to_be_between": _extreme("min"),
    "expect_column_sum_to_be_between": _total("sum"),
}
