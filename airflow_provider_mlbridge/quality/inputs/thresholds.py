# SPDX-License-Identifier: Apache-2.0
"""What a threshold allows, exactly: counts as whole numbers, percentages as shares of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs.documents import shown

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
"""The operators of the Open Data Contract Standard."""


class NotExpressibleError(Exception):
    """No expectation says exactly this; the message says why."""


@dataclass(frozen=True)
class Range:
    """
    Numbers between two bounds.

    :param low: the least, or None.
    :param high: the greatest, or None.
    :param strict_low: whether ``low`` itself is out.
    :param strict_high: whether ``high`` itself is out.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    strict_low: bool = False
    strict_high: bool = False


def allowed(operator: str, value: object, path: str) -> tuple[Range, ...]:
    """
    The numbers that an operator lets pass.

    Both bounds belong to ``mustBeBetween``.

    :raises ConfigurationError: for a value that is no number, or no pair of them, naming the path.
    """
    if operator in ("mustBeBetween", "mustNotBeBetween"):
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ConfigurationError(f"{path} must be a list of two numbers, got {shown(value)}")
        low, high = (_number(item, path) for item in value)
        if low > high:
            raise ConfigurationError(f"{path}: the smaller number comes first, got {shown(value)}")
    else:
        low = high = _number(value, path)
    match operator:
        case "mustBe" | "mustBeBetween":
            return (Range(low, high),)
        case "mustNotBe" | "mustNotBeBetween":
            return Range(None, low, strict_high=True), Range(high, None, strict_low=True)
        case "mustBeGreaterThan":
            return (Range(low, None, strict_low=True),)
        case "mustBeGreaterOrEqualTo":
            return (Range(low, None),)
        case "mustBeLessThan":
            return (Range(None, high, strict_high=True),)
        case _:
            return (Range(None, high),)


def _number(value: object, path: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"{path} must be a number, got {shown(value)}")
    # 0.1 is meant as written, not as the double next to it.
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


@dataclass(frozen=True)
class Counts:
    """
    Whole numbers from ``low`` on, up to ``high`` unless that is None.
    """

    low: int
    high: int | None

    def bounds(self) -> dict[str, Any]:
        """As arguments of an expectation about a count."""
        arguments: dict[str, Any] = {}
        if self.low:
            arguments["min_value"] = self.low
        if self.high is not None:
            arguments["max_value"] = self.high
        return arguments


def as_counts(ranges: Sequence[Range]) -> Counts:
    """
    The one run of counts that the ranges let pass.

    :raises NotExpressibleError: when that is none, every one, or more than one run.
    """
    runs = []
    for item in ranges:
        low = 0
        if item.low is not None:
            low = max(0, math.floor(item.low) + 1 if item.strict_low else math.ceil(item.low))
        high = None
        if item.high is not None:
            high = math.ceil(item.high) - 1 if item.strict_high else math.floor(item.high)
        if high is None or high >= low:
            runs.append(Counts(low, high))
    if not runs:
        raise NotExpressibleError("no count can be so")
    if len(runs) > 1:
        raise NotExpressibleError("two separate ranges are valid, and an expectation has one")
    if runs[0] == Counts(0, None):
        raise NotExpressibleError("every count is so, there is nothing to check")
    return runs[0]


@dataclass(frozen=True)
class Shares:
    """A range of shares of rows, from 0 to 1."""

    low: Fraction
    high: Fraction
    strict_low: bool
    strict_high: bool

    @property
    def none_allowed(self) -> bool:
        """Whether not a single row may be so."""
        return self.high == 0

    @property
    def from_zero(self) -> bool:
        """Whether there is no lower bound."""
        return self.low == 0 and not self.strict_low

    @property
    def mostly(self) -> float:
        """
        ``mostly`` of an expectation that the rows are *not* so, when there is no lower bound.

        ``mostly`` includes its bound; where the bound itself is out, the next greater double takes its place.
        No two different shares of fewer than 2**52 rows lie between the two, so nothing else changes.
        """
        share = float(1 - self.high)
        return math.nextafter(share, 2) if self.strict_high else share


def as_shares(ranges: Sequence[Range]) -> Shares:
    """
    The one range of shares that ranges of percentages let pass.

    :raises NotExpressibleError: when that is none, all, or more than one range.
    """
    found = []
    for item in ranges:
        low, strict_low = (Fraction(0), False) if item.low is None else (item.low / 100, item.strict_low)
        high, strict_high = (Fraction(1), False) if item.high is None else (item.high / 100, item.strict_high)
        if low < 0:
            low, strict_low = Fraction(0), False
        if high > 1:
            high, strict_high = Fraction(1), False
        if low < high or (low == high and not strict_low and not strict_high):
            found.append(Shares(low, high, strict_low, strict_high))
    if not found:
        raise NotExpressibleError("no percentage can be so")
    if len(found) > 1:
        raise NotExpressibleError("two separate ranges are valid, and an expectation has one")
    if found[0] == Shares(Fraction(0), Fraction(1), strict_low=False, strict_high=False):
        raise NotExpressibleError("every percentage is so, there is nothing to check")
    return found[0]
