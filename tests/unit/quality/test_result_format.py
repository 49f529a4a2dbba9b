# SPDX-License-Identifier: Apache-2.0
"""``result_format``: the keys and the lists of Great Expectations, for both engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.compiled import compile_check
from airflow_provider_mlbridge.quality.engines import gx
from airflow_provider_mlbridge.quality.engines.duckdb_runner import run_checks
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, Session, open_session
from airflow_provider_mlbridge.quality.engines.samples import Samples
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.first_rows import add_rows
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.result_formats import INDEX_CAP, ResultFormat, shape
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.quality.values import json_value
from airflow_provider_mlbridge.storage import pin_snapshot

from .reference import reference

TABLE = pa.table(
    {
        "k": [10, 20, 30, 40, 50, 60],
        "a": [1, None, 3, None, 5, 1],
        "b": [1, 2, 3, None, 4, 6],
        "s": ["x", "y", None, "z", "x", "x"],
        "f": [0.5, None, 2.5, float("inf"), 0.5, -1.0],
    }
)
ABOVE = {"type": "comparison", "column": {"name": "k"}, "operator": ">", "parameter": 10}
PLAIN = MaskingPolicy(default="plain")
SUITE: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["y"]}),
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["y", "p", "q", "r", "t", "u"]}),
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["x", "y", "z"]}),
    ("expect_column_values_to_be_between", {"column": "f", "max_value": 0, "mostly": 0.1}),
    ("expect_column_values_to_be_null", {"column": "s"}),
    ("expect_column_values_to_be_unique", {"column": "s"}),
    ("expect_column_values_to_be_unique", {"column": "a", "row_condition": ABOVE}),
    ("expect_column_pair_values_to_be_equal", {"column_A": "a", "column_B": "b"}),
    ("expect_multicolumn_values_to_be_equal", {"column_list": ["a", "b"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["a", "s"]}),
    ("expect_column_max_to_be_between", {"column": "a", "max_value": 2}),
]


@st.composite
def formats(draw: st.DrawFn) -> str | dict[str, Any]:
    level = draw(st.sampled_from(["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]))
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["partial_unexpected_count"] = draw(st.sampled_from([0, 1, 2, 20]))
    if draw(st.booleans()):
        options["unexpected_index_column_names"] = draw(st.sampled_from([["k"], ["k", "f"], ["s"]]))
    for name in ("include_unexpected_rows", "exclude_unexpected_values", "return_unexpected_index_query"):
        if draw(st.integers(0, 3)) == 0:
            options[name] = draw(st.booleans())
    return {"result_format": level, **options} if options else level


def judge(path: Path, type_: str, kwargs: Any, asked: Any, policy: MaskingPolicy = PLAIN) -> Outcome:
    """By DuckDB, as :func:`validate` does."""
    table = read_table(pin_snapshot(str(path)))
    expectations = {0: Expectation(type_, kwargs)}
    checks = {0: compile_check(expectations[0], table, datetime.now(UTC))}
    paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    wanted = ResultFormat.parse(asked)
    with open_session(table, paths, Limits()) as session:
        found = run_checks(session, checks, policy)
        views = [Samples(table, checks, policy, wanted)]
        outcome = add_rows(session, expectations, found, views, checks=checks)[0]
    return Outcome("duckdb", outcome.success, shape(outcome.result, wanted))


def judge_by_gx(
    path: Path, type_: str, kwargs: Any, asked: Any, policy: MaskingPolicy = PLAIN, positions: bool = False
) -> Outcome:
    table = read_table(pin_snapshot(str(path)))
    expectations = {0: Expectation(type_, kwargs)}
    built = gx.build(expectations)
    return gx.run(
        expectations, built, table, [path], memory_bytes=10**9, policy=policy,
        result_format=ResultFormat.parse(asked), with_positions=positions,
    )[0]  # fmt: skip


def normal(value: Any) -> Any:
    """A result of Great Expectations as strict JSON, with one kind of missing value."""
    if hasattr(value, "to_dict"):
        value = value.to_dict("records")
    plain = json_value(value)
    return json.loads(json.dumps(plain).replace('"NaN"', "null"), parse_int=float)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("formats") / "table.parquet"
    pq.write_table(TABLE, path)
    return path


def assert_same_result(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> None:
    assert ours.keys() == theirs.keys(), where
    for key, value in theirs.items():
        expected = normal(value)
        if key.endswith("_counts"):
            # In the order of the counts; that of values with the same count is a matter of their type.
            mine = json.loads(json.dumps(ours[key]), parse_int=float)
            assert sorted(map(str, mine)) == sorted(map(str, expected)), f"{key}: {where}"
        elif key.endswith("_percent") or "percent_" in key:
            assert ours[key] == pytest.approx(expected), f"{key}: {where}"
        else:
            assert json.loads(json.dumps(ours[key])) == expected, f"{key}: {where}"


@settings(
    max_examples=8, phases=(Phase.generate,), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(asked=formats(), suite=st.lists(st.sampled_from(SUITE), min_size=4, max_size=4))
def test_results_hold_what_those_of_great_expectations_hold(
    path: Path, asked: Any, suite: list[tuple[str, dict[str, Any]]]
) -> None:
    for type_, kwargs in suite:
        theirs = reference()(TABLE, type_, kwargs, dict(asked) if isinstance(asked, dict) else asked)
        assert theirs is not None
        result = dict(theirs[1])
        names = asked.get("unexpected_index_column_names") if isinstance(asked, dict) else None
        if type_.endswith("to_be_null") and names and "element_count" in result:
            result["unexpected_index_column_names"] = names
        for judged in (judge, judge_by_gx):
            ours = judged(path, type_, kwargs, asked)
            where = f"{judged.__name__}: {type_} {kwargs} as {asked}: {ours.result} against {result}"
            assert ours.success is theirs[0], where
            assert_same_result(ours.result, result, where)


ENGINES = pytest.mark.parametrize("judged", [judge, judge_by_gx])
EVERYTHING = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["k"],
    "include_unexpected_rows": True,
}


@ENGINES
def test_values_are_shown_as_the_policy_says(path: Path, judged: Any) -> None:
    type_, kwargs = "expect_column_values_to_be_in_set", {"column": "s", "value_set": ["x"]}
    masked = judged(path, type_, kwargs, EVERYTHING, MaskingPolicy({"k": "plain"})).result
    assert masked["unexpected_list"] == ["***", "***"]
    assert masked["partial_unexpected_counts"] == [{"value": "***", "count": 2}]
    assert masked["unexpected_index_list"] == [{"s": "***", "k": 20}, {"s": "***", "k": 40}]
    assert masked["unexpected_rows"][1] == {
        "k": 40, "a": None, "b": None, "s": "***", "f": "*** (float64)",
    }  # fmt: skip
    dropped = judged(path, type_, kwargs, EVERYTHING, MaskingPolicy({"s": "drop"})).result
    assert "unexpected_list" not in dropped
    assert "partial_unexpected_list" not in dropped
    assert dropped["unexpected_index_list"] == [{"k": "*** (int64)"}] * 2
    assert "s" not in dropped["unexpected_rows"][0]
    hashed = judged(path, type_, kwargs, "BASIC", MaskingPolicy({"s": "hash"})).result
    first, second = hashed["partial_unexpected_list"]
    assert first.startswith("hash:")
    assert first != second


@ENGINES
def test_pairs_and_records_leave_out_what_is_dropped(path: Path, judged: Any) -> None:
    policy = MaskingPolicy({"a": "drop", "b": "plain"})
    pair = {"column_A": "a", "column_B": "b"}
    result = judged(path, "expect_column_pair_values_to_be_equal", pair, "BASIC", policy).result
    assert result["partial_unexpected_list"] == [[None, 2], [None, 4], [None, 6]]
    columns = {"column_list": ["a", "b"]}
    result = judged(path, "expect_multicolumn_values_to_be_equal", columns, "BASIC", policy).result
    assert result["partial_unexpected_list"] == [{"b": 2}, {"b": 4}, {"b": 6}]


def test_nothing_masked_is_read_when_counts_say_it_all(path: Path, mocker: MockerFixture) -> None:
    query = mocker.spy(Session, "query")
    kwargs = {"column": "s", "value_set": ["y"]}
    outcome = judge(path, "expect_column_values_to_be_in_set", kwargs, "BASIC", MaskingPolicy())
    assert outcome.result["partial_unexpected_list"] == ["***"] * 4
    assert query.call_count == 1


@pytest.mark.parametrize(
    ("type_", "kwargs", "expected"),
    [
        ("expect_column_values_to_be_between", {"column": "v", "min_value": 2}, [0, 2, 5, 7, 8]),
        ("expect_column_values_to_be_unique", {"column": "v"}, list(range(9))),
        ("expect_column_values_to_not_be_in_set", {"column": "v", "value_set": [1, 7, 8, 9, 10]}, [2, 5, 8]),
        ("expect_column_values_to_not_be_null", {"column": "w"}, [1, 4]),
        (
            "expect_column_pair_values_to_be_in_set",
            {
                "column_A": "v",
                "column_B": "w",
                "value_pairs_set": [[value, "w"] for value in range(3, 10)],
                "row_condition": " or ".join(f"v == {value}" for value in (0, 1, 7, 8, 9, 10)),
                "condition_parser": "pandas",
            },
            [0, 2, 5, 7, 8],
        ),
    ],
)
def test_rows_are_numbered_over_all_files(
    tmp_path: Path, type_: str, kwargs: dict[str, Any], expected: list[int]
) -> None:
    values = [0, 2, 1, 3, 2, 1, 3, 0, 1]
    for name, part in [("a", values[:2]), ("b", []), ("c", values[2:6]), ("d", values[6:])]:
        words = [None if value == 2 else "w" for value in part]
        table = pa.table({"v": pa.array(part, pa.int64()), "w": pa.array(words, pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    result = judge(tmp_path, type_, kwargs, "COMPLETE").result
    assert result["unexpected_index_list"] == expected
    assert result["unexpected_index_query"] == f"df.filter(items={expected}, axis=0)"


def test_long_lists_end_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    rows = INDEX_CAP + 5
    pq.write_table(pa.table({"v": range(rows)}), path)
    for type_, kwargs in [
        ("expect_column_values_to_be_between", {"column": "v", "max_value": -1}),
        ("expect_column_values_to_not_match_regex", {"column": "v", "regex": "(?=[0-9])"}),
    ]:
        judged = judge if type_.endswith("between") else judge_by_gx
        result = judged(path, type_, kwargs, "COMPLETE").result
        assert result["unexpected_count"] == rows
        assert result["unexpected_list"] == list(range(200))
        assert result["unexpected_index_list"] == list(range(INDEX_CAP))
        assert result["unexpected_index_list_cap"] == INDEX_CAP
        assert "unexpected_index_list_cap" not in judged(path, type_, kwargs, "SUMMARY").result


def test_great_expectations_says_which_rows_on_request(path: Path) -> None:
    kwargs = {"column": "a", "strictly": True, "row_condition": ABOVE}
    outcome = judge_by_gx(path, "expect_column_values_to_be_increasing", kwargs, "BASIC", positions=True)
    assert outcome.unexpected_positions is not None
    assert outcome.unexpected_positions.dtype == np.dtype("int64")
    assert list(outcome.unexpected_positions) == [5]
    assert "partial_unexpected_index_list" not in outcome.result
    without = judge_by_gx(path, "expect_column_values_to_be_increasing", kwargs, "BASIC")
    assert without.unexpected_positions is None
    assert without == outcome
    median = {"column": "a", "min_value": 0}
    whole = judge_by_gx(path, "expect_column_median_to_be_between", median, "COMPLETE", positions=True)
    assert (whole.unexpected_positions, whole.result) == (None, {"observed_value": 2})


@pytest.mark.parametrize(
    ("type_", "kwargs", "instead"),
    [
        ("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT * FROM {batch}"}, "row_condition"),
        (
            "expect_table_row_count_to_equal_other_table",
            {"other_table_name": "t"},
            "use expect_table_row_count_to_equal with",
        ),
        (
            "expect_query_results_to_match_comparison",
            {"base_query": "q", "comparison_data_source_name": "d", "comparison_query": "q"},
            "reconcile the sources",
        ),
    ],
)
def test_what_needs_a_database_says_what_to_use_instead(
    path: Path, type_: str, kwargs: dict[str, Any], instead: str
) -> None:
    outcome = judge_by_gx(path, type_, kwargs, "BASIC")
    assert outcome.success is None
    assert f"judges {type_} in databases only" in str(outcome.error)
    assert instead in str(outcome.error)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("FULL", "must be one of 'BOOLEAN_ONLY', 'BASIC', 'SUMMARY', 'COMPLETE'"),
        (3, "must be one of"),
        ({}, "without the key 'result_format'"),
        ({"result_format": "BASIC", "partial_count": 1}, "unknown key 'partial_count'"),
        ({"result_format": "BASIC", "partial_unexpected_count": -1}, "a number from 0"),
        ({"result_format": "BASIC", "unexpected_index_column_names": [1]}, "a list of column names"),
        ({"result_format": "BASIC", "include_unexpected_rows": "yes"}, "true or false"),
    ],
)
def test_formats_that_make_no_sense_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ResultFormat.parse(value)


def test_shaping_twice_takes_nothing_back(path: Path) -> None:
    type_, kwargs = SUITE[0]
    complete = judge(path, type_, kwargs, "COMPLETE").result
    for level in ("COMPLETE", "SUMMARY", "BASIC", "BOOLEAN_ONLY"):
        assert shape(complete, ResultFormat.parse(level)) == judge(path, type_, kwargs, level).result
    kept = shape({**complete, "failing_rows": {"shown": []}}, ResultFormat.parse("BASIC"))
    assert kept["failing_rows"] == {"shown": []}
    assert ResultFormat.parse(ResultFormat("BASIC")) == ResultFormat("BASIC")
    assert ResultFormat.parse(None).level == "SUMMARY"


def test_rows_that_the_footers_count_are_still_found(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "a": pa.array([1, None, 3, None])}), path)
    present = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}
    report = validate(
        str(path), [present], result_format="COMPLETE", unmasked_columns=["id"], key_columns=["id"]
    )
    (result,) = report.results
    assert result.engine == "footer"
    assert result.result["unexpected_index_list"] == [1, 3]
    assert [row["keys"] for row in result.result["failing_rows"]["shown"]] == [{"id": 2}, {"id": 4}]
