# SPDX-License-Identifier: Apache-2.0
"""Expectations about keys that do not repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, Grouping
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome, map_outcome
from airflow_provider_mlbridge.quality.table import Column, Table


def _unique(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    return _grouped(expectation, table, (column,), sql.present(column))


def _compound_unique(expectation: Expectation, table: Table, _: datetime) -> Check:
    columns = tuple(table.by_name[name] for name in dict.fromkeys(expectation.kwargs["column_list"]))
    ignore = expectation.kwargs.get("ignore_row_if") or "all_values_are_missing"
    parts = [sql.present(column) for column in columns]
    where = {
        "all_values_are_missing": f"({' OR '.join(parts)})",
        "any_value_is_missing": f"({' AND '.join(parts)})",
        "never": "TRUE",
    }[ignore]
    return _grouped(expectation, table, columns, where)


def _grouped(expectation: Expectation, table: Table, columns: tuple[Column, ...], where: str) -> Check:
    def judge(values: Sequence[Any]) -> Outcome:
        return map_outcome(
            "duckdb",
            mostly=expectation.mostly,
            rows=table.rows,
            considered=int(values[0]),
            unexpected=int(values[1]),
        )

    return Check(judge, grouping=Grouping(columns, where), columns=columns)


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _compound_unique,
}
