# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps that make the number of a bin of a number. Bins are closed on the left; missing stays missing."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Input,
    RowFunction,
    State,
    as_float,
    as_int,
    literal,
)
from airflow_provider_mlbridge.features.steps.numeric import NumberStep, finite_quantile
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

OUT_OF_RANGE = ("clip", "null", "error")
MAX_BINS = 255

_ADVICE = 'Add edges, or set out_of_range="clip" or out_of_range="null".'


@dataclass(frozen=True)
class _BinStep(NumberStep):
    DISCRETE: ClassVar[bool] = True

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, "int")]


def _number_of_bin(number: Any, inner_edges: Sequence[float]) -> Any:
    import ibis

    if not inner_edges:
        return as_int(ibis.cases((number.notnull(), literal(0))), "int32")
    return as_int(
        reduce(operator.add, [(number >= literal(edge)).cast("int32") for edge in inner_edges]), "int32"
    )


@dataclass(frozen=True)
class Bins(_BinStep):
    """
    Number of the bin, from 0, between given edges.

    ``edges=[0, 10, 20]`` makes the bins [0, 10) and [10, 20]: each is closed on the left, and the last one on
    the right too, as in ``numpy.histogram``.

    :param edges: at least two numbers in rising order, at most 256.
    :param out_of_range: what becomes of values below the first edge or above the last one: ``clip`` puts them
        in the outer bins, ``null`` makes them missing, ``error`` refuses them. They are counted each time.
    """

    TYPE: ClassVar[str] = "bins"

    edges: Sequence[float] = ()
    out_of_range: str = "clip"

    def validate(self) -> None:
        given: object = self.edges
        if isinstance(given, str) or not isinstance(given, Sequence) or not 2 <= len(given) <= MAX_BINS + 1:
            raise InvalidRecipeError(
                f"{self.TYPE}: edges={given!r} must be a list of 2 to {MAX_BINS + 1} numbers"
            )
        edges = tuple(options.number(self.TYPE, "edges", edge) for edge in given)
        for left, right in pairwise(edges):
            if left >= right:
                raise InvalidRecipeError(f"{self.TYPE}: edges must rise, but {right} comes after {left}")
        self.set("edges", edges)
        options.choice(self.TYPE, "out_of_range", self.out_of_range, OUT_OF_RANGE)

    def _outside(self, number: Any) -> Any:
        return (number < literal(self.edges[0])) | (number > literal(self.edges[-1]))

    def expressions(self, x: Input, state: State) -> list[Any]:
        import ibis

        number = as_float(x.value, x.kind)
        place = _number_of_bin(number, self.edges[1:-1])
        if self.out_of_range == "null":
            place = ibis.ifelse(self._outside(number), ibis.null("int32"), place)
        return [place]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        low, *inner, high = self.edges
        policy = self.out_of_range

        def place(value: Any) -> tuple[int | None]:
            if value is None:
                return (None,)
            number = float(value)
            if policy != "clip" and not low <= number <= high:
                if policy == "error":
                    raise FeatureValueError(
                        f"{where}: a value is outside the range from {low:g} to {high:g}. {_ADVICE}"
                    )
                return (None,)
            return (bisect_right(inner, number),)

        return place

    def checks(self, x: Input, state: State) -> list[Check]:
        outside = self._outside(as_float(x.value, x.kind)).fill_null(False)
        return [Check("out_of_range", outside, self.out_of_range == "error", _ADVICE)]


@dataclass(frozen=True)
class QuantileBins(_BinStep):
    """
    Number of the bin, from 0, of bins that hold equally many training values each.

    The edges are quantiles by linear interpolation, as in scikit-learn's ``KBinsDiscretizer`` with
    ``quantile_method="linear"`` and ``encode="ordinal"``; equal edges are merged, so there may be fewer
    bins than asked for. Bins are closed on the left; values outside the training range are in the outer bins.

    :param bins: how many, from 2 to 255.
    """

    TYPE: ClassVar[str] = "quantile_bins"

    bins: int = 5

    def validate(self) -> None:
        options.integer(self.TYPE, "bins", self.bins, low=2, high=MAX_BINS)

    @property
    def _quantiles(self) -> tuple[float, ...]:
        return tuple(index / self.bins for index in range(self.bins + 1))

    def needs(self, kind: Kind) -> Needs:
        return Needs(extent=True, quantiles=self._quantiles)

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        summary.require_values()
        edges: list[float] = []
        for quantile in self._quantiles:
            edge = finite_quantile(summary, quantile)
            # Interpolation may tell equal values apart in their last bit.
            if not edges or edge - edges[-1] > 1e-14 * max(abs(edge), abs(edges[-1])):
                edges.append(edge)
        return {"inner_edges": edges[1:-1]}

    def expressions(self, x: Input, state: State) -> list[Any]:
        return [_number_of_bin(as_float(x.value, x.kind), state["inner_edges"])]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        edges = list(state["inner_edges"])
        # As a float, like in tables: an integer of more than 53 bits may be on the other side of an edge.
        return lambda value: (None,) if value is None else (bisect_right(edges, float(value)),)
