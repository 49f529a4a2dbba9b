# SPDX-License-Identifier: Apache-2.0
"""
Searches for where a function of one number is smallest, as generators: whoever drives one decides what an
evaluation is. They yield the points to evaluate, and are sent what was found there.
"""

from __future__ import annotations

import math
from collections.abc import Generator

MAX_EVALUATIONS = 100
"""A bound of :func:`minimum`; it takes 10 to 30."""

TOLERANCE = 1.48e-8
"""How close to a minimum a search by values can come: the square root of a float's precision."""

_GOLDEN = (3.0 - math.sqrt(5.0)) / 2.0

_MOST_STEPS = 8
"""Steps of :func:`stationary`; it takes two to four."""

_CLOSE = 1e-12
"""Where :func:`stationary` ends, relative to points above 1."""


def stationary(point: float, step: float) -> Generator[float, float, float | None]:
    """
    Where the slope of a function is 0, near a point where a search by values has ended.

    By the secant through the last two points, downhill from the first. Values are flat at a minimum, so that
    a search by them ends at the root of their precision; slopes are not.

    :param point: where to begin; it is sent slopes.
    :param step: about how far off it may be. Another place a hundred times as far away is none.
    :return: a point that was yielded; None when the slopes do not lead to one.
    """
    start, move = point, math.inf
    last, at_last = point, (yield point)
    if at_last == 0:
        return point
    point -= math.copysign(step, at_last)
    for _ in range(_MOST_STEPS):
        slope = yield point
        if slope == 0:
            return point
        rise = (slope - at_last) / (point - last)
        if not (math.isfinite(rise) and rise > 0):
            return None
        before, move = move, -slope / rise
        if abs(point + move - start) > 100 * step:
            return None
        # From there on steps are made of rounding.
        if abs(move) <= _CLOSE * max(1.0, abs(point)) or abs(before) / 2 <= abs(move) < step / 1_000:
            return point
        last, at_last, point = point, slope, point + move
    return None


def minimum(low: float, high: float, tolerance: float = TOLERANCE) -> Generator[float, float, float]:
    """
    Where in [``low``, ``high``] a function is smallest; it is sent values.

    Brent's method (Algorithms for Minimization Without Derivatives, 1973, chapter 5): the vertex of the
    parabola through the three best points when it lies inside and steps become shorter, else the golden
    section of the longer part.

    :param tolerance: how close to the minimum to end, relative to points above 1.
    :return: the best of the points that were yielded.
    """
    best = second = third = low + _GOLDEN * (high - low)
    at_best = at_second = at_third = yield best
    step = before = 0.0
    for _ in range(MAX_EVALUATIONS - 1):
        middle = (low + high) / 2
        least = tolerance * (abs(best) + 1 / 3)
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
