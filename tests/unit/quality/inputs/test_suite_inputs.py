# SPDX-License-Identifier: Apache-2.0
"""Suites from callables and objects of Great Expectations, and the way of an import there and back."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    InvalidExpectationError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.quality.engines.gx import import_gx
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.inputs import load_contract, load_suite, to_gx_suite
from airflow_provider_mlbridge.quality.inputs.shorthands import expand

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}}

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
name: shop
schema:
  - name: orders
    properties:
      - name: tenant
        logicalType: string
        primaryKey: true
        logicalTypeOptions: {maxLength: 8, pattern: "^[a-z]+$"}
      - {name: id, physicalType: bigint, primaryKey: true, unique: true}
      - name: unit
        logicalType: string
        quality:
          - {metric: invalidValues, arguments: {validValues: [kg, lb]}, mustBeLessThan: 5, severity: warning}
          - metric: missingValues
            arguments: {missingValues: [null, '', 0]}
            mustBeBetween: [1, 9]
            name: some
            description: a few are known
          - {metric: nullValues, mustBeLessThan: 1, unit: percent}
          - {metric: nullValues, mustBeGreaterThan: 1, unit: percent, severity: info}
          - {type: text, description: agreed with sales}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: 2024-01-01}}
      - {name: price, logicalType: number}
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0}
slaProperties:
  - {property: latency, value: 2, unit: d, element: orders.day}
  - {property: freshness, value: 6, unit: h}
"""


def plain(expectations: Any) -> list[tuple[str, dict[str, Any], str]]:
    return [(item.type, dict(item.kwargs), item.severity) for item in expectations]


@pytest.fixture(scope="module")
def gx() -> Any:
    return import_gx()


def test_a_contract_goes_to_great_expectations_and_back(gx: Any, tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(CONTRACT)
    imported = load_contract(str(path))
    exported = imported.to_gx_suite()
    # Ours have no type there: the existence of the columns with a type is what is left of them.
    lost = exported["meta"]["mlbridge"]["not_judged_by_great_expectations"]
    assert [item["type"] for item in lost] == [
        *["mlbridge_column_type"] * 4,
        "mlbridge_column_max_age",
        "mlbridge_datamart_max_age",
    ]
    assert [item["says"] for item in exported["meta"]["mlbridge"]["unsupported"]] == ["agreed with sales"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = gx.get_context(mode="ephemeral")
        # Through JSON, as a suite is kept in a file.
        suite = context.suites.add(gx.ExpectationSuite(**json.loads(json.dumps(exported))))
        stored = context.suites.get("shop.orders")
    assert len(stored.expectations) == len(imported.expectations) - 2
    for again in (exported, suite, stored, suite.to_json_dict()):
        name, expectations = load_suite(again)
        assert name == "shop.orders"
        assert plain(expectations) == plain(imported.expectations)
    assert list(load_suite(exported)[1]) == list(imported.expectations)


def test_what_was_taken_out_of_an_export_does_not_come_back() -> None:
    wanted = expand(schema={"a": "int64", "b": "int64"}, not_null=["a"], unique=[], min_rows=1, max_age=9)
    exported = to_gx_suite("s", wanted)
    assert plain(load_suite(exported)[1]) == plain(wanted)
    exported["expectations"] = [
        item for item in exported["expectations"] if item["kwargs"] != {"column": "b"}
    ]
    assert ("mlbridge_column_type", {"column": "b", "type_": "int64"}, "critical") not in plain(
        load_suite(exported)[1]
    )


@pytest.mark.parametrize(
    "kept",
    [
        3, {}, [], [3], [{"position": 0}], [{"position": "x", "expectation": NOT_NULL}],
        [{"position": 10**40, "expectation": NOT_NULL}],
        [{"position": 0, "stands_in": True, "expectation": {"kwargs": 3}}],
    ],
)  # fmt: skip
def test_foreign_meta_does_no_harm(kept: Any) -> None:
    document = {"name": "s", "expectations": [NOT_NULL], "meta": {"mlbridge": {"expectations": kept}}}
    assert plain(load_suite(document)[1])[0][0] == NOT_NULL["type"]


def test_objects_become_plain_expectations(gx: Any) -> None:
    gxe = gx.expectations
    from great_expectations.expectations.row_conditions import Column

    condition = (Column("x") > 5) & Column("y").is_not_null()
    objects = [
        gxe.ExpectColumnValuesToNotBeNull(column="x", mostly=0.9, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(column="x", min_value=1, row_condition=condition),
    ]
    expected = [
        Expectation("expect_column_values_to_not_be_null", {"column": "x", "mostly": 0.9}, "warning"),
        Expectation(
            "expect_column_values_to_be_between",
            {
                "column": "x",
                "min_value": 1,
                "row_condition": {
                    "type": "and",
                    "conditions": [
                        {"type": "comparison", "column": {"name": "x"}, "operator": ">", "parameter": 5},
                        {"type": "nullity", "column": {"name": "y"}, "is_null": False},
                    ],
                },
            },
        ),
    ]
    assert plain(load_suite(objects)[1]) == plain(expected)
    assert plain(load_suite(objects[0])[1]) == plain(expected[:1])
    # A condition may also stand as an object in a mapping.
    kwargs = {"column": "x", "min_value": 1, "row_condition": condition}
    mixed = load_suite([{"type": "expect_column_values_to_be_between", "kwargs": kwargs}])[1]
    assert plain(load_suite(to_gx_suite("s", mixed))[1]) == plain(expected[1:])
    assert plain(load_suite(lambda: gx.ExpectationSuite(name="s", expectations=objects))[1]) == plain(
        expected
    )


def test_a_callable_gets_the_context_when_it_asks_for_one() -> None:
    suite = {"name": "s", "expectations": [NOT_NULL]}
    seen: list[Any] = []

    def with_context(context: Any) -> Any:
        seen.append(context)
        return suite

    def with_default(context: Any = "mine") -> Any:
        seen.append(context)
        return [NOT_NULL]

    assert load_suite([with_context], context={"ds": "2024-01-31"})[0] == "s"
    assert plain(load_suite(with_default, context={})[1]) == plain(load_suite(suite)[1])
    assert seen == [{"ds": "2024-01-31"}, "mine"]


def test_errors_of_a_callable_name_it() -> None:
    def broken_suite() -> Any:
        raise KeyError("password=hunter2")

    def refused() -> Any:
        raise TimeoutError("no answer from the service")

    def unreachable() -> Any:
        raise StorageUnavailableError("S3 does not answer")

    def nothing() -> Any:
        return None

    line = broken_suite.__code__.co_firstlineno + 1
    place = rf"broken_suite: the callable raised KeyError at .*test_suite_inputs\.py:{line}\."
    with pytest.raises(ConfigurationError, match=place) as caught:
        load_suite(broken_suite)
    assert "hunter2" not in str(caught.value)
    # A retry may heal this one.
    with pytest.raises(TimeoutError, match="no answer"):
        load_suite(refused)
    # One of our own errors says itself whether a retry helps.
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        load_suite(unreachable)
    with pytest.raises(InvalidExpectationError, match=r"nothing\(\) must be a mapping.*got NoneType"):
        load_suite(nothing)
    with pytest.raises(ConfigurationError, match="returned another one"):
        load_suite(lambda: nothing)
