# SPDX-License-Identifier: Apache-2.0
"""Values of rows on their way from DuckDB into a report."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.table import Column

_NESTED = ("time", "list", "struct", "map", "other")


def readable(column: Column, policy: MaskingPolicy, *, nested_as_text: bool = False) -> str:
    """
    What is read of a column, in SQL.

    Points in time as numbers, since Python's types have neither their years nor their nanoseconds; of a value
    that is not shown only whether there is one.

    :param nested_as_text: whether nested values, and times of day, are read as DuckDB writes them.
    """
    if not policy.needs_value(column.name):
        return f"(CASE WHEN {sql.present(column)} THEN TRUE END)"
    if nested_as_text and column.family in _NESTED:
        return f"{column.alias}::VARCHAR"
    match column.family:
        case "date":
            return f"({column.alias} - DATE '1970-01-01')"
        case "timestamp" | "timestamptz":
            return f"epoch_{'ns' if sql.in_nanoseconds(column) else 'us'}({column.alias})"
    return column.alias


def shown(column: Column, policy: MaskingPolicy, value: Any) -> Any:
    """
    What may be said of a value read with :func:`readable`; a missing value is None, also NaN.

    :return: :data:`~..masking.DROPPED` for a value that must be left out.
    """
    if value is not None and policy.needs_value(column.name):
        if column.family == "date":
            value = str(Instant(int(value) * 86_400_000_000_000, "date"))
        elif column.family == "timestamp" or column.family == "timestamptz":
            nanoseconds = int(value) * (1 if sql.in_nanoseconds(column) else 1000)
            value = str(Instant(nanoseconds, column.family))
        elif value != value:
            value = None
    return policy.shown(column.name, column.type_name, value)
