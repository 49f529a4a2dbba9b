# SPDX-License-Identifier: Apache-2.0
"""
A model of a dbt project as expectations, read from dbt's ``manifest.json`` (dbt 1.5 to 1.11).

Read are the model's contract when it is enforced, the tests on it, and the freshness of a source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE, DATAMART_MAX_AGE, close_names
from airflow_provider_mlbridge.quality.inputs.dbt_sql import Predicate, column_name, predicates
from airflow_provider_mlbridge.quality.inputs.dbt_tests import add_test, is_test_of
from airflow_provider_mlbridge.quality.inputs.documents import (
    list_at,
    mapping_at,
    plain_copy,
    read_json,
    shown,
    text_at,
)
from airflow_provider_mlbridge.quality.inputs.imported import Collector, Imported
from airflow_provider_mlbridge.quality.inputs.odcs_types import add_physical_type
from airflow_provider_mlbridge.quality.inputs.thresholds import NotExpressibleError
from airflow_provider_mlbridge.storage.durations import SECONDS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SCHEMA = re.compile(r"https://schemas\.getdbt\.com/dbt/manifest/v(\d+)\.json")
_VERSIONS = ("9", "10", "11", "12")
"""dbt 1.5 writes version 9, dbt 1.6 version 10, dbt 1.7 version 11, dbt 1.8 to 1.11 version 12."""
_DATA = ("model", "seed", "snapshot", "source")


def load_dbt_model(manifest: object, model: str, *, s3_client: S3Client | None = None) -> Imported:
    """
    The expectations of a model, a seed, a snapshot or a source.

    :param manifest: dbt's manifest as a mapping, or the path or URI of its JSON.
    :param model: its name (of a source ``source_name.table``), or its ``unique_id``.
    :raises ConfigurationError: when the manifest cannot be read or is of another version, and when the name
        means none or several; the message lists the valid ones.
    """
    document = read_json(manifest, "dbt_manifest", s3_client=s3_client)
    source = f"dbt_manifest {manifest}" if isinstance(manifest, str) else "dbt_manifest"
    try:
        return _load(document, source, model)
    except ConfigurationError as error:
        raise type(error)(f"{source}: {error}") from None


def _load(document: Mapping[str, Any], source: str, model: str) -> Imported:
    version = mapping_at(document.get("metadata"), "metadata").get("dbt_schema_version")
    match = _SCHEMA.fullmatch(version) if isinstance(version, str) else None
    if match is None or match[1] not in _VERSIONS:
        raise ConfigurationError(
            f"metadata.dbt_schema_version must be of a manifest of version {_VERSIONS[0]} to {_VERSIONS[-1]} "
            f"(dbt 1.5 to 1.11), got {'nothing' if version is None else shown(version)}"
        )
    nodes = {**mapping_at(document.get("nodes"), "nodes")}
    sources = mapping_at(document.get("sources"), "sources")
    unique_id, found = _find({**nodes, **sources}, model)
    node = mapping_at(plain_copy(found, f"nodes[{unique_id!r}]"), unique_id)
    collector = Collector(source)
    if unique_id in sources:
        _add_freshness(collector, f"sources[{unique_id!r}]", node)
    else:
        _add_contract(collector, f"nodes[{unique_id!r}]", node)
    types = {
        column: str(mapping_at(entry, "columns").get("data_type") or "")
        for column, entry in mapping_at(node.get("columns"), f"{unique_id}: columns").items()
    }
    for test_id, entry in nodes.items():
        if isinstance(entry, Mapping) and is_test_of(entry, unique_id, node):
            path = f"nodes[{test_id!r}]"
            add_test(collector, path, mapping_at(plain_copy(entry, path), path), types)
    for test_id, entries in mapping_at(document.get("disabled"), "disabled").items():
        for entry in list_at(entries, f"disabled[{test_id!r}]"):
            if isinstance(entry, Mapping) and entry.get("attached_node") == unique_id:
                collector.refuse(str(test_id), entry.get("name"), "the test is disabled in dbt")
    return collector.result(unique_id)


def _find(nodes: Mapping[str, Any], model: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(model, str) or not model:
        raise ConfigurationError(f"dbt_model must be the name of a model, got {shown(model)}")
    candidates = {
        str(unique_id): node
        for unique_id, node in nodes.items()
        if isinstance(node, Mapping) and node.get("resource_type") in _DATA
    }
    if model in candidates:
        return model, candidates[model]
    found = [unique_id for unique_id, node in candidates.items() if model in _names(node)]
    if len(found) == 1:
        return found[0], candidates[found[0]]
    if found:
        raise ConfigurationError(
            f"the name {model!r} means {len(found)} of the project; give the unique_id of one: {_ten(found)}"
        )
    known = sorted({name for node in candidates.values() for name in _names(node)})
    raise ConfigurationError(
        f"there is no model, seed, snapshot or source {model!r}.{close_names(model, frozenset(known))} "
        f"Valid are {_ten(known)}"
    )


def _names(node: Mapping[str, Any]) -> list[str]:
    name = node.get("name")
    if not isinstance(name, str):
        return []
    if node.get("resource_type") == "source":
        return [f"{shown(node.get('source_name'))}.{name}"]
    version = node.get("version")
    return [name] if version is None else [name, f"{name}.v{shown(version)}"]


def _ten(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(map(repr, names[:10])) or "none") + more


def _add_contract(collector: Collector, path: str, node: Mapping[str, Any]) -> None:
    contract = node.get("contract") or mapping_at(node.get("config"), f"{path}.config").get("contract")
    enforced = mapping_at(contract, f"{path}.contract").get("enforced") is True
    columns = mapping_at(node.get("columns"), f"{path}.columns")
    names = []
    for key, entry in columns.items():
        where = f"{path}.columns[{key!r}]"
        column = mapping_at(entry, where)
        name = text_at(column.get("name"), f"{where}.name") or str(key)
        names.append(name)
        type_ = column.get("data_type")
        if enforced and isinstance(type_, str) and type_:
            add_physical_type(collector, f"{where}.data_type", name, type_)
        for position, item in enumerate(list_at(column.get("constraints"), f"{where}.constraints")):
            _add_constraint(collector, f"{where}.constraints[{position}]", item, [name], enforced=enforced)
    if enforced and names:
        collector.keep(
            f"{path}.contract",
            "exactly these columns",
            "expect_table_columns_to_match_set",
            {"column_set": names, "exact_match": True},
        )
    for position, item in enumerate(list_at(node.get("constraints"), f"{path}.constraints")):
        where = f"{path}.constraints[{position}]"
        listed = list_at(mapping_at(item, where).get("columns"), f"{where}.columns")
        _add_constraint(collector, where, item, [str(name) for name in listed], enforced=enforced)


def _add_constraint(
    collector: Collector, path: str, item: object, columns: list[str], *, enforced: bool
) -> None:
    constraint = mapping_at(item, path)
    type_ = constraint.get("type")
    says = {key: value for key, value in constraint.items() if value and not key.startswith("warn_")}
    if not enforced:
        collector.refuse(path, says, "dbt does not enforce the contract of this model, nor its constraints")
        return
    name = constraint.get("name")
    meta = {"constraint": name} if isinstance(name, str) else None
    if type_ == "check":
        _add_check(collector, path, constraint, says)
        return
    if type_ not in ("not_null", "unique", "primary_key"):
        why = (
            "a reference to other data cannot be judged on one datamart"
            if type_ == "foreign_key"
            else "what it means is known to the database only"
        )
        collector.refuse(path, says, why)
        return
    if not columns:
        collector.refuse(path, says, "it names no columns")
        return
    if type_ in ("not_null", "primary_key"):
        for column in columns:
            collector.keep(path, says, "expect_column_values_to_not_be_null", {"column": column}, meta=meta)
    if type_ in ("unique", "primary_key"):
        if len(columns) == 1:
            kwargs: dict[str, Any] = {"column": columns[0]}
            collector.keep(path, says, "expect_column_values_to_be_unique", kwargs, meta=meta)
        else:
            # In SQL, rows with a null in the key are never equal.
            kwargs = {"column_list": columns, "ignore_row_if": "any_value_is_missing"}
            collector.keep(path, says, "expect_compound_columns_to_be_unique", kwargs, meta=meta)


def _add_check(
    collector: Collector, path: str, constraint: Mapping[str, Any], says: Mapping[str, Any]
) -> None:
    try:
        checks = [_check(item) for item in predicates(constraint.get("expression"))]
    except NotExpressibleError as error:
        collector.refuse(path, says, str(error))
        return
    for type_, kwargs in checks:
        collector.keep(path, says, type_, kwargs)


def _check(item: Predicate) -> tuple[str, dict[str, Any]]:
    """A comparison that rows without a value pass, as they pass a CHECK of SQL."""
    kwargs: dict[str, Any] = {"column": item.column}
    match item.operator:
        case "is not null":
            return "expect_column_values_to_not_be_null", kwargs
        case "is null":
            return "expect_column_values_to_be_null", kwargs
        case "in" | "==":
            values = item.value if isinstance(item.value, list) else [item.value]
            return "expect_column_values_to_be_in_set", {**kwargs, "value_set": values}
        case "not in" | "!=":
            values = item.value if isinstance(item.value, list) else [item.value]
            return "expect_column_values_to_not_be_in_set", {**kwargs, "value_set": values}
    if isinstance(item.value, str):
        raise NotExpressibleError("how text is ordered depends on the type of the column")
    end = "min" if item.operator in (">", ">=") else "max"
    strict = {f"strict_{end}": True} if item.operator in (">", "<") else {}
    return "expect_column_values_to_be_between", {**kwargs, f"{end}_value": item.value, **strict}


def _add_freshness(collector: Collector, path: str, node: Mapping[str, Any]) -> None:
    freshness = mapping_at(node.get("freshness"), f"{path}.freshness")
    field = node.get("loaded_at_field")
    for key, severity in (("error_after", "critical"), ("warn_after", "warning")):
        where = f"{path}.freshness.{key}"
        limit = mapping_at(freshness.get(key), where)
        count, period = limit.get("count"), limit.get("period")
        if count is None or period is None:
            continue
        seconds = SECONDS.get(str(period).lower())
        if isinstance(count, bool) or not isinstance(count, int) or seconds is None:
            raise ConfigurationError(
                f"{where} must have a whole number 'count' and a 'period' of minute, hour or day, "
                f"got {shown(limit)}"
            )
        if freshness.get("filter") or node.get("loaded_at_query"):
            collector.refuse(where, limit, "the newest value is looked for by SQL of your own")
            continue
        kwargs: dict[str, Any] = {"max_age_seconds": count * seconds}
        try:
            if field is not None:
                kwargs["column"] = column_name(field)
        except NotExpressibleError as error:
            collector.refuse(where, limit, f"loaded_at_field: {error}")
            continue
        type_ = COLUMN_MAX_AGE if "column" in kwargs else DATAMART_MAX_AGE
        collector.keep(where, limit, type_, kwargs, severity=severity)
