# SPDX-License-Identifier: Apache-2.0
"""
Whether a column's value is one of a set, and which, in SQL.

A long list is spread over many short ones by a number that Python and DuckDB make of a value alike, so that
each row is compared with the few values of its own list. Unlike a join this keeps the rows in their order.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.instants import nanoseconds
from airflow_provider_mlbridge.quality.table import Column
from airflow_provider_mlbridge.quality.values import parse_instant

_DECIMAL = re.compile(r"decimal\d+\((\d+), (-?\d+)\)")
_MAX_DIGITS = 38
"""DuckDB's decimals have no more."""
_EXACT = Context(prec=5000)
"""No number in a suite has more digits, so that nothing is rounded."""


LONG_LIST = 200
"""Values in a list from which on it is spread over several."""
_PER_LIST = 16
"""Values in one of these on average."""


@dataclass(frozen=True)
class _Value:
    """
    A value that a column can hold.

    :param literal: the value in SQL; the same for values that are equal.
    :param number: what :func:`_number` gives for it.
    """

    literal: str
    number: int = field(compare=False)


def member(column: Column, values: Iterable[Any], *, counted: bool = False) -> str:
    """
    True where the column holds one of the values, false for null.

    :param counted: whether rows are only counted, so that their order does not matter.
    :raises NotCompiledError: for columns of a type that no literal is compared with.
    :raises CannotCheckError: for values that cannot be compared with the column.
    """
    found = [one for value in values if (one := _value(column, value)) is not None]
    literals = [one.literal for one in found]
    if not literals:
        return "FALSE"
    if counted or len(literals) <= LONG_LIST:
        return sql.among(operand_of(column), literals, counted=counted)
    return _in_lists(operand_of(column), _number(column), found)


def literal_of(column: Column, value: Any) -> str | None:
    """
    The value in SQL, as the column is compared with it; None when the column holds no such value.

    :raises NotCompiledError: for columns of a type that no literal is compared with.
    :raises CannotCheckError: for values that cannot be compared with the column.
    """
    found = _value(column, value)
    return None if found is None else found.literal


def position(column: Column, values: Iterable[Any]) -> str:
    """
    The position of the column's value among those, from 0; null when it is none of them.

    :raises NotCompiledError: for columns of a type that no literal is compared with.
    :raises CannotCheckError: for values that cannot be compared with the column.
    """
    found = {one: index for index, value in enumerate(values) if (one := _value(column, value)) is not None}
    if not found:
        return "NULL::INTEGER"
    operand = operand_of(column)
    if len(found) <= LONG_LIST:
        listed, positions = ", ".join(one.literal for one in found), ", ".join(map(str, found.values()))
        return f"([{positions}])[list_position([{listed}], {operand})]"
    count = _lists_for(found)
    own = f"[({_number(column)} % {count})::BIGINT + 1]"
    lists = _spread([(one.number, one.literal) for one in found], count)
    places = _spread([(one.number, str(index)) for one, index in found.items()], count)
    return f"({places}{own})[list_position({lists}{own}, {operand})]"


def whole_member(value: str, numbers: Sequence[int]) -> str:
    """True where a whole number from 0, in SQL, is one of those, false for null."""
    if len(numbers) <= LONG_LIST:
        return sql.among(value, [str(number) for number in numbers]) if numbers else "FALSE"
    return _in_lists(value, value, [_Value(str(number), number) for number in numbers])


def _in_lists(operand: str, number: str, found: Sequence[_Value]) -> str:
    count = _lists_for(found)
    lists = _spread([(one.number, one.literal) for one in found], count)
    return f"coalesce(list_contains({lists}[({number} % {count})::BIGINT + 1], {operand}), FALSE)"


def _lists_for(values: Iterable[Any]) -> int:
    """A prime, so that values at regular distances are spread as well."""
    count = max(7, len(list(values)) // _PER_LIST)
    while any(count % divisor == 0 for divisor in range(2, math.isqrt(count) + 1)):
        count += 1
    return count


def _spread(numbered: Iterable[tuple[int, str]], count: int) -> str:
    """A list of lists: each literal in that of the remainder of its number."""
    lists: list[list[str]] = [[] for _ in range(count)]
    for number, literal in numbered:
        lists[number % count].append(literal)
    listed = ", ".join(f"[{', '.join(one)}]" for one in lists)
    return f"[{listed}]"


def operand_of(column: Column) -> str:
    """The column, in the form in which it is compared with literals."""
    if column.family == "float":
        return f"{column.alias}::DOUBLE"
    if column.family in ("timestamp", "timestamptz"):
        return sql.instant(column)
    return column.alias


def _number(column: Column) -> str:
    """A whole number from 0, made of the column's value (SQL); of equal values the same."""
    operand = operand_of(column)
    match column.family:
        case "float":
            # Zero has two signs.
            text = f"printf('%.17e', abs({operand}))"
        case "decimal":
            # Whether there is a zero before the point depends on the type.
            text = f"ltrim({operand}::VARCHAR, '-0')"
        case "timestamp" | "timestamptz" if not sql.in_nanoseconds(column):
            text = f"epoch_us({operand})::VARCHAR"
        case "string":
            text = operand
        case _:
            text = f"{operand}::VARCHAR"
    return f"md5_number_lower({text})"


def _digest(text: str) -> int:
    """What ``md5_number_lower`` of DuckDB gives."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")


def _value(column: Column, value: Any) -> _Value | None:
    """The value as the column holds it; None for one that is equal to none of the column's values."""
    match column.family:
        case "null":
            return None
        case "string":
            if isinstance(value, str) and is_unicode(value):
                return _Value(sql.text(value), _digest(value))
            return None
        case "int":
            if _is_whole(value):
                return _Value(sql.number(int(value)), _digest(str(int(value))))
            return None
        case "float":
            double = _as_double(value)
            return None if double is None else _Value(sql.double(double), _digest(f"{abs(double):.17e}"))
        case "decimal":
            return _as_decimal(column, value)
        case "bool":
            if isinstance(value, int | float) and value in (0, 1):
                truth = str(value == 1)
                return _Value(truth.upper(), _digest(truth.lower()))
            return None
        case "date" | "timestamp" | "timestamptz":
            moment = parse_instant(value) if isinstance(value, str) else value
            return _moment(column, moment) if isinstance(moment, date) else None
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


def _as_decimal(column: Column, value: Any) -> _Value | None:
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
    # Zero has no digits before the point, either.
    if -int(exponent) > scale or (exact and whole > int(match[1]) - scale):
        return None
    text = f"{abs(exact):.{max(scale, 0)}f}".lstrip("0")
    return _Value(f"CAST('{exact:f}' AS DECIMAL({match[1]},{match[2]}))", _digest(text))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and bool(-(2**127) < value < 2**127) and value % 1 == 0


def is_unicode(value: str) -> bool:
    """Half of a surrogate pair is in no Parquet file, and in no SQL statement."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _moment(column: Column, moment: date) -> _Value | None:
    if column.family == "date" and isinstance(moment, datetime):
        return None
    if column.family == "timestamp" and isinstance(moment, datetime) and moment.tzinfo is not None:
        return None
    if column.family == "date":
        text = moment.isoformat()
    else:
        since = nanoseconds(moment)
        text = str(since if sql.in_nanoseconds(column) else since // 1000)
    return _Value(sql.literal(column, moment), _digest(text))
