# SPDX-License-Identifier: Apache-2.0
"""Quality rules of contracts: each metric by each operator, exact or listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.inputs import Imported, load_contract

ROWS = "expect_table_row_count_to_be_between"
NULL = {"type": "nullity", "column": {"name": "x"}, "is_null": True}
PRESENT = {**NULL, "is_null": False}


def load(*rules: dict[str, Any], level: str = "property", logical: str | None = "string") -> Imported:
    x: dict[str, Any] = {"name": "x", **({"logicalType": logical} if logical else {})}
    schema: dict[str, Any] = {"name": "t", "properties": [x, {"name": "y", "physicalName": "y_col"}]}
    (x if level == "property" else schema)["quality"] = list(rules)
    return load_contract({"apiVersion": "v3.1.0", "kind": "DataContract", "schema": [schema]})


def rules_of(imported: Imported) -> list[tuple[str, dict[str, Any]]]:
    found = [item for item in imported.expectations if "quality" in item.extra["meta"]["path"]]
    return [(item.type, dict(item.kwargs)) for item in found]


def comparison(operator: str, *values: Any) -> dict[str, Any]:
    return {
        "type": "comparison",
        "column": {"name": "x"},
        "operator": operator,
        "parameter": list(values),
    }


@pytest.mark.parametrize(
    ("rule", "type_", "kwargs"),
    [
        ({"metric": "nullValues", "mustBe": 0}, "expect_column_values_to_not_be_null", {"column": "x"}),
        (
            {"metric": "nullValues", "mustBeLessThan": 1},
            "expect_column_values_to_not_be_null",
            {"column": "x"},
        ),
        ({"metric": "nullValues", "mustBeLessThan": 5}, ROWS, {"max_value": 4, "row_condition": NULL}),
        ({"metric": "nullValues", "mustNotBe": 0}, ROWS, {"min_value": 1, "row_condition": NULL}),
        (
            {"metric": "nullValues", "mustBeLessOrEqualTo": 1, "unit": "percent"},
            "expect_column_values_to_not_be_null",
            {"column": "x", "mostly": 0.99},
        ),
        (
            {"metric": "nullValues", "mustBeGreaterThan": 5, "unit": "percent"},
            "expect_column_proportion_of_non_null_values_to_be_between",
            {"column": "x", "min_value": 0.0, "max_value": 0.95, "strict_max": True},
        ),
        (
            {"metric": "invalidValues", "arguments": {"validValues": ["a", "b"]}, "mustBe": 0},
            "expect_column_values_to_be_in_set",
            {"column": "x", "value_set": ["a", "b"]},
        ),
        (
            {"metric": "invalidValues", "arguments": {"validValues": ["a", 1]}, "mustBeLessThan": 5},
            ROWS,
            {
                "max_value": 4,
                "row_condition": {
                    "type": "and",
                    "conditions": [PRESENT, comparison("NOT_IN", "a"), comparison("NOT_IN", 1)],
                },
            },
        ),
        (
            {
                "metric": "invalidValues",
                "arguments": {"pattern": "^a"},
                "mustBeLessOrEqualTo": 5,
                "unit": "percent",
            },
            "expect_column_values_to_match_regex",
            {"column": "x", "regex": "^a", "mostly": 0.95},
        ),
        (
            {
                "metric": "missingValues",
                "arguments": {"missingValues": [None, "", "N/A"]},
                "mustBeLessThan": 9,
            },
            ROWS,
            {
                "max_value": 8,
                "row_condition": {"type": "or", "conditions": [NULL, comparison("IN", "", "N/A")]},
            },
        ),
        (
            {"metric": "duplicateValues", "mustBe": 0},
            "expect_column_values_to_be_unique",
            {"column": "x"},
        ),
        (
            {"metric": "duplicateValues", "mustBeLessOrEqualTo": 1, "unit": "percent"},
            "expect_column_values_to_be_unique",
            {"column": "x", "mostly": 0.99},
        ),
    ],
)
def test_rules_of_a_property(rule: dict[str, Any], type_: str, kwargs: dict[str, Any]) -> None:
    imported = load(rule)
    assert rules_of(imported) == [(type_, kwargs)]
    assert not imported.unsupported


@pytest.mark.parametrize(
    ("rule", "type_", "kwargs"),
    [
        ({"metric": "rowCount", "mustBeBetween": [100, 120]}, ROWS, {"min_value": 100, "max_value": 120}),
        ({"metric": "rowCount", "mustBeGreaterThan": 9}, ROWS, {"min_value": 10}),
        ({"rule": "rowCount", "mustBe": 7}, "expect_table_row_count_to_equal", {"value": 7}),
        (
            {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["x", "y"]}},
            "expect_compound_columns_to_be_unique",
            {"column_list": ["x", "y_col"]},
        ),
    ],
)
def test_rules_of_an_object(rule: dict[str, Any], type_: str, kwargs: dict[str, Any]) -> None:
    imported = load(rule, level="object")
    assert rules_of(imported) == [(type_, kwargs)]
    assert not imported.unsupported


def test_no_missing_value_is_two_expectations() -> None:
    rule = {"metric": "missingValues", "arguments": {"missingValues": [None, ""]}, "mustBe": 0}
    assert [type_ for type_, _ in rules_of(load(rule))] == [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_be_in_set",
    ]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"type": "text", "description": "verified"}, "text for people"),
        ({"type": "sql", "query": "SELECT 1", "mustBe": 1}, "SQL is written for"),
        ({"type": "custom", "engine": "soda", "implementation": "x"}, "the engine 'soda'"),
        ({"metric": "nullValues"}, "no operator"),
        ({"metric": "rowCount", "mustBe": 1}, "does not belong to a property"),
        ({"metric": "nullValues", "mustBe": 0, "unit": "bananas"}, "neither 'rows' nor 'percent'"),
        ({"metric": "nullValues", "mustNotBe": 3}, "two separate ranges"),
        ({"metric": "nullValues", "mustBeLessThan": 0}, "no count can be so"),
        ({"metric": "nullValues", "mustBeGreaterOrEqualTo": 0}, "nothing to check"),
        ({"metric": "duplicateValues", "mustBeLessThan": 10}, "no expectation counts duplicates"),
        (
            {"metric": "invalidValues", "arguments": {"pattern": "a"}, "mustBeLessThan": 9},
            "the rows that miss a pattern",
        ),
        ({"metric": "invalidValues", "mustBe": 0}, "neither validValues nor a pattern"),
        (
            {
                "metric": "missingValues",
                "arguments": {"missingValues": [None, ""]},
                "mustBeLessThan": 1,
                "unit": "percent",
            },
            "a share of rows that are null or among values",
        ),
        ({"rule": "freshnessCheck", "mustBeLessThan": 3}, "none of the metrics"),
    ],
)
def test_rules_that_no_expectation_says_are_listed(rule: dict[str, Any], why: str) -> None:
    imported = load(rule)
    assert not rules_of(imported)
    [unsupported] = imported.unsupported
    assert why in unsupported.why
    assert unsupported.path == "schema[0].properties[0].quality[0]"


@pytest.mark.parametrize("rule", [
    {"type": "custom", "engine": "soda", "implementation": "password=hunter2"},
    {"type": "custom", "engine": "gx", "implementation": {"password": "hunter2"}},
    {"type": "custom", "engine": "gx", "implementation": {"type": "expect_hunter", "kwargs": ["hunter2"]}},
    {"type": "custom", "engine": "gx", "implementation": {
        "type": "expect_column_to_exist", "kwargs": {"column": "x", "password": "hunter2"}}},
])  # fmt: skip
def test_what_is_written_for_another_program_is_not_repeated(rule: dict[str, Any]) -> None:
    (item,) = load(rule).unsupported
    assert "custom" in item.says
    assert rule["engine"] in item.says
    assert "hunter2" not in str(item)


@pytest.mark.parametrize("rule", [
    {"metric": "rowCount", "mustBe": 1, "k" * 5000: 1},
    {"metric": "nullValues", "mustBe": 1, "arguments": {"k" * 5000: 1}},
    {"type": "custom", "engine": "k" * 5000},
    {"rule": "k" * 5000},
])  # fmt: skip
def test_long_words_are_cut_in_what_is_listed(rule: dict[str, Any]) -> None:
    assert all(len(item.why) < 500 for item in load(rule).unsupported)
    assert load(rule).unsupported


def test_dates_are_not_counted_as_text() -> None:
    rule = {"metric": "invalidValues", "arguments": {"validValues": ["2024-01-31"]}, "mustBeLessThan": 9}
    assert "no dates in lists" in load(rule, logical="date").unsupported[0].why
    assert not load(rule, logical="string").unsupported


def test_an_expectation_of_great_expectations_is_one() -> None:
    implementation = "type: expect_column_mean_to_be_between\nkwargs: {column: x, min_value: 3}\n"
    imported = load({"type": "custom", "engine": "greatExpectations", "implementation": implementation})
    assert rules_of(imported) == [("expect_column_mean_to_be_between", {"column": "x", "min_value": 3})]
    # The standard's own example spells arguments in a way that Great Expectations does not read.
    implementation = {"type": ROWS, "kwargs": {"minValue": 3}}  # type: ignore[assignment]
    imported = load({"type": "custom", "engine": "great-expectations", "implementation": implementation})
    assert "Did you mean 'min_value'" in imported.unsupported[0].why


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("error", "critical"),
        ("Warning", "warning"),
        ("medium", "warning"),
        ("info", "info"),
        ("odd", "critical"),
    ],
)
def test_severities_names_and_descriptions(word: str, severity: str) -> None:
    rule = {
        "metric": "nullValues",
        "mustBe": 0,
        "severity": word,
        "id": "r1",
        "name": "n",
        "description": "d",
    }
    item = load(rule).expectations[1]
    assert item.severity == severity
    assert item.extra["notes"] == "d"
    assert item.extra["meta"]["rule"] == {"id": "r1", "name": "n", "description": "d", "severity": word}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"metric": "nulls", "mustBe": 0}, r"metric must be one of 'nullValues'.*got nulls"),
        ({"type": "magic"}, r"type must be one of 'library', 'text', 'sql', 'custom', got magic"),
        ({"metric": "nullValues", "mustBe": "0"}, r"quality\[0\]\.mustBe must be a number, got 0"),
        ({"mustBe": 0}, r"metric is missing"),
        ({"metric": "nullValues", "mustBe": 0, "arguments": 3}, r"arguments must be a mapping"),
    ],
)
def test_rules_that_are_not_well_formed(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(rule)


def test_duplicates_of_an_object_name_its_properties() -> None:
    rule: dict[str, Any] = {
        "metric": "duplicateValues",
        "mustBe": 0,
        "arguments": {"properties": ["x", "why"]},
    }
    with pytest.raises(ConfigurationError, match=r"why is no property of the object"):
        load(rule, level="object")
    with pytest.raises(ConfigurationError, match=r"arguments\.properties is missing"):
        load({"metric": "duplicateValues", "mustBe": 0}, level="object")


def test_a_misspelt_operator_is_refused() -> None:
    # Listed, it would leave a rule out in a task that succeeds.
    with pytest.raises(ConfigurationError, match=r"quality\[0\].*'mustBeLesThan'.*'mustBeLessThan'"):
        load({"metric": "nullValues", "mustBeLesThan": 3})


@pytest.mark.parametrize("bad", [3, 4])
def test_a_count_is_judged_to_the_row(tmp_path: Path, bad: int) -> None:
    path = tmp_path / "d.parquet"
    values = ["a"] * 10 + [None] * bad + ["b"] * (8 - bad)
    pq.write_table(pa.table({"x": values}), path)
    imported = load(
        {"metric": "nullValues", "mustBeLessThan": 4},
        {"metric": "missingValues", "arguments": {"missingValues": [None, "b"]}, "mustBe": 8},
        {"metric": "invalidValues", "arguments": {"validValues": ["a"]}, "mustBeGreaterThan": 4},
    )
    documents = [{"type": type_, "kwargs": kwargs} for type_, kwargs in rules_of(imported)]
    report = validate(str(path), documents)
    assert [item.success for item in report.results] == [bad < 4, True, 8 - bad > 4]
