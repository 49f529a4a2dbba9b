# SPDX-License-Identifier: Apache-2.0
"""
The lambda of the Yeo-Johnson power transform, by maximum likelihood.

For n values x and their transforms y the log-likelihood is, but for constants,
``-n ln(std(y)) + (lambda - 1) sum(sign(x) ln(1 + |x|))`` (Yeo and Johnson, Biometrika 87(4), 2000). Brent's
bounded search finds its maximum. Each of its evaluations is a query over the training rows, one for all
columns together, whose sums are those of integers (:mod:`~.sums`); so the result depends on no order of rows
and on no number of threads.

Near its maximum the likelihood is flat: a step of 1e-8 in lambda changes it by 1e-16 of itself, the last bit
of a float. So no search by values finds lambda to more than about 1e-8, and two that round differently, this
one and scikit-learn's, agree to that and not to 1e-9.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.steps.base import (
    as_float,
)
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
    from airflow_provider_mlbridge.features.summaries import Query, Request

Power = tuple[float, float, float]
"""Lambda, and mean and standard deviation of the transformed values."""

MAX_EVALUATIONS = 100
"""A bound; Brent's search takes 10 to 30."""

TOLERANCE = 1.48e-8
"""How close to the maximum the search ends, the square root of a float's precision."""

_GOLDEN = (3.0 - math.sqrt(5.0)) / 2.0


def fit_powers(query: Query, table: Any, wanted: Mapping[int, tuple[Request, Summary]]) -> dict[int, Power]:
    """
    Lambda, mean and standard deviation by index; none for columns without values or with infinite ones.

    :param wanted: request and summary with its extent.
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
    scales: dict[int, Scale] = {}
    powered: dict[str, Any] = {}
    for index, search in waiting.items():
        scale = search.scale()
        if scale is None:
            search.advance(None)
        else:
            scales[index] = scale
            point = search.point or 0.0
            powered[f"y{index}"] = power_expression(data[f"x{index}"], data[f"l{index}"], point)
    if not scales:
        return
    table = data.select(**powered)
    aggregates = {}
    for index, scale in scales.items():
        aggregates[f"sum{index}"] = scale.sum_of(table[f"y{index}"])
        aggregates[f"squares{index}"] = scale.squares_of(table[f"y{index}"])
    answer = query(table.aggregate(**aggregates))[0]
    for index, scale in scales.items():
        search = waiting[index]
        count = search.summary.count
        search.advance(scale.moments(answer[f"sum{index}"], answer[f"squares{index}"], count))


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
    _found: float = math.nan
    _moments: dict[float, tuple[float, float]] = field(default_factory=dict)

    def start(self, log_mean: float) -> None:
        self._log_mean = log_mean
        self._steps = minimum(*lambda_bounds(self.low, self.high, self.summary.where))
        self.point = next(self._steps)

    def scale(self) -> Scale | None:
        """How to add the transformed values; None when they have no spread that a float can hold."""
        transform: Callable[[float], float] = power_function(self.point or 0.0)
        # The transform is monotonic.
        low, high = transform(self.low), transform(self.high)
        return Scale.of(low, high) if low < high and math.isfinite(high - low) else None

    def advance(self, moments: tuple[float, float] | None) -> None:
        """Take the moments of the transformed values at ``point``, and go on to the next."""
        if self._steps is None or self.point is None:
            return
        loss = math.inf
        if moments is not None and moments[1] > 0:
            self._moments[self.point] = moments
            loss = math.log(moments[1]) - (self.point - 1.0) * self._log_mean
        try:
            self.point = self._steps.send(loss)
        except StopIteration as stop:
            self._found, self.point = stop.value, None

    def result(self) -> Power:
        if self._found not in self._moments:
            raise _no_power(self.summary.where)
        return (self._found, *self._moments[self._found])


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


def minimum(low: float, high: float) -> Generator[float, float, float]:
    """
    Where in [``low``, ``high``] a function is smallest: yields the points to evaluate, is sent the values.

    Brent's method (Algorithms for Minimization Without Derivatives, 1973, chapter 5): the vertex of the
    parabola through the three best points when it lies inside and steps become shorter, else the golden
    section of the longer part.

    :return: the best of the points that were yielded.
    """
    best = second = third = low + _GOLDEN * (high - low)
    at_best = at_second = at_third = yield best
    step = before = 0.0
    for _ in range(MAX_EVALUATIONS - 1):
        middle = (low + high) / 2
        least = math.sqrt(sys.float_info.epsilon) * abs(best) + TOLERANCE / 3
        if abs(best - middle) <= 2 * least - (high - low) / 2:
            break
        vertex = _vertex((best, at_best), (second, at_second), (third, at_third))
        if vertex is not None and abs(vertex) < abs(before) / 2 and low < best + vertex < high:
            before, step = step, vertex
            if min(best + step - low, high - best - step) < 2 * least:
                step = math.copysign(least, middle - best)
        else:
            before = low - best if best >= middle else high - best
            step = _GOLDEN * before
        point = best + (step if abs(step) >= least else math.copysign(least, step))
        at_point = yield point
        if at_point <= at_best:
            low, high = (best, high) if point >= best else (low, best)
            third, at_third, second, at_second = second, at_second, best, at_best
            best, at_best = point, at_point
            continue
        low, high = (point, high) if point < best else (low, point)
        if at_point <= at_second or second == best:
            third, at_third, second, at_second = second, at_second, point, at_point
        elif at_point <= at_third or third in (best, second):
            third, at_third = point, at_point
    return best


def _vertex(
    best: tuple[float, float], second: tuple[float, float], third: tuple[float, float]
) -> float | None:
    """Distance from the best point to the vertex of the parabola through three; None when there is none."""
    (x, fx), (w, fw), (v, fv) = best, second, third
    r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
    height, width = (x - v) * q - (x - w) * r, 2.0 * (q - r)
    if not math.isfinite(height) or not math.isfinite(width) or width == 0.0:
        return None
    return -height / width
