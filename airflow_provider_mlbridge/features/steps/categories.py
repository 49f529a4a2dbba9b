# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps on categories, each with a policy for categories never seen and for missing ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FeatureValueError, FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Input,
    RowFunction,
    State,
    Step,
    as_int,
    flag,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

UNKNOWN = ("error", "other", "ignore")
MISSING = ("error", "category", "ignore")
MAX_ONE_HOT = 1_000
MAX_ORDINAL = 10_000

_UNKNOWN_ADVICE = (
    'Fit on data that has them, or set unknown="{}" or unknown="ignore". To see them, compare the column '
    "with the categories in the fitted recipe's state (state.json)."
)
MISSING_ADVICE = 'Impute before this step, or set missing="category" or missing="ignore".'


@dataclass(frozen=True)
class _CategoryStep(Step):
    KINDS: ClassVar[tuple[Kind, ...]] = ("bool", "int", "float", "string")
    DISCRETE: ClassVar[bool] = True
    CATEGORIES: ClassVar[bool] = True

    unknown: str = "error"
    missing: str = "ignore"

    def validate(self) -> None:
        options.choice(self.TYPE, "unknown", self.unknown, UNKNOWN)
        options.choice(self.TYPE, "missing", self.missing, MISSING)

    def categories(self, state: State) -> Sequence[Any]:
        categories: Sequence[Any] = state["categories"]
        return categories

    def checks(self, x: Input, state: State) -> list[Check]:
        return policy_checks(x, self.unknown, self.missing)


@dataclass(frozen=True)
class OneHot(_CategoryStep):
    """
    One int8 column, 0 or 1, for each category of the training split: ``<name>_<category>``.

    The column itself leaves the output. With ``min_frequency`` or ``max_categories`` the rarer categories
    have no column of their own and are treated like unknown ones. Categories that differ only in case, which
    many engines cannot tell apart as column names, get a number: ``carrier_UA``, ``carrier_ua_2``.

    :param min_frequency: least number of training rows of a category, or, below 1, least share of them.
    :param max_categories: keep only this many, the most frequent; at equal counts the later in sort order,
        as scikit-learn does.
    :param unknown: a category without a column is an ``error``, is counted in the column
        ``<name>__other``, or, with ``ignore``, has 0 everywhere.
    :param missing: a missing value is an ``error``, is a ``category`` with the column ``<name>__null``, or,
        with ``ignore``, has 0 everywhere.
    """

    TYPE: ClassVar[str] = "one_hot"
    REPLACES: ClassVar[bool] = False
    FLAGS: ClassVar[bool] = True

    min_frequency: float | int | None = None
    max_categories: int | None = None

    def validate(self) -> None:
        super().validate()
        if self.min_frequency is not None:
            options.number(self.TYPE, "min_frequency", self.min_frequency, low=0)
            if isinstance(self.min_frequency, float) and self.min_frequency >= 1:
                raise InvalidRecipeError(
                    f"{self.TYPE}: min_frequency={self.min_frequency!r} must be an integer number of rows, "
                    f"or a share below 1"
                )
        if self.max_categories is not None:
            options.integer(self.TYPE, "max_categories", self.max_categories, low=1, high=MAX_ONE_HOT)
        if self.unknown == "error" and (self.min_frequency, self.max_categories) != (None, None):
            raise InvalidRecipeError(
                f"{self.TYPE}: min_frequency and max_categories leave categories without a column, so "
                f'unknown="error" would refuse training rows; set unknown="other" or unknown="ignore"'
            )

    def needs(self, kind: Kind) -> Needs:
        return Needs(categories=True)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_values()
        counts = list(known_categories(summary, self.TYPE, MAX_ORDINAL))
        if self.min_frequency is not None:
            least = self.min_frequency
            least = least * summary.rows if isinstance(least, float) else least
            counts = [item for item in counts if item[1] >= least]
        if self.max_categories is not None and len(counts) > self.max_categories:
            by_count = sorted(range(len(counts)), key=lambda index: counts[index][1])
            kept = sorted(by_count[-self.max_categories :])
            counts = [counts[index] for index in kept]
        if len(counts) > MAX_ONE_HOT:
            raise FitError(
                f"{summary.where}: {len(counts)} categories would make as many columns, {MAX_ONE_HOT} are "
                f"allowed. Set min_frequency or max_categories, or use ordinal."
            )
        return {"categories": [value for value, _ in counts]}

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        if state is None:
            return []
        names = [f"{stem}_{_text(value)}" for value in state["categories"]]
        names += [f"{stem}__other"] if self.unknown == "other" else []
        names += [f"{stem}__null"] if self.missing == "category" else []
        return [(name, "int") for name in _distinct(names)]

    def expressions(self, x: Input, state: State) -> list[Any]:
        results = [flag(x.code == literal(place)) for place in range(len(state["categories"]))]
        results += [flag(is_unknown(x.value, x.code))] if self.unknown == "other" else []
        results += [flag(x.value.isnull())] if self.missing == "category" else []
        return results

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        places = {category: index for index, category in enumerate(state["categories"])}
        other = len(places) if self.unknown == "other" else None
        null = len(places) + (other is not None) if self.missing == "category" else None
        width = len(places) + (other is not None) + (null is not None)
        unknown_error, missing_error = self.unknown == "error", self.missing == "error"

        def one_hot(value: Any) -> list[int]:
            place = null if value is None else places.get(value, other)
            if place is None:
                refuse(where, value, unknown_error, missing_error)
            result = [0] * width
            if place is not None:
                result[place] = 1
            return result

        return one_hot


@dataclass(frozen=True)
class Ordinal(_CategoryStep):
    """
    The place of the category in an order, from 0, as int32.

    :param order: the categories in order; without it those of the training split, sorted.
    :param unknown: a category without a place is an ``error``, gets -1 with ``other``, is missing with
        ``ignore``.
    :param missing: a missing value is an ``error``, gets the place after the last with ``category``, stays
        missing with ``ignore``.
    """

    TYPE: ClassVar[str] = "ordinal"

    order: Sequence[str | int | bool] | None = None

    def validate(self) -> None:
        super().validate()
        if self.order is not None:
            self.set("order", options.scalars(self.TYPE, "order", self.order))
            if len(self.order) > MAX_ORDINAL:
                raise InvalidRecipeError(f"{self.TYPE}: order has more than {MAX_ORDINAL} values")

    def needs(self, kind: Kind) -> Needs:
        if self.order is None:
            return Needs(categories=True)
        expected: type = {"string": str, "bool": bool}.get(kind, int)
        if type(self.order[0]) is not expected:
            raise InvalidRecipeError(
                f"order has {type(self.order[0]).__name__} values such as {self.order[0]!r}, "
                f"the column is a {kind}"
            )
        if kind == "float" and len({float(value) for value in self.order}) < len(self.order):
            raise InvalidRecipeError(
                "order has integers that are one number as floats, which the column's values are; leave all "
                "but one of them out"
            )
        return Needs()

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        if self.order is not None:
            order = [float(value) for value in self.order] if kind == "float" else list(self.order)
            return {"categories": order}
        summary.require_values()
        counts = known_categories(summary, self.TYPE, MAX_ORDINAL)
        return {"categories": [value for value, _ in counts]}

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, "int")]

    def expressions(self, x: Input, state: State) -> list[Any]:
        import ibis

        nothing = ibis.null("int64")
        missing = literal(len(state["categories"])) if self.missing == "category" else nothing
        unknown = literal(-1) if self.unknown == "other" else nothing
        return [
            as_int(ibis.cases((x.value.isnull(), missing), (x.code.isnull(), unknown), else_=x.code), "int32")
        ]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        places = {category: index for index, category in enumerate(state["categories"])}
        other = -1 if self.unknown == "other" else None
        null = len(places) if self.missing == "category" else None
        unknown_error, missing_error = self.unknown == "error", self.missing == "error"

        def ordinal(value: Any) -> tuple[int | None]:
            place = null if value is None else places.get(value, other)
            if place is None:
                refuse(where, value, unknown_error, missing_error)
            return (place,)

        return ordinal


def is_unknown(value: Any, code: Any) -> Any:
    """Ibis boolean, never NULL: there is a value, but not one that has a place."""
    return value.notnull() & code.isnull()


def policy_checks(x: Input, unknown: str, missing: str, *, other: str = "other") -> list[Check]:
    """
    What to count for these policies, of which ``error`` is one.

    :param other: the name of a policy that gives unknown categories a value.
    """
    return [
        Check("unknown", is_unknown(x.value, x.code), unknown == "error", _UNKNOWN_ADVICE.format(other)),
        Check("missing", x.value.isnull(), missing == "error", MISSING_ADVICE),
    ]


def refuse(where: str, value: Any, unknown_error: bool, missing_error: bool, *, other: str = "other") -> None:
    """:raises FeatureValueError: when the value is missing, or unknown, and that is an error."""
    if value is None and missing_error:
        raise FeatureValueError(f"{where}: the value is missing. {MISSING_ADVICE}")
    if value is not None and unknown_error:
        raise FeatureValueError(f"{where}: the category is unknown. {_UNKNOWN_ADVICE.format(other)}")


def known_categories(summary: Summary, step: str, limit: int) -> Sequence[tuple[Any, int]]:
    """Values and their counts. :raises FitError: when there are too many, or infinite ones."""
    if summary.categories is None or len(summary.categories) > limit:
        raise too_many(summary, step, limit)
    check_finite(summary, *zip(*summary.categories, strict=True))
    return summary.categories


def check_finite(summary: Summary, categories: Sequence[Any] = (), counts: Sequence[int] = ()) -> None:
    """:raises FitError: when a category is infinite."""
    infinite = sum(
        count
        for value, count in zip(categories, counts, strict=False)
        if isinstance(value, float) and math.isinf(value)
    )
    if infinite:
        raise FitError(
            f"{summary.where}: {infinite} of {summary.count} values of the training split are infinite: that "
            f"is no category. Bound them with a clip step before this one, or clean the datamart."
        )


def too_many(summary: Summary, step: str, limit: int) -> FitError:
    """The error for a column with more categories than a step takes."""
    return FitError(
        f"{summary.where}: the training split has too many different values for categories ({step} takes "
        f"{limit:,}). Is this an identifier? Group rare values in the datamart, use hashing, or leave the "
        f"column out."
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _distinct(names: list[str]) -> list[str]:
    """Names that stay different when case is ignored: the second of two gets ``_2``, and so on."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, count = name, 1
        while candidate.lower() in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate.lower())
        result.append(candidate)
    return result
