# SPDX-License-Identifier: Apache-2.0
"""
The kinds of values that recipes know, whatever the engine calls their types.

A missing value is NULL; NaN counts as missing everywhere and becomes NULL on reading. Infinities are values.
Every floating-point and decimal type is a 64-bit float, every timestamp is UTC without zone, in microseconds.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import FeatureValueError

Kind = Literal["bool", "int", "float", "string", "date", "timestamp"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMERIC: tuple[Kind, ...] = ("int", "float")
SCALAR: tuple[Kind, ...] = ("bool", "int", "float")
"""What arithmetic steps take: numbers, and booleans as 0 and 1."""

_ENGINE_TYPES: dict[str, tuple[Kind, str]] = {
    "BOOLEAN": ("bool", "boolean"),
    "TINYINT": ("int", "int8"),
    "SMALLINT": ("int", "int16"),
    "INTEGER": ("int", "int32"),
    "BIGINT": ("int", "int64"),
    "UTINYINT": ("int", "uint8"),
    "USMALLINT": ("int", "uint16"),
    "UINTEGER": ("int", "uint32"),
    "UBIGINT": ("int", "uint64"),
    "FLOAT": ("float", "float32"),
    "DOUBLE": ("float", "float64"),
    "VARCHAR": ("string", "string"),
    "DATE": ("date", "date"),
    "TIMESTAMP": ("timestamp", "timestamp"),
    "TIMESTAMP_S": ("timestamp", "timestamp(0)"),
    "TIMESTAMP_MS": ("timestamp", "timestamp(3)"),
    "TIMESTAMP_NS": ("timestamp", "timestamp(9)"),
    "TIMESTAMP WITH TIME ZONE": ("timestamp", "timestamp('UTC')"),
}


@dataclass(frozen=True)
class Column:
    """
    A column of the datamart.

    :param kind: its kind, or None for types that no step takes (lists, structs, binary, times of day).
    :param engine_type: its type in DuckDB's words, for messages.
    :param ibis_type: its type in Ibis' words; empty when ``kind`` is None.
    """

    kind: Kind | None
    engine_type: str
    ibis_type: str


def column_of(engine_type: str) -> Column:
    """Kind and Ibis type of a DuckDB type."""
    decimal = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", engine_type)
    if decimal:
        return Column("float", engine_type, f"decimal({decimal[1]}, {decimal[2]})")
    kind, ibis_type = _ENGINE_TYPES.get(engine_type, (None, ""))
    return Column(kind, engine_type, ibis_type)


def reader(column: str, kind: Kind) -> Callable[[Any], Any]:
    """
    A function that turns a Python value into one of ``kind``: None and NaN into None.

    Dates and timestamps may also be ISO 8601 strings, as they arrive in JSON.

    :raises FeatureValueError: from the function, for a value of another kind.
    """
    convert = _CONVERTERS[kind]

    def read(value: Any) -> Any:
        if value is None:
            return None
        try:
            return convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise FeatureValueError(
                f"column {column!r} takes {kind} values, got {type(value).__name__}: {error}"
            ) from error

    return read


def _bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None
    if type(value).__name__ in ("bool_", "bool"):  # numpy's, without importing numpy
        return bool(value)
    raise TypeError("not a boolean")


def _int(value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if not value.is_integer():
            raise ValueError("not a whole number")
        return int(value)
    return operator.index(value)


def _float(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        raise TypeError("not a number")
    converted = float(value)
    return None if math.isnan(converted) else converted


def _string(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None  # how pandas writes a missing string
    raise TypeError("not a string")


def _date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise TypeError("not a date")


def _timestamp(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    raise TypeError("not a timestamp")


_CONVERTERS: dict[Kind, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "string": _string,
    "date": _date,
    "timestamp": _timestamp,
}
