# SPDX-License-Identifier: Apache-2.0
"""Suites and shorthands are checked before any data is read; messages name what is wrong and valid."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidExpectationError
from airflow_provider_mlbridge.quality.catalog import COMPILED, EXPECTATION_TYPES, GX_CORE, RUNTIME_KWARGS
from airflow_provider_mlbridge.quality.column_types import parse_type
from airflow_provider_mlbridge.quality.engines.gx import build, import_gx
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.quality.inputs.shorthands import expand
from airflow_provider_mlbridge.quality.inputs.suite import load_suite, parse_expectations

BETWEEN = "expect_column_values_to_be_between"


def parse(type_: str, /, **kwargs: Any) -> Any:
    return parse_expectation({"type": type_, "kwargs": kwargs}, "expectations[0]")


def test_the_catalog_is_that_of_great_expectations() -> None:
    import_gx()
    import great_expectations.expectations.core as core
    from great_expectations.expectations.registry import get_expectation_impl

    assert core is not None
    common = {"id", "meta", "notes", "description", "rendered_content", "severity", "windows"}
    # A field that some classes list by mistake: it holds the class's own documentation.
    common |= {"library_metadata", *RUNTIME_KWARGS}
    for name, known in GX_CORE.items():
        fields = get_expectation_impl(name).__fields__
        assert set(fields) - common == known.kwargs, name
        assert {key for key, field in fields.items() if field.required} == known.required, name


def test_compiled_types_are_known() -> None:
    assert EXPECTATION_TYPES.keys() >= COMPILED


@pytest.mark.parametrize(
    ("type_", "kwargs", "words"),
    [
        (
            "expect_column_values_to_be_betwen",
            {},
            ["no expectation type", f"'{BETWEEN}'", "EXPECTATION_TYPES"],
        ),
        (BETWEEN, {"column": "a", "min": 1}, ["unknown argument 'min'", "'min_value'", "strict_max"]),
        (BETWEEN, {"min_value": 1}, ["'column' is missing"]),
        (BETWEEN, {"column": "a"}, ["min_value and max_value cannot both be missing"]),
        (
            BETWEEN,
            {"column": "a", "min_value": 3, "max_value": 1},
            ["min_value 3 is greater than max_value 1"],
        ),
        (BETWEEN, {"column": "a", "min_value": "soon"}, ["min_value", "'soon'", "ISO 8601"]),
        (BETWEEN, {"column": "a", "min_value": float("nan")}, ["NaN"]),
        (BETWEEN, {"column": "a", "min_value": 1, "max_value": "2024-01-01"}, ["cannot be compared"]),
        (BETWEEN, {"column": "a", "min_value": 1, "mostly": 1.5}, ["mostly", "from 0 to 1", "1.5"]),
        (BETWEEN, {"column": "a", "min_value": 1, "strict_min": "yes"}, ["strict_min", "true or false"]),
        (BETWEEN, {"column": "a", "min_value": {"$PARAMETER": "low"}}, ["suite parameter 'low'"]),
        (BETWEEN, {"column": 3, "min_value": 1}, ["name of a column", "3"]),
        (
            "expect_column_values_to_match_regex",
            {"column": "a", "regex": "[a"},
            ["'[a'", "not a regular expression"],
        ),
        ("expect_column_values_to_be_in_set", {"column": "a", "value_set": "xyz"}, ["value_set", "list"]),
        ("expect_column_values_to_be_of_type", {"column": "a", "type_": "int65"}, ["'int65'", "'int64'"]),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a", "a"]}, ["at least two columns"]),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["a", "b"], "ignore_row_if": "neither"},
            ["ignore_row_if", "'any_value_is_missing'"],
        ),
        ("expect_table_row_count_to_be_between", {"min_value": 1.5}, ["whole number", "1.5"]),
        ("mlbridge_datamart_max_age", {"max_age_seconds": 0}, ["positive number of seconds"]),
    ],
)
def test_a_wrong_expectation_is_refused(type_: str, kwargs: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidExpectationError) as caught:
        parse(type_, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"expectations[0] ({type_})")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("expect_x", ["mapping with 'type' and 'kwargs'", "str"]),
        ({"kwargs": {}}, ["no 'type'", "kwargs"]),
        ({"expectation_type": "expect_x"}, ["before 1.0", "'type'"]),
        ({"type": BETWEEN, "kwargs": [1]}, ["'kwargs' must be a mapping"]),
        ({"type": BETWEEN, "args": {}}, ["unknown key 'args'", "'severity'"]),
        ({"type": BETWEEN, "severity": "fatal"}, ["severity", "'critical'", "'fatal'"]),
    ],
)
def test_a_malformed_entry_is_refused(item: object, words: list[str]) -> None:
    with pytest.raises(InvalidExpectationError) as caught:
        parse_expectation(item, "expectations[0]")
    for word in words:
        assert word in str(caught.value)


def test_severity_is_critical_and_runtime_arguments_are_passed_over() -> None:
    expectation = parse(BETWEEN, column="a", min_value=1, result_format="SUMMARY", batch_id="x")
    assert expectation.severity == "critical"
    assert expectation.kwargs == {"column": "a", "min_value": 1}


def test_objects_of_great_expectations_are_taken() -> None:
    gx = import_gx()
    between = gx.expectations.ExpectColumnValuesToBeBetween(column="a", min_value=1, severity="warning")
    suite = gx.ExpectationSuite(name="mine", expectations=[between])
    (parsed,) = parse_expectations([between], "expectations")
    name, loaded = load_suite(suite)
    assert (parsed.type, parsed.kwargs["min_value"], parsed.severity) == (BETWEEN, 1, "warning")
    assert name == "mine"
    assert loaded[0].kwargs == parsed.kwargs


def test_a_suite_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    entry = {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "id": "1", "meta": {"team": "x"}}
    path.write_text(json.dumps({"name": "nightly", "expectations": [entry], "meta": {}}))
    name, expectations = load_suite(str(path))
    assert name == "nightly"
    assert expectations[0].extra == {"meta": {"team": "x"}, "id": "1"}
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="is no JSON"):
        load_suite(str(path))
    with pytest.raises(InvalidExpectationError, match="a list 'expectations'.*'checks'"):
        load_suite({"checks": []})


def test_shorthands_become_expectations() -> None:
    expanded = expand(
        schema={"a": "int64"},
        not_null=["a"],
        unique=["a", ["a", "b"], ("c",)],
        min_rows=5,
        max_age={"column": "t", "max_age": timedelta(hours=2)},
    )
    assert [(item.type, dict(item.kwargs)) for item in expanded] == [
        ("mlbridge_column_type", {"column": "a", "type_": "int64"}),
        ("expect_column_values_to_not_be_null", {"column": "a"}),
        ("expect_column_values_to_be_unique", {"column": "a"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]}),
        ("expect_column_values_to_be_unique", {"column": "c"}),
        ("expect_table_row_count_to_be_between", {"min_value": 5}),
        ("mlbridge_column_max_age", {"column": "t", "max_age_seconds": 7200.0}),
    ]


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("schema", ["a"], "schema must map"),
        ("schema", {"a": "integr"}, "schema.*'integer'"),
        ("not_null", "a", "not_null must be a list of column names, got 'a'"),
        ("unique", [3], "unique 3 must be a list"),
        ("min_rows", "many", "min_rows.*'many'"),
        ("max_age", timedelta(0), "max_age.*positive"),
        ("max_age", {"columns": "t"}, "max_age must be a length of time"),
        ("max_age", "a day or so", "max_age='a day or so' is not valid.*'26 hours'.*'PT26H'"),
        ("max_age", "P1M", "max_age='P1M'"),
        ("max_age", {"column": "t", "max_age": "2 fortnights"}, "26 hours"),
    ],
)
def test_a_wrong_shorthand_is_refused(argument: str, value: Any, words: str) -> None:
    arguments: dict[str, Any] = {
        "schema": None, "not_null": [], "unique": [], "min_rows": None, "max_age": None
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=words):
        expand(**arguments | {argument: value})


@pytest.mark.parametrize(
    ("name", "type_name", "family", "matches"),
    [
        ("int64", "int64", "int", True),
        ("BIGINT", "int64", "int", True),
        ("int64", "int32", "int", False),
        ("int", "int32", "int", True),
        ("double", "float64", "float", True),
        ("float", "float32", "float", True),
        ("float64", "float32", "float", False),
        ("varchar", "string", "string", True),
        ("timestamp", "timestamp[ns, tz=UTC]", "timestamptz", True),
        ("timestamp[us]", "timestamp[us]", "timestamp", True),
        ("timestamp[us]", "timestamp[us, tz=UTC]", "timestamptz", False),
        ("timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]", "timestamptz", True),
        ("datetime64[ns]", "timestamp[ns]", "timestamp", True),
        ("date", "date32", "date", True),
        ("decimal(9,2)", "decimal128(9, 2)", "decimal", True),
        ("decimal(9, 3)", "decimal128(9, 2)", "decimal", False),
        ("list<element: int64>", "list<element: int64>", "list", True),
        ("list<element: int64>", "list<item: int64 not null>", "list", True),
        ("list<int64>", "list<item: int64>", "list", True),
        ("list<item: list<item: float64>>", "list<element: list<element: double>>", "list", True),
        ("list<item: int64>", "list<item: int32>", "list", False),
        ("struct<a: int64>", "struct<b: int64>", "struct", False),
        ("list<struct<a: int64>>", "list<item: struct<a: int64>>", "list", True),
        ("fixed_size_list<item: float>[3]", "fixed_size_list<element: float>[3]", "list", True),
        ("dictionary<values=string, indices=int32, ordered=0>", "string", "string", True),
        ("time64[us]", "time64[us]", "time", True),
        ("time64[us]", "time32[ms]", "time", False),
        ("duration[s]", "duration[s]", "duration", True),
        ("timestamp[s]", "timestamp[ms]", "timestamp", True),
        ("timestamp[s, tz=UTC]", "timestamp[ms, tz=UTC]", "timestamptz", True),
        ("timestamp[ms]", "timestamp[s]", "timestamp", False),
        ("date64", "date32", "date", True),
        ("date32", "date64", "date", False),
        ("int2", "int16", "int", True),
        ("INT4", "int32", "int", True),
        ("int8", "int64", "int", False),
        ("float8", "float64", "float", True),
        ("double  precision", "float64", "float", True),
        ("varchar(10)", "string", "string", True),
        ("character varying(10)", "string", "string", True),
        ("char(2)", "string", "string", True),
        ("bytea", "binary", "binary", True),
        ("Timestamp with time zone", "timestamp[us, tz=UTC]", "timestamptz", True),
        ("timestamp with time zone", "timestamp[us]", "timestamp", False),
        ("timestamp without time zone", "timestamp[us]", "timestamp", True),
        ("timestamp without time zone", "timestamp[us, tz=UTC]", "timestamptz", False),
    ],
)
def test_type_names(name: str, type_name: str, family: Any, matches: bool) -> None:
    assert parse_type(name).matches(type_name, family) is matches


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timestampz", "'timestamptz'"), ("timestamp_ntz", "'timestamptz'"), ("time stamp", "'timestamp'"),
        ("timestamp(6)", "'timestamp'"), ("times", "'time'"), ("time64", "'time'"), ("list<int64", ""),
        ("varchar()", "'varchar'"), ("list[", "'list'"), ("int96", "'int16'"),
    ],
)  # fmt: skip
def test_a_type_name_of_no_meaning_is_refused(name: str, near: str) -> None:
    with pytest.raises(InvalidExpectationError, match=rf"is not a column type\..*{near}"):
        parse_type(name)


def nested(levels: int, *, as_list: bool = False) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value] if as_list else {"a": value}
    return value


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kwargs": {"column": "a", "value_set": nested(5000, as_list=True)}}, "nested more than 50"),
        ({"meta": "note"}, "'meta' must be a mapping, got 'note'"),
        ({"meta": ["note"]}, "'meta' must be a mapping"),
        ({"meta": nested(5000)}, "'meta' is nested more than 50"),
        ({"meta": {"n": 10**5000}}, "'meta' holds an integer of"),
        ({"notes": {"a": 1}}, "'notes' must be text"),
        ({"description": ["a"]}, "'description' must be text"),
        ({"id": ["a"]}, "'id' must be text"),
    ],
)
def test_what_no_report_could_hold_is_refused(entry: dict[str, Any], message: str) -> None:
    item = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "a", "value_set": [1]},
        **entry,
    }
    with pytest.raises(InvalidExpectationError, match=message) as caught:
        parse_expectation(item, "expectations[0]")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("levels", [3000, 100_000])
def test_a_pattern_that_is_nested_too_deeply_is_refused(levels: int) -> None:
    with pytest.raises(InvalidExpectationError, match="is not a regular expression") as caught:
        parse("expect_column_values_to_match_regex", column="a", regex="(" * levels)
    assert len(str(caught.value)) < 500


LONG = "x" * 10_000


def expand_one(**argument: Any) -> Any:
    nothing: dict[str, Any] = {
        "schema": None,
        "not_null": (),
        "unique": (),
        "min_rows": None,
        "max_age": None,
    }
    return expand(**{**nothing, **argument})


@pytest.mark.parametrize("wrong", [
    lambda: parse(BETWEEN, column="a", min_value=[LONG] * 9),
    lambda: parse(BETWEEN, column="a", min_value=LONG),
    lambda: parse(BETWEEN, column=[LONG], min_value=1),
    lambda: parse(BETWEEN, column="a", min_value=1, **{LONG: 1}),
    lambda: parse("expect_column_values_to_be_in_set", column="a", value_set=LONG),
    lambda: parse("expect_column_values_to_match_regex", column="a", regex="(" + LONG),
    lambda: parse("expect_column_values_to_be_of_type", column="a", type_=LONG),
    lambda: parse("expect_" + LONG),
    lambda: parse_expectation({"type": BETWEEN, "kwargs": [LONG]}, "e"),
    lambda: parse_expectation({"type": BETWEEN, LONG: 1}, "e"),
    lambda: parse_expectations({"a": LONG}, "expectations"),  # type: ignore[arg-type]
    lambda: expand_one(schema=[LONG] * 9),
    lambda: expand_one(not_null=LONG),
    lambda: expand_one(max_age={"column": LONG}),
    lambda: build({0: Expectation("expect_column_values_to_match_json_schema", {"json_schema": LONG})}),
])  # fmt: skip
def test_messages_do_not_repeat_long_arguments(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wrong()
    assert len(str(caught.value)) < 1100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"expectations": ' + "[" * 100_000 + "]" * 100_000 + "}", "is no JSON"),
        (
            '{"expectations": [{"type": "expect_column_to_exist", "kwargs": {"x": ' + "9" * 5000 + "}}]}",
            "is no",
        ),
        ('{"expectations": [{"type": "a", "type": "b", "kwargs": {}}]}', "the key 'type' is there twice"),
        ('{"expectations": [], "expectations": []}', "the key 'expectations' is there twice"),
        ("\xff", "is no JSON"),
    ],
)
def test_a_suite_that_is_no_honest_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "suite.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_suite(str(path))
    assert len(str(caught.value)) < 500


def test_a_suite_that_is_a_folder_or_endless_is_refused(tmp_path: Path, mocker: MockerFixture) -> None:
    with pytest.raises(ConfigurationError, match="suite="):
        load_suite(str(tmp_path))
    path = tmp_path / "suite.json"
    path.write_text('{"expectations": []}')
    mocker.patch("airflow_provider_mlbridge.quality.inputs.suite.SUITE_LIMIT_BYTES", 5)
    with pytest.raises(ConfigurationError, match="has 20 bytes, more than the 5 that are read"):
        load_suite(str(path))
