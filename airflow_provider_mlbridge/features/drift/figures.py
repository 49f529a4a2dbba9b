# SPDX-License-Identifier: Apache-2.0
"""The figures of drift, from counts over the reference's edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

LEAST_EXPECTED = 25
"""Values that a cell must expect in the smaller sample; with fewer, the tail of chi-square is too short."""

MOST_CELLS = 10


def cells(reference: Sequence[int], current: Sequence[int]) -> tuple[list[int], list[int]]:
    """
    Counts of both in the same cells: neighbouring bins together until the reference has enough in them.

    A cell has at least a tenth of the reference's values, and as many as make the smaller sample expect
    :data:`LEAST_EXPECTED`. Only the reference decides, and in a fixed order, never by the size of a bin:
    choosing the largest bins would choose those that are large by chance.
    """
    total = sum(reference)
    share = max(1 / MOST_CELLS, LEAST_EXPECTED / min(total, sum(current)))
    old: list[int] = [0]
    new: list[int] = [0]
    for first, second in zip(reference, current, strict=True):
        # A little is allowed for, so that ten deciles are ten cells although ranks are whole numbers.
        if old[-1] >= 0.98 * share * total:
            old.append(0)
            new.append(0)
        old[-1] += first
        new[-1] += second
    if len(old) > 1 and old[-1] < 0.98 * share * total:
        first, second = old.pop(), new.pop()
        old[-1] += first
        new[-1] += second
    return old, new


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """
    Population stability index: the sum of (q - p) * ln(q / p) over the cells.

    Half a value is added to every cell, so that an empty one has a logarithm.
    """
    p, q = _shares(reference, 0.5), _shares(current, 0.5)
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def jensen_shannon(reference: Sequence[int], current: Sequence[int]) -> float:
    """
    Jensen-Shannon distance: the root of the divergence to base 2, from 0 (equal) to 1 (nothing in common).

    As ``scipy.spatial.distance.jensenshannon(p, q, base=2)``; a metric (Endres and Schindelin, 2003).
    """
    p, q = _shares(reference, 0.0), _shares(current, 0.0)
    divergence = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        divergence += sum(x * math.log2(x / middle) for x in (a, b) if x) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def _shares(counts: Sequence[int], added: float) -> list[float]:
    total = sum(counts) + added * len(counts)
    return [(count + added) / total for count in counts]


def shares_below(counts: Sequence[int]) -> list[float]:
    """Share of the values up to each edge."""
    total = sum(counts)
    return [part / total for part in list(accumulate(counts))[1:-1]]


def edge_weights(edges: Sequence[float], *, complete: bool) -> list[float]:
    """
    How much of the line each edge stands for in the integral of ``|F - G|``.

    Where the edges are all values, F and G change nowhere else, and the sum is exact; between quantiles the
    integral is by the trapezoidal rule.
    """
    steps = [after - before for before, after in pairwise(edges)]
    if complete:
        return [*steps, 0.0]
    return [(left + right) / 2 for left, right in zip([0.0, *steps], [*steps, 0.0], strict=True)]


def wasserstein(reference: Sequence[int], current: Sequence[int], weights: Sequence[float]) -> float:
    """
    Wasserstein-1 distance within the range of the reference: the integral of ``|F - G|``.

    Values outside count as if they were at its ends, infinities too.
    """
    old, new = shares_below(reference), shares_below(current)
    return sum(weight * abs(a - b) for weight, a, b in zip(weights, old, new, strict=True))


def deviation(counts: Sequence[int], edges: Sequence[float], *, complete: bool) -> float:
    """
    Standard deviation, from counts over edges.

    That of the values where the edges are all of them; else of the middles between edges, which is near it.
    """
    largest = max(map(abs, edges)) or 1.0
    scaled = [edge / largest for edge in edges]
    between = scaled[1:] if complete else [(low + high) / 2 for low, high in pairwise(scaled)]
    values = [scaled[0], scaled[0], *between, scaled[-1]]
    total = sum(counts) or 1
    mean = math.fsum(count * value for count, value in zip(counts, values, strict=True)) / total
    squares = (count * (value - mean) ** 2 for count, value in zip(counts, values, strict=True))
    return largest * math.sqrt(math.fsum(squares) / total)
