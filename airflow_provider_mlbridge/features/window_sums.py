# SPDX-License-Identifier: Apache-2.0
"""
Sums, means and standard deviations over windows that are the same in every order of rows.

Adding floats rounds differently in every order, and engines add windows in an order of their own. So a float
is rounded to a whole number q of units, and whole numbers are added, exactly. The unit is a power of two:
2**-60 of the largest training value (so values down to a 128th of that are held to the last bit, and smaller
ones to that unit). Integers and booleans are their own q, in units of 1.

A window with a value of 2**18 times that largest one or more is added up in units 2**32 times as large, so
that its values are held to 2**-46 of that one. A value of 2**50 times the largest one, about 1e15, is
infinitely large here.

As squares of q have more bits than integers of engines, q is ``high * 2**32 + low``. The variance is taken
around m, a whole number near the mean, so that no large numbers are subtracted from one another:

- the sum of ``(q - m)**2`` is ``a * 2**64 + b * 2**33 + c`` with a, b, c the sums of ``(high - m_high)**2``,
  ``(high - m_high) * (low - m_low)`` and ``(low - m_low)**2``;
- these follow from the sums of high, low and their products, in integers of 38 decimal digits, which hold
  them for windows of up to 2**30 rows;
- where the values lie so close together that 2**32 is not small against their distances, all of it is
  computed in such integers; otherwise in floats, where nothing cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import as_float, as_int, literal

_BITS = 60
_HALF = 2**32
_LIMIT = 2.0**78
_WIDER = 32
_EXPONENT_OF_NOTHING = 20
"""Stands for the largest training value (2**20) where there is none, or only 0."""
_LARGEST_EXPONENT = 1000
"""Powers of two up to this have a reciprocal in floats."""

_CLOSE = 64
_FEW = 2**24
"""What fits into 38 digits when all of it is computed in integers; see :func:`_variance`."""

_DIGITS = "decimal(38, 0)"


def exponent_for(magnitude: float | None) -> int:
    """
    The power of two by which floats become whole numbers of units.

    :param magnitude: the largest absolute value of the training rows that is finite, or None.
    """
    exponent = math.frexp(magnitude)[1] if magnitude else _EXPONENT_OF_NOTHING
    return min(_BITS - exponent, _LARGEST_EXPONENT)


@dataclass(frozen=True)
class WindowSums:
    """
    Sums over windows of one column.

    :param kind: kind of the column: bool, int or float.
    :param exponent: see :func:`exponent_for`; 0 unless the column is a float.
    """

    kind: Kind
    exponent: int

    def parts(self, value: Any, *, squares: bool) -> dict[str, Any]:
        """
        The whole numbers (Ibis) to be added over each window, NULL where the value is missing.

        :param squares: whether the standard deviation is wanted.
        """
        if self.kind == "float":
            scaled, beyond = self._scaled(value, self.exponent)
            coarse, infinite = self._scaled(value, self.exponent - _WIDER)
            return {
                "beyond": _one(beyond),
                "above": _one(infinite & (value > literal(0.0))),
                "below": _one(infinite & (value < literal(0.0))),
                **_halves("", *_split(scaled), squares=squares),
                **_halves("wide_", *_split(coarse), squares=squares),
            }
        whole = value.cast("int64") if self.kind == "bool" else value
        low = as_int(whole % literal(_HALF), "int64")
        # What is left of 64 bits without the last 32 is exact in a float.
        high = (as_float(whole - low, "int") / literal(float(_HALF))).floor()
        return _halves("", high, low, squares=squares)

    @staticmethod
    def _scaled(value: Any, exponent: int) -> tuple[Any, Any]:
        """The value in units, NULL when there are too many of them, and whether there are."""
        import ibis

        scaled = value * literal(math.ldexp(1.0, exponent))
        inside = (scaled < literal(_LIMIT)) & (scaled > literal(-_LIMIT))
        return ibis.ifelse(inside, scaled, ibis.null("float64")), ~inside

    def sum(self, sums: dict[str, Any], count: Any) -> Any:
        """The sum (Ibis), NULL where there is no value; ``sums`` are those of :meth:`parts`."""
        return self._finish(sums, count, self._in_units(sums, lambda part: _float(_total(part))))

    def mean(self, sums: dict[str, Any], count: Any) -> Any:
        """The mean."""
        number = _positive(count)
        return self._finish(sums, count, self._in_units(sums, lambda part: _float(_total(part)) / number))

    def std(self, sums: dict[str, Any], count: Any) -> Any:
        """The standard deviation of the population; NULL where a value is infinite."""
        import ibis

        def root(part: dict[str, Any]) -> Any:
            variance = _variance(part, count)
            return ibis.ifelse(variance > literal(0.0), variance, literal(0.0)).sqrt()

        usable = count > literal(0)
        if self.kind == "float":
            usable = usable & (sums["above"] + sums["below"] == literal(0))
        return ibis.ifelse(usable, self._in_units(sums, root), ibis.null("float64"))

    def _in_units(self, sums: dict[str, Any], number: Callable[[dict[str, Any]], Any]) -> Any:
        """A number of units, of the size that the window needs, as a value."""
        import ibis

        if self.kind != "float":
            return number(sums)
        wide = {name.removeprefix("wide_"): part for name, part in sums.items() if name.startswith("wide_")}
        return ibis.ifelse(
            sums["beyond"] > literal(0),
            number(wide) * literal(math.ldexp(1.0, _WIDER - self.exponent)),
            number(sums) * literal(math.ldexp(1.0, -self.exponent)),
        )

    def _finish(self, sums: dict[str, Any], count: Any, value: Any) -> Any:
        import ibis

        if self.kind != "float":
            return ibis.ifelse(count > literal(0), value, ibis.null("float64"))
        zero, infinity = literal(0), ibis.literal("Infinity").cast("float64")
        above, below = sums["above"] > zero, sums["below"] > zero
        return ibis.cases(
            (count == zero, ibis.null("float64")),
            (above & below, ibis.null("float64")),
            (above, infinity),
            (below, -infinity),
            else_=value,
        )

    def functions(self) -> dict[str, Callable[[Sequence[Any]], float | None]]:
        """The same over Python values that are not missing."""

        def in_units(values: Sequence[Any]) -> tuple[list[int], float] | float | None:
            """Whole numbers and the unit; an infinity, or None where both are."""
            found: list[int | float] = []
            for exponent in (self.exponent, self.exponent - _WIDER):
                found = [self._units(value, exponent) for value in values]
                whole = [unit for unit in found if isinstance(unit, int)]
                if len(whole) == len(found):
                    return whole, math.ldexp(1.0, -exponent)
            infinite = {unit for unit in found if isinstance(unit, float)}
            return infinite.pop() if len(infinite) == 1 else None

        def mean(values: Sequence[Any]) -> float | None:
            found = in_units(values) if values else None
            if not isinstance(found, tuple):
                return found
            return float(sum(found[0])) / len(values) * found[1]

        def add(values: Sequence[Any]) -> float | None:
            found = in_units(values) if values else None
            return float(sum(found[0])) * found[1] if isinstance(found, tuple) else found

        def std(values: Sequence[Any]) -> float | None:
            found = in_units(values) if values else None
            if not isinstance(found, tuple):
                return None
            units, unit = found
            squares = sum(whole**2 for whole in units)
            return math.sqrt((len(units) * squares - sum(units) ** 2) / len(units) ** 2) * unit

        return {"sum": add, "mean": mean, "std": std}

    def _units(self, value: Any, exponent: int) -> int | float:
        """The value as a whole number of units, or an infinity."""
        if self.kind != "float":
            return int(value)
        scaled: float = value * math.ldexp(1.0, exponent)
        if not -_LIMIT < scaled < _LIMIT:
            return math.copysign(math.inf, scaled)
        # The steps of the table, one by one, because each of them rounds.
        high = math.floor(scaled / _HALF)
        return high * _HALF + math.floor(scaled - float(high) * _HALF + 0.5)


def _one(condition: Any) -> Any:
    """1 where it is true, 0 where it is false or NULL."""
    import ibis

    return ibis.ifelse(condition, literal(1), literal(0)).cast("int64")


def _split(scaled: Any) -> tuple[Any, Any]:
    """A number of units, rounded to whole ones, in halves."""
    high = (scaled / literal(float(_HALF))).floor()
    rest = scaled - high.cast("float64") * literal(float(_HALF))
    return high, (rest + literal(0.5)).floor()


def _halves(prefix: str, high: Any, low: Any, *, squares: bool) -> dict[str, Any]:
    """What to add up of a whole number."""
    parts = {"high": high, "low": low}
    if squares:
        wide_high, wide_low = high.cast(_DIGITS), low.cast(_DIGITS)
        parts["high_high"] = wide_high * wide_high
        parts["high_low"] = wide_high * wide_low
        parts["low_low"] = wide_low * wide_low
    return {f"{prefix}{name}": part for name, part in parts.items()}


def _float(value: Any) -> Any:
    return value.cast("float64")


def _positive(count: Any) -> Any:
    """A count to divide by."""
    import ibis

    return ibis.ifelse(count > literal(0), _float(count), ibis.null("float64"))


def _total(sums: dict[str, Any]) -> Any:
    return sums["high"].cast(_DIGITS) * _wide(_HALF) + sums["low"].cast(_DIGITS)


def _wide(number: int) -> Any:
    return literal(number).cast(_DIGITS)


def _variance(sums: dict[str, Any], count: Any) -> Any:
    """The variance in units."""
    import ibis

    number = _positive(count)
    half = literal(float(_HALF))
    total = _total(sums)
    middle = _float(total) / number
    middle_high = (middle / half).floor()
    middle_low = (middle - middle_high.cast("float64") * half).floor()
    n, m_high, m_low = count.cast(_DIGITS), middle_high.cast(_DIGITS), middle_low.cast(_DIGITS)
    high, low = sums["high"].cast(_DIGITS), sums["low"].cast(_DIGITS)
    two = _wide(2)
    a = sums["high_high"] - m_high * (two * high - n * m_high)
    b = sums["high_low"] - m_high * low - m_low * high + n * m_high * m_low
    c = sums["low_low"] - m_low * (two * low - n * m_low)
    rest = total - n * (m_high * _wide(_HALF) + m_low)

    close = (a < n * _wide(_CLOSE)) & (count < literal(_FEW))
    nothing = _wide(0)
    a_close, b_close, c_close, rest_close, n_close = (
        ibis.ifelse(close, item, nothing) for item in (a, b, c, rest, n)
    )
    squares = a_close * _wide(_HALF) * _wide(_HALF) + b_close * _wide(_HALF) * two + c_close
    exact = _float(n_close * squares - rest_close * rest_close) / (number * number)
    scaled = _float(a) * literal(2.0**64) + _float(b) * literal(2.0**33) + _float(c)
    shift = _float(rest) / number
    return ibis.ifelse(close, exact, scaled / number - shift * shift)
