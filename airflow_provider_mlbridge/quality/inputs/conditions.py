# SPDX-License-Identifier: Apache-2.0
"""Conditions on rows in the form in which suites of Great Expectations keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_mlbridge.quality.inputs.thresholds import NotExpressibleError
from airflow_provider_mlbridge.quality.values import parse_instant

Condition = dict[str, Any]


def is_null(column: str) -> Condition:
    """Rows without a value in the column."""
    return {"type": "nullity", "column": {"name": column}, "is_null": True}


def not_null(column: str) -> Condition:
    """Rows with a value in the column."""
    return {"type": "nullity", "column": {"name": column}, "is_null": False}


def compare(column: str, operator: str, value: float | str) -> Condition:
    """Rows whose value compares so: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``."""
    return {
        "type": "comparison", "column": {"name": column}, "operator": operator, "parameter": value
    }  # fmt: skip


def all_of(conditions: Sequence[Condition]) -> Condition:
    """Rows for which all of them hold."""
    return conditions[0] if len(conditions) == 1 else {"type": "and", "conditions": list(conditions)}


def any_of(conditions: Sequence[Condition]) -> Condition:
    """Rows for which at least one of them holds."""
    return conditions[0] if len(conditions) == 1 else {"type": "or", "conditions": list(conditions)}


def members(
    column: str, values: Iterable[Any], *, negated: bool, text_column: bool = False
) -> list[Condition]:
    """
    Whether a value is among others: one condition per kind of value, since a list has one kind.

    :param negated: whether it must not be among them; rows without a value then count as well.
    :param text_column: whether the column is known to hold text.
    :raises NotExpressibleError: for flags and dates, which such a list cannot hold.
    """
    texts: list[str] = []
    numbers: list[float] = []
    for value in values:
        if isinstance(value, str):
            if not text_column and parse_instant(value) is not None:
                raise NotExpressibleError("Great Expectations' conditions on rows hold no dates in lists")
            texts.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append(value)
        else:
            raise NotExpressibleError(
                "Great Expectations' conditions on rows hold texts and numbers in lists, no "
                f"{type(value).__name__}"
            )
    operator = "NOT_IN" if negated else "IN"
    found: Iterable[list[Any]] = (texts, numbers)
    return [
        {"type": "comparison", "column": {"name": column}, "operator": operator, "parameter": part}
        for part in found
        if part
    ]
