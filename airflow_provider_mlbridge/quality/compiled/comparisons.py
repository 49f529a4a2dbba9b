# SPDX-License-Identifier: Apache-2.0
"""One column compared with another, in SQL."""

from __future__ import annotations

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.table import Column

_NUMBERS = ("int", "float", "decimal")
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
    if a.family in _NUMBERS and b.family in _NUMBERS:
        return
    same = a.family == b.family and a.family in _OTHERS
    if not same or sql.in_nanoseconds(a) != sql.in_nanoseconds(b):
        raise NotCompiledError
