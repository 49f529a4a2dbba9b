# SPDX-License-Identifier: Apache-2.0
"""
Expressions over the columns of a row: parsed from text, checked, and computed for rows and for tables.

A text passes two allow-lists, one for its signs and words and one for its structure, and becomes a tree of
:class:`~.parsing.Node`. Nothing of it is ever executed or handed to an engine as text.
"""

from __future__ import annotations

from airflow_provider_mlbridge.features.expressions.inference import Like, check, result_kind, result_type
from airflow_provider_mlbridge.features.expressions.missing import expanded_size
from airflow_provider_mlbridge.features.expressions.parsing import Node, columns_of, normalised, parse
from airflow_provider_mlbridge.features.expressions.rows import inner_value, row_result
from airflow_provider_mlbridge.features.expressions.tables import TableResult

__all__ = [
    "Like",
    "Node",
    "TableResult",
    "check",
    "columns_of",
    "expanded_size",
    "inner_value",
    "normalised",
    "parse",
    "result_kind",
    "result_type",
    "row_result",
]
