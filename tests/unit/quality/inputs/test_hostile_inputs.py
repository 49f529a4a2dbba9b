# SPDX-License-Identifier: Apache-2.0
"""Whatever a document holds, it is read or refused with an error of our own."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs import load_contract, load_dbt_model, load_suite, to_gx_suite

CONTRACT: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "name": "shop",
    "schema": [
        {
            "name": "t",
            "physicalName": "t1",
            "properties": [
                {
                    "name": "x", "physicalName": "x1", "physicalType": "varchar(8)", "logicalType": "string",
                    "required": True, "unique": True, "primaryKey": True, "primaryKeyPosition": 1,
                    "logicalTypeOptions": {"minLength": 1, "maxLength": 3, "pattern": "a", "format": "uuid"},
                    "quality": [
                        {"metric": "invalidValues", "arguments": {"validValues": ["a"], "pattern": "b"},
                         "mustBeBetween": [0, 3], "unit": "rows", "severity": "low"},
                        {"metric": "missingValues", "arguments": {"missingValues": [None, 1]}, "mustBe": 3},
                        {"metric": "duplicateValues", "mustBeLessThan": 3, "unit": "percent"},
                        {"type": "custom", "engine": "gx", "implementation": {
                            "type": "expect_column_max_to_be_between",
                            "kwargs": {"column": "x", "min_value": 1, "strict_min": True}}},
                    ],
                    "relationships": [{"to": "a.b"}],
                    "items": {"logicalType": "string"},
                },
                {"name": "y", "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 2,
                 "logicalTypeOptions": {"minimum": 1, "exclusiveMinimum": 0, "maximum": 7, "format": "i8"}},
            ],
            "quality": [
                {"metric": "rowCount", "mustBeGreaterThan": 3},
                {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["x", "y"]}},
            ],
        }
    ],
    "slaDefaultElement": "t.x",
    "slaProperties": [{"property": "latency", "value": 4, "unit": "d", "element": "t.x"}],
}  # fmt: skip

MANIFEST: dict[str, Any] = {
    "metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"},
    "nodes": {
        "model.p.m": {
            "resource_type": "model", "name": "m", "contract": {"enforced": True},
            "config": {"contract": {"enforced": True}},
            "columns": {"x": {"name": "x", "data_type": "varchar(3)", "constraints": [
                {"type": "check", "expression": "x > 1", "name": "c"}, {"type": "unique"}]}},
            "constraints": [{"type": "primary_key", "columns": ["x", "y"]}],
        },
        "test.p.t": {
            "resource_type": "test", "name": "t", "attached_node": "model.p.m", "column_name": "x",
            "depends_on": {"nodes": ["model.p.m"]}, "description": "d",
            "test_metadata": {"name": "accepted_values", "namespace": None,
                              "kwargs": {"column_name": "x", "values": ["a", 1], "quote": True}},
            "config": {"severity": "warn", "warn_if": "!= 0", "where": "x = 1", "meta": {"a": 1}},
        },
        "test.p.u": {
            "resource_type": "test", "name": "u", "attached_node": "model.p.m",
            "test_metadata": {"name": "expect_column_values_to_be_between", "namespace": "dbt_expectations",
                              "kwargs": {"column_name": "x", "min_value": 1, "row_condition": "x > 1"}},
            "config": {"error_if": ">10"},
        },
        "test.p.v": {
            "resource_type": "test", "name": "v", "attached_node": "model.p.m",
            "test_metadata": {"name": "recency", "namespace": "dbt_utils",
                              "kwargs": {"field": "x", "datepart": "day", "interval": 1}},
        },
    },
    "sources": {"source.p.s.t": {
        "resource_type": "source", "name": "t", "source_name": "s", "loaded_at_field": "x",
        "freshness": {"error_after": {"count": 1, "period": "day"}, "filter": None}}},
    "disabled": {"test.p.d": [{"attached_node": "model.p.m", "name": "d"}]},
}  # fmt: skip

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 3, 1e308, float("nan"), float("inf"), 0.5]),
    st.sampled_from(["", "x", "a(", "\ud800", "2024-13-45", "library", "expect_column_max_to_be_between"]),
    st.just(5000).map(lambda digits: 10**digits),
    st.text(max_size=4),
)
ODD = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        found += places(value, (*path, key))
    return found


def replaced(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    parent: Any = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def exported(imported: Any) -> None:
    suite = to_gx_suite(imported.name, imported.expectations, imported.unsupported)
    assert len(load_suite(suite)[1]) == len(imported.expectations)
    assert all(item.path and item.why for item in imported.unsupported)


def test_the_documents_are_read_as_they_are() -> None:
    assert len(load_contract(CONTRACT).expectations) > 10
    assert len(load_dbt_model(MANIFEST, "m").expectations) > 5


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(places(CONTRACT)), value=ODD)
def test_odd_contracts(path: tuple[Any, ...], value: Any) -> None:
    with suppress(ConfigurationError):
        exported(load_contract(replaced(CONTRACT, path, value)))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(places(MANIFEST)), value=ODD, model=st.sampled_from(["m", "s.t"]))
def test_odd_manifests(path: tuple[Any, ...], value: Any, model: str) -> None:
    with suppress(ConfigurationError):
        exported(load_dbt_model(replaced(MANIFEST, path, value), model))


@settings(max_examples=40, deadline=None)
@given(document=ODD)
def test_no_documents_at_all(document: Any) -> None:
    for load in (load_contract, lambda item: load_dbt_model(item, "m")):
        with pytest.raises(ConfigurationError):
            load(document)


@pytest.mark.parametrize(
    "text",
    [
        # Nine levels of nine aliases stand for hundreds of millions of values.
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghi")),
        "a: &a [*a]\n",
        # The same by merging.
        "a: &a {x: 1}\n"
        + "".join(f"{b}: &{b} {{<<: [{','.join(['*' + a] * 9)}]}}\n" for a, b in pairwise("abcdefghi")),
        "[" * 5000,
        "? [1, 2]\n: x\n",
        "on: x\n",
        "a: !!python/object/apply:os.system ['true']\n",
        "a: 2024-13-45\n",
        "a: !!binary aGk=\n",
        "a: &a {b: c}\n<<: *a\nb: d\nb: e\n",
        "\x00",
        "",
    ],
)
def test_hostile_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"c\.yaml"):
        load_contract(str(path))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with path.open("wb") as file:
        file.truncate(5_000_000)
    with pytest.raises(ConfigurationError, match="has 5000000 bytes, more than"):
        load_contract(str(path))
