# SPDX-License-Identifier: Apache-2.0
"""
What is known of a column without reading it: steps that keep the order of values have made it of another one.

If f never falls when x rises, the smallest f(x) is f of the smallest x, and so for every rank. Where missing
values were filled in, m of them with c, the value of rank r is c, kept between the values that had the ranks
r - m and r. So a clip by quantiles behind an imputation by the mean is fitted from the same passes over the
data as the imputation, and what comes behind both needs no pass to find its extremes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_mlbridge.exceptions import FeatureValueError
from airflow_provider_mlbridge.features.kinds import SCALAR
from airflow_provider_mlbridge.features.plan import Operation
from airflow_provider_mlbridge.features.quantiles import interpolate, positive_zero, ranks_of
from airflow_provider_mlbridge.features.steps import Needs, Summary
from airflow_provider_mlbridge.features.steps.base import State


@dataclass(frozen=True)
class Chain:
    """
    How a column came about.

    :param source: the column of the datamart that it was made of.
    :param links: indices of the operations on the way, in order.
    :param exact: whether what is known of the order holds to the last bit.
    :param fills: whether missing values may have been filled in.
    """

    source: str
    links: tuple[int, ...] = ()
    exact: bool = True
    fills: bool = False

    def tells(self, needs: Needs) -> bool:
        """Whether all that an operation needs follows from the order of the source's values."""
        order = Needs(extent=needs.extent, quantiles=needs.quantiles)
        return self.exact and bool(self.links) and bool(needs) and needs == order

    def derive(
        self,
        operations: Sequence[Operation],
        states: Sequence[State | None],
        source: Summary,
        needs: Needs,
    ) -> Summary | None:
        """
        The column's summary.

        :param operations: all of the recipe.
        :param states: their states; those of the links are known.
        :param source: the summary of the source, with the values of the ranks that
            :func:`source_ranks` tells.
        :return: None when values may have become missing or infinite on the way, which takes a closer look.
        """
        known = [source.minimum, source.maximum, *source.order.values()]
        if any(value is not None and not math.isfinite(value) for value in known):
            return None
        count, low, high, order = source.count, source.minimum, source.maximum, dict(source.order)
        wanted = ranks_of(needs.quantiles, source.rows if self.fills else count) if needs.quantiles else []
        for index in self.links:
            state = states[index]
            if state is None:
                return None
            function = operations[index].row_function(state)
            try:
                ends = [None if value is None else _number(function(value)[0]) for value in (low, high)]
                order = {rank: _number(function(value)[0]) for rank, value in order.items()}
            except (FeatureValueError, OverflowError, _NotFiniteError):
                return None
            low, high = ends
            filled = function(None)[0]
            if filled is None or count == source.rows:
                continue
            constant, missing = float(filled), source.rows - count
            low = constant if low is None else min(low, constant)
            high = constant if high is None else max(high, constant)
            order = {rank: _between(order, rank, missing, constant) for rank in wanted}
            count = source.rows
        quantiles = {
            quantile: interpolate(quantile, count, order)
            for quantile in sorted(set(needs.quantiles))
            if count
        }
        return replace(
            source,
            count=count,
            minimum=positive_zero(low),
            maximum=positive_zero(high),
            quantiles=quantiles,
            order={},
        )


class _NotFiniteError(Exception):
    """A step made something missing or infinite of a finite value."""


def _number(value: Any) -> float:
    if value is None or not math.isfinite(value):
        raise _NotFiniteError
    return float(value)


def _between(order: Mapping[int, float], rank: int, missing: int, constant: float) -> float:
    """The value of a rank once ``missing`` values of ``constant`` have been put in."""
    low, high = order.get(rank - missing, -math.inf), order.get(rank, math.inf)
    return min(max(constant, low), high)


def source_ranks(quantiles: Sequence[float], count: int, rows: int, *, fills: bool) -> list[int]:
    """
    Ranks in a column from which the quantiles follow, of the column itself or of one made of it.

    :param count: how many values it has, of so many rows.
    :param fills: whether the other rows get a value, whichever.
    """
    if not fills:
        return ranks_of(quantiles, count) if count else []
    wanted = ranks_of(quantiles, rows)
    shifted = (rank - (rows - count) for rank in wanted)
    return sorted({rank for rank in (*wanted, *shifted) if 0 <= rank < count})


def chains_of(operations: Sequence[Operation], aliases: Mapping[str, str]) -> list[Chain | None]:
    """
    For each operation, how its column came about; None when the order of nothing else tells of it.

    :param aliases: columns of the datamart that can be asked for.
    """
    current: dict[str, Chain | None] = {name: Chain(name) for name in aliases}
    found: list[Chain | None] = []
    for index, operation in enumerate(operations):
        chain = current.get(operation.column) if operation.kind in SCALAR else None
        found.append(chain)
        current |= dict.fromkeys(name for name, _ in operation.outputs(None))
        monotone = operation.step.MONOTONE
        if chain is not None and monotone:
            current[operation.stem] = Chain(
                chain.source,
                (*chain.links, index),
                chain.exact and monotone == "exact",
                chain.fills or operation.step.FILLS,
            )
    return found
