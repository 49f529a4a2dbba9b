# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps on numbers. A missing value stays missing in all of them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FeatureValueError, FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Input,
    Monotone,
    RowFunction,
    State,
    Step,
    as_float,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary


@dataclass(frozen=True)
class NumberStep(Step):
    """A step that makes a float of a number; others derive from it."""

    KINDS: ClassVar[tuple[Kind, ...]] = SCALAR

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, "float")]


def finite_quantile(summary: Summary, quantile: float) -> float:
    """A quantile of the training values. :raises FitError: when it is infinite."""
    value = summary.quantiles[quantile]
    if not math.isfinite(value):
        raise FitError(
            f"{summary.where}: the {quantile:g} quantile of the training split is infinite "
            f"({summary.infinite} of {summary.count} values are). Bound them with a clip step "
            f"before this one."
        )
    return value


def within_rounding(low: float, high: float) -> bool:
    """
    Whether two values are as close as rounding may bring equal ones: 2.2e-15 of their size.

    Dividing by their distance would make noise of the same size as what is measured elsewhere. scikit-learn
    draws the line elsewhere. Its ``StandardScaler`` takes for constant what its own sums cannot tell from
    that, which depends on the number of rows: 1e8 rows around 1e9 with a deviation of 20 are constant to it.
    Sums here are exact enough to need no such line. Its ``MinMaxScaler`` and ``RobustScaler`` compare with
    2.2e-15 in whatever unit, and so leave values of 1e-20 as they are.
    """
    return high - low <= 10 * sys.float_info.epsilon * max(abs(low), abs(high))


@dataclass(frozen=True)
class Clip(NumberStep):
    """
    Bound values on one side or on both; with quantiles of the training split, winsorise.

    :param lower: smallest value.
    :param upper: largest value.
    :param lower_quantile: take the lower bound from this quantile of the training split.
    :param upper_quantile: take the upper bound from this quantile of the training split.
    """

    TYPE: ClassVar[str] = "clip"
    MONOTONE: ClassVar[Monotone] = "exact"

    lower: float | None = None
    upper: float | None = None
    lower_quantile: float | None = None
    upper_quantile: float | None = None

    def validate(self) -> None:
        for name in ("lower", "upper"):
            if getattr(self, name) is not None:
                self.set(name, options.number(self.TYPE, name, getattr(self, name)))
        for name in ("lower_quantile", "upper_quantile"):
            if getattr(self, name) is not None:
                self.set(name, options.number(self.TYPE, name, getattr(self, name), low=0, high=1))
        for side in ("lower", "upper"):
            if getattr(self, side) is not None and getattr(self, f"{side}_quantile") is not None:
                raise InvalidRecipeError(f"{self.TYPE}: give {side} or {side}_quantile, not both")
        if (self.lower, self.upper, self.lower_quantile, self.upper_quantile) == (None, None, None, None):
            raise InvalidRecipeError(
                f"{self.TYPE}: give at least one of lower, upper, lower_quantile, upper_quantile"
            )
        for low, high in ((self.lower, self.upper), (self.lower_quantile, self.upper_quantile)):
            if low is not None and high is not None and low > high:
                raise InvalidRecipeError(
                    f"{self.TYPE}: the lower bound {low} is above the upper bound {high}"
                )

    def needs(self, kind: Kind) -> Needs:
        quantiles = tuple(q for q in (self.lower_quantile, self.upper_quantile) if q is not None)
        return Needs(extent=bool(quantiles), quantiles=quantiles)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        bounds = {"lower": self.lower, "upper": self.upper}
        for side, quantile in (("lower", self.lower_quantile), ("upper", self.upper_quantile)):
            if quantile is not None:
                summary.require_values()
                bounds[side] = finite_quantile(summary, quantile)
        low, high = bounds["lower"], bounds["upper"]
        if low is not None and high is not None and low > high:
            raise FitError(
                f"{summary.where}: the lower bound is above the upper bound on the training split: a bound "
                f"that is given and one by a quantile do not go together. Give both as quantiles, or both as "
                f"numbers."
            )
        return bounds

    def expressions(self, x: Input, state: State) -> list[Any]:
        # Not least() and greatest(): those pass over NULL in DuckDB, so a missing value would become a bound.
        import ibis

        number = as_float(x.value, x.kind)
        branches = []
        if state["lower"] is not None:
            branches.append((number < literal(state["lower"]), literal(state["lower"])))
        if state["upper"] is not None:
            branches.append((number > literal(state["upper"]), literal(state["upper"])))
        return [ibis.cases(*branches, else_=number)]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        low = -math.inf if state["lower"] is None else state["lower"]
        high = math.inf if state["upper"] is None else state["upper"]

        def clip(value: Any) -> tuple[float | None]:
            if value is None:
                return (None,)
            number = float(value)
            return (low if number < low else min(number, high),)

        return clip


@dataclass(frozen=True)
class Log1p(NumberStep):
    """
    Natural logarithm of 1 + x, exact for small x too.

    :param invalid: what happens to values of -1 or less, which have no finite logarithm: ``error``, or
        ``null`` to make them missing.
    """

    TYPE: ClassVar[str] = "log1p"
    MONOTONE: ClassVar[Monotone] = "rounded"

    invalid: str = "error"

    def validate(self) -> None:
        options.choice(self.TYPE, "invalid", self.invalid, ("error", "null"))

    def expressions(self, x: Input, state: State) -> list[Any]:
        # Engines have ln() only, and ln(1 + x) loses all digits of a small x. With u = 1 + x as rounded,
        # ln(u) * x / (u - 1) is right to a few units in the last place (Kahan; HP-15C Functions Handbook).
        import ibis

        number = as_float(x.value, x.kind)
        one = literal(1.0)
        rounded = number + one
        return [
            ibis.cases(
                (number <= literal(-1.0), ibis.null("float64")),
                (number > one, rounded.ln()),
                (rounded == one, number),
                else_=rounded.ln() * (number / (rounded - one)),
            )
        ]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        fatal = self.invalid == "error"

        def log1p(value: Any) -> tuple[float | None]:
            if value is None:
                return (None,)
            if value <= -1:
                if fatal:
                    raise FeatureValueError(f"{where}: a value is -1 or less. {_LOG_ADVICE}")
                return (None,)
            return (math.log1p(value),)

        return log1p

    def checks(self, x: Input, state: State) -> list[Check]:
        invalid = (as_float(x.value, x.kind) <= literal(-1.0)).fill_null(False)
        return [Check("invalid", invalid, self.invalid == "error", _LOG_ADVICE)]


_LOG_ADVICE = 'The logarithm of 1 + x needs x > -1: clip before this step, or set invalid="null".'


@dataclass(frozen=True)
class Standard(NumberStep):
    """
    Subtract the mean and divide by the standard deviation of the population, both of the training split.

    A column that is constant in the training split, or would be but for rounding (its range is at most
    2.2e-15 of its size), is divided by 1.

    :param with_mean: whether to subtract.
    :param with_std: whether to divide.
    """

    TYPE: ClassVar[str] = "standard"
    MONOTONE: ClassVar[Monotone] = "exact"

    with_mean: bool = True
    with_std: bool = True

    def validate(self) -> None:
        options.boolean(self.TYPE, "with_mean", self.with_mean)
        options.boolean(self.TYPE, "with_std", self.with_std)

    def needs(self, kind: Kind) -> Needs:
        return Needs(moments=True)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_finite()
        constant = within_rounding(float(summary.minimum), float(summary.maximum))
        return {
            "mean": summary.mean if self.with_mean else 0.0,
            "scale": 1.0 if constant or not self.with_std else (summary.std or 1.0),
        }

    def expressions(self, x: Input, state: State) -> list[Any]:
        return [(as_float(x.value, x.kind) - literal(state["mean"])) / literal(state["scale"])]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        mean, scale = state["mean"], state["scale"]
        return lambda value: (None,) if value is None else ((value - mean) / scale,)


@dataclass(frozen=True)
class MinMax(NumberStep):
    """
    Map the range of the training split to [``low``, ``high``].

    Values outside the training split's range land outside [``low``, ``high``]; clip afterwards if they must
    not. A column that is constant in the training split is mapped to ``low``; so is, but for rounding, one
    whose range is at most 2.2e-15 of its size.

    :param low: what the smallest value becomes.
    :param high: what the largest value becomes.
    """

    TYPE: ClassVar[str] = "min_max"
    MONOTONE: ClassVar[Monotone] = "exact"

    low: float = 0.0
    high: float = 1.0

    def validate(self) -> None:
        self.set("low", options.number(self.TYPE, "low", self.low))
        self.set("high", options.number(self.TYPE, "high", self.high))
        if self.low >= self.high:
            raise InvalidRecipeError(f"{self.TYPE}: low={self.low} must be below high={self.high}")
        if not math.isfinite(self.high - self.low):
            raise InvalidRecipeError(
                f"{self.TYPE}: from low={self.low} to high={self.high} is too far for a float"
            )

    def needs(self, kind: Kind) -> Needs:
        return Needs(extent=True)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_finite()
        minimum, maximum = float(summary.minimum), float(summary.maximum)
        scale = 1.0 if within_rounding(minimum, maximum) else maximum - minimum
        if not math.isfinite(scale):
            raise FitError(
                f"{summary.where}: the range of the training split is too large for a float. Bound the "
                f"values with a clip step before this one."
            )
        return {"minimum": minimum, "range": scale}

    def expressions(self, x: Input, state: State) -> list[Any]:
        unit = (as_float(x.value, x.kind) - literal(state["minimum"])) / literal(state["range"])
        return [unit * literal(self.high - self.low) + literal(self.low)]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        minimum, scale, factor, low = state["minimum"], state["range"], self.high - self.low, self.low
        return lambda value: (None,) if value is None else ((value - minimum) / scale * factor + low,)
