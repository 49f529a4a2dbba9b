# SPDX-License-Identifier: Apache-2.0
"""Whether a column's value is one of a set, in SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.table import Column
from airflow_provider_mlbridge.quality.values import parse_instant

_DECIMAL = re.compile(r"decimal\d+\((\d+), (-?\d+)\)")
_MAX_DIGITS = 38
"""DuckDB's decimals have no more."""
_EXACT = Context(prec=5000)
"""No number in a suite has more digits, so that nothing is rounded."""


def member(column: Column, values: Iterable[Any], *, counted: bool = False) -> str:
    """
    True where the column holds one of the values.

    :param counted: whether rows are only counted, so that their order does not matter.
    :raises NotCompiledError: for columns of a type that no literal is compared with.
    :raises CannotCheckError: for values that cannot be compared with the column.
    """
    literals = _literals(column, values)
    operand = column.alias
    if column.family == "float":
        operand = f"{column.alias}::DOUBLE"
    elif column.family in ("timestamp", "timestamptz"):
        operand = sql.instant(column)
    return sql.among(operand, literals, counted=counted) if literals else "FALSE"


def _literals(column: Column, values: Iterable[Any]) -> list[str]:
    """The values that a column of this type can hold at all; the others are equal to none of its values."""
    match column.family:
        case "null":
            return []
        case "string":
            return [sql.text(value) for value in values if isinstance(value, str) and is_unicode(value)]
        case "int":
            return [sql.number(int(value)) for value in values if _is_whole(value)]
        case "float":
            return [sql.double(double) for value in values if (double := _as_double(value)) is not None]
        case "decimal":
            return [literal for value in values if (literal := _as_decimal(column, value)) is not None]
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


def _as_decimal(column: Column, value: Any) -> str | None:
    """The number as one that the column can hold exactly; 0.1 is 0.1, though no double is."""
    match = _DECIMAL.fullmatch(column.type_name)
    if match is None or int(match[1]) > _MAX_DIGITS:
        raise NotCompiledError
    if not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return None
    # True counts as 1, as in Python.
    exact = Decimal(str(int(value) if isinstance(value, bool) else value)).normalize(_EXACT)
    _, digits, exponent = exact.as_tuple()
    scale, whole = int(match[2]), len(digits) + int(exponent)
    if -int(exponent) > scale or whole > int(match[1]) - scale:
        return None
    return f"CAST('{exact:f}' AS DECIMAL({match[1]},{match[2]}))"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and bool(-(2**127) < value < 2**127) and value % 1 == 0


def is_unicode(value: str) -> bool:
    """Half of a surrogate pair is in no Parquet file, and in no SQL statement."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _moment(column: Column, moment: date) -> str | None:
    if column.family == "date" and isinstance(moment, datetime):
        return None
    if column.family == "timestamp" and isinstance(moment, datetime) and moment.tzinfo is not None:
        return None
    return sql.literal(column, moment)
