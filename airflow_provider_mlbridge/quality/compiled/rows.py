# SPDX-License-Identifier: Apache-2.0
"""Expectations about each value of a column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import bound_of, check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.regex import UntranslatableError, to_re2
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import parse_bound, parse_instant


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
    return check_rows(expectation, table, sql.present(column), _member(column, expectation), (column,))


def _not_in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    return check_rows(
        expectation, table, sql.present(column), f"NOT {_member(column, expectation)}", (column,)
    )


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
    return check_rows(expectation, table, sql.present(column), found, (column,))


def _not_regex(expectation: Expectation, table: Table, _: datetime) -> Check:
    column, found = _found(expectation, table)
    return check_rows(expectation, table, sql.present(column), f"NOT {found}", (column,))


def _found(expectation: Expectation, table: Table) -> tuple[Column, str]:
    column = column_of(expectation, table)
    if column.family != "string":
        raise NotCompiledError
    pattern = expectation.kwargs.get("regex")
    try:
        translated = to_re2("(?s).*" if pattern is None else pattern)
    except UntranslatableError:
        raise NotCompiledError from None
    return column, f"regexp_matches({column.alias}, {sql.text(translated)})"


def _lengths(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    if column.family != "string":
        raise NotCompiledError
    length = f"length({column.alias})"
    if "value" in expectation.kwargs:
        valid = f"{length} = {sql.number(expectation.kwargs['value'])}"
        return check_rows(expectation, table, sql.present(column), valid, (column,))
    conditions = []
    for name, sign, strict in (("min_value", ">", "strict_min"), ("max_value", "<", "strict_max")):
        bound = parse_bound(expectation.kwargs.get(name), name)
        if isinstance(bound, int | float):
            operator = sign if expectation.kwargs.get(strict) else f"{sign}="
            conditions.append(f"{length} {operator} {sql.number(bound)}")
    return check_rows(expectation, table, sql.present(column), f"({' AND '.join(conditions)})", (column,))


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _lengths,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_match_regex": _regex,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_not_match_regex": _not_regex,
}
