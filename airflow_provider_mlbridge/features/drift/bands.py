# SPDX-License-Identifier: Apache-2.0
"""
Null bands: what a figure of drift exceeds with a given probability when nothing has changed.

Two samples of one distribution differ by chance, the more the smaller they are. With n values in one and m
in the other, every difference here is of the order of sqrt(1/n + 1/m).

PSI and Jensen-Shannon divergence are, to second order, multiples of Pearson's statistic of homogeneity:
PSI is (1/n + 1/m) times it, and the divergence with equal weights, in nats, an eighth of that. So the bands
are quantiles of chi-square with (cells - 1) degrees of freedom. Sources: B. Yurdakul, "Statistical
Properties of Population Stability Index" (2018), for PSI; J. Lin, "Divergence Measures Based on the Shannon
Entropy" (1991), and a Taylor expansion for the other.

Wasserstein-1 is a sum of ``weight * |F - G|`` over the edges, and F - G is sqrt(1/n + 1/m) times a Brownian
bridge B at F. X = sum of ``weight * |B(F)|`` is a Lipschitz function of a Gaussian vector, so by the
Gaussian isoperimetric inequality (C. Borell, 1975; Sudakov and Tsirelson, 1974) it exceeds its median by
more than sigma * z with a probability of at most that of a standard normal exceeding z. Since B is positively
correlated with itself, sigma**2 is the variance of ``sum of weight * B(F)``, which is the variance of the
values at the resolution of the edges. The median of a convex function of a Gaussian vector is at most its
mean (Kwapien, 1994), which is sqrt(2/pi) times the sum of ``weight * sqrt(F * (1 - F))``. No draw of random
numbers is needed, and ties and discrete values change nothing.

Counts that are rare in the smaller sample are skewed, which a normal quantile ignores; the first term of the
Cornish-Fisher expansion of a Poisson count, z**2 / 6 values, is added to the bands of Wasserstein and of
differences of shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

_NORMAL = NormalDist()
_STEPS = 200
_PRECISION = 1e-13


@lru_cache(maxsize=256)
def chi_square_quantile(alpha: float, degrees: int) -> float:
    """
    What chi-square exceeds with probability ``alpha``.

    Newton's method on the logarithm of the survival function from the approximation of Wilson and Hilferty
    (1931). Agrees with SciPy's ``chi2.isf`` to 1e-9 relative for alpha from 1e-12 to 0.5.

    :param alpha: between 0 and 1.
    :param degrees: degrees of freedom, at least 1.
    """
    shape = degrees / 2
    third = 2 / (9 * degrees)
    start = degrees * (1 - third + normal_quantile(alpha) * math.sqrt(third)) ** 3
    x = max(start / 2, 1e-3)
    for _ in range(_STEPS):
        survival = _upper_gamma(shape, x)
        density = math.exp((shape - 1) * math.log(x) - x - math.lgamma(shape))
        step = (math.log(survival) - math.log(alpha)) * survival / density
        # A step may not leave the positive numbers.
        following = max(x + step, x / 2)
        if abs(following - x) <= _PRECISION * x:
            return 2 * following
        x = following
    return 2 * x


def _upper_gamma(shape: float, x: float) -> float:
    """Regularised upper incomplete gamma function: a series for small x, a continued fraction for large."""
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        for step in range(1, 10_000):
            term *= x / (shape + step)
            total += term
            if term < total * _PRECISION:
                break
        return 1 - scale * total
    # Lentz' method: the fraction as a product of ratios of its convergents.
    tiny = 1e-300
    below = x + 1 - shape
    ratio, inverse = 1 / tiny, 1 / below
    result = inverse
    for step in range(1, 10_000):
        factor = step * (shape - step)
        below += 2
        inverse = 1 / (factor * inverse + below or tiny)
        ratio = below + factor / ratio or tiny
        change = ratio * inverse
        result *= change
        if abs(change - 1) < _PRECISION:
            break
    return scale * result


def normal_quantile(alpha: float) -> float:
    """What a standard normal exceeds with probability ``alpha``."""
    return -_NORMAL.inv_cdf(alpha)


def psi_band(alpha: float, cells: int, n: int, m: int) -> float:
    """What PSI over ``cells`` cells exceeds with probability ``alpha`` under no drift."""
    return (1 / n + 1 / m) * chi_square_quantile(alpha, cells - 1)


def jensen_shannon_band(alpha: float, cells: int, n: int, m: int) -> float:
    """The same of the Jensen-Shannon distance (base 2), the root of the divergence."""
    return math.sqrt(psi_band(alpha, cells, n, m) / (8 * math.log(2)))


def wasserstein_band(alpha: float, weights: Sequence[float], below: Sequence[float], n: int, m: int) -> float:
    """
    The same of ``sum of weight * |F - G|``.

    :param weights: one per edge, in units of the feature.
    :param below: share of the values up to each edge, of both samples together.
    """
    largest = sum(weights)
    if largest <= 0 or not math.isfinite(largest):
        return 0.0
    mean = math.sqrt(2 / math.pi) * sum(
        weight / largest * math.sqrt(max(share * (1 - share), 0.0))
        for weight, share in zip(weights, below, strict=True)
    )
    # The variance of a step function of the values: the weights of the edges that a value lies above.
    passed = first = second = previous = 0.0
    for weight, share in zip(weights, below, strict=True):
        part = max(share - previous, 0.0)
        first += part * passed
        second += part * passed * passed
        passed += weight / largest
        previous = share
    rest = max(1 - previous, 0.0)
    first, second = first + rest * passed, second + rest * passed * passed
    deviation = math.sqrt(max(second - first * first, 0.0))
    z = normal_quantile(alpha)
    usual = math.sqrt(1 / n + 1 / m) * (mean + deviation * z)
    return largest * (usual + z * z / 6 / min(n, m))


def share_band(alpha: float, share: float, n: int, m: int) -> float:
    """
    What the difference of two observed shares exceeds, either way, with probability ``alpha``.

    :param share: the share in both samples together.
    """
    z = normal_quantile(alpha / 2)
    return z * math.sqrt(max(share * (1 - share), 0.0) * (1 / n + 1 / m)) + z * z / 6 / min(n, m)


def new_values_band(alpha: float, new: int, once: int, twice: int, n: int, m: int) -> float:
    """
    What the share of values that the reference does not have exceeds with probability ``alpha``.

    Rare values may be missing from the reference by chance. Their share is estimated by that of the values
    it has once, with a variance of about (once + 2 * twice) / n**2 (I. J. Good, "The Population Frequencies
    of Species", 1953).

    :param new: how many of the ``m`` current values are new.
    :param once: how many values the reference has once; ``twice``: twice.
    """
    missing = once / n
    pooled = min(max(new / (n + m), missing), 1.0)
    spread = normal_quantile(alpha / 2) * math.sqrt(once + 2 * twice) / n
    return missing + spread + share_band(alpha, pooled, n, m)
