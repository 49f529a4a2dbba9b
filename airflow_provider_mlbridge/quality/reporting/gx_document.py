# SPDX-License-Identifier: Apache-2.0
"""
Expectations as Great Expectations knows them, so that its Data Docs can show our results.

Data Docs refuse a whole page for one type that is not registered. Types of our own are therefore written as
the nearest type of Great Expectations, with a description that says in words what was expected, which Data
Docs show in place of the type's own sentence. What they really are stands in ``meta.mlbridge``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from airflow_provider_mlbridge.quality.catalog import (
    BYTES_ANOMALY,
    COLUMN_MAX_AGE,
    COLUMN_TYPE,
    DATAMART_MAX_AGE,
    NULL_RATIO_ANOMALY,
    OWN,
    ROW_COUNT_ANOMALY,
)
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.profile import ColumnProfile
from airflow_provider_mlbridge.quality.reporting.describe import expected_text, subject_text
from airflow_provider_mlbridge.quality.values import json_value

_NEAREST = {
    COLUMN_TYPE: "expect_column_values_to_be_of_type",
    COLUMN_MAX_AGE: "expect_column_max_to_be_between",
    NULL_RATIO_ANOMALY: "expect_column_proportion_of_non_null_values_to_be_between",
    ROW_COUNT_ANOMALY: "expect_table_row_count_to_be_between",
    # Nothing there is about files; of a type about the whole table only the description is shown.
    DATAMART_MAX_AGE: "expect_table_row_count_to_be_between",
    BYTES_ANOMALY: "expect_table_row_count_to_be_between",
}
_ARGUMENTS = ("column", "type_")
_COLUMNS = 200


def expectation_config(expectation: Expectation) -> dict[str, Any]:
    """The expectation as in Great Expectations' results, of a type that is registered there."""
    extra = expectation.extra
    kwargs: Mapping[str, Any] = expectation.kwargs
    meta = dict(json_value(extra.get("meta") or {}))
    fields = {name: json_value(extra[name]) for name in ("notes", "description", "id") if name in extra}
    if "description" in fields:
        # Data Docs put a description into the page as it is; nothing in it must become markup.
        fields["description"] = escape(str(fields["description"]), quote=False)
    type_ = expectation.type
    if type_ in OWN:
        meta["mlbridge"] = {"type": type_, "kwargs": json_value(kwargs)}
        text = f"{subject_text(expectation)}: {expected_text(expectation)}"
        fields.setdefault("description", escape(text, quote=False))
        kwargs = {name: kwargs[name] for name in _ARGUMENTS if name in kwargs}
        type_ = _NEAREST[type_]
    return {
        "type": type_,
        "kwargs": json_value(kwargs),
        "meta": meta,
        "severity": expectation.severity,
        **fields,
    }


def profile_document(profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """The profile of the columns, of so many that the document stays small; nothing when there is none."""
    if not profiles:
        return {}
    return {
        "columns": [item.to_dict() for item in profiles[:_COLUMNS]],
        "columns_left_out": max(0, len(profiles) - _COLUMNS),
    }
