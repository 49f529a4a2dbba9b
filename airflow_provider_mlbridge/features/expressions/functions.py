# SPDX-License-Identifier: Apache-2.0
"""
The functions that an expression may call, and the operators on numbers.

Those on numbers are said twice, for Python floats and for Ibis columns; both get values that are there, and
both answer NaN where there is no number (a division by zero, the square root of -1). The results are equal
to the last bit but for exp, log, log1p, pow, sin and cos, which engines compute with libraries of their own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WHOLE = 2.0**53
"""Floats of this size and beyond are whole numbers."""


@dataclass(frozen=True)
class Signature:
    """
    How a function is called.

    :param parameters: as a user writes them; with ``...`` at the end there may be more.
    :param summary: what it gives, for the guide.
    """

    parameters: str
    summary: str


SIGNATURES: dict[str, Signature] = {
    "abs": Signature("x", "size without sign"),
    "sqrt": Signature("x", "square root; invalid below 0"),
    "exp": Signature("x", "e to the power of x"),
    "log": Signature("x", "natural logarithm; invalid from 0 down"),
    "log1p": Signature("x", "natural logarithm of 1 + x; invalid from -1 down"),
    "pow": Signature("x, y", "x to the power of y; invalid where there is no real one"),
    "sin": Signature("x", "sine of radians"),
    "cos": Signature("x", "cosine of radians"),
    "floor": Signature("x", "whole number below"),
    "ceil": Signature("x", "whole number above"),
    "round": Signature("x", "nearest whole number, halves away from zero"),
    "least": Signature("x, y, ...", "smallest; missing when one is missing"),
    "greatest": Signature("x, y, ...", "largest; missing when one is missing"),
    "coalesce": Signature("x, y, ...", "first that is neither missing nor invalid"),
    "nullif": Signature("x, y", "x, but missing where x equals y"),
    "if_else": Signature("condition, x, y", "x where true, y where false, missing where unknown"),
    "is_null": Signature("x", "whether x is missing or invalid"),
    "days_between": Signature("start, end", "days from start to end, in whole seconds divided by 86400"),
    "seconds_between": Signature("start, end", "whole seconds from start to end"),
}

OTHER_CALLS: dict[str, Signature] = {
    "col": Signature('"name"', "the column of this name, whatever it looks like"),
    "date": Signature('"2024-12-31"', "a date"),
    "timestamp": Signature('"2024-12-31T23:59:00"', "a timestamp, in UTC"),
}
"""What is written like a function, and is a column or a constant."""


def arity(name: str) -> tuple[int, int | None]:
    """Least and greatest number of arguments; None without limit."""
    parameters = SIGNATURES[name].parameters.split(", ")
    if parameters[-1] == "...":
        return len(parameters) - 1, None
    return len(parameters), len(parameters)


@dataclass(frozen=True)
class Strict:
    """
    A function of numbers that is missing when an argument is.

    :param python: of floats that are not None.
    :param ibis: of 64-bit floats.
    :param copies: how often :attr:`ibis` repeats each argument.
    :param makes_nan: whether the result can be NaN when no argument is.
    """

    python: Callable[..., float]
    ibis: Callable[..., Any]
    copies: tuple[int, ...]
    makes_nan: bool = True


def number(value: float) -> Any:
    """
    A float as an Ibis value, to the last bit.

    Bare, ``0.5`` is a DECIMAL to DuckDB, which is why it is written as text and cast.
    """
    import ibis

    return ibis.literal(repr(value)).cast("float64")


def nan() -> Any:
    """NaN as an Ibis value."""
    return number(math.nan)


def _divide(x: float, y: float) -> float:
    return x / y if y else math.nan


def _floor_divide(x: float, y: float) -> float:
    return x // y if y else math.nan


def _modulo(x: float, y: float) -> float:
    return x % y if y else math.nan


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    return math.nan if x <= 0 else math.log(x)


def _log1p(x: float) -> float:
    return math.nan if x <= -1 else math.log1p(x)


def _sqrt(x: float) -> float:
    return math.nan if x < 0 else math.sqrt(x)


def _pow(x: float, y: float) -> float:
    # Of a number that is none, C gives 1 for pow(1, nan), Java NaN.
    if x != x or y != y or (x == 0 and y < 0):
        return math.nan
    try:
        return math.pow(x, y)
    except ValueError:
        return math.nan
    except OverflowError:
        return -math.inf if x < 0 and y % 2 == 1 else math.inf


def _wave(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: math.nan if math.isinf(x) else function(x)


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    # NaN is not below anything either.
    return lambda x: float(function(x)) if abs(x) < WHOLE else x


def _half_away(x: float) -> int:
    whole = math.trunc(x)
    return whole + (1 if x > 0 else -1) if abs(x - whole) >= 0.5 else whole


def _nonzero(y: Any) -> Any:
    """The divisor, as NaN where it is zero: engines differ on that, some raise an error."""
    import ibis

    return ibis.cases((y == number(0.0), nan()), else_=y)


def _remainder(x: Any, y: Any) -> tuple[Any, Any]:
    """What engines call %, with the sign of x, and whether its sign is not that of y."""
    rest, zero = x % y, number(0.0)
    return rest, ((rest < zero) & (y > zero)) | ((rest > zero) & (y < zero))


def _table_modulo(x: Any, y: Any) -> Any:
    import ibis

    divisor = _nonzero(y)
    rest, other_sign = _remainder(x, divisor)
    return ibis.cases((other_sign, rest + divisor), else_=rest)


def _table_floor_divide(x: Any, y: Any) -> Any:
    # As Python does it: by way of the remainder, for 1 / 0.1 is 10 but 1 // 0.1 is 9. The quotient is a whole
    # number but for its last bits.
    import ibis

    divisor = _nonzero(y)
    rest, other_sign = _remainder(x, divisor)
    quotient = (x - rest) / divisor
    return _table_whole("round")(ibis.cases((other_sign, quotient - number(1.0)), else_=quotient))


def _table_whole(method: str) -> Callable[[Any], Any]:
    # Ibis casts whole numbers to 64-bit integers, which end where floats have no fractions any more. Written
    # so that NaN, which is greater than all numbers or than none, is in the second branch.
    def whole(x: Any) -> Any:
        import ibis

        small = x.abs() < number(WHOLE)
        return ibis.cases((small, getattr(x, method)().cast("float64")), else_=x)

    return whole


def _table_domain(method: str, outside: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        import ibis

        return ibis.cases((outside(x), nan()), else_=getattr(x, method)())

    return function


def _table_log1p(x: Any) -> Any:
    # ln(1 + x) loses the digits of a small x; see the step log1p for the formula.
    import ibis

    one = number(1.0)
    rounded = x + one
    return ibis.cases(
        (x <= number(-1.0), nan()),
        (x > one, rounded.ln()),
        (rounded == one, x),
        else_=rounded.ln() * (x / (rounded - one)),
    )


def _table_pow(x: Any, y: Any) -> Any:
    import ibis

    return ibis.cases(
        (x.isnan() | y.isnan(), x + y),
        ((x == number(0.0)) & (y < number(0.0)), nan()),
        else_=x.pow(y),
    )


STRICT: dict[str, Strict] = {
    "+": Strict(operator.add, operator.add, (1, 1)),
    "-": Strict(operator.sub, operator.sub, (1, 1)),
    "*": Strict(operator.mul, operator.mul, (1, 1)),
    "/": Strict(_divide, lambda x, y: x / _nonzero(y), (1, 2)),
    "//": Strict(_floor_divide, _table_floor_divide, (18, 48)),
    "%": Strict(_modulo, _table_modulo, (4, 14)),
    "neg": Strict(operator.neg, operator.neg, (1,), makes_nan=False),
    "abs": Strict(abs, lambda x: x.abs(), (1,), makes_nan=False),
    "sqrt": Strict(_sqrt, _table_domain("sqrt", lambda x: x < number(0.0)), (2,)),
    "exp": Strict(_exp, lambda x: x.exp(), (1,), makes_nan=False),
    "log": Strict(_log, _table_domain("ln", lambda x: x <= number(0.0)), (2,)),
    "log1p": Strict(_log1p, _table_log1p, (8,)),
    "pow": Strict(_pow, _table_pow, (4, 4)),
    "sin": Strict(_wave(math.sin), _table_domain("sin", lambda x: x.isinf()), (2,)),
    "cos": Strict(_wave(math.cos), _table_domain("cos", lambda x: x.isinf()), (2,)),
    "floor": Strict(_whole(math.floor), _table_whole("floor"), (3,), makes_nan=False),
    "ceil": Strict(_whole(math.ceil), _table_whole("ceil"), (3,), makes_nan=False),
    "round": Strict(_whole(_half_away), _table_whole("round"), (3,), makes_nan=False),
}

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
