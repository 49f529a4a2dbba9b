# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""
Steps that make numbers comparable where mean and deviation do not: with outliers, with skew.

The power transform is computed from ln() and exp() alone, which every engine has, in the same operations for
tables and for rows: an engine on the same C library gives the same bits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import (
    Input,
    Monotone,
    RowFunction,
    State,
    as_float,
    literal,
)
from airflow_provider_mlbridge.features.steps.numeric import NumberStep, finite_quantile, within_rounding
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

_EPSILON = sys.float_info.epsilon


@dataclass(frozen=True)
class Robust(NumberStep):
    """
    Subtract the median and divide by the distance of two quantiles, all of the training split.

    Outliers, infinite ones too, move neither. When the two quantiles are equal, or as close as rounding may
    bring equal ones, values are divided by 1. (scikit-learn's ``RobustScaler`` divides by 1 whenever they are
    closer than 2.2e-15, in whatever unit; here values of 1e-20 are scaled like any others.)

    :param with_centering: whether to subtract.
    :param with_scaling: whether to divide.
    :param lower_quantile: the lower of the two quantiles, from 0 to 1.
    :param upper_quantile: the upper of the two.
    :param unit_variance: divide so that normally distributed values get a standard deviation of 1.
    """

    TYPE: ClassVar[str] = "robust"
    MONOTONE: ClassVar[Monotone] = "exact"

    with_centering: bool = True
    with_scaling: bool = True
    lower_quantile: float = 0.25
    upper_quantile: float = 0.75
    unit_variance: bool = False

    def validate(self) -> None:
        for name in ("with_centering", "with_scaling", "unit_variance"):
            options.boolean(self.TYPE, name, getattr(self, name))
        for name in ("lower_quantile", "upper_quantile"):
            self.set(name, options.number(self.TYPE, name, getattr(self, name), low=0, high=1))
        if self.lower_quantile >= self.upper_quantile:
            raise InvalidRecipeError(
                f"{self.TYPE}: lower_quantile={self.lower_quantile} must be below "
                f"upper_quantile={self.upper_quantile}"
            )
        if self.unit_variance and not 0 < self.lower_quantile < self.upper_quantile < 1:
            raise InvalidRecipeError(
                f"{self.TYPE}: unit_variance needs quantiles above 0 and below 1, got "
                f"{self.lower_quantile} and {self.upper_quantile}"
            )

    def needs(self, kind: Kind) -> Needs:
        centre = (0.5,) if self.with_centering else ()
        spread = (self.lower_quantile, self.upper_quantile) if self.with_scaling else ()
        return Needs(extent=True, quantiles=(*centre, *spread))

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_values()
        centre = finite_quantile(summary, 0.5) if self.with_centering else 0.0
        return {"center": centre, "scale": self._scale(summary) if self.with_scaling else 1.0}

    def _scale(self, summary: Summary) -> float:
        low = finite_quantile(summary, self.lower_quantile)
        high = finite_quantile(summary, self.upper_quantile)
        scale = 1.0 if within_rounding(low, high) else high - low
        if not math.isfinite(scale):
            raise FitError(f"{summary.where}: the range of the quantiles is too large for a float")
        if self.unit_variance:
            normal = NormalDist()
            scale /= normal.inv_cdf(self.upper_quantile) - normal.inv_cdf(self.lower_quantile)
        return scale

    def expressions(self, x: Input, state: State) -> list[Any]:
        return [(as_float(x.value, x.kind) - literal(state["center"])) / literal(state["scale"])]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        centre, scale = state["center"], state["scale"]
        return lambda value: (None,) if value is None else ((value - centre) / scale,)


@dataclass(frozen=True)
class YeoJohnson(NumberStep):
    """
    Raise values to the power that makes them most like a normal distribution (Yeo and Johnson, 2000).

    With the power lambda, x becomes ((1 + x)**lambda - 1) / lambda when it is not negative, and
    -((1 - x)**(2 - lambda) - 1) / (2 - lambda) when it is; the limits, logarithms, are taken at lambda 0
    and 2. Lambda is the one of maximum likelihood on the training split, as in scikit-learn's
    ``PowerTransformer``. A column that is constant in the training split has none: lambda is 1, which leaves
    values as they are, and ``standardize`` subtracts the constant and divides by 1.

    Finding lambda takes 10 to 30 passes over the training split, of all columns of the step together.
    Where values are much farther from zero than from each other, like temperatures in Kelvin, every lambda
    serves equally well, and the one found says little: ``standard`` does the same there.

    An infinite value gets the limit of the formula. A value far beyond the training split's may become
    infinite when lambda is large; clip before this step if that must not happen.

    :param standardize: whether to subtract the mean of the transformed training values and to divide by
        their standard deviation.
    """

    TYPE: ClassVar[str] = "yeo_johnson"
    MONOTONE: ClassVar[Monotone] = "rounded"

    standardize: bool = True

    def validate(self) -> None:
        options.boolean(self.TYPE, "standardize", self.standardize)

    def needs(self, kind: Kind) -> Needs:
        return Needs(extent=True, power=True)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_finite()
        if summary.power is None:
            raise FitError(f"{summary.where}: lambda is not known")
        exponent, mean, std = summary.power
        return {
            "lambda": exponent,
            "mean": mean if self.standardize else 0.0,
            "scale": (std or 1.0) if self.standardize else 1.0,
        }

    def expressions(self, x: Input, state: State) -> list[Any]:
        number = as_float(x.value, x.kind)
        powered = power_expression(number, log1p_expression(number.abs()), state["lambda"])
        return [(powered - literal(state["mean"])) / literal(state["scale"])]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        powered, mean, scale = power_function(state["lambda"]), state["mean"], state["scale"]
        return lambda value: (None,) if value is None else ((powered(float(value)) - mean) / scale,)


def power_function(exponent: float) -> Callable[[float], float]:
    """The power transform with this lambda, of one number."""
    positive, negative = _side(exponent), _side(2.0 - exponent)
    return lambda x: -negative(-x) if x < 0 else positive(x)


def power_expression(number: Any, logarithm: Any, exponent: float) -> Any:
    """
    The power transform with this lambda, as an Ibis expression.

    :param number: an Ibis float.
    :param logarithm: :func:`log1p_expression` of its magnitude.
    """
    import ibis

    magnitude = number.abs()
    return ibis.cases(
        (number < literal(0.0), -_side_expression(magnitude, logarithm, 2.0 - exponent)),
        else_=_side_expression(magnitude, logarithm, exponent),
    )


def log1p_expression(number: Any) -> Any:
    """ln(1 + x) of an Ibis float that is not negative; see ``Log1p`` for the formula."""
    import ibis

    one = literal(1.0)
    rounded = number + one
    return ibis.cases(
        (number > one, rounded.ln()),
        (rounded == one, number),
        else_=rounded.ln() * (number / (rounded - one)),
    )


def log1p_value(number: float) -> float:
    """The same of a number."""
    rounded = number + 1.0
    if number > 1.0:
        return math.log(rounded)
    if rounded == 1.0:
        return number
    return math.log(rounded) * (number / (rounded - 1.0))


# Either side of zero is (exp(t) - 1) / p, where t = p * ln(1 + |x|). For |t| below 1, where the difference
# would lose digits, it is taken times t / ln(exp(t)): the rounding of exp(t) cancels (Kahan, as in Log1p).


def _cut(power: float) -> float:
    """The |x| at which |t| is 1."""
    try:
        return math.expm1(1.0 / abs(power))
    except OverflowError:
        return sys.float_info.max


def _side(power: float) -> Callable[[float], float]:
    if power == 1.0:
        return lambda magnitude: magnitude
    if abs(power) < _EPSILON:
        return log1p_value
    cut = _cut(power)

    def side(magnitude: float) -> float:
        logarithm = log1p_value(magnitude)
        t = power * logarithm
        try:
            grown = math.exp(t)
        except OverflowError:
            grown = math.inf
        if magnitude >= cut:
            return (grown - 1.0) / power
        if grown == 1.0:
            return logarithm
        return (grown - 1.0) * (t / math.log(grown)) / power

    return side


def _side_expression(magnitude: Any, logarithm: Any, power: float) -> Any:
    import ibis

    if power == 1.0:
        return magnitude
    if abs(power) < _EPSILON:
        return logarithm
    one, factor = literal(1.0), literal(power)
    t = factor * logarithm
    grown = t.exp()
    return ibis.cases(
        (magnitude >= literal(_cut(power)), (grown - one) / factor),
        (grown == one, logarithm),
        else_=(grown - one) * (t / grown.ln()) / factor,
    )
