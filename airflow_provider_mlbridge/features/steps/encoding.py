# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps that turn categories into one number, however many categories there are: by how frequent they are,
and by hashing. For those that learn from the label see :mod:`~.target`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.hashing import md5_number, md5_number_of
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
from airflow_provider_mlbridge.features.steps.categories import (
    MAX_ONE_HOT,
    MISSING,
    MISSING_ADVICE,
    UNKNOWN,
    known_categories,
    policy_checks,
    refuse,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

MAX_ENCODED = 200_000
"""The most different values that are looked up one by one."""

SHARE, COUNT = "share", "count"


@dataclass(frozen=True)
class Frequency(Step):
    """
    How frequent the category is in the training split.

    :param measure: ``share`` of the training rows (a float; those with a missing value are in the whole), or
        ``count`` of them (an integer).
    :param unknown: a category that the training split does not have is an ``error``, has frequency 0 with
        ``other``, is missing with ``ignore``.
    :param missing: a missing value is an ``error``, is as frequent as missing values are with ``category``,
        has frequency 0 with ``other``, stays missing with ``ignore``.
    """

    TYPE: ClassVar[str] = "frequency"
    KINDS: ClassVar[tuple[Kind, ...]] = ("bool", "int", "float", "string")
    CATEGORIES: ClassVar[bool] = True

    measure: str = SHARE
    unknown: str = "other"
    missing: str = "ignore"

    def validate(self) -> None:
        options.choice(self.TYPE, "measure", self.measure, (SHARE, COUNT))
        options.choice(self.TYPE, "unknown", self.unknown, UNKNOWN)
        options.choice(self.TYPE, "missing", self.missing, (*MISSING, "other"))

    def needs(self, kind: Kind) -> Needs:
        return Needs(categories=True, category_limit=MAX_ENCODED)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_values()
        counted = known_categories(summary, self.TYPE, MAX_ENCODED)
        return {
            "rows": summary.rows,
            "missing": summary.rows - summary.count,
            "categories": [value for value, _ in counted],
            "counts": [count for _, count in counted],
        }

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, "float" if self.measure == SHARE else "int")]

    def categories(self, state: State) -> Sequence[Any]:
        categories: Sequence[Any] = state["categories"]
        return categories

    def _measured(self, count: int, state: State) -> float | int:
        return count / state["rows"] if self.measure == SHARE else count

    def lookups(self, state: State, *, folds: bool) -> Sequence[Sequence[float | int]]:
        return [[self._measured(count, state) for count in state["counts"]]]

    def _others(self, state: State) -> tuple[float | int | None, float | int | None]:
        """What missing values and unknown categories get."""
        nothing = self._measured(0, state)
        missing = {"category": self._measured(state["missing"], state), "other": nothing}.get(self.missing)
        return missing, nothing if self.unknown == "other" else None

    def expressions(self, x: Input, state: State) -> list[Any]:
        import ibis

        ibis_type = "float64" if self.measure == SHARE else "int64"
        missing, unknown = (
            ibis.null(ibis_type) if value is None else literal(value) for value in self._others(state)
        )
        found = ibis.cases((x.value.isnull(), missing), (x.code.isnull(), unknown), else_=x.found[0])
        return [found if self.measure == SHARE else as_int(found, "int64")]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        (numbers,) = self.lookups(state, folds=False)
        found = dict(zip(state["categories"], numbers, strict=True))
        missing, unknown = self._others(state)
        unknown_error, missing_error = self.unknown == "error", self.missing == "error"

        def frequency(value: Any) -> tuple[float | int | None]:
            number = missing if value is None else found.get(value, unknown)
            if number is None:
                refuse(where, value, unknown_error, missing_error)
            return (number,)

        return frequency

    def checks(self, x: Input, state: State) -> list[Check]:
        return policy_checks(x, self.unknown, self.missing)


@dataclass(frozen=True)
class Hashing(Step):
    """
    Number of the bucket, from 0, that the value falls into by its md5, as int32.

    Learns nothing, so that no category is unknown; different ones may share a bucket. The bucket is the
    number in the first eight hexadecimal digits of ``md5(salt + ":" + value)``, modulo ``buckets``. The value
    is its text in UTF-8: integers in decimal, booleans as ``true`` and ``false``, dates as ``2024-01-31``.

    :param buckets: how many, from 2 to 2**31 - 1; at most 1,000 with ``one_hot``.
    :param salt: changes which values share a bucket.
    :param one_hot: make an int8 column, 0 or 1, for each bucket, ``<name>_<bucket>``, instead of the number;
        the column itself then leaves the output.
    :param missing: a missing value is an ``error``; with ``category`` it has the bucket after the last, or
        the column ``<name>__null``; with ``ignore`` it stays missing, or has 0 everywhere.
    """

    TYPE: ClassVar[str] = "hashing"
    KINDS: ClassVar[tuple[Kind, ...]] = ("bool", "int", "string", "date")
    CATEGORIES: ClassVar[bool] = True
    DISCRETE: ClassVar[bool] = True

    buckets: int
    salt: str = ""
    one_hot: bool = False
    missing: str = "ignore"

    def validate(self) -> None:
        options.boolean(self.TYPE, "one_hot", self.one_hot)
        high = MAX_ONE_HOT if self.one_hot else 2**31 - 1
        options.integer(self.TYPE, "buckets", self.buckets, low=2, high=high)
        if not isinstance(self.salt, str):
            raise InvalidRecipeError(f"{self.TYPE}: salt={self.salt!r} must be a string")
        options.choice(self.TYPE, "missing", self.missing, MISSING)
        # One step, whose results are of two kinds.
        self.set("REPLACES", not self.one_hot)
        self.set("FLAGS", self.one_hot)

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        if not self.one_hot:
            return [(stem, "int")]
        names = [f"{stem}_{bucket}" for bucket in range(self.buckets)]
        names += [f"{stem}__null"] if self.missing == "category" else []
        return [(name, "int") for name in names]

    def expressions(self, x: Input, state: State) -> list[Any]:
        text = x.value if x.kind == "string" else x.value.cast("string")
        bucket = md5_number(literal(f"{self.salt}:") + text) % literal(self.buckets)
        missing = self.missing == "category"
        if self.one_hot:
            flags = [flag(bucket == literal(number)) for number in range(self.buckets)]
            return [*flags, flag(x.value.isnull())] if missing else flags
        return [as_int(bucket.fill_null(literal(self.buckets)) if missing else bucket, "int32")]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        prefix, buckets, missing = f"{self.salt}:", self.buckets, self.missing
        null = buckets if missing == "category" else None
        text = _TEXTS.get(kind, str)

        def bucket_of(value: Any) -> int | None:
            if value is not None:
                return md5_number_of(prefix + text(value)) % buckets
            if missing == "error":
                raise FeatureValueError(f"{where}: the value is missing. {MISSING_ADVICE}")
            return null

        if not self.one_hot:
            return lambda value: (bucket_of(value),)
        width = buckets + (null is not None)

        def flags(value: Any) -> list[int]:
            result = [0] * width
            bucket = bucket_of(value)
            if bucket is not None:
                result[bucket] = 1
            return result

        return flags

    def checks(self, x: Input, state: State) -> list[Check]:
        return [Check("missing", x.value.isnull(), self.missing == "error", MISSING_ADVICE)]


_TEXTS: dict[Kind, Any] = {"bool": lambda value: "true" if value else "false"}
