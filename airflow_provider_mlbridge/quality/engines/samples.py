# SPDX-License-Identifier: Apache-2.0
"""Values that are not as expected, for those expectations that failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.masking import mask
from airflow_provider_mlbridge.quality.outcome import (
    SAMPLE_LIMIT,
    Outcome,
    with_sample,
)
from airflow_provider_mlbridge.quality.table import Column
from airflow_provider_mlbridge.quality.values import json_value


def add_samples(
    session: Session, checks: Mapping[int, Check], outcomes: Mapping[int, Outcome], unmasked: Collection[str]
) -> dict[int, Outcome]:
    """
    The outcomes with values that are not as expected, masked unless their column may be shown.

    :param outcomes: one per check, by the same key.
    """
    return {key: _add_sample(session, checks[key], outcome, unmasked) for key, outcome in outcomes.items()}


def _add_sample(session: Session, check: Check, outcome: Outcome, unmasked: Collection[str]) -> Outcome:
    count = outcome.result.get("unexpected_count")
    if count is None or "partial_unexpected_list" in outcome.result:
        return outcome
    hidden = all(column.name not in unmasked for column in check.columns)
    sample: list[Any]
    if not count:
        sample = []
    elif not check.columns:
        sample = [None] * min(count, SAMPLE_LIMIT)
    elif hidden:
        # Nothing is read that is not shown.
        sample = [_shown(check.columns, None, unmasked, check)] * min(count, SAMPLE_LIMIT)
    else:
        try:
            rows = session.query(_sample_query(check, session.source))
        except errors():
            # The verdict stands; what is shown beside it is not worth losing it.
            return outcome
        sample = [_shown(check.columns, row, unmasked, check) for row in rows]
    return replace(outcome, result=with_sample(outcome.result, sample))


def _sample_query(check: Check, source: str) -> str:
    columns = ", ".join(column.alias for column in check.columns)
    if check.grouping is None:
        return f"SELECT {columns} FROM {source} WHERE {check.unexpected} LIMIT {SAMPLE_LIMIT}"  # noqa: S608
    keys = [sql.key(column) for column in check.grouping.keys]
    named = ", ".join(f"{key} AS k{position}" for position, key in enumerate(keys))
    same = " AND ".join(f"{key} IS NOT DISTINCT FROM d.k{position}" for position, key in enumerate(keys))
    return (
        f"WITH d AS (SELECT {named} FROM {source} WHERE {check.grouping.where} GROUP BY ALL "  # noqa: S608
        f"HAVING count(*) > 1 LIMIT {SAMPLE_LIMIT}) SELECT {columns} FROM {source} JOIN d ON {same} "
        f"LIMIT {SAMPLE_LIMIT}"
    )


def _shown(
    columns: Sequence[Column], row: Sequence[Any] | None, unmasked: Collection[str], check: Check
) -> Any:
    """One unexpected value in the form of Great Expectations: a value, a pair, or a mapping for a key."""
    values = []
    for position, column in enumerate(columns):
        if row is not None and (column.name in unmasked or row[position] is None):
            values.append(json_value(row[position]))
        else:
            values.append(mask(column.type_name))
    if len(values) == 1:
        return values[0]
    if check.grouping is None:
        return values
    return {column.name: value for column, value in zip(columns, values, strict=True)}
