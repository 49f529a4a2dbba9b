# SPDX-License-Identifier: Apache-2.0
"""
Expressions in pure Python, one row at a time.

Inside, numbers and booleans are floats (a boolean is 1.0 or 0.0), None is missing and NaN is invalid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from airflow_provider_mlbridge.features.expressions.functions import COMPARISONS, STRICT
from airflow_provider_mlbridge.features.expressions.missing import IS_INVALID, marks
from airflow_provider_mlbridge.features.expressions.parsing import Node
from airflow_provider_mlbridge.features.kinds import Kind

Values = Sequence[Any]
Function = Callable[[Values], Any]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by definition
_SECOND = timedelta(seconds=1)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_SECONDS = 86_400.0


def inner_value(value: Any) -> Any:
    """A value of a row as it is inside an expression."""
    return float(value) if isinstance(value, int) else value


def row_result(node: Node, columns: Sequence[str], kind: Kind) -> Callable[[Values], tuple[Any, bool]]:
    """
    A function that gives the result of a row and whether it is invalid (and then None).

    :param columns: names of the values that it gets, each through :func:`inner_value`.
    :param kind: of the result.
    """
    places = {name: place for place, name in enumerate(columns)}
    compute = _function(node, places)
    mark = marks(node)
    marked = None if mark is None else _function(mark, places)

    def result(values: Values) -> tuple[Any, bool]:
        value = compute(values)
        if value is None:
            return None, marked is not None and marked(values) == 1.0
        if kind == "bool":
            return value == 1.0, False
        if kind == "float" and not math.isfinite(value) and (value != value or not _any_infinite(values)):
            return None, True
        return value, False

    return result


def _any_infinite(values: Values) -> bool:
    return any(isinstance(value, float) and math.isinf(value) for value in values)


def _function(node: Node, places: Mapping[str, int]) -> Function:
    if node.op == "constant":
        constant = inner_value(node.value)
        return lambda _: constant
    if node.op == "column":
        place = places[node.value]
        return lambda values: values[place]
    args = [_function(arg, places) for arg in node.args]
    if node.op in STRICT:
        function = STRICT[node.op].python
        return _unary(function, *args) if len(args) == 1 else _binary(function, *args)
    if node.op in COMPARISONS:
        return _comparison(COMPARISONS[node.op], *args)
    return _SPECIAL[node.op](*args)


def _unary(function: Callable[..., float], arg: Function) -> Function:
    def compute(values: Values) -> float | None:
        value = arg(values)
        return None if value is None else function(value)

    return compute


def _binary(function: Callable[..., float], left: Function, right: Function) -> Function:
    def compute(values: Values) -> float | None:
        first, second = left(values), right(values)
        return None if first is None or second is None else function(first, second)

    return compute


def _comparison(compare: Callable[[Any, Any], Any], left: Function, right: Function) -> Function:
    def compute(values: Values) -> float | None:
        first, second = left(values), right(values)
        if first is None or second is None or first != first or second != second:
            return None
        if type(first) is not type(second):
            first, second = _moment(first), _moment(second)
        return 1.0 if compare(first, second) else 0.0

    return compute


def _moment(value: Any) -> Any:
    # The one type that stands with another is the date, beside a timestamp.
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC by definition
    return value


def _and(*args: Function) -> Function:
    def compute(values: Values) -> float | None:
        result: float | None = 1.0
        for arg in args:
            value = arg(values)
            if value == 0.0:
                return 0.0
            if value is None:
                result = None
        return result

    return compute


def _or(*args: Function) -> Function:
    def compute(values: Values) -> float | None:
        result: float | None = 0.0
        for arg in args:
            value = arg(values)
            if value == 1.0:
                return 1.0
            if value is None:
                result = None
        return result

    return compute


def _extreme(choose: Callable[[list[float]], float]) -> Callable[..., Function]:
    def make(*args: Function) -> Function:
        def compute(values: Values) -> float | None:
            found = [arg(values) for arg in args]
            return None if any(value is None or value != value for value in found) else choose(found)

        return compute

    return make


def _coalesce(*args: Function) -> Function:
    *earlier, last = args

    def compute(values: Values) -> Any:
        for arg in earlier:
            value = arg(values)
            if value is not None and value == value:
                return value
        return last(values)

    return compute


def _null_if(left: Function, right: Function) -> Function:
    def compute(values: Values) -> Any:
        # NaN is equal to nothing.
        value = left(values)
        return None if value is not None and value == right(values) else value

    return compute


def _if_else(condition: Function, first: Function, second: Function) -> Function:
    def compute(values: Values) -> Any:
        known = condition(values)
        if known is None:
            return None
        return first(values) if known else second(values)

    return compute


def _test(test: Callable[[Any], bool]) -> Callable[[Function], Function]:
    return lambda arg: lambda values: 1.0 if test(arg(values)) else 0.0


def _seconds(value: Any) -> float:
    if isinstance(value, datetime):
        return float((value - _EPOCH) // _SECOND)
    days: int = value.toordinal() - _EPOCH_DAY
    return days * _DAY_SECONDS


_SPECIAL: dict[str, Callable[..., Function]] = {
    "and": _and,
    "or": _or,
    "not": lambda arg: _unary(lambda value: 1.0 - value, arg),
    "least": _extreme(min),
    "greatest": _extreme(max),
    "coalesce": _coalesce,
    "nullif": _null_if,
    "if_else": _if_else,
    "is_null": _test(lambda value: value is None or value != value),
    IS_INVALID: _test(lambda value: value is not None and value != value),
    "seconds_between": lambda *args: _binary(lambda start, end: _seconds(end) - _seconds(start), *args),
    "days_between": lambda *args: _binary(
        lambda start, end: (_seconds(end) - _seconds(start)) / _DAY_SECONDS, *args
    ),
}
