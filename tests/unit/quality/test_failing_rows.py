# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""The rows shown for a failed expectation: the right ones, the first ones, and no more than may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, Session, open_session
from airflow_provider_mlbridge.quality.failing_rows import FailingRows, check_failing_rows, check_key_columns
from airflow_provider_mlbridge.quality.first_rows import add_rows
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.storage import local_files
from tests.unit.quality.quarantine_support import expect, write

PLAIN = MaskingPolicy.parse({"*": "plain"})


def failing(
    datamart: str,
    expectations: list[dict[str, Any]],
    policy: MaskingPolicy = PLAIN,
    changes: dict[int, Outcome] | None = None,
    **options: Any,
) -> list[dict[str, Any] | None]:
    """What is shown of each expectation."""
    report = validate(datamart, expectations)
    wanted = {key: result.expectation for key, result in enumerate(report.results)}
    outcomes = {key: result.outcome for key, result in enumerate(report.results)} | (changes or {})
    table = read_table(report.snapshot)
    with local_files(report.snapshot) as paths, open_session(table, paths, Limits("500MB", 1)) as session:
        found = add_rows(session, wanted, outcomes, [FailingRows(table, wanted, outcomes, policy, **options)])
    return [found[key].result.get("failing_rows") for key in wanted]


@pytest.fixture
def mart(tmp_path: Path) -> str:
    """Two months; the second file of the first has no rows."""
    for name, ids, values in (
        ("month=1/a", [1, 2, 3], [5, -1, None]),
        ("month=1/b", [], []),
        ("month=2/c", [4, 5, 5], [200, 7, 300]),
    ):
        columns = {"id": pa.array(ids, pa.int64()), "v": pa.array(values, pa.int64())}
        write(tmp_path / f"mart/{name}.parquet", pa.table(columns))
    return str(tmp_path / "mart")


BETWEEN = expect("column_values_to_be_between", column="v", min_value=0, max_value=100)


def test_rows_with_place_keys_and_values(mart: str) -> None:
    between, null, unique, pair, mean = failing(
        mart,
        [
            BETWEEN,
            expect("column_values_to_not_be_null", column="v"),
            expect("column_values_to_be_unique", column="id"),
            expect("column_pair_values_a_to_be_greater_than_b", column_A="id", column_B="month"),
            expect("column_mean_to_be_between", column="v", max_value=0),
        ],
        key_columns=["month", "id"],
    )
    a, c = {"file": "month=1/a.parquet"}, {"file": "month=2/c.parquet"}
    assert between == {
        "shown": [
            {**a, "row": 1, "file_row": 1, "keys": {"month": 1, "id": 2}, "values": {"v": -1}},
            {**c, "row": 3, "file_row": 0, "keys": {"month": 2, "id": 4}, "values": {"v": 200}},
            {**c, "row": 5, "file_row": 2, "keys": {"month": 2, "id": 5}, "values": {"v": 300}},
        ],
        "total": 3,
        "cap": 20,
    }
    assert null is not None
    assert [row["values"] for row in null["shown"]] == [{"v": None}]
    assert unique is not None
    assert [(row["row"], row["values"]) for row in unique["shown"]] == [(4, {"id": 5}), (5, {"id": 5})]
    assert pair is not None
    assert [row["values"] for row in pair["shown"]] == [{"id": 1, "month": 1}]
    assert mean is None


def test_the_cap_is_visible(mart: str) -> None:
    (found,) = failing(mart, [BETWEEN], limit=2)
    assert found is not None
    assert ([row["row"] for row in found["shown"]], found["total"], found["cap"]) == ([1, 3], 3, 2)
    assert failing(mart, [BETWEEN], limit=0) == [{"shown": [], "total": 3, "cap": 0}]


def test_what_held_shows_nothing(mart: str) -> None:
    tolerant = {**BETWEEN, "kwargs": {**BETWEEN["kwargs"], "mostly": 0.1}}
    assert failing(mart, [tolerant]) == [None]


def test_the_key_of_the_suite(mart: str) -> None:
    wanted = [
        BETWEEN,
        expect("column_values_to_be_unique", column="id"),
        expect("compound_columns_to_be_unique", column_list=["id", "v"]),
    ]
    found = failing(mart, wanted)[0]
    assert found is not None
    assert found["shown"][0]["keys"] == {"id": 2, "v": -1}
    (none,) = failing(mart, [BETWEEN])
    assert none is not None
    assert none["shown"][0]["keys"] == {}


def test_each_column_as_its_policy_says(mart: str) -> None:
    def rows(policies: dict[str, str]) -> list[dict[str, Any]]:
        policy = MaskingPolicy.parse(policies)
        (found,) = failing(mart, [BETWEEN], policy, key_columns=["id", "month"])
        assert found is not None
        shown: list[dict[str, Any]] = found["shown"]
        return shown

    masked = rows({})
    assert {str(row["values"]) + str(row["keys"]) for row in masked} == {
        "{'v': '*** (int64)'}{'id': '*** (int64)', 'month': '*** (int64)'}"
    }
    hashed = rows({"month": "hash", "id": "drop", "v": "plain"})
    assert [row["values"]["v"] for row in hashed] == [-1, 200, 300]
    assert hashed[0]["keys"]["month"] != hashed[1]["keys"]["month"] == hashed[2]["keys"]["month"]
    assert all(list(row["keys"]) == ["month"] for row in hashed)
    assert [row["values"] for row in rows({"*": "drop"})] == [{}, {}, {}]


def test_values_of_every_type(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "v": [-1],
        "day": [date(2024, 2, 29)],
        "at": pa.array([datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("us")),
        "nano": pa.array([1], pa.timestamp("ns", "Europe/Berlin")),
        "zoned": pa.array([datetime(2024, 1, 2, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        "late": pa.array([253402300800000], pa.timestamp("ms")),
        "time": [time(1, 2, 3)],
        "decimal": [Decimal("1.50")],
        "list": [[1, 2]],
        "struct": [{"a": 1, "at": datetime(2024, 1, 1, tzinfo=UTC)}],
        "binary": [b"\x01\xff"],
        "nan": [float("nan")],
        "long": ["x" * 5000],
    }
    path = write(tmp_path / "mart.parquet", pa.table(columns))
    (found,) = failing(str(path), [BETWEEN], key_columns=list(columns))
    assert found is not None
    (row,) = found["shown"]
    assert row["file"] == "mart.parquet"
    assert row["keys"] == {
        "v": -1,
        "day": "2024-02-29",
        "at": "2024-01-02T03:04:05",
        "nano": "1970-01-01T00:00:00.000000001+00:00",
        "zoned": "2024-01-02T00:00:00+00:00",
        "late": "+010000-01-01T00:00:00",
        "time": "01:02:03",
        "decimal": 1.5,
        "list": "[1, 2]",
        "struct": "{'a': 1, 'at': '2024-01-01 00:00:00+00'}",
        "binary": "01ff",
        "nan": None,
        "long": "x" * 199 + "…",
    }


@dataclass(frozen=True)
class Located(Outcome):
    unexpected_positions: Any = None


def test_rows_that_great_expectations_named(mart: str) -> None:
    result = {"element_count": 6, "unexpected_count": 3}
    outcome = Located("gx", False, result, unexpected_positions=np.array([5, 0, 3]))
    (found,) = failing(mart, [BETWEEN], changes={0: outcome}, limit=2)
    assert found is not None
    assert [(row["row"], row["file"], row["file_row"], row["values"]["v"]) for row in found["shown"]] == [
        (0, "month=1/a.parquet", 0, 5),
        (3, "month=2/c.parquet", 0, 200),
    ]


def test_rows_that_nobody_named(mart: str) -> None:
    wanted = expect("column_values_to_be_json_parseable", column="v")
    held = validate(mart, [BETWEEN]).results[0].outcome
    outcome = replace(held, engine="gx")
    (found,) = failing(mart, [wanted], changes={0: outcome})
    assert found == {
        "shown": [],
        "total": 3,
        "cap": 20,
        "note": "the engine that judged it (gx) does not say which rows they are",
    }


def test_one_look_up_for_all_that_is_shown(mart: str, mocker: MockerFixture) -> None:
    query = mocker.spy(Session, "query")
    unique = expect("column_values_to_be_unique", column="id")
    report = validate(mart, [BETWEEN, unique], failing_rows=2, masking={"*": "plain"})
    asked = [call.args[1] for call in query.call_args_list]
    located = [text for text in asked if "file_row_number" in text]
    # One per expectation, one for where the files begin, and one for where keys repeat.
    assert len(located) == 2 + 1 + 1
    for result, places, values in zip(
        report.results, ([1, 3, 5], [4, 5]), ([-1, 200, 300], [5, 5]), strict=True
    ):
        assert result.result["partial_unexpected_index_list"] == places
        assert result.result["partial_unexpected_list"] == values
        assert [row["row"] for row in result.result["failing_rows"]["shown"]] == places[:2]


def test_a_key_that_cannot_be_read_is_no_loss_for_the_lists(tmp_path: Path) -> None:
    columns = pa.table({"id": list(range(1000)), "v": [200] * 1000})
    path = write(tmp_path / "mart.parquet", columns, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(raw)
    (result,) = validate(str(path), [BETWEEN], key_columns=["id"], masking={"*": "plain"}).results
    assert result.result["partial_unexpected_index_list"] == list(range(20))
    assert result.result["failing_rows"]["shown"] == []
    assert "could not read mart.parquet" in result.result["failing_rows"]["note"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["idd"], 20), r"key_columns: there is no column 'idd'. Did you mean 'id'"),
        (("id", 20), "key_columns must be a list of names, got 'id'"),
        (([], -1), "failing_rows must be a number from 0 to 1000, got -1"),
        (([], True), "got True"),
    ],
)
def test_wrong_arguments(mart: str, arguments: tuple[Any, Any], message: str) -> None:
    table = read_table(validate(mart, [BETWEEN]).snapshot)
    with pytest.raises(ConfigurationError, match=message):
        check_failing_rows(*arguments)
        check_key_columns(arguments[0], table)


def test_rows_of_the_most_severe_failures_are_shown_when_too_many_fail(
    mart: str, mocker: MockerFixture
) -> None:
    mocker.patch("airflow_provider_mlbridge.quality.first_rows.EXPECTATIONS_SHOWN", 2)
    severities = ("info", "critical", "warning", "critical")
    tolerant = {**BETWEEN, "kwargs": {**BETWEEN["kwargs"], "mostly": 0.1}}
    report = validate(mart, [tolerant, *({**BETWEEN, "severity": severity} for severity in severities)])
    assert "failing_rows" not in report.results[0].result
    found = [result.result["failing_rows"] for result in report.results[1:]]
    assert [len(one["shown"]) for one in found] == [0, 3, 0, 3]
    assert [one["total"] for one in found] == [3] * 4
    note = "rows are shown of 2 expectations of one validation, the most severe failures first"
    assert [one.get("note") for one in found] == [note, None, note, None]
    assert report.results[0].result["unexpected_rows_note"] == note
    lists = ["partial_unexpected_list" in result.result for result in report.results]
    assert lists == [False, False, True, False, True]
