# SPDX-License-Identifier: Apache-2.0
"""Contracts of the Open Data Contract Standard: what their schema and agreements become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs import Imported, load_contract

NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"
LENGTHS = "expect_column_value_lengths_to_be_between"
BETWEEN = "expect_column_values_to_be_between"
TYPE = "mlbridge_column_type"


def contract(*properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "c",
        "name": "shop",
        "schema": [{"name": "orders", "properties": list(properties)}],
        **more,
    }


def kept(imported: Imported) -> list[tuple[str, dict[str, Any]]]:
    return [(item.type, dict(item.kwargs)) for item in imported.expectations]


def refused(imported: Imported) -> dict[str, str]:
    return {item.path: item.why for item in imported.unsupported}


def one(**document: Any) -> Imported:
    return load_contract(contract({"name": "x", **document}))


@pytest.mark.parametrize(
    ("document", "type_"),
    [
        ({"logicalType": "string"}, "string"),
        ({"logicalType": "integer"}, "int"),
        ({"logicalType": "boolean"}, "bool"),
        ({"logicalType": "object"}, "struct"),
        ({"logicalType": "array"}, "list"),
        ({"logicalType": "timestamp"}, "timestamp"),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": True}},
            "timestamp with time zone",
        ),
        ({"logicalType": "integer", "physicalType": "BIGINT"}, "BIGINT"),
        ({"logicalType": "number", "physicalType": "decimal(10,2)"}, "decimal(10,2)"),
    ],
)
def test_types(document: dict[str, Any], type_: str) -> None:
    imported = one(**document)
    assert kept(imported) == [(TYPE, {"column": "x", "type_": type_})]
    assert not imported.unsupported


def test_a_number_may_be_whole_and_a_property_without_type_must_exist() -> None:
    assert kept(one(logicalType="number")) == [
        (
            "expect_column_values_to_be_in_type_list",
            {"column": "x", "type_list": ["int", "float", "decimal"]},
        )
    ]
    assert kept(one()) == [("expect_column_to_exist", {"column": "x"})]


def test_a_physical_type_of_an_unknown_database_falls_back_and_is_listed() -> None:
    imported = one(logicalType="date", physicalType="DATUM8")
    assert kept(imported) == [(TYPE, {"column": "x", "type_": "date"})]
    assert "no type is known" in refused(imported)["schema[0].properties[0].physicalType"]


def test_the_length_of_a_physical_type_is_a_constraint() -> None:
    assert kept(one(physicalType="VARCHAR(18)"))[1] == (LENGTHS, {"column": "x", "max_value": 18})


def test_required_unique_and_the_physical_name() -> None:
    imported = one(physicalName="x_col", required=True, unique=True, criticalDataElement=True)
    assert kept(imported)[1:] == [(NOT_NULL, {"column": "x_col"}), (UNIQUE, {"column": "x_col"})]
    # What describes the data is no constraint.
    assert not imported.unsupported


def test_a_compound_primary_key_comes_in_its_order_and_without_nulls() -> None:
    imported = load_contract(
        contract(
            {"name": "b", "primaryKey": True, "primaryKeyPosition": 2, "required": True},
            {"name": "a", "primaryKey": True, "primaryKeyPosition": 1},
            {"name": "c", "primaryKey": False, "primaryKeyPosition": -1},
        )
    )
    assert (NOT_NULL, {"column": "a"}) in kept(imported)
    assert (NOT_NULL, {"column": "b"}) in kept(imported)
    assert kept(imported)[-1] == ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]})


def test_a_primary_key_of_one_column() -> None:
    assert kept(one(primaryKey=True))[1:] == [(NOT_NULL, {"column": "x"}), (UNIQUE, {"column": "x"})]


@pytest.mark.parametrize(
    ("logical", "options", "type_", "kwargs"),
    [
        ("string", {"minLength": 2, "maxLength": 5}, LENGTHS, {"min_value": 2, "max_value": 5}),
        ("string", {"pattern": "^a"}, "expect_column_values_to_match_regex", {"regex": "^a"}),
        ("integer", {"minimum": 0, "maximum": 9}, BETWEEN, {"min_value": 0, "max_value": 9}),
        (
            "integer",
            {"minimum": 0, "exclusiveMaximum": 9},
            BETWEEN,
            {"min_value": 0, "max_value": 9, "strict_max": True},
        ),
        # Version 3.0 has flags instead.
        (
            "number",
            {"minimum": 0, "exclusiveMinimum": True},
            BETWEEN,
            {"min_value": 0, "strict_min": True},
        ),
        ("date", {"minimum": "2024-01-31"}, BETWEEN, {"min_value": "2024-01-31"}),
        ("integer", {"format": "u8"}, BETWEEN, {"min_value": 0, "max_value": 255}),
        (
            "number",
            {"format": "f32"},
            "expect_column_values_to_be_in_type_list",
            {"type_list": ["float16", "float32"]},
        ),
    ],
)
def test_options(logical: str, options: dict[str, Any], type_: str, kwargs: dict[str, Any]) -> None:
    imported = one(logicalType=logical, logicalTypeOptions=options)
    assert kept(imported)[-1] == (type_, {"column": "x", **kwargs})
    assert not imported.unsupported


def test_both_kinds_of_a_bound_are_both_kept() -> None:
    imported = one(logicalType="integer", logicalTypeOptions={"minimum": 1, "exclusiveMinimum": 0})
    assert kept(imported)[1:] == [
        (BETWEEN, {"column": "x", "min_value": 1}),
        (BETWEEN, {"column": "x", "min_value": 0, "strict_min": True}),
    ]


@pytest.mark.parametrize(
    ("logical", "options"),
    [
        ("integer", {"multipleOf": 5}),
        ("array", {"minItems": 1}),
        ("object", {"required": ["a"]}),
        ("string", {"format": "email"}),
        ("string", {"pattern": "(?<year>[0-9]"}),
        ("timestamp", {"defaultTimezone": "Australia/Sydney"}),
        ("date", {"format": "yyyy-MM-dd"}),
        ("string", {"minimum": 3}),
        ("string", {"minLenght": 3}),
        ("time", {"minimum": "09:00:00"}),
    ],
)
def test_options_that_no_expectation_says_are_listed(logical: str, options: dict[str, Any]) -> None:
    imported = one(logicalType=logical, logicalTypeOptions=options)
    assert len(kept(imported)) == 1
    paths = [f"schema[0].properties[0].logicalTypeOptions.{name}" for name in options]
    assert list(refused(imported)) == paths


def test_what_is_nested_or_refers_to_other_data_is_listed() -> None:
    imported = one(
        logicalType="array",
        items={"logicalType": "string", "required": True},
        relationships=[{"to": "customers.id"}],
    )
    assert list(refused(imported)) == [
        "schema[0].properties[0].items",
        "schema[0].properties[0].relationships[0]",
    ]


def test_a_misspelt_key_is_listed_with_the_right_one() -> None:
    with pytest.raises(ConfigurationError, match=r"properties\[0\].*'requierd'.*Did you mean 'required'"):
        load_contract(one(requierd=True))


def test_agreements_on_freshness() -> None:
    imported = load_contract(
        contract(
            {"name": "at", "physicalName": "at_col", "logicalType": "timestamp"},
            slaProperties=[
                {"property": "latency", "value": 4, "unit": "d", "element": "orders.at"},
                {"property": "freshness", "value": "36", "unit": "hours"},
                {"property": "ly", "value": 30, "unit": "m", "element": "at"},
                {"property": "latency", "value": 1, "unit": "y", "element": "orders.at"},
                {"property": "latency", "value": 1, "unit": "d", "element": "customers.at"},
                {"property": "latency", "value": 1, "unit": "d", "element": "orders.gone"},
                {"property": "retention", "value": 3, "unit": "y"},
            ],
        )
    )
    assert kept(imported)[1:] == [
        ("mlbridge_column_max_age", {"column": "at_col", "max_age_seconds": 345_600}),
        ("mlbridge_datamart_max_age", {"max_age_seconds": 129_600}),
        ("mlbridge_column_max_age", {"column": "at_col", "max_age_seconds": 1800}),
    ]
    assert list(refused(imported)) == [f"slaProperties[{position}]" for position in (3, 4, 5, 6)]
    assert "no fixed time" in refused(imported)["slaProperties[3]"]


TWO = [{"name": "orders"}, {"name": "customers", "physicalName": "tbl_c", "properties": [{"name": "id"}]}]


def test_one_of_several_objects_is_chosen_by_name() -> None:
    document = contract(schema=TWO)
    assert load_contract(document, schema_name="customers").name == "shop.customers"
    assert kept(load_contract(document, schema_name="tbl_c")) == [
        ("expect_column_to_exist", {"column": "id"})
    ]
    with pytest.raises(ConfigurationError, match=r"name one of the 2 schema objects: 'orders', 'customers'"):
        load_contract(document)
    with pytest.raises(ConfigurationError, match=r"no schema object 'x'; valid are 'orders', 'customers'"):
        load_contract(document, schema_name="x")


@pytest.mark.parametrize("version", ["v3.0.0", "v3.0.2", "v3.1.0", "3.1.0"])
def test_versions_that_are_read(version: str) -> None:
    assert load_contract(contract({"name": "x"}, apiVersion=version)).expectations


@pytest.mark.parametrize("version", ["v2.2.2", "v4.0.0", "v3.2.0", None, 3.1])
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(ConfigurationError, match=r"apiVersion must be one of v3\.1\.x and v3\.0\.x"):
        load_contract(contract(apiVersion=version))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"required": "yes"}, r"schema\[0\]\.properties\[0\]\.required must be true or false, got yes"),
        ({"logicalType": "int"}, r"logicalType must be one of 'string', .*got 'int'"),
        ({"logicalTypeOptions": {"minLength": "3"}}, r"minLength must be a whole number from 0, got 3"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": "a"}}, r"minimum must be a number"),
        ({"quality": {}}, r"quality must be a list"),
        ({"physicalName": 3}, r"physicalName must be a text"),
    ],
)
def test_values_of_the_wrong_kind_name_their_path(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        one(**document)


def test_a_file_is_named_in_every_message(tmp_path: Path) -> None:
    path = tmp_path / "orders.odcs.yaml"
    path.write_text("apiVersion: v3.1.0\nschema:\n  - {name: orders, properties: [{name: x, required: 3}]}\n")
    with pytest.raises(
        ConfigurationError, match=r"orders\.odcs\.yaml: schema\[0\]\.properties\[0\]\.required"
    ):
        load_contract(str(path))
    path.write_text("apiVersion: v3.1.0\nname: a\nname: b\n")
    with pytest.raises(
        ConfigurationError, match=r"orders\.odcs\.yaml: the key 'name' is there twice \(line 3\)"
    ):
        load_contract(path.as_uri())
    for broken in (
        "a: [",
        "a: 1\nb:\n  password: hunter2\n   c: [",
        "a: !hunter2 1",
        "a: 2024-13-45",
        "a: \0",
    ):
        path.write_text(broken)
        with pytest.raises(ConfigurationError, match=r"orders\.odcs\.yaml is no YAML") as caught:
            load_contract(str(path))
        assert "hunter2" not in str(caught.value)
    path.write_text("- a\n")
    with pytest.raises(ConfigurationError, match=r"must hold a mapping, got list"):
        load_contract(str(path))
    with pytest.raises(ConfigurationError, match=r"gone\.yaml"):
        load_contract(str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigurationError, match="contract"):
        load_contract(str(tmp_path))


def test_dates_of_yaml_are_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "apiVersion: v3.1.0\nkind: DataContract\nschema:\n- name: t\n  properties:\n"
        "  - {name: d, logicalType: date, logicalTypeOptions: {minimum: 2024-01-31}}\n"
    )
    assert kept(load_contract(str(path)))[-1] == (BETWEEN, {"column": "d", "min_value": "2024-01-31"})


def test_what_is_said_twice_is_judged_once() -> None:
    imported = one(required=True, quality=[{"metric": "nullValues", "mustBe": 0}])
    assert [item.type for item in imported.expectations] == ["expect_column_to_exist", NOT_NULL]
    assert imported.expectations[1].extra["meta"]["also"] == ["schema[0].properties[0].quality[0]"]
