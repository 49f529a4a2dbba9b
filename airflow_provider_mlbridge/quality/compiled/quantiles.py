# SPDX-License-Identifier: Apache-2.0
"""
Expectations about medians and quantiles.

They are found among the values with their numbers of rows, in order, instead of by holding all values in
memory. Positions and interpolation are those of NumPy's ``quantile``, which pandas uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.column_types import Family
from airflow_provider_mlbridge.quality.compiled.builders import column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.uniqueness import groups_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome, between_outcome
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value

_RELATIVE, _ABSOLUTE = 1e-4, 1e-8
"""How far outside of its range a quantile may lie for Great Expectations."""


def quantile_measures(column: Column, quantile: float) -> tuple[str, str, str]:
    """Measures over groups: the rows, the value at the place of a quantile or before it, and the next one."""
    place = f"floor((total - 1)::DOUBLE * {float(quantile)!r}::DOUBLE)"
    value = f"{column.alias}::INTEGER" if column.family == "bool" else column.alias
    before, after = (f"min({value}) FILTER (WHERE upto > {place}{more})" for more in ("", " + 1"))
    return "max(total)", before, after


def interpolate(values: Sequence[Any], quantile: float, method: str = "linear") -> Any:
    """
    The quantile, or None when there is no value, or none between two infinite ones.

    :param values: those of :func:`quantile_measures`.
    """
    rows, low, high = values
    if not rows:
        return None
    # At the end there is no next one.
    high = low if high is None else high
    place = (int(rows) - 1) * float(quantile)
    weight = place - math.floor(place)
    match method:
        case "nearest":
            return low if round(place) == math.floor(place) else high
        case "lower":
            return low
        case "higher":
            return high if weight else low
        case "midpoint":
            weight = 0.5 if weight else 0.0
    # In this order for the same rounding.
    found = low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)
    return None if math.isnan(found) else found


def _median(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _number(expectation, table, "bool")

    def judge(values: Sequence[Any]) -> Outcome:
        rows, low, high = values
        # An even number of values has two in the middle.
        observed = (low + high) / 2 if rows and rows % 2 == 0 else low
        return between_outcome("duckdb", observed, expectation.kwargs)

    grouping = groups_of(expectation, table, column)
    return Check(judge, grouping=grouping, group_measures=quantile_measures(column, 0.5))


def _quantiles(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _number(expectation, table)
    method = expectation.kwargs.get("allow_relative_error") or "nearest"
    wanted: Mapping[str, Sequence[Any]] = expectation.kwargs["quantile_ranges"]
    quantiles, ranges = wanted["quantiles"], wanted["value_ranges"]

    def judge(values: Sequence[Any]) -> Outcome:
        found = [
            interpolate(values[3 * index : 3 * index + 3], quantile, method)
            for index, quantile in enumerate(quantiles)
        ]
        inside = [_inside(value, *bounds) for value, bounds in zip(found, ranges, strict=True)]
        observed = {"quantiles": list(quantiles), "values": [json_value(value) for value in found]}
        return Outcome(
            "duckdb", all(inside), {"observed_value": observed, "details": {"success_details": inside}}
        )

    measures = tuple(measure for quantile in quantiles for measure in quantile_measures(column, quantile))
    return Check(judge, grouping=groups_of(expectation, table, column), group_measures=measures)


def _inside(value: Any, low: float | None, high: float | None) -> bool:
    if value is None:
        return False
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return low <= value <= high or _near(value, low) or _near(value, high)


def _near(value: float, bound: float) -> bool:
    if math.isinf(bound) or math.isinf(value):
        return value == bound
    return abs(value - bound) <= _ABSOLUTE + _RELATIVE * abs(bound)


def _number(expectation: Expectation, table: Table, *more: Family) -> Column:
    column = column_of(expectation, table)
    if column.family not in ("int", "float", *more):
        raise NotCompiledError
    return column


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_median_to_be_between": _median,
    "expect_column_quantile_values_to_be_between": _quantiles,
}
