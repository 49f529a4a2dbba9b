# SPDX-License-Identifier: Apache-2.0
"""
Expectations as SQL aggregates, so that one pass over the needed columns answers many of them.

Semantics are those of Great Expectations 1.24 on pandas. Deliberate differences, each where that would raise
an error or mislead:

- Integers are compared exactly; pandas turns a column with nulls, and every bound, into doubles.
- Decimals are compared as doubles, so that 0.1 is 0.1; Python finds the double 0.1 a little greater.
- A date as a bound of a timestamp is its midnight, and a bound without a zone is UTC on a column with one.
- Text in a set is read as a date or timestamp when the column holds those, also by ``to_be_in_set``.
- An empty table, or a column without values, is judged for every type of column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from airflow_provider_mlbridge.quality import sql
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.footer_checks import age_outcome
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome, between_outcome, map_outcome
from airflow_provider_mlbridge.quality.regex import UntranslatableError, to_re2
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import Bound, parse_bound, parse_instant

_MOMENTS = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Grouping:
    """
    Rows counted per key.

    :param keys: the columns of the key.
    :param where: which rows are looked at (SQL).
    """

    keys: tuple[Column, ...]
    where: str


@dataclass(frozen=True)
class Check:
    """
    How to judge one expectation with SQL.

    :param measures: aggregate expressions; their values are what ``judge`` is called with. With a
        ``grouping`` it is called with the rows looked at and the rows whose key occurs more than once.
    :param judge: makes the outcome.
    :param grouping: the grouping, for uniqueness.
    :param unexpected: condition of the rows to show (SQL), for expectations about rows.
    :param columns: the columns whose values are shown; none when there is no value to show.
    """

    judge: Callable[[Sequence[Any]], Outcome]
    measures: tuple[str, ...] = ()
    grouping: Grouping | None = None
    unexpected: str | None = None
    columns: tuple[Column, ...] = field(default_factory=tuple)


class NotCompiledError(Exception):
    """The expectation is judged by Great Expectations, on columns of this type."""


def compile_check(expectation: Expectation, table: Table, now: datetime) -> Check:
    """
    The SQL for an expectation whose columns exist.

    :raises NotCompiledError: when Great Expectations has to judge it.
    :raises CannotCheckError: when it makes no sense for columns of this type.
    """
    compiler = _COMPILERS.get(expectation.type)
    if compiler is None or expectation.kwargs.get("row_condition") is not None:
        raise NotCompiledError
    return compiler(expectation, table, now)


def _rows(
    expectation: Expectation,
    table: Table,
    domain: str,
    valid: str,
    columns: tuple[Column, ...],
    *,
    with_missing: bool = True,
) -> Check:
    """A check of each row in ``domain``: ``valid`` must be true there, not false and not null."""
    unexpected = f"{domain} AND NOT coalesce({valid}, FALSE)"

    def judge(values: Sequence[Any]) -> Outcome:
        return map_outcome(
            "duckdb",
            mostly=expectation.mostly,
            rows=table.rows,
            considered=int(values[0]),
            unexpected=int(values[1]),
            with_missing=with_missing,
        )

    measures = (f"count(*) FILTER (WHERE {domain})", f"count(*) FILTER (WHERE {unexpected})")
    return Check(judge, measures, unexpected=unexpected, columns=columns)


def _column(expectation: Expectation, table: Table, name: str = "column") -> Column:
    return table.by_name[expectation.kwargs[name]]


def _not_null(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    # What is shown of such rows is that they have no value: no column needs to be read for it.
    return _rows(expectation, table, "TRUE", sql.present(column), (), with_missing=False)


def _null(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    return _rows(expectation, table, "TRUE", f"NOT {sql.present(column)}", (column,), with_missing=False)


def _between(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    if column.family == "null":
        return _rows(expectation, table, sql.present(column), "FALSE", (column,))
    if column.family in ("time", "duration", "binary", "list", "struct", "map", "other"):
        raise NotCompiledError
    conditions = []
    for name, sign, strict in (("min_value", ">", "strict_min"), ("max_value", "<", "strict_max")):
        bound = _bound(expectation, column, name)
        if bound is not None:
            operator = sign if expectation.kwargs.get(strict) else f"{sign}="
            conditions.append(f"{sql.operand(column, bound)} {operator} {sql.literal(column, bound)}")
    return _rows(expectation, table, sql.present(column), f"({' AND '.join(conditions)})", (column,))


def _bound(expectation: Expectation, column: Column, name: str) -> Bound | None:
    return parse_bound(expectation.kwargs.get(name), name, instants=column.family in _MOMENTS)


def _in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    return _rows(expectation, table, sql.present(column), _member(column, expectation), (column,))


def _not_in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    return _rows(expectation, table, sql.present(column), f"NOT {_member(column, expectation)}", (column,))


def _member(column: Column, expectation: Expectation) -> str:
    literals = _set_literals(column, expectation.kwargs["value_set"])
    operand = column.alias
    if column.family == "float":
        operand = f"{column.alias}::DOUBLE"
    elif column.family in ("timestamp", "timestamptz"):
        operand = sql.instant(column)
    return f"({operand} IN ({', '.join(literals)}))" if literals else "FALSE"


def _set_literals(column: Column, values: Iterable[Any]) -> list[str]:
    """The values that a column of this type can hold at all; the others are equal to none of its values."""
    match column.family:
        case "null":
            return []
        case "string":
            return [sql.text(value) for value in values if isinstance(value, str) and _is_unicode(value)]
        case "int":
            return [sql.number(int(value)) for value in values if _is_whole(value)]
        case "float":
            return [sql.double(double) for value in values if (double := _as_double(value)) is not None]
        case "bool":
            return [
                str(value == 1).upper()
                for value in values
                if isinstance(value, int | float) and value in (0, 1)
            ]
        case "date" | "timestamp" | "timestamptz":
            moments = [parse_instant(value) if isinstance(value, str) else value for value in values]
            return [
                literal
                for moment in moments
                if isinstance(moment, date) and (literal := _moment(column, moment)) is not None
            ]
    raise NotCompiledError


def _as_double(value: Any) -> float | None:
    """The number as a double; None for what is no number, or a finite one greater than any double."""
    if not isinstance(value, int | float | Decimal):
        return None
    try:
        double = float(value)
    except OverflowError:
        return None
    return None if math.isinf(double) and value not in (math.inf, -math.inf) else double


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and bool(-(2**127) < value < 2**127) and value % 1 == 0


def _is_unicode(value: str) -> bool:
    """Half of a surrogate pair is in no Parquet file, and in no SQL statement."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _moment(column: Column, moment: date) -> str | None:
    if column.family == "date" and isinstance(moment, datetime):
        return None
    if column.family == "timestamp" and isinstance(moment, datetime) and moment.tzinfo is not None:
        return None
    return sql.literal(column, moment)


def _regex(expectation: Expectation, table: Table, _: datetime) -> Check:
    column, found = _found(expectation, table)
    return _rows(expectation, table, sql.present(column), found, (column,))


def _not_regex(expectation: Expectation, table: Table, _: datetime) -> Check:
    column, found = _found(expectation, table)
    return _rows(expectation, table, sql.present(column), f"NOT {found}", (column,))


def _found(expectation: Expectation, table: Table) -> tuple[Column, str]:
    column = _column(expectation, table)
    if column.family != "string":
        raise NotCompiledError
    pattern = expectation.kwargs.get("regex")
    try:
        translated = to_re2("(?s).*" if pattern is None else pattern)
    except UntranslatableError:
        raise NotCompiledError from None
    return column, f"regexp_matches({column.alias}, {sql.text(translated)})"


def _lengths(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
    if column.family != "string":
        raise NotCompiledError
    length = f"length({column.alias})"
    if "value" in expectation.kwargs:
        valid = f"{length} = {sql.number(expectation.kwargs['value'])}"
        return _rows(expectation, table, sql.present(column), valid, (column,))
    conditions = []
    for name, sign, strict in (("min_value", ">", "strict_min"), ("max_value", "<", "strict_max")):
        bound = parse_bound(expectation.kwargs.get(name), name)
        if isinstance(bound, int | float):
            operator = sign if expectation.kwargs.get(strict) else f"{sign}="
            conditions.append(f"{length} {operator} {sql.number(bound)}")
    return _rows(expectation, table, sql.present(column), f"({' AND '.join(conditions)})", (column,))


_COMPARABLE = ("int", "float", "decimal")


def _greater(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = _column(expectation, table, "column_A"), _column(expectation, table, "column_B")
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
    return _rows(expectation, table, domain, valid, (a, b))


def _unique(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _column(expectation, table)
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
    def judge(values: Sequence[Any]) -> Outcome:
        return map_outcome(
            "duckdb",
            mostly=expectation.mostly,
            rows=table.rows,
            considered=int(values[0]),
            unexpected=int(values[1]),
        )

    return Check(judge, grouping=Grouping(columns, where), columns=columns)


def _extreme(function: str) -> Callable[[Expectation, Table, datetime], Check]:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = _column(expectation, table)
        if column.family not in ("int", "float", "decimal", "date", "timestamp", "timestamptz"):
            raise NotCompiledError
        for name in ("min_value", "max_value"):
            bound = _bound(expectation, column, name)
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
    if column.family in _MOMENTS:
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
        column = _column(expectation, table)
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
    column = _column(expectation, table)
    if column.family not in _MOMENTS:
        raise CannotCheckError(
            f"column {column.name!r} is {column.type_name}; an age needs a date or a timestamp"
        )

    def judge(values: Sequence[Any]) -> Outcome:
        return age_outcome("duckdb", _observed(column, values[0]), expectation.kwargs, now)

    return Check(judge, (_extreme_measure(column, "max"),))


_COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    COLUMN_MAX_AGE: _max_age,
    "expect_column_max_to_be_between": _extreme("max"),
    "expect_column_mean_to_be_between": _total("avg"),
    "expect_column_min_to_be_between": _extreme("min"),
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_sum_to_be_between": _total("sum"),
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _lengths,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_be_unique": _unique,
    "expect_column_values_to_match_regex": _regex,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_not_match_regex": _not_regex,
    "expect_compound_columns_to_be_unique": _compound_unique,
}
