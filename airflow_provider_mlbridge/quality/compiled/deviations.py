# SPDX-License-Identifier: Apache-2.0
"""
Expectations about how far the values of a column lie from its middle.

The middle and the spread are found first; each value is compared with them in another pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeGuard

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.aggregates import mean_measure, stdev, stdev_measures
from airflow_provider_mlbridge.quality.compiled.builders import check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.conditions import condition_of
from airflow_provider_mlbridge.quality.compiled.quantiles import interpolate, quantile_measures
from airflow_provider_mlbridge.quality.compiled.uniqueness import groups_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Column, Table


def _z_scores(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _number(expectation, table)
    threshold, double_sided = (expectation.kwargs.get(name) for name in ("threshold", "double_sided"))
    if threshold is None or double_sided is None:
        raise NotCompiledError

    def second(values: Sequence[Any]) -> Check:
        mean, deviation = values[0], stdev(values[1:])
        if not _is_finite(mean) or not _is_finite(deviation) or not deviation:
            # No score is defined, which is as expected.
            return _rows(expectation, table, column, "TRUE")
        score = f"(({column.alias}::DOUBLE - {sql.double(mean)}) / {sql.double(deviation)})"
        if double_sided:
            return _rows(expectation, table, column, f"(abs({score}) < {sql.double(abs(float(threshold)))})")
        return _rows(expectation, table, column, f"({score} < {sql.double(threshold)})")

    condition = condition_of(expectation, table)
    return Check(second, (mean_measure(column, condition), *stdev_measures(column, condition)))


def _outliers(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = _number(expectation, table)
    multiplier = float(expectation.kwargs.get("multiplier", 1.5))
    if expectation.kwargs.get("method", "iqr") == "iqr":
        return _outliers_by_quartiles(expectation, table, column, multiplier)

    def second(values: Sequence[Any]) -> Check:
        mean, deviation = values[0], stdev(values[1:])
        if not _is_finite(mean) or not _is_finite(deviation):
            return _rows(expectation, table, column, "TRUE")
        value = f"{column.alias}::DOUBLE"
        if multiplier * deviation <= 0:
            return _rows(expectation, table, column, f"({value} = {sql.double(mean)})")
        limit = sql.double(multiplier * deviation)
        return _rows(expectation, table, column, f"(abs({value} - {sql.double(mean)}) < {limit})")

    condition = condition_of(expectation, table)
    return Check(second, (mean_measure(column, condition), *stdev_measures(column, condition)))


def _outliers_by_quartiles(
    expectation: Expectation, table: Table, column: Column, multiplier: float
) -> Check:
    def second(values: Sequence[Any]) -> Check:
        first, third = interpolate(values[:3], 0.25), interpolate(values[3:], 0.75)
        if not _is_finite(first) or not _is_finite(third):
            return _rows(expectation, table, column, "TRUE")
        reach = multiplier * (float(third) - float(first))
        low, high = sql.double(float(first) - reach), sql.double(float(third) + reach)
        value = f"{column.alias}::DOUBLE"
        return _rows(expectation, table, column, f"({value} >= {low} AND {value} <= {high})")

    measures = (*quantile_measures(column, 0.25), *quantile_measures(column, 0.75))
    return Check(second, grouping=groups_of(expectation, table, column), group_measures=measures)


def _rows(expectation: Expectation, table: Table, column: Column, valid: str) -> Check:
    return check_rows(expectation, table, sql.present(column), valid, (column,))


def _is_finite(value: Any) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _number(expectation: Expectation, table: Table) -> Column:
    column = column_of(expectation, table)
    if column.family not in ("int", "float"):
        raise NotCompiledError
    return column


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_value_z_scores_to_be_less_than": _z_scores,
    "expect_column_values_to_not_be_outliers": _outliers,
}
