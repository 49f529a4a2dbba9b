# SPDX-License-Identifier: Apache-2.0
"""Tests of a dbt project as expectations: on which data, how severe, and from how many failures on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.catalog import EXPECTATION_TYPES
from airflow_provider_mlbridge.quality.inputs import conditions, dbt_sql
from airflow_provider_mlbridge.quality.inputs.dbt_packages import Call, translate
from airflow_provider_mlbridge.quality.inputs.documents import mapping_at
from airflow_provider_mlbridge.quality.inputs.imported import Collector
from airflow_provider_mlbridge.quality.inputs.thresholds import (
    Counts,
    NotExpressibleError,
    Range,
    as_counts,
)

_TARGET = re.compile(r"(?:ref|source)\(\s*(?P<names>'[^']*'(?:\s*,\s*'[^']*')*)")
_LIMIT = re.compile(r"\s*(?P<sign>!=|<>|>=|<=|>|<|==|=)\s*(?P<number>\d{1,18})\s*")
_ANY = "!= 0"


def add_test(collector: Collector, path: str, node: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """
    What a test on the model says.

    :param path: where the test stands in the manifest.
    :param node: the test.
    :param types: the model's columns with their types in the database, where they are declared.
    :raises ConfigurationError: when the test is not in the shape that dbt writes.
    """
    metadata = mapping_at(node.get("test_metadata"), f"{path}.test_metadata")
    if not metadata:
        collector.refuse(path, node.get("name"), "a test written in SQL; state it as an expectation")
        return
    config = mapping_at(node.get("config"), f"{path}.config")
    kwargs = dict(mapping_at(metadata.get("kwargs"), f"{path}.test_metadata.kwargs"))
    # dbt 1.10 moved the arguments of a test below one key, in the project's files at least.
    kwargs |= mapping_at(kwargs.pop("arguments", None), f"{path}.test_metadata.kwargs.arguments")
    kwargs.pop("model", None)
    says = {
        "test": metadata.get("name"),
        **{key: value for key, value in kwargs.items() if value is not None},
    }
    if config.get("enabled") is False:
        collector.refuse(path, says, "the test is disabled in dbt")
        return
    meta: dict[str, Any] = {"test": node.get("name")}
    if config.get("meta"):
        meta["meta"] = config["meta"]
    description = node.get("description")
    try:
        call = Call(
            str(metadata.get("namespace") or "dbt"), str(metadata.get("name")), kwargs, types,
            node.get("column_name"),
        )  # fmt: skip
        translated = translate(call)
        if config.get("where") is not None:
            translated = [_under(config["where"], *item) for item in translated]
    except NotExpressibleError as error:
        collector.refuse(path, says, str(error))
        return
    for severity, limit in _severities(config):
        try:
            expectations = _limited(call, translated, config, limit)
        except NotExpressibleError as error:
            collector.refuse(path, {**says, severity: limit}, str(error))
            continue
        for type_, arguments in expectations:
            collector.keep(
                path,
                says,
                type_,
                arguments,
                severity=severity,
                meta=meta,
                notes=description if isinstance(description, str) else None,
            )


def is_test_of(node: Mapping[str, Any], unique_id: str, model: Mapping[str, Any]) -> bool:
    """
    Whether a node is a test on the model, or one in SQL that reads it.

    :param unique_id: of the model.
    """
    if node.get("resource_type") != "test":
        return False
    attached = node.get("attached_node")
    if isinstance(attached, str):
        return attached == unique_id
    depends = node.get("depends_on")
    nodes = depends.get("nodes") if isinstance(depends, Mapping) else None
    if not isinstance(nodes, list) or unique_id not in nodes:
        return False
    metadata = node.get("test_metadata")
    if len(nodes) == 1 or not isinstance(metadata, Mapping):
        # A test in SQL belongs to every model that it reads.
        return True
    # Tests of sources say it in their arguments only.
    kwargs = metadata.get("kwargs")
    target = kwargs.get("model") if isinstance(kwargs, Mapping) else None
    match = _TARGET.search(target) if isinstance(target, str) else None
    if match is None:
        return True
    names = re.findall(r"'([^']*)'", match["names"])
    return bool(names) and names[-1] == model.get("name")


def _severities(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each severity with the number of failures from which on it holds, as dbt decides."""
    error_if, warn_if = str(config.get("error_if") or _ANY), str(config.get("warn_if") or _ANY)
    if str(config.get("severity") or "error").lower() == "warn":
        return [("warning", warn_if)]
    if _counts(error_if) == _counts(warn_if) or _counts(error_if) == Counts(0, 0):
        return [("critical", error_if)]
    return [("critical", error_if), ("warning", warn_if)]


def _counts(limit: str) -> Counts | None:
    """The numbers of failures that pass; None when that cannot be said."""
    match = _LIMIT.fullmatch(limit)
    if match is None:
        return None
    number = Fraction(int(match["number"]))
    ranges = {
        "!=": (Range(number, number),),
        "<>": (Range(number, number),),
        ">": (Range(None, number),),
        ">=": (Range(None, number, strict_high=True),),
        "<": (Range(number, None),),
        "<=": (Range(number, None, strict_low=True),),
    }.get(match["sign"], (Range(None, number, strict_high=True), Range(number, None, strict_low=True)))
    try:
        return as_counts(ranges)
    except NotExpressibleError:
        return None


def _limited(
    call: Call, translated: list[tuple[str, dict[str, Any]]], config: Mapping[str, Any], limit: str
) -> list[tuple[str, dict[str, Any]]]:
    """The expectations, or a count of rows in place of one where a number of failures is allowed."""
    if str(config.get("fail_calc") or "count(*)").replace(" ", "").lower() != "count(*)":
        raise NotExpressibleError("'fail_calc' is SQL of your own")
    counts = _counts(limit)
    if counts is None:
        raise NotExpressibleError(f"the threshold {shown(limit)} is no single range of numbers of failures")
    if counts == Counts(0, 0):
        return translated
    if config.get("limit") is not None:
        raise NotExpressibleError("'limit' caps the failures that the threshold counts")
    if (call.package, call.name) != ("dbt", "not_null"):
        # The others count groups and values, not rows.
        raise NotExpressibleError(f"the threshold {shown(limit)} is exact for the test not_null only")
    kwargs = translated[0][1]
    condition = conditions.is_null(kwargs["column"])
    if "row_condition" in kwargs:
        condition = _both(kwargs["row_condition"], condition)
    return [("expect_table_row_count_to_be_between", {**counts.bounds(), "row_condition": condition})]


def _under(where: object, type_: str, kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    known = EXPECTATION_TYPES.get(type_)
    if known is None or "row_condition" not in known.kwargs:
        raise NotExpressibleError(f"'where' is given, and {type_} takes no condition on rows")
    try:
        condition = dbt_sql.row_condition(where)
    except NotExpressibleError as error:
        raise NotExpressibleError(f"where: {error}") from None
    if "row_condition" in kwargs:
        condition = _both(condition, kwargs["row_condition"])
    return type_, {**kwargs, "row_condition": condition}


def _both(first: conditions.Condition, second: conditions.Condition) -> conditions.Condition:
    parts: list[conditions.Condition] = []
    for condition in (first, second):
        parts.extend(condition["conditions"] if condition["type"] == "and" else [condition])
    return conditions.all_of(parts)
