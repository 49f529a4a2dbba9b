# SPDX-License-Identifier: Apache-2.0
"""
Contracts of the Open Data Contract Standard 3.1 (and 3.0) as expectations.

Read are the properties of one schema object (types, ``required``, ``unique``, ``primaryKey``,
``logicalTypeOptions``), its quality rules and the agreements on freshness. What only describes the data
(names for people, tags, classification, critical data elements, owners, servers, prices) is no constraint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs.documents import (
    flag_at,
    list_at,
    mapping_at,
    read_yaml,
    refuse_misspelt,
    shown,
    text_at,
)
from airflow_provider_mlbridge.quality.inputs.imported import Collector, Imported
from airflow_provider_mlbridge.quality.inputs.odcs_quality import add_rules
from airflow_provider_mlbridge.quality.inputs.odcs_sla import add_agreements
from airflow_provider_mlbridge.quality.inputs.odcs_types import add_options, add_type

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_VERSION = re.compile(r"v?3\.[01]\.\d+")

_TOP = (
    "version kind apiVersion id name tenant tags status servers dataProduct description domain schema "
    "support price team roles slaDefaultElement slaProperties authoritativeDefinitions customProperties "
    "contractCreatedTs"
)
_ELEMENT = (
    "id name physicalName physicalType logicalType description businessName authoritativeDefinitions tags "
    "customProperties quality relationships"
)
_OBJECT = f"{_ELEMENT} dataGranularityDescription properties"
_PROPERTY = (
    f"{_ELEMENT} primaryKey primaryKeyPosition logicalTypeOptions required unique partitioned "
    "partitionKeyPosition classification encryptedName transformSourceObjects transformLogic "
    "transformDescription examples criticalDataElement items properties"
)
"""Keys of the standard."""


@dataclass(frozen=True)
class _Property:
    path: str
    column: str
    document: Mapping[str, Any]


def load_contract(
    contract: object, *, schema_name: str | None = None, s3_client: S3Client | None = None
) -> Imported:
    """
    The expectations of a contract.

    A column is called by the property's ``physicalName`` where there is one, else by its ``name``.

    :param contract: the contract as a mapping, or the path or URI of its YAML.
    :param schema_name: which of its schema objects (``name``, ``physicalName`` or ``id``); not needed when
        there is only one.
    :raises ConfigurationError: when it cannot be read, is of another version, or is not well formed; the
        message names the file, the path inside it and the valid choices.
    """
    document = read_yaml(contract, "contract", s3_client=s3_client)
    source = f"contract {contract}" if isinstance(contract, str) else "contract"
    try:
        return _load(document, source, schema_name)
    except ConfigurationError as error:
        raise type(error)(f"{source}: {error}") from None


def _load(document: Mapping[str, Any], source: str, schema_name: str | None) -> Imported:
    _check_kind(document)
    objects = [
        mapping_at(item, f"schema[{position}]")
        for position, item in enumerate(list_at(document.get("schema"), "schema"))
    ]
    index = _choose(objects, schema_name)
    chosen = objects[index]
    collector = Collector(source)
    _refuse_unknown(collector, document, _TOP, "")
    path = f"schema[{index}]"
    _add_object(collector, chosen, path)
    add_agreements(
        collector,
        document,
        names=_names(chosen),
        columns={item.document["name"]: item.column for item in _properties(chosen, path)},
        only_one=len(objects) == 1,
    )
    name = text_at(document.get("name"), "name") or text_at(document.get("id"), "id") or "contract"
    return collector.result(f"{name}.{chosen['name']}")


def _check_kind(document: Mapping[str, Any]) -> None:
    kind, version = document.get("kind", "DataContract"), document.get("apiVersion")
    if kind != "DataContract":
        raise ConfigurationError(f"kind must be 'DataContract', got {shown(kind)}")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        got = "nothing" if version is None else shown(version)
        raise ConfigurationError(
            f"apiVersion must be one of v3.1.x and v3.0.x of the Open Data Contract Standard, got {got}"
        )


def _choose(objects: list[Mapping[str, Any]], wanted: str | None) -> int:
    for position, item in enumerate(objects):
        if text_at(item.get("name"), f"schema[{position}].name") is None:
            raise ConfigurationError(f"schema[{position}].name is missing")
    if not objects:
        raise ConfigurationError("schema lists no object, so there is nothing to check")
    known = ", ".join(repr(item["name"]) for item in objects[:10])
    if len(objects) > 10:
        known += f" and {len(objects) - 10} more"
    if wanted is None:
        if len(objects) > 1:
            raise ConfigurationError(f"name one of the {len(objects)} schema objects: {known}")
        return 0
    found = [position for position, item in enumerate(objects) if wanted in _names(item)]
    if not found:
        raise ConfigurationError(f"there is no schema object {shown(wanted)!r}; valid are {known}")
    if len(found) > 1:
        raise ConfigurationError(f"{shown(wanted)!r} means {len(found)} schema objects; give the id of one")
    return found[0]


def _names(item: Mapping[str, Any]) -> frozenset[str]:
    names = (item.get(key) for key in ("name", "physicalName", "id"))
    return frozenset(name for name in names if isinstance(name, str))


def _properties(chosen: Mapping[str, Any], path: str) -> list[_Property]:
    found: list[_Property] = []
    for position, item in enumerate(list_at(chosen.get("properties"), f"{path}.properties")):
        where = f"{path}.properties[{position}]"
        document = mapping_at(item, where)
        name = text_at(document.get("name"), f"{where}.name")
        if name is None:
            raise ConfigurationError(f"{where}.name is missing")
        column = text_at(document.get("physicalName"), f"{where}.physicalName") or name
        if any(name == other.document["name"] for other in found):
            raise ConfigurationError(f"{where}.name: the property {shown(name)!r} is there twice")
        found.append(_Property(where, column, document))
    return found


def _add_object(collector: Collector, chosen: Mapping[str, Any], path: str) -> None:
    _refuse_unknown(collector, chosen, _OBJECT, path)
    properties = _properties(chosen, path)
    columns = {item.document["name"]: item.column for item in properties}
    for item in properties:
        _refuse_unknown(collector, item.document, _PROPERTY, item.path)
        add_type(collector, item.path, item.column, item.document)
        if flag_at(item.document.get("required"), f"{item.path}.required"):
            _not_null(collector, f"{item.path}.required", item.column)
        if flag_at(item.document.get("unique"), f"{item.path}.unique"):
            collector.keep(
                f"{item.path}.unique", True, "expect_column_values_to_be_unique", {"column": item.column}
            )
        add_options(collector, item.path, item.column, item.document)
        _refuse_nested(collector, item)
        _refuse_relationships(collector, item.document, item.path)
        add_rules(collector, item.path, item.document, columns=columns, column=item.column)
    _add_primary_key(collector, properties, path)
    _refuse_relationships(collector, chosen, path)
    add_rules(collector, path, chosen, columns=columns, column=None)


def _not_null(collector: Collector, path: str, column: str) -> None:
    collector.keep(path, True, "expect_column_values_to_not_be_null", {"column": column})


def _add_primary_key(collector: Collector, properties: list[_Property], path: str) -> None:
    keys = []
    for order, item in enumerate(properties):
        if flag_at(item.document.get("primaryKey"), f"{item.path}.primaryKey"):
            position = item.document.get("primaryKeyPosition")
            if position is not None and (isinstance(position, bool) or not isinstance(position, int)):
                raise ConfigurationError(
                    f"{item.path}.primaryKeyPosition must be a whole number, got {shown(position)}"
                )
            # Without a position, or with the standard's -1, the order of the properties counts.
            keys.append((position if position is not None and position > 0 else len(properties), order, item))
    keys.sort(key=lambda key: key[:2])
    items = [item for *_, item in keys]
    for item in items:
        if item.document.get("required") is not True:
            _not_null(collector, f"{item.path}.primaryKey", item.column)
    says = [item.column for item in items]
    if len(items) == 1:
        if items[0].document.get("unique") is not True:
            collector.keep(
                f"{items[0].path}.primaryKey",
                says,
                "expect_column_values_to_be_unique",
                {"column": items[0].column},
            )
    elif items:
        collector.keep(
            f"{path}.properties: primaryKey",
            says,
            "expect_compound_columns_to_be_unique",
            {"column_list": says},
        )


def _refuse_nested(collector: Collector, item: _Property) -> None:
    for key in ("properties", "items"):
        nested = item.document.get(key)
        if nested:
            collector.refuse(
                f"{item.path}.{key}",
                nested,
                "what is inside a nested column is not judged, only the column and its own type",
            )


def _refuse_relationships(collector: Collector, document: Mapping[str, Any], path: str) -> None:
    for position, item in enumerate(list_at(document.get("relationships"), f"{path}.relationships")):
        collector.refuse(
            f"{path}.relationships[{position}]",
            item,
            "a reference to other data cannot be judged on one datamart",
        )


def _refuse_unknown(collector: Collector, document: Mapping[str, Any], keys: str, path: str) -> None:
    known = frozenset(keys.split())
    for key in document:
        if key not in known:
            refuse_misspelt(key, known, path)
            collector.refuse(
                f"{path}.{key}".removeprefix("."),
                document[key],
                f"{shown(key)!r} is no key of the standard here",
            )
