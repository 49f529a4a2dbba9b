# SPDX-License-Identifier: Apache-2.0
"""One column compared with another, in SQL."""

from __future__ import annotations

import re

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.table import Column

_NUMBERS = ("int", "float", "decimal")
_DECIMAL = re.compile(r"decimal\d+\((\d+), (-?\d+)\)")
_MAX_DIGITS = 38
"""DuckDB's decimals have no more; it reads longer ones as doubles."""
_DIGITS = {"8": 3, "16": 5, "32": 10, "64": 20}
"""Digits of integers by their bits."""
_OTHERS = ("string", "bool", "date", "timestamp", "timestamptz")


def comparable(column: Column) -> str:
    """The column in the form in which it is compared with another, see :func:`require_comparable`."""
    if column.family == "float":
        # Beside an integer DuckDB would make a float of 32 bits of both.
        return f"{column.alias}::DOUBLE"
    return sql.instant(column) if column.family in ("timestamp", "timestamptz") else column.alias


def require_comparable(a: Column, b: Column) -> None:
    """
    Whether SQL compares two columns as pandas does.

    :raises NotCompiledError: when not.
    """
    require_exact(a, b)
    if a.family in _NUMBERS and b.family in _NUMBERS:
        if "decimal" in (a.family, b.family) and "float" not in (a.family, b.family):
            require_room(a, b)
        return
    same = a.family == b.family and a.family in _OTHERS
    if not same or sql.in_nanoseconds(a) != sql.in_nanoseconds(b):
        raise NotCompiledError


def require_exact(*columns: Column) -> None:
    """
    Whether DuckDB reads the values of columns, also those inside of nested ones, as they are.

    :raises NotCompiledError: for decimals of more digits than it has.
    """
    for column in columns:
        if any(int(digits) > _MAX_DIGITS for digits, _ in _DECIMAL.findall(column.type_name)):
            raise NotCompiledError


def require_room(*columns: Column, more: int = 0) -> None:
    """
    Whether integers and decimals fit into one type of decimal, as which DuckDB compares and adds them.

    :param more: digits that are needed besides.
    :raises NotCompiledError: when not.
    """
    whole = fraction = 0
    for column in columns:
        match = _DECIMAL.fullmatch(column.type_name)
        digits, scale = (int(match[1]), int(match[2])) if match else (_digits(column), 0)
        whole, fraction = max(whole, digits - scale), max(fraction, scale)
    if whole + fraction + more > _MAX_DIGITS:
        raise NotCompiledError


def _digits(column: Column) -> int:
    return 1 if column.family == "bool" else _DIGITS[column.type_name.lstrip("uint")]
