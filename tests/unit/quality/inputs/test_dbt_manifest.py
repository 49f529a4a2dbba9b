# SPDX-License-Identifier: Apache-2.0
"""Models of dbt: contracts, tests and freshness, in the shape in which dbt 1.11 writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs import Imported, load_dbt_model

NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"
BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"
TYPE = "mlbridge_column_type"
ORDERS = "model.shop.orders"


def constraint(type_: str, **more: Any) -> dict[str, Any]:
    return {
        "type": type_, "name": None, "expression": None, "warn_unenforced": True, "warn_unsupported": True,
        "to": None, "to_columns": [], **more,
    }  # fmt: skip


def column(name: str, data_type: str | None = None, *constraints: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "meta": {},
        "data_type": data_type,
        "constraints": [*constraints],
    }


def model(*columns: dict[str, Any], enforced: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "resource_type": "model", "name": "orders", "alias": "orders", "version": None,
        "contract": {"enforced": enforced, "alias_types": True}, "constraints": [],
        "columns": {item["name"]: item for item in columns}, "config": {"enabled": True}, **more,
    }  # fmt: skip


def case(
    name: str, kwargs: dict[str, Any], namespace: str | None = None, on: str = ORDERS, **config: Any
) -> dict[str, Any]:
    return {
        "resource_type": "test", "name": f"{name}_orders", "attached_node": on,
        "column_name": kwargs.get("column_name"), "depends_on": {"macros": [], "nodes": [on]},
        "test_metadata": {
            "name": name,
            "kwargs": {**kwargs, "model": "{{ get_where_subquery(ref('orders')) }}"},
            "namespace": namespace,
        },
        "config": {
            "enabled": True, "severity": "ERROR", "where": None, "limit": None, "fail_calc": "count(*)",
            "warn_if": "!= 0", "error_if": "!= 0", "meta": {}, **config,
        },
    }  # fmt: skip


def manifest(node: dict[str, Any], *tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"},
        "nodes": {ORDERS: node, **{f"test.shop.t{index}": test for index, test in enumerate(tests)}},
        "sources": {},
        "disabled": {},
        **more,
    }


def load(*tests: dict[str, Any], node: dict[str, Any] | None = None) -> Imported:
    return load_dbt_model(manifest(node or model(column("x")), *tests), "orders")


def kept(imported: Imported) -> list[tuple[str, dict[str, Any]]]:
    return [(item.type, dict(item.kwargs)) for item in imported.expectations]


def test_an_enforced_contract() -> None:
    imported = load(
        node=model(
            column("id", "integer", constraint("primary_key", name="pk")),
            column("status", "varchar(8)", constraint("check", expression="status in ('a', 'b')")),
            column("amount", "decimal(10,2)", constraint("check", expression="amount > 0 and amount <= 9.5")),
            enforced=True,
            constraints=[
                constraint("unique", columns=["id", "status"]),
                constraint("foreign_key", columns=["id"], to="ref('ids')", to_columns=["id"]),
                constraint("check", columns=[], expression="amount > id"),
            ],
        )
    )
    assert kept(imported) == [
        (TYPE, {"column": "id", "type_": "integer"}),
        (NOT_NULL, {"column": "id"}),
        (UNIQUE, {"column": "id"}),
        (TYPE, {"column": "status", "type_": "varchar(8)"}),
        ("expect_column_value_lengths_to_be_between", {"column": "status", "max_value": 8}),
        (IN_SET, {"column": "status", "value_set": ["a", "b"]}),
        (TYPE, {"column": "amount", "type_": "decimal(10,2)"}),
        (BETWEEN, {"column": "amount", "min_value": 0, "strict_min": True}),
        (BETWEEN, {"column": "amount", "max_value": 9.5}),
        (
            "expect_table_columns_to_match_set",
            {"column_set": ["id", "status", "amount"], "exact_match": True},
        ),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["id", "status"], "ignore_row_if": "any_value_is_missing"},
        ),
    ]
    assert [item.path[-14:] for item in imported.unsupported] == ["constraints[1]", "constraints[2]"]


def test_a_contract_that_is_not_enforced_is_no_constraint() -> None:
    imported = load(node=model(column("id", "integer", constraint("not_null"))))
    assert not imported.expectations
    assert "does not enforce" in imported.unsupported[0].why


@pytest.mark.parametrize(
    ("test", "type_", "kwargs"),
    [
        (case("not_null", {"column_name": "x"}), NOT_NULL, {"column": "x"}),
        (case("unique", {"column_name": '"Odd Name"'}), UNIQUE, {"column": "Odd Name"}),
        (
            case("accepted_values", {"column_name": "x", "values": ["a", "b"], "quote": True}),
            IN_SET,
            {"column": "x", "value_set": ["a", "b"]},
        ),
        # Quoted numbers are text beside text, and numbers beside numbers.
        (
            case("accepted_values", {"column_name": "x", "values": [1, "2"]}),
            IN_SET,
            {"column": "x", "value_set": [1, "1", "2", 2]},
        ),
        (
            case("accepted_values", {"column_name": "x", "values": [1, "'b'"], "quote": False}),
            IN_SET,
            {"column": "x", "value_set": [1, "b"]},
        ),
        # dbt 1.10 names the arguments so.
        (
            case("accepted_values", {"column_name": "x", "arguments": {"values": ["a"]}}),
            IN_SET,
            {"column": "x", "value_set": ["a"]},
        ),
        (
            case("unique_combination_of_columns", {"combination_of_columns": ["x", "y"]}, "dbt_utils"),
            "expect_compound_columns_to_be_unique",
            {"column_list": ["x", "y"], "ignore_row_if": "never"},
        ),
        (
            case("accepted_range", {"column_name": "x", "min_value": 0, "inclusive": False}, "dbt_utils"),
            BETWEEN,
            {"column": "x", "min_value": 0, "strict_min": True},
        ),
        (
            case("not_null_proportion", {"column_name": "x", "at_least": 0.95}, "dbt_utils"),
            "expect_column_proportion_of_non_null_values_to_be_between",
            {"column": "x", "min_value": 0.95},
        ),
        (
            case("at_least_one", {"column_name": "x"}, "dbt_utils"),
            "expect_table_row_count_to_be_between",
            {
                "min_value": 1,
                "row_condition": {"type": "nullity", "column": {"name": "x"}, "is_null": False},
            },
        ),
        (
            case("not_constant", {"column_name": "x"}, "dbt_utils"),
            "expect_column_unique_value_count_to_be_between",
            {"column": "x", "min_value": 2},
        ),
        (
            case("not_empty_string", {"column_name": "x"}, "dbt_utils"),
            "expect_column_values_to_not_match_regex",
            {"column": "x", "regex": r"\A *\Z"},
        ),
        (
            case("recency", {"datepart": "day", "field": "at", "interval": 2}, "dbt_utils"),
            "mlbridge_column_max_age",
            {"column": "at", "max_age_seconds": 172_800},
        ),
        (
            case(
                "expect_column_values_to_be_between",
                {"column_name": "x", "min_value": 0, "max_value": 9, "strictly": True},
                "dbt_expectations",
            ),
            BETWEEN,
            {"column": "x", "min_value": 0, "max_value": 9, "strict_min": True, "strict_max": True},
        ),
        (
            case(
                "expect_column_pair_values_A_to_be_greater_than_B",
                {"column_A": "x", "column_B": "y", "or_equal": True},
                "dbt_expectations",
            ),
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "x", "column_B": "y", "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        ),
        (
            case(
                "expect_column_values_to_be_of_type",
                {"column_name": "x", "column_type": "date"},
                "dbt_expectations",
            ),
            TYPE,
            {"column": "x", "type_": "date"},
        ),
    ],
)
def test_tests_that_are_known(test: dict[str, Any], type_: str, kwargs: dict[str, Any]) -> None:
    imported = load(test)
    assert kept(imported) == [(type_, kwargs)]
    assert not imported.unsupported


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (case("relationships", {"column_name": "x", "to": "ref('c')", "field": "id"}), "other data"),
        (case("unique", {"column_name": "x || y"}), "is an expression"),
        (case("expression_is_true", {"expression": "x > y"}, "dbt_utils"), "SQL of your own"),
        (case("equal_rowcount", {"compare_model": "ref('c')"}, "dbt_utils"), "other data"),
        (case("accepted_range", {"column_name": "x", "min_value": "now()"}, "dbt_utils"), "an expression"),
        (case("recency", {"datepart": "month", "field": "at", "interval": 1}, "dbt_utils"), "no fixed time"),
        (
            case("expect_column_values_to_be_increasing", {"column_name": "x"}, "dbt_expectations"),
            "have no order",
        ),
        (
            case("expect_table_columns_to_match_set", {"column_list": ["x"]}, "dbt_expectations"),
            "without regard to case",
        ),
        (case("my_own", {"column_name": "x"}), "is not known here"),
        (case("not_null", {"column_name": "x"}, enabled=False), "disabled"),
        (case("not_null", {"column_name": "x"}, fail_calc="sum(n)"), "'fail_calc' is SQL"),
        (case("not_null", {"column_name": "x"}, where="lower(y) = 'a'"), "where: only comparisons"),
        (case("unique", {"column_name": "x"}, error_if=">10", warn_if=">10"), "exact for the test not_null"),
        (
            case("accepted_values", {"column_name": "x", "values": ["now()"], "quote": False}),
            "is an expression",
        ),
        ({**case("no_negative", {}), "test_metadata": None}, "written in SQL"),
    ],
)
def test_tests_that_no_expectation_says_are_listed(test: dict[str, Any], why: str) -> None:
    imported = load(test)
    assert not imported.expectations
    [unsupported] = imported.unsupported
    assert why in unsupported.why


@pytest.mark.parametrize(
    ("config", "severities"),
    [
        ({"severity": "ERROR"}, ["critical"]),
        ({"severity": "warn"}, ["warning"]),
        ({"severity": "warn", "warn_if": "!=0"}, ["warning"]),
        # Failures from eleven on are errors, and from the first on warnings.
        ({"error_if": ">10"}, ["critical", "warning"]),
        ({"error_if": ">10", "warn_if": ">10"}, ["critical"]),
        # What is an error already is no warning.
        ({"warn_if": ">5"}, ["critical"]),
    ],
)
def test_severities(config: dict[str, Any], severities: list[str]) -> None:
    imported = load(case("not_null", {"column_name": "x"}, **config))
    assert [item.severity for item in imported.expectations] == severities


def test_a_threshold_on_nulls_is_a_count_of_rows() -> None:
    test = case("not_null", {"column_name": "x"}, error_if="> 10", where="y = 'a'")
    null = {"type": "nullity", "column": {"name": "x"}, "is_null": True}
    where = {"type": "comparison", "column": {"name": "y"}, "operator": "==", "parameter": "a"}
    assert kept(load(test)) == [
        (
            "expect_table_row_count_to_be_between",
            {"max_value": 10, "row_condition": {"type": "and", "conditions": [where, null]}},
        ),
        (NOT_NULL, {"column": "x", "row_condition": where}),
    ]


def test_one_threshold_may_be_listed_while_the_other_is_kept() -> None:
    imported = load(case("unique", {"column_name": "x"}, error_if=">10"))
    assert [(item.type, item.severity) for item in imported.expectations] == [(UNIQUE, "warning")]
    assert "'>10'" in imported.unsupported[0].why


def test_only_the_tests_of_this_model_are_read() -> None:
    other = case("not_null", {"column_name": "x"}, on="model.shop.customers")
    assert not load(other).expectations
    assert not load(other).unsupported


def test_a_disabled_test_is_listed() -> None:
    disabled = {"test.shop.off": [case("not_null", {"column_name": "x"})]}
    imported = load_dbt_model(manifest(model(), disabled=disabled), ORDERS)
    assert "disabled" in imported.unsupported[0].why


SOURCE = {
    "resource_type": "source", "name": "raw_orders", "source_name": "raw", "columns": {},
    "loaded_at_field": "loaded_at",
    "freshness": {
        "warn_after": {"count": 12, "period": "hour"}, "error_after": {"count": 1, "period": "day"},
        "filter": None,
    },
}  # fmt: skip


def test_a_source_with_its_freshness_and_tests() -> None:
    test = case("not_null", {"column_name": "id"}, on="source.shop.raw.raw_orders")
    # dbt attaches tests to models only.
    test["attached_node"] = None
    document = manifest(model(), test, sources={"source.shop.raw.raw_orders": SOURCE})
    imported = load_dbt_model(document, "raw.raw_orders")
    assert [
        (*item, found.severity) for item, found in zip(kept(imported), imported.expectations, strict=True)
    ] == [
        ("mlbridge_column_max_age", {"column": "loaded_at", "max_age_seconds": 86_400}, "critical"),
        ("mlbridge_column_max_age", {"column": "loaded_at", "max_age_seconds": 43_200}, "warning"),
        (NOT_NULL, {"column": "id"}, "critical"),
    ]


def test_names_that_mean_none_or_several() -> None:
    document = manifest(model(), sources={})
    document["nodes"]["model.other.orders"] = model()
    with pytest.raises(ConfigurationError, match=r"means 2 .*'model\.shop\.orders', 'model\.other\.orders'"):
        load_dbt_model(document, "orders")
    with pytest.raises(ConfigurationError, match=r"Did you mean 'orders'"):
        load_dbt_model(document, "order")


@pytest.mark.parametrize("version", ["v8", "v13", "v1", "", None])
def test_manifests_of_other_versions_are_refused(version: str | None) -> None:
    document = manifest(model())
    document["metadata"] = (
        {"dbt_schema_version": f"https://schemas.getdbt.com/dbt/manifest/{version}.json"} if version else {}
    )
    with pytest.raises(ConfigurationError, match=r"version 9 to 12 \(dbt 1\.5 to 1\.11\)"):
        load_dbt_model(document, "orders")


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest(model(), case("not_null", {"column_name": "x"}))))
    assert kept(load_dbt_model(str(path), "orders")) == [(NOT_NULL, {"column": "x"})]
    with pytest.raises(ConfigurationError, match=r"manifest\.json: there is no model.*'customers'"):
        load_dbt_model(path.as_uri(), "customers")
    path.write_text("{")
    with pytest.raises(ConfigurationError, match=r"manifest\.json is no JSON"):
        load_dbt_model(str(path), "orders")
