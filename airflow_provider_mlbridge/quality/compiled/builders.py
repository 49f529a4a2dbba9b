# SPDX-License-Identifier: Apache-2.0
"""What the compilers share: a check of each row, and the arguments of an expectation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.compiled.conditions import condition_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome, map_outcome
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import Bound, parse_bound

MOMENTS = ("date", "timestamp", "timestamptz")


def check_rows(
    expectation: Expectation,
    table: Table,
    domain: str,
    valid: str,
    columns: tuple[Column, ...],
    *,
    counted: str | None = None,
    with_missing: bool = True,
    as_records: bool = False,
) -> Check:
    """
    A check of each row in ``domain``: ``valid`` must be true there, not false and not null.

    Under a ``row_condition`` the rows that do not meet it do not count at all, as if they were not there.

    :param counted: the same as ``valid`` in a form that counts faster, but does not keep rows in their order.
    """
    condition = condition_of(expectation, table)
    if condition is not None:
        domain = f"{condition} AND {domain}"
    unexpected = f"{domain} AND NOT coalesce({valid}, FALSE)"
    # Rows that hold are counted, since null is not true: it takes less than to turn null into false first.
    held = f"{domain} AND {counted or valid}"

    def judge(values: Sequence[Any]) -> Outcome:
        return map_outcome(
            "duckdb",
            mostly=expectation.mostly,
            rows=table.rows if condition is None else int(values[2]),
            considered=int(values[0]),
            unexpected=int(values[0]) - int(values[1]),
            with_missing=with_missing,
        )

    measures = [sql.count_rows(domain), sql.count_rows(held)]
    if condition is not None:
        measures.append(sql.count_rows(condition))
    return Check(judge, tuple(measures), unexpected=unexpected, columns=columns, as_records=as_records)


def column_of(expectation: Expectation, table: Table, name: str = "column") -> Column:
    """The column that an argument names."""
    return table.by_name[expectation.kwargs[name]]


def bound_of(expectation: Expectation, column: Column, name: str) -> Bound | None:
    """A bound, read as suits the column."""
    return parse_bound(expectation.kwargs.get(name), name, instants=column.family in MOMENTS)
