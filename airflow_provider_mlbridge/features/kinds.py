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
    "TIMESTAMP_NS": ("timestamp", "timestamp"),
    "TIMESTAMPTZ_NS": ("timestamp", "timestamp"),
    "TIMESTAMP WITH TIME ZONE": ("timestamp", "timestamp('UTC')"),
}


# A cast would round to the nearest microsecond; Python, like every other part of a date, rounds down. The
# engine's // rounds toward zero.
_NANOSECONDS = "make_timestamp(epoch_ns({0}) // 1000 - (epoch_ns({0}) % 1000 < 0)::BIGINT)"


@dataclass(frozen=True)
class Column:
    """
    A column of the datamart.

    :param kind: its kind, or None for types that no step takes (lists, structs, binary, times of day).
    :param engine_type: its type in DuckDB's words, for messages.
    :param ibis_type: its type in the session's table, in Ibis' words; empty when ``kind`` is None.
    :param in_view: SQL that makes this type of the column, for which ``{}`` stands.
    """

    kind: Kind | None
    engine_type: str
    ibis_type: str
    in_view: str = "{}"


def column_of(engine_type: str) -> Column:
    """Kind and Ibis type of a DuckDB type."""
    decimal = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", engine_type)
    if decimal:
        return Column("float", engine_type, f"decimal({decimal[1]}, {decimal[2]})")
    kind, ibis_type = _ENGINE_TYPES.get(engine_type, (None, ""))
    if engine_type in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
        return Column(kind, engine_type, ibis_type, _NANOSECONDS)
    return Column(kind, engine_type, ibis_type)


def reader(column: str, kind: Kind) -> Callable[[Any], Any]:
    """
    A function that turns a Python value into one of ``kind``: None and NaN into None.

    Dates and timestamps may also be ISO 8601 strings, as they arrive in JSON.

    :raises FeatureValueError: from the function, for a value of another kind.
    """
    convert = _CONVERTERS[kind]

    def read(value: Any) -> Any:
        # The names are those of pandas' missing values, without importing pandas; pd.NA has no truth value.
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            return None
        try:
            return None if value != value else convert(value)
        except (TypeError, ValueError, ArithmeticError) as error:
            reason = str(error) if isinstance(error, _RefusedError) else "it cannot be converted"
            raise FeatureValueError(
                f"column {column!r} takes {kind} values, got {type(value).__name__}: {reason}"
            ) from None

    return read


class _RefusedError(ValueError):
    """Says why a value is not taken, without the value, which has no place in a log."""


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool_", "bool"):  # numpy's, without importing numpy
        return bool(value)
    raise _RefusedError("not a boolean")


def _int(value: Any) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise _RefusedError("not a whole number")
        value = int(value)
    number = int(operator.index(value))
    if not -(2**63) <= number < 2**64:
        raise _RefusedError("it has more than 64 bits")
    return number


def _float(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        raise _RefusedError("not a number")
    converted = float(value)
    return None if math.isnan(converted) else converted


def _string(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise _RefusedError("not a string")


def _date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise _RefusedError("not a date")


def _timestamp(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        # pandas' timestamps are datetimes with nanoseconds, which are left out here as in the batch.
        return datetime(  # noqa: DTZ001 - UTC by definition
            moment.year,
            moment.month,
            moment.day,
            moment.hour,
            moment.minute,
            moment.second,
            moment.microsecond,
        )
    raise _RefusedError("not a timestamp")


_CONVERTERS: dict[Kind, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "string": _string,
    "date": _date,
    "timestamp": _timestamp,
}
