# SPDX-License-Identifier: Apache-2.0
"""Literals for DuckDB. Names of columns never enter SQL, see :attr:`~..table.Column.alias`."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from airflow_provider_mlbridge.quality.outcome import ZONE_MISMATCH, CannotCheckError
from airflow_provider_mlbridge.quality.table import Column
from airflow_provider_mlbridge.quality.values import Bound, as_datetime, in_utc

_HUGEINT = 2**127
_NANOSECOND_YEARS = range(1678, 2262)
"""Years that a timestamp in nanoseconds can hold."""


def text(value: str) -> str:
    """A string literal."""
    # The parser ends at a NUL character, so that one is put in by a function.
    return "(" + "||chr(0)||".join("'" + part.replace("'", "''") + "'" for part in value.split("\0")) + ")"


def number(value: float) -> str:
    """A number literal: exact for integers, a double otherwise."""
    if isinstance(value, int) and -_HUGEINT <= value < _HUGEINT:
        return f"({value})"
    return f"'{float(value)!r}'::DOUBLE"


def path(file: Path) -> str:
    """A file's path as a literal, with the characters quoted that DuckDB takes for patterns."""
    return text("".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(file)))


def present(column: Column) -> str:
    """True where the column has a value; NaN is none, as in pandas."""
    if column.family == "float":
        return f"({column.alias} IS NOT NULL AND NOT isnan({column.alias}))"
    return f"({column.alias} IS NOT NULL)"


def key(column: Column) -> str:
    """The column as part of a key: NaN is the same as null, as in pandas."""
    return (
        f"(CASE WHEN {present(column)} THEN {column.alias} END)" if column.family == "float" else column.alias
    )


def microseconds(column: Column) -> str:
    """A timestamp column in microseconds: DuckDB compares those in nanoseconds with a zone to nothing."""
    if "[ns" not in column.type_name:
        return column.alias
    return f"{column.alias}::{'TIMESTAMP' if column.family == 'timestamp' else 'TIMESTAMPTZ'}"


def operand(column: Column, bound: Bound) -> str:
    """
    The column, in the form in which it is compared with the bound's literal.

    :raises CannotCheckError: when the two cannot be compared.
    """
    if not isinstance(bound, date):
        if column.family == "bool":
            return f"{column.alias}::INTEGER"
        if column.family in ("float", "decimal"):
            return f"{column.alias}::DOUBLE"
        if column.family == "int":
            return column.alias
    elif column.family in ("timestamp", "timestamptz"):
        # Nanoseconds end in 2262; a bound beyond, such as 9999-12-31, is compared in microseconds.
        if column.family == "timestamp" and bound.year in _NANOSECOND_YEARS:
            return column.alias
        return microseconds(column)
    elif column.family == "date":
        return f"{column.alias}::TIMESTAMP" if isinstance(bound, datetime) else column.alias
    raise CannotCheckError(
        f"column {column.name!r} is {column.type_name}, which cannot be compared with {bound!r}"
    )


def literal(column: Column, bound: Bound) -> str:
    """
    The bound, as it is compared with :func:`operand`.

    A bound without a time zone is UTC where the column has one.

    :raises CannotCheckError: for a bound with a time zone on a column without.
    """
    if not isinstance(bound, date):
        return number(float(bound) if column.family in ("float", "decimal") else bound)
    if column.family == "timestamptz":
        return f"TIMESTAMPTZ '{in_utc(bound).replace(tzinfo=None).isoformat(sep=' ')}+00'"
    if isinstance(bound, datetime) and bound.tzinfo is not None:
        raise CannotCheckError(ZONE_MISMATCH.format(bound=bound.isoformat()))
    if column.family == "date" and not isinstance(bound, datetime):
        return f"DATE '{bound.isoformat()}'"
    return f"TIMESTAMP '{as_datetime(bound).isoformat(sep=' ')}'"
