# SPDX-License-Identifier: Apache-2.0
"""What a step wants to know of its column on the training rows, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.exceptions import FitError


@dataclass(frozen=True)
class Needs:
    """
    What a step wants to know of its column on the training rows; see :class:`Summary`.

    :param extent: number of values, smallest and largest.
    :param quantiles: which quantiles.
    :param moments: mean and standard deviation, with the smallest and the largest value but for rounding.
    :param mode: the most frequent value.
    :param categories: how often each value occurs.
    :param category_limit: look at more different values than usual.
    :param target_folds: what the labels of each value's rows add up to, by this many folds; 0 for not.
    :param target_squares: the same of their squares.
    :param magnitude: the largest absolute value that is finite.
    :param power: the power that makes the values most like a normal distribution.
    """

    extent: bool = False
    quantiles: tuple[float, ...] = ()
    moments: bool = False
    mode: bool = False
    categories: bool = False
    category_limit: int | None = None
    target_folds: int = 0
    target_squares: bool = False
    magnitude: bool = False
    power: bool = False

    def __bool__(self) -> bool:
        return self != Needs()

    @property
    def only_groups(self) -> bool:
        """Whether the column's different values, with their counts, tell everything."""
        limit = self.category_limit
        groups = Needs(mode=self.mode, categories=self.categories, category_limit=limit)
        return self == groups and (self.mode or self.categories)


@dataclass(frozen=True)
class TargetStatistics:
    """
    What the labels of the training rows add up to, exactly, by value of a column and by fold.

    A label is ``centre + unit * q`` with a whole number q. Rows without label are not counted.

    :param categories: the values, sorted; missing ones have the place after the last.
    :param centre: see above.
    :param unit: see above; a power of two.
    :param counts: rows, by fold and then by place.
    :param sums: sum of q, likewise.
    :param squares: sum of the squares of q, likewise; None when not asked for.
    :param classes: whether the labels are three or more small whole numbers, as codes of classes are.
    """

    categories: tuple[Any, ...]
    centre: float
    unit: float
    counts: Sequence[Sequence[int]]
    sums: Sequence[Sequence[int]]
    squares: Sequence[Sequence[int]] | None = None
    classes: bool = False


@dataclass(frozen=True)
class Summary:
    """
    A column on the training rows.

    :param where: step and column, for messages.
    :param rows: training rows.
    :param count: how many of them are not missing.
    :param minimum: smallest value, or None.
    :param maximum: largest value, or None.
    :param infinite: how many values are infinite.
    :param quantiles: value of each quantile asked for, by linear interpolation as in NumPy.
    :param mean: arithmetic mean.
    :param std: standard deviation of the population (divided by n, as scikit-learn does).
    :param mode: most frequent value; the smallest of several.
    :param categories: value and count, sorted by value; None when there are more than are looked at.
    :param target: what the labels add up to; None when there are more values than are looked at.
    :param magnitude: the largest absolute value that is finite, or None.
    :param power: Yeo and Johnson's lambda, then mean and standard deviation of the values so transformed.
    :param order: values by rank, from 0, for :mod:`~..chains`.
    """

    where: str
    rows: int
    count: int
    minimum: Any = None
    maximum: Any = None
    infinite: int = 0
    quantiles: Mapping[float, float] = field(default_factory=dict)
    mean: float | None = None
    std: float | None = None
    mode: Any = None
    categories: tuple[tuple[Any, int], ...] | None = None
    target: TargetStatistics | None = None
    magnitude: float | None = None
    power: tuple[float, float, float] | None = None
    order: Mapping[int, float] = field(default_factory=dict)

    def require_values(self) -> None:
        """:raises FitError: when every training value is missing."""
        if not self.count:
            raise FitError(
                f"{self.where}: all {self.rows} values of the training split are missing, so nothing can be "
                f"learned. Leave the column out, or impute a constant before this step."
            )

    def require_finite(self) -> None:
        """:raises FitError: when there is no value, or an infinite one."""
        self.require_values()
        if self.infinite:
            raise FitError(
                f"{self.where}: {self.infinite} of {self.count} values of the training split are infinite. "
                f"Bound them with a clip step before this one, or clean the datamart."
            )
