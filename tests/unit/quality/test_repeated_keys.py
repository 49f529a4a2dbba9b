# SPDX-License-Identifier: Apache-2.0
"""Keys that occur more than once: the same whether they are numbered or grouped, and found once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines import groupings, repeated
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

Writer = Callable[..., Path]
UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
COMPOUND = {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["id", "part"]}}
numbers = st.one_of(st.none(), st.integers(-3, 12))


@pytest.mark.parametrize("grouped", [False, True], ids=["numbered", "grouped"])
@given(rows=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40), step=st.integers(1, 5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_with_a_repeated_key_are_counted_and_shown_as_python_finds_them(
    rows: list[tuple[int | None, int | None]],
    step: int,
    grouped: bool,
    write_parquet: Writer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = {"id": [row[0] for row in rows], "part": [row[1] for row in rows]}
    path = write_parquet(
        "keys.parquet", {name: pa.array(values, pa.int64()) for name, values in columns.items()}
    )
    with monkeypatch.context() as patch:
        # Counters for a few keys at a time, and a look at a few of them at a time.
        patch.setattr(repeated, "_SHARE", 2 * 10**9 // (2 * step))
        patch.setattr(repeated, "_CHUNK", 2)
        patch.setattr(groupings, "_COUNTED", 10**9 if grouped else 0)
        report = validate(str(path), [UNIQUE, COMPOUND], result_format="COMPLETE")
    single: list[object] = [key for key, _ in rows]
    compound: list[object] = [row if row != (None, None) else None for row in rows]
    for result, keys in zip(report.results, (single, compound), strict=True):
        counted = Counter(keys)
        expected = [place for place, key in enumerate(keys) if key is not None and counted[key] > 1]
        assert result.success is (not expected)
        assert result.result["unexpected_count"] == len(expected)
        assert result.result.get("unexpected_index_list", []) == expected


def test_a_key_that_repeats_is_grouped_once_for_verdict_and_rows(
    write_parquet: Writer, mocker: MockerFixture
) -> None:
    asked: list[str] = []
    original = Session.query

    def query(session: Session, text: str) -> list[tuple[Any, ...]]:
        asked.append(text)
        return original(session, text)

    mocker.patch.object(Session, "query", query)
    path = write_parquet("keys.parquet", {"id": ["a", "b", "a", None] * 50, "part": [1] * 200})
    report = validate(str(path), [UNIQUE])
    assert report.results[0].result["unexpected_count"] == 150
    assert report.results[0].result["partial_unexpected_list"]
    assert sum("GROUP BY" in text for text in asked) == 1


def test_a_key_that_repeats_more_often_than_a_counter_can_count_is_found(
    write_parquet: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupings, "_COUNTED", 0)
    rows = 2**17
    path = write_parquet("keys.parquet", {"id": [7] * rows + list(range(8, 2 * rows))})
    report = validate(str(path), [UNIQUE])
    assert report.results[0].result["unexpected_count"] == rows
