# SPDX-License-Identifier: Apache-2.0
"""
Mean and standard deviation from sums of integers.

Adding floats gives another result in every order of rows; adding integers does not. So every value is taken
from the middle of the column's range, scaled by a power of two (which is exact) to at most 2**61 and rounded
to a 64-bit integer; the engine adds those in 128 bits. What is lost is at most 2**-62 of the range per row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.features.steps.base import literal

_SQUARED = 2**31 - 1
"""Whole numbers up to this have 32 bits, and their squares 64."""


@dataclass(frozen=True)
class Scale:
    """
    How the values of one column become integers: distance from ``centre``, times powers of two.

    :param centre: middle of the range.
    :param sum_scale: factor of the distances that are added.
    :param square_scale: factor of those whose squares are added.
    :param whole: whether they are whole numbers that are added as they are.
    :param binary: whether they are all 0 or 1, so that their sum is that of their squares.
    """

    centre: float
    sum_scale: float
    square_scale: float
    whole: bool = False
    binary: bool = False

    @classmethod
    def of(cls, low: float, high: float, *, whole: bool = False) -> Scale:
        """
        For values from ``low`` to ``high``, which differ by a finite number that is not 0.

        :param whole: whether all are whole numbers, of an integer type.
        """
        if whole and max(-low, high) <= _SQUARED:
            return cls(0.0, 1.0, 1.0, whole=True, binary=low >= 0 and high <= 1)
        centre = low / 2 + high / 2
        exponent = math.frexp(max(high - centre, centre - low))[1]
        return cls(
            centre, math.ldexp(1.0, min(61 - exponent, 1023)), math.ldexp(1.0, min(30 - exponent, 1023))
        )

    def sum_of(self, number: Any) -> Any:
        """The sum of the distances of an Ibis float, as an integer; of an Ibis integer when ``whole``."""
        if self.whole:
            return _wide(number).sum()
        return (self._distance(number) * literal(self.sum_scale)).cast("int64").sum()

    def squares_of(self, number: Any) -> Any:
        """The sum of their squares, as an integer."""
        if self.whole:
            return (_wide(number) * _wide(number)).sum()
        root = self._distance(number) * literal(self.square_scale)
        return (root * root).cast("int64").sum()

    def _distance(self, number: Any) -> Any:
        return number - literal(self.centre)

    def offset(self, total: Any, count: int) -> Fraction:
        """How far the mean of ``count`` values is from ``centre``, given :meth:`sum_of`."""
        return Fraction(int(total), count) / Fraction(self.sum_scale)

    def moments(self, total: Any, squares: Any, count: int) -> tuple[float, float]:
        """
        Mean and standard deviation of the population, given both sums.

        As the standard deviation of n values is at least their range divided by the root of 2 n, the variance
        loses at most n * 2**-54 of itself to the difference of the two: 2e-10 for the worst ten million rows
        (all equal but one), and nothing to speak of for others.
        """
        offset = self.offset(total, count)
        # In units of square_scale, so that tiny and huge values neither vanish nor overflow.
        variance = Fraction(int(squares), count) - (offset * Fraction(self.square_scale)) ** 2
        mean = float(Fraction(self.centre) + offset)
        return mean, math.sqrt(max(float(variance), 0.0)) / self.square_scale


def _wide(number: Any) -> Any:
    # Ibis may take the number to have 64 bits already, and would then leave the cast out.
    return number.cast("int32").cast("int64")
