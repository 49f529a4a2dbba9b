# SPDX-License-Identifier: Apache-2.0
"""Literals for DuckDB. Names of columns never enter SQL, see :attr:`~..table.Column.alias`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from airflow_provider_mlbridge.quality.instants import nanoseconds
from airflow_provider_mlbridge.quality.outcome import ZONE_MISMATCH, CannotCheckError
from airflow_provider_mlbridge.quality.table import Column
from airflow_provider_mlbridge.quality.values import Bound, as_datetime, in_utc

_HUGEINT = 2**127
_LONG_LIST = 200
"""Values in a list from which on a hash table is faster."""


def text(value: str) -> str:
    """A string literal."""
    # The parser ends at a NUL character, so that one is put in by a function.
    return "(" + "||chr(0)||".join("'" + part.replace("'", "''") + "'" for part in value.split("\0")) + ")"


def number(value: float) -> str:
    """A number literal: exact for integers, a double otherwise."""
    if isinstance(value, int) and -_HUGEINT <= value < _HUGEINT:
        return f"({value})"
    return double(value)


def double(value: float) -> str:
    """The literal of a double; a number beyond all of them is infinite."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf if value > 0 else -math.inf
    return f"'{nearest!r}'::DOUBLE"


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


def count_rows(condition: str) -> str:
    """A measure: the rows where a condition is true."""
    # A filter on count(*) takes a fifth more.
    return f"coalesce(count_if({condition}), 0)"


def among(value: str, literals: Sequence[str], *, counted: bool = False) -> str:
    """
    Whether a value is one of several literals; false for null.

    :param counted: whether rows are only counted, so that their order does not matter.
    """
    if counted and len(literals) > _LONG_LIST:
        # A join looks up in a hash table, but mixes the rows; a list is searched from its start.
        return f"coalesce({value} IN (SELECT unnest([{', '.join(literals)}])), FALSE)"
    # Unlike IN, it is evaluated once for each entry of a dictionary-encoded column.
    return f"(coalesce(list_position([{', '.join(literals)}], {value}), 0) > 0)"


def matches(value: str, pattern: str, *, may_be_empty: bool) -> str:
    """
    Whether a regular expression of RE2 is found in a text.

    :param may_be_empty: whether an empty text may be what is found.
    """
    if may_be_empty:
        return f"regexp_matches({value}, {text(pattern)})"
    # Evaluated once for each entry of a dictionary-encoded column, in a quarter of the time.
    return f"(regexp_extract({value}, {text(pattern)}) <> '')"


def in_nanoseconds(column: Column) -> bool:
    """Whether a column is read in nanoseconds, which no literal of DuckDB is compared with as they are."""
    return "[ns" in column.type_name and not column.int96


def instant(column: Column) -> str:
    """A timestamp column in the form in which it is compared; those in nanoseconds as their number."""
    return f"epoch_ns({column.alias})" if in_nanoseconds(column) else column.alias


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
        return instant(column)
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
        return double(bound) if column.family in ("float", "decimal") else number(bound)
    if column.family == "timestamptz" and not in_nanoseconds(column):
        return f"TIMESTAMPTZ '{in_utc(bound).replace(tzinfo=None).isoformat(sep=' ')}+00'"
    if column.family != "timestamptz" and isinstance(bound, datetime) and bound.tzinfo is not None:
        raise CannotCheckError(ZONE_MISMATCH.format(bound=bound.isoformat()))
    if in_nanoseconds(column):
        return number(nanoseconds(bound))
    if column.family == "date" and not isinstance(bound, datetime):
        return f"DATE '{bound.isoformat()}'"
    return f"TIMESTAMP '{as_datetime(bound).isoformat(sep=' ')}'"
