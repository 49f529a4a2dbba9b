# SPDX-License-Identifier: Apache-2.0
"""
The lambda of the Yeo-Johnson power transform, by maximum likelihood.

For n values x and their transforms y the log-likelihood is, but for constants,
``-n ln(std(y)) + (lambda - 1) sum(sign(x) ln(1 + |x|))`` (Yeo and Johnson, Biometrika 87(4), 2000). It has
one maximum. Brent's bounded search comes close to it, and the rest of the way goes to where the slope is 0:
near its maximum the likelihood is flat, a step of 1e-8 in lambda changes it by 1e-16 of itself, the last bit
of a float, so that no search by values finds lambda to more than about 1e-8. The slope crosses 0 at an angle.
(scikit-learn searches by values, so its lambda agrees with this one to about 1e-7.)

Each evaluation is a query over the training rows, one for all columns together, whose sums are those of
integers (:mod:`~.sums`); so the result depends on no order of rows and on no number of threads.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.extremum import TOLERANCE, minimum, stationary
from airflow_provider_mlbridge.features.steps.base import as_float, literal
from airflow_provider_mlbridge.features.steps.numeric import within_rounding
from airflow_provider_mlbridge.features.steps.scaling import (
    log1p_expression,
    log1p_value,
    power_expression,
    power_function,
)
from airflow_provider_mlbridge.features.steps.summary import Summary
from airflow_provider_mlbridge.features.sums import Scale

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.summaries import Keep, Query, Request

Power = tuple[float, float, float]
"""Lambda, and mean and standard deviation of the transformed values."""

_ROUGH = 1e-4
"""How close to the maximum the search by values ends, relative to lambdas above 1."""

_KEPT_BYTES = 18
"""What a value and its logarithm take, hardly packed."""

_SERIES = 0.01
"""Below this |t| the slope of the transform is a series; see :func:`slope_expression`."""


def fit_powers(
    query: Query, table: Any, wanted: Mapping[int, tuple[Request, Summary]], keep: Keep | None = None
) -> dict[int, Power]:
    """
    Lambda, mean and standard deviation by index; none for columns without values or with infinite ones.

    :param wanted: request and summary with its extent.
    :param keep: computes the rows of a table once.
    :raises FitError: when the values of a column are too large or too small for any power.
    """
    results: dict[int, Power] = {}
    searches: dict[int, _Search] = {}
    columns: dict[str, Any] = {}
    for index, (request, summary) in wanted.items():
        if not summary.count or summary.infinite:
            continue
        low, high = float(summary.minimum), float(summary.maximum)
        if within_rounding(low, high):
            results[index] = (1.0, low / 2 + high / 2, 0.0)
            continue
        searches[index] = _Search(summary, low, high)
        columns[f"x{index}"] = as_float(table[request.alias], request.kind)
    if not searches:
        return results
    # In layers, so that the logarithm is computed once.
    data = table.select(**columns)
    data = data.mutate(**{f"l{index}": log1p_expression(data[f"x{index}"].abs()) for index in searches})
    if keep is not None:
        rows = max(search.summary.rows for search in searches.values())
        data = keep(data, "powers", _KEPT_BYTES * rows * len(searches))
    for index, mean in _log_means(query, data, searches).items():
        searches[index].start(mean)
    while waiting := {index: search for index, search in searches.items() if search.point is not None}:
        _evaluate(query, data, waiting)
    return {**results, **{index: search.result() for index, search in searches.items()}}


def _log_means(query: Query, data: Any, searches: Mapping[int, _Search]) -> dict[int, float]:
    """The mean of sign(x) ln(1 + |x|), by index."""
    import ibis

    scales = {index: Scale.of(_log(search.low), _log(search.high)) for index, search in searches.items()}
    aggregates = {}
    for index, scale in scales.items():
        number, logarithm = data[f"x{index}"], data[f"l{index}"]
        aggregates[f"sum{index}"] = scale.sum_of(ibis.ifelse(number < 0, -logarithm, logarithm))
    answer = query(data.aggregate(**aggregates))[0]
    return {
        index: scale.centre + float(scale.offset(answer[f"sum{index}"], searches[index].summary.count))
        for index, scale in scales.items()
    }


def _log(value: float) -> float:
    return math.copysign(log1p_value(abs(value)), value)


def _evaluate(query: Query, data: Any, waiting: Mapping[int, _Search]) -> None:
    """One evaluation for each column."""
    scales: dict[int, tuple[Scale, Scale | None]] = {}
    powered: dict[str, Any] = {}
    for index, search in waiting.items():
        scale = search.scale()
        if scale is None:
            search.advance(None, None)
            continue
        scales[index] = scale, search.slope_scale()
        number, logarithm = data[f"x{index}"], data[f"l{index}"]
        powered |= {f"x{index}": number, f"l{index}": logarithm}
        powered[f"y{index}"] = power_expression(number, logarithm, search.point or 0.0)
    if not scales:
        return
    table = data.select(**powered)
    slopes = {
        f"d{index}": slope_expression(
            table[f"x{index}"], table[f"l{index}"], table[f"y{index}"], waiting[index].point or 0.0
        )
        for index, (_, slope_scale) in scales.items()
        if slope_scale is not None
    }
    table = table.mutate(**slopes) if slopes else table
    aggregates = {}
    for index, (scale, slope_scale) in scales.items():
        y = table[f"y{index}"]
        aggregates[f"sum{index}"] = scale.sum_of(y)
        aggregates[f"squares{index}"] = scale.squares_of(y)
        if slope_scale is not None:
            d = table[f"d{index}"]
            aggregates[f"slopes{index}"] = slope_scale.sum_of(d)
            aggregates[f"products{index}"] = _products(scale, y, slope_scale, d)
    answer = query(table.aggregate(**aggregates))[0]
    for index, (scale, slope_scale) in scales.items():
        search = waiting[index]
        count = search.summary.count
        total, squares = answer[f"sum{index}"], answer[f"squares{index}"]
        change = None
        if slope_scale is not None:
            offset = scale.offset(total, count) * Fraction(scale.square_scale)
            other = slope_scale.offset(answer[f"slopes{index}"], count) * Fraction(slope_scale.square_scale)
            together = Fraction(int(answer[f"products{index}"]), count) - offset * other
            variance = Fraction(int(squares), count) - offset * offset
            if variance > 0:
                ratio = Fraction(scale.square_scale) / Fraction(slope_scale.square_scale)
                change = together / variance * ratio
        search.advance(scale.moments(total, squares, count), change)


def _products(scale: Scale, number: Any, other_scale: Scale, other: Any) -> Any:
    """The sum of the products of two columns' distances, as an integer; compare ``Scale.squares_of``."""
    left = (number - literal(scale.centre)) * literal(scale.square_scale)
    right = (other - literal(other_scale.centre)) * literal(other_scale.square_scale)
    return (left * right).cast("int64").sum()


# With one side of zero being (exp(t) - 1) / p, where t = p * L and L = ln(1 + |x|), its slope in p is
# (L exp(t) - side) / p, and for small t, where that loses digits, L**2 (1/2 + t/3 + t**2/8 + ...), with
# t**k / (k! (k + 2)) in place k. It is the transform's in lambda on both sides.

_COEFFICIENTS = [1.0 / (math.factorial(k) * (k + 2)) for k in range(7)]


def slope_expression(number: Any, logarithm: Any, powered: Any, exponent: float) -> Any:
    """
    How fast the power transform changes with its lambda, as an Ibis expression.

    :param number: an Ibis float.
    :param logarithm: of 1 and its magnitude.
    :param powered: its transform.
    """
    import ibis

    return ibis.cases(
        (number < literal(0.0), _side_slope_expression(logarithm, -powered, 2.0 - exponent)),
        else_=_side_slope_expression(logarithm, powered, exponent),
    )


def _side_slope_expression(logarithm: Any, side: Any, power: float) -> Any:
    import ibis

    t = logarithm * literal(power)
    series: Any = literal(_COEFFICIENTS[-1])
    for coefficient in reversed(_COEFFICIENTS[:-1]):
        series = series * t + literal(coefficient)
    series = series * logarithm * logarithm
    if abs(power) < sys.float_info.epsilon:
        return series
    p = literal(power)
    direct = (logarithm * (literal(1.0) + p * side) - side) / p
    return ibis.ifelse(logarithm < literal(_SERIES / abs(power)), series, direct)


def slope_value(number: float, exponent: float) -> float:
    """About the same of a number; infinite when it is too large."""
    power = 2.0 - exponent if number < 0 else exponent
    logarithm = log1p_value(abs(number))
    t = power * logarithm
    if abs(t) < _SERIES:
        return logarithm * logarithm * (0.5 + t / 3)
    try:
        return (logarithm * math.exp(t) - math.expm1(t) / power) / power
    except OverflowError:
        return math.inf


@dataclass
class _Search:
    """
    The search for one column's lambda.

    :param point: the lambda to evaluate next; None before the start and after the end.
    """

    summary: Summary
    low: float
    high: float
    point: float | None = None
    _log_mean: float = 0.0
    _steps: Generator[float, float, float] | None = None
    _by_slope: bool = False
    _found: float = math.nan
    _moments: dict[float, tuple[float, float]] = field(default_factory=dict)

    def start(self, log_mean: float) -> None:
        self._log_mean = log_mean
        self._steps = self._search(*lambda_bounds(self.low, self.high, self.summary.where))
        self.point = next(self._steps)

    def _search(self, bottom: float, top: float) -> Generator[float, float, float]:
        """Close to the maximum by values, and the rest of the way by slopes; by values where these fail."""
        found = yield from minimum(bottom, top, _ROUGH)
        near = _ROUGH * max(1.0, abs(found))
        self._by_slope = True
        flat = yield from stationary(found, near)
        if flat is not None and bottom < flat < top:
            return flat
        self._by_slope = False
        return (yield from minimum(max(bottom, found - 10 * near), min(top, found + 10 * near), TOLERANCE))

    def scale(self) -> Scale | None:
        """How to add the transformed values; None when they have no spread that a float can hold."""
        transform: Callable[[float], float] = power_function(self.point or 0.0)
        # The transform is monotonic.
        return _scale(transform(self.low), transform(self.high))

    def slope_scale(self) -> Scale | None:
        """The same for how fast they change; None when that is not asked for, too."""
        if not self._by_slope:
            return None
        ends = [slope_value(end, self.point or 0.0) for end in (self.low, self.high)]
        # It rises with the distance from 0, where it is 0.
        return _scale(0.0 if self.low < 0 < self.high else min(ends), max(ends))

    def advance(self, moments: tuple[float, float] | None, change: Fraction | None) -> None:
        """
        Take what was found at ``point``, and go on to the next.

        :param moments: of the transformed values.
        :param change: of the logarithm of their standard deviation, with lambda.
        """
        if self._steps is None or self.point is None:
            return
        answer = math.nan if self._by_slope else math.inf
        if moments is not None and moments[1] > 0:
            self._moments[self.point] = moments
            if not self._by_slope:
                answer = math.log(moments[1]) - (self.point - 1.0) * self._log_mean
            elif change is not None:
                answer = float(change - Fraction(self._log_mean))
        try:
            self.point = self._steps.send(answer)
        except StopIteration as stop:
            self._found, self.point = stop.value, None

    def result(self) -> Power:
        if self._found not in self._moments:
            raise _no_power(self.summary.where)
        return (self._found, *self._moments[self._found])


def _scale(low: float, high: float) -> Scale | None:
    return Scale.of(low, high) if low < high and math.isfinite(high - low) else None


def lambda_bounds(low: float, high: float, where: str) -> tuple[float, float]:
    """
    Between which lambdas the transforms of values up to 20 times as large, and their squares, are floats.

    They are those of SciPy, so that both search the same interval.

    :raises FitError: when there are none.
    """
    largest = max(abs(low), abs(high))
    size = math.log1p(20.0 * largest) if largest < 1e300 else math.log(20.0) + math.log(largest)
    precision = math.log(sys.float_info.epsilon)
    bottom = (math.log(sys.float_info.min) - precision) / 2 / size
    top = (math.log(sys.float_info.max) + precision) / 2 / size
    if high < 0:
        bottom, top = 2 - top, 2 - bottom
    elif low < 0:
        bottom, top = max(2 - top, bottom), min(2 - bottom, top)
    if not (bottom < top and math.isfinite(top - bottom)):
        raise _no_power(where)
    return bottom, top


def _no_power(where: str) -> FitError:
    return FitError(
        f"{where}: the values are too large or too small for any power to be computed in floats. Bound them "
        f"with a clip step before this one, or use standard."
    )
