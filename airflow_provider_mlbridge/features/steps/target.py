# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Encode categories by the label's mean, without giving the label away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Input,
    RowFunction,
    State,
    Step,
    literal,
)
from airflow_provider_mlbridge.features.steps.categories import (
    check_finite,
    policy_checks,
    refuse,
    too_many,
)
from airflow_provider_mlbridge.features.steps.encoding import MAX_ENCODED
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

AUTO = "auto"
PRIOR = "prior"
TARGET_TYPES = (AUTO, "continuous")
MAX_FOLDS = 20


@dataclass(frozen=True)
class Target(Step):
    """
    The label's mean over the training rows of the category, drawn towards the mean over all of them.

    The rows of the training split are shared out to ``folds`` by the md5 of their keys, and the build gives
    each of them what the rows of the *other* folds say, the mean over all rows included. Otherwise a row's
    own label would be in its feature, and a model would trust the feature more than new rows justify. Rows of
    the other splits, and whatever is transformed later, get what all rows of the training split say. Rows
    without label do not count.

    With n rows of the category, whose labels have the mean t and the variance s, and with the mean p (the
    prior) and the variance v of the labels of all rows, the value is ``w * t + (1 - w) * p``, where

    - ``w = n / (n + smoothing)`` for a number (the m-estimate; equation 7 of D. Micci-Barreca, "A
      preprocessing scheme for high-cardinality categorical attributes in classification and prediction
      problems", SIGKDD Explorations 3(1), 2001), and
    - ``w = v * n / (v * n + s)`` for ``auto`` (empirical Bayes; equations 5 and 6 there): the less the labels
      of a category differ, the more its mean counts. A category of one row gets that row's label.

    Both are those of scikit-learn's ``TargetEncoder``. A category without rows has the prior.

    :param smoothing: how many rows the prior counts for, from 0, or ``auto``.
    :param folds: into how many parts the training split is divided, from 2 to 20.
    :param target_type: ``auto`` refuses labels that are three or more small whole numbers, because the mean
        of codes of classes says nothing; ``continuous`` takes them for amounts.
    :param unknown: a category that no row with a label of the training split has is an ``error``, has the
        ``prior``, is missing with ``ignore``.
    :param missing: a missing value is an ``error``, is a ``category`` with a mean of its own, has the
        ``prior``, stays missing with ``ignore``.
    """

    TYPE: ClassVar[str] = "target"
    KINDS: ClassVar[tuple[Kind, ...]] = ("bool", "int", "float", "string")
    CATEGORIES: ClassVar[bool] = True
    SUPERVISED: ClassVar[bool] = True

    smoothing: float | str = 10.0
    folds: int = 5
    target_type: str = AUTO
    unknown: str = PRIOR
    missing: str = "category"

    def validate(self) -> None:
        if isinstance(self.smoothing, str):
            options.choice(self.TYPE, "smoothing", self.smoothing, (AUTO,))
        else:
            self.set("smoothing", options.number(self.TYPE, "smoothing", self.smoothing, low=0))
        options.integer(self.TYPE, "folds", self.folds, low=2, high=MAX_FOLDS)
        options.choice(self.TYPE, "target_type", self.target_type, TARGET_TYPES)
        options.choice(self.TYPE, "unknown", self.unknown, ("error", PRIOR, "ignore"))
        options.choice(self.TYPE, "missing", self.missing, ("error", "category", PRIOR, "ignore"))

    def check_target(self, label: str, kind: Kind) -> None:
        if kind not in SCALAR:
            raise InvalidRecipeError(
                f"{self.TYPE} takes the mean of the label, but {label!r} is {kind}; it must be bool, int or "
                f"float. Of two classes, make the label 1 or true for one of them in the datamart. For more "
                f"classes, use frequency, hashing or one_hot, which do not read the label."
            )

    def needs(self, kind: Kind) -> Needs:
        return Needs(
            category_limit=MAX_ENCODED, target_folds=self.folds, target_squares=self.smoothing == AUTO
        )

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_values()
        found = summary.target
        if found is None:
            raise too_many(summary, self.TYPE, MAX_ENCODED)
        check_finite(summary, found.categories, [sum(column) for column in zip(*found.counts, strict=True)])
        if found.classes and self.target_type == AUTO:
            raise FitError(
                f"{summary.where}: the labels of the training split are three or more small whole numbers. "
                f'If they are amounts (counts, grades), set target_type="continuous". If they are codes of '
                f"classes, their mean says nothing: use frequency, hashing or one_hot, which do not read the "
                f"label."
            )
        by_fold = [sum(counts) for counts in found.counts]
        if max(by_fold) == sum(by_fold):
            raise FitError(
                f"{summary.where}: all {sum(by_fold)} rows of the training split that have a label are in "
                f"one of {self.folds} folds, so that none can learn from another. Fit on more rows, or on "
                f"rows with different keys."
            )
        state: dict[str, Any] = {
            "categories": list(found.categories),
            "centre": found.centre,
            "unit": found.unit,
            "counts": [list(counts) for counts in found.counts],
            "sums": [list(sums) for sums in found.sums],
        }
        if found.squares is not None:
            state["squares"] = [list(squares) for squares in found.squares]
        return state

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, "float")]

    def categories(self, state: State) -> Sequence[Any]:
        categories: Sequence[Any] = state["categories"]
        return categories

    def _encodings(self, state: State, *, folds: bool) -> list[tuple[list[float], float]]:
        """For all rows, and then for each fold by the rows of the others: value by place, and the prior."""
        learned = _Learned.of(state, self.smoothing, self.folds)
        return [learned.without(fold) for fold in (None, *(range(self.folds) if folds else ()))]

    def lookups(self, state: State, *, folds: bool) -> Sequence[Sequence[float | int]]:
        return [values[:-1] for values, _ in self._encodings(state, folds=folds)]

    def expressions(self, x: Input, state: State) -> list[Any]:
        import ibis

        nothing = ibis.null("float64")
        results = []
        for (values, prior), found in zip(
            self._encodings(state, folds=x.fold is not None), x.found, strict=True
        ):
            missing = {"category": literal(values[-1]), PRIOR: literal(prior)}.get(self.missing, nothing)
            unknown = literal(prior) if self.unknown == PRIOR else nothing
            results.append(ibis.cases((x.value.isnull(), missing), (x.code.isnull(), unknown), else_=found))
        everyone, *others = results
        if not others:
            return [everyone]
        fold = x.fold % literal(self.folds)
        branches = [(fold == literal(number), other) for number, other in enumerate(others)]
        return [ibis.cases(*branches, else_=everyone)]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        ((values, prior),) = self._encodings(state, folds=False)
        found = dict(zip(state["categories"], values[:-1], strict=True))
        missing = {"category": values[-1], PRIOR: prior}.get(self.missing)
        unknown = prior if self.unknown == PRIOR else None
        unknown_error, missing_error = self.unknown == "error", self.missing == "error"

        def target(value: Any) -> tuple[float | None]:
            number = missing if value is None else found.get(value, unknown)
            if number is None:
                refuse(where, value, unknown_error, missing_error, other=PRIOR)
            return (number,)

        return target

    def checks(self, x: Input, state: State) -> list[Check]:
        return policy_checks(x, self.unknown, self.missing, other=PRIOR)


@dataclass(frozen=True)
class _Learned:
    """
    The sums of a state, and those over all folds.

    Whole numbers up to the last division, so that nothing depends on an order.
    """

    centre: float
    unit: float
    smoothing: float | str
    parts: Sequence[Sequence[Sequence[int]]]
    totals: Sequence[Sequence[int]]

    @classmethod
    def of(cls, state: State, smoothing: float | str, folds: int) -> _Learned:
        names = ("counts", "sums", "squares") if smoothing == AUTO else ("counts", "sums")
        parts = [state[name] for name in names]
        shape = [len(state["categories"]) + 1] * folds
        if any([len(column) for column in part] != shape for part in parts):
            raise ValueError("the sums are not those of the categories and folds")
        totals = [[sum(column) for column in zip(*part, strict=True)] for part in parts]
        if not sum(totals[0]):
            raise ValueError("the sums are those of no rows")
        return cls(float(state["centre"]), float(state["unit"]), smoothing, parts, totals)

    def without(self, fold: int | None) -> tuple[list[float], float]:
        """Value by place, that of missing values last, and the prior, by the rows outside this fold."""
        columns = [
            totals if fold is None else [all_ - own for all_, own in zip(totals, part[fold], strict=True)]
            for totals, part in zip(self.totals, self.parts, strict=True)
        ]
        wholes = [sum(column) for column in columns]
        prior = wholes[1] / wholes[0]
        if isinstance(self.smoothing, str):
            variance = _squares_of_distances(*wholes) / wholes[0]
            values = self._bayes(zip(*columns, strict=True), prior, variance)
        else:
            values = self._m_estimates(zip(*columns, strict=True), prior, self.smoothing)
        return [self.centre + self.unit * value for value in values], self.centre + self.unit * prior

    @staticmethod
    def _m_estimates(rows: Iterator[tuple[int, ...]], prior: float, smoothing: float) -> Iterator[float]:
        for count, total in rows:
            yield (total + smoothing * prior) / (count + smoothing) if count else prior

    @staticmethod
    def _bayes(rows: Iterator[tuple[int, ...]], prior: float, variance: float) -> Iterator[float]:
        for count, total, squares in rows:
            if not count:
                yield prior
                continue
            own = variance * count
            whole = own + _squares_of_distances(count, total, squares) / count
            weight = own / whole if whole else 0.0
            yield weight * (total / count) + (1 - weight) * prior


def _squares_of_distances(count: int, total: int, squares: int) -> float:
    """Sum of the squared distances from the mean."""
    return (count * squares - total * total) / count
