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
from airflow_provider_mlbridge.quality.compiled.conditions import condition_of
from airflow_provider_mlbridge.quality.engines.footers import age_outcome, count_outcome
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome, between_outcome
from airflow_provider_mlbridge.quality.table import Column, Table

_NUMBERS = ("int", "float", "decimal", "bool")
"""Families of columns that can be added up; true counts as 1, as in Python."""


def _extreme(function: str) -> Callable[[Expectation, Table, datetime], Check]:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        if column.family not in (*_NUMBERS, *MOMENTS):
            raise NotCompiledError
        for name in ("min_value", "max_value"):
            bound = bound_of(expectation, column, name)
            if bound is not None:
                sql.operand(column, bound)
                sql.literal(column, bound)
        return Check(
            lambda values: between_outcome("duckdb", _observed(column, values[0]), expectation.kwargs),
            (_extreme_measure(column, function, condition_of(expectation, table)),),
        )

    return compiler


def _extreme_measure(column: Column, function: str, condition: str | None = None) -> str:
    aggregate = f"{function}({column.alias}) {_rows(column, condition)}"
    # Points in time as numbers: Python's types have neither their years nor their nanoseconds.
    if column.family == "date":
        return f"({aggregate} - DATE '1970-01-01')"
    if column.family in MOMENTS:
        unit = "ns" if sql.in_nanoseconds(column) else "us"
        return f"epoch_{unit}({aggregate})"
    return aggregate


def _rows(column: Column, condition: str | None) -> str:
    """The rows that an aggregate is taken over: those with a value, and within the condition."""
    present = sql.present(column)
    return f"FILTER (WHERE {present})" if condition is None else f"FILTER (WHERE {condition} AND {present})"


def _observed(column: Column, value: Any) -> Any:
    if value is None or column.family not in ("date", "timestamp", "timestamptz"):
        return value
    unit = 86_400_000_000_000 if column.family == "date" else 1 if sql.in_nanoseconds(column) else 1000
    return Instant(value * unit, column.family)


def _total(function: str) -> Callable[[Expectation, Table, datetime], Check]:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        if column.family not in _NUMBERS:
            raise NotCompiledError
        condition = condition_of(expectation, table)
        if function == "avg":
            measure = mean_measure(column, condition)
        else:
            # The sum of nothing is 0, as in pandas.
            measure = f"coalesce({_added(function, column, condition)}, 0)"
        return Check(lambda values: between_outcome("duckdb", values[0], expectation.kwargs), (measure,))

    return compiler


def _addend(column: Column) -> str:
    if column.family == "bool":
        return f"{column.alias}::INTEGER"
    return column.alias if column.family == "int" else f"{column.alias}::DOUBLE"


def mean_measure(column: Column, condition: str | None) -> str:
    """The mean of a column of numbers."""
    return _added("avg", column, condition)


def _added(function: str, column: Column, condition: str | None) -> str:
    """The sum or the mean; of doubles with what rounding loses added back, so that one digit may vary."""
    rows = _rows(column, condition)
    plain = f"{function}({_addend(column)}) {rows}"
    if column.family not in ("float", "decimal"):
        return plain
    total = f"fsum({_addend(column)}) {rows}"
    careful = total if function == "sum" else f"{total} / (count(*) {rows})"
    # It finds no sum with infinite numbers in it, and none that is infinite itself.
    return f"(CASE WHEN isfinite({total}) THEN {careful} ELSE {plain} END)"


def stdev_measures(column: Column, condition: str | None) -> tuple[str, str]:
    """The sample standard deviation of the finite numbers of a column, and how many others there are."""
    value = f"{_addend(column)}::DOUBLE"
    finite = f"{sql.present(column)} AND isfinite({value})"
    rows = finite if condition is None else f"{condition} AND {finite}"
    # DuckDB raises an error for infinite numbers.
    return (
        f"stddev_samp({value}) FILTER (WHERE {rows})",
        f"count(*) {_rows(column, condition)} - count(*) FILTER (WHERE {rows})"
        if column.family == "float"
        else "0",
    )


def stdev(values: Sequence[Any]) -> float | None:
    """The standard deviation, from :func:`stdev_measures`; none beside infinite numbers."""
    return None if values[1] else values[0]


def _stdev(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    if column.family not in _NUMBERS:
        raise NotCompiledError
    return Check(
        lambda values: between_outcome("duckdb", stdev(values), expectation.kwargs),
        stdev_measures(column, condition_of(expectation, table)),
    )


def _present_share(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    condition = condition_of(expectation, table)

    def judge(values: Sequence[Any]) -> Outcome:
        present, rows = int(values[0]), int(values[1])
        return between_outcome("duckdb", present / rows if rows else 0, expectation.kwargs)

    rows = "count(*)" if condition is None else sql.count_rows(condition)
    return Check(judge, (f"count(*) {_rows(column, condition)}", rows))


def _row_count(expectation: Expectation, table: Table, _: datetime) -> Check:
    condition = condition_of(expectation, table)

    def judge(values: Sequence[Any]) -> Outcome:
        return count_outcome("duckdb", int(values[0]), expectation.kwargs)

    return Check(judge, ("count(*)" if condition is None else sql.count_rows(condition),))


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
    "expect_column_proportion_of_non_null_values_to_be_between": _present_share,
    "expect_column_stdev_to_be_between": _stdev,
    "expect_column_sum_to_be_between": _total("sum"),
    "expect_table_row_count_to_be_between": _row_count,
    "expect_table_row_count_to_equal": _row_count,
}
