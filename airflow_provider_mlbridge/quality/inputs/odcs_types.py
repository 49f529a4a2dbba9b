# SPDX-License-Identifier: Apache-2.0
"""Types of properties in the Open Data Contract Standard, and the options of its logical types."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidExpectationError
from airflow_provider_mlbridge.quality.catalog import COLUMN_TYPE, close_names
from airflow_provider_mlbridge.quality.column_types import parse_type
from airflow_provider_mlbridge.quality.inputs.documents import flag_at, mapping_at, shown, text_at
from airflow_provider_mlbridge.quality.inputs.imported import Collector

_LOGICAL = {
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "time": "time",
    "integer": "int",
    "object": "struct",
    "array": "list",
    "boolean": "bool",
}
_NUMBER = ["int", "float", "decimal"]
"""A number may be whole."""
_FLOATS = {"f32": ["float16", "float32"], "f64": ["float16", "float32", "float64"]}
_LENGTH = re.compile(
    r"\s*(?:char|character|varchar|character varying) ?\(\s*(\d{1,18})\s*\)\s*", re.IGNORECASE
)
_INTEGER = re.compile(r"([iu])(8|16|32|64|128)")
_FORMATS = {
    "uuid": r"\A[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z",
    "ipv4": r"\A(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\Z",
}
"""Formats that a regular expression says exactly."""
_MOMENTS = ("date", "timestamp", "time")
_RANGE = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OPTIONS = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "date": (*_RANGE, "format"),
    "timestamp": (*_RANGE, "format", "timezone", "defaultTimezone"),
    "time": (*_RANGE, "format", "timezone", "defaultTimezone"),
    "number": (*_RANGE, "format", "multipleOf"),
    "integer": (*_RANGE, "format", "multipleOf"),
    "object": ("minProperties", "maxProperties", "required"),
    "array": ("minItems", "maxItems", "uniqueItems"),
    "boolean": (),
}


def add_type(collector: Collector, path: str, column: str, document: Mapping[str, Any]) -> None:
    """
    The column exists and has its type: the physical one where its name is known, else the logical one.

    :raises ConfigurationError: for a logical type that the standard does not have.
    """
    physical = text_at(document.get("physicalType"), f"{path}.physicalType")
    logical = logical_type(document, path)
    if physical is not None and add_physical_type(collector, f"{path}.physicalType", column, physical):
        return
    where = f"{path}.logicalType"
    if logical is None:
        where = f"{path}.name"
        collector.keep(where, column, "expect_column_to_exist", {"column": column})
    elif logical == "number":
        names = _NUMBER
        kwargs = {"column": column, "type_list": names}
        collector.keep(where, logical, "expect_column_values_to_be_in_type_list", kwargs)
    else:
        options = mapping_at(document.get("logicalTypeOptions"), f"{path}.logicalTypeOptions")
        type_ = _LOGICAL[logical]
        if logical == "timestamp" and "timezone" in options:
            zoned = flag_at(options["timezone"], f"{path}.logicalTypeOptions.timezone")
            type_ = f"timestamp {'with' if zoned else 'without'} time zone"
        collector.keep(where, logical, COLUMN_TYPE, {"column": column, "type_": type_})


def add_physical_type(collector: Collector, path: str, column: str, name: str) -> bool:
    """
    The type that a database calls so, and the length that it names.

    :returns: whether the name is known; if not, it is listed as not supported.
    """
    try:
        parse_type(name)
    except InvalidExpectationError:
        collector.refuse(path, name, "no type is known by this name here")
        return False
    collector.keep(path, name, COLUMN_TYPE, {"column": column, "type_": name})
    if match := _LENGTH.fullmatch(name):
        kwargs = {"column": column, "max_value": int(match[1])}
        collector.keep(path, name, "expect_column_value_lengths_to_be_between", kwargs)
    elif "(" in name and name.strip().lower().startswith("varbinary"):
        collector.refuse(path, name, "the length of binary values is not judged")
    return True


def logical_type(document: Mapping[str, Any], path: str) -> str | None:
    """
    The logical type of a property, or None.

    :raises ConfigurationError: for one that the standard does not have.
    """
    logical = text_at(document.get("logicalType"), f"{path}.logicalType")
    if logical is not None and logical not in _OPTIONS:
        raise ConfigurationError(
            f"{path}.logicalType must be one of {', '.join(map(repr, _OPTIONS))}, got {shown(logical)!r}"
        )
    return logical


def add_options(collector: Collector, path: str, column: str, document: Mapping[str, Any]) -> None:
    """
    What ``logicalTypeOptions`` says about values.

    :raises ConfigurationError: for an option with a value of the wrong kind.
    """
    where = f"{path}.logicalTypeOptions"
    options = mapping_at(document.get("logicalTypeOptions"), where)
    logical = logical_type(document, path)
    known = _OPTIONS[logical] if logical else tuple({name for names in _OPTIONS.values() for name in names})
    for name in options:
        if name not in known:
            collector.refuse(
                f"{where}.{name}",
                options[name],
                f"{shown(name)!r} is no option of the type {shown(logical)!r}."
                f"{close_names(name, frozenset(known))}",
            )
    given = {name: value for name, value in options.items() if name in known and value is not None}
    _add_lengths(collector, where, column, given)
    if "pattern" in given:
        pattern = text_at(given["pattern"], f"{where}.pattern")
        kwargs = {"column": column, "regex": pattern}
        collector.keep(f"{where}.pattern", pattern, "expect_column_values_to_match_regex", kwargs)
    _add_range(collector, where, column, logical, given)
    if "format" in given:
        _add_format(collector, f"{where}.format", column, logical, given["format"])
    _refuse_others(collector, where, logical, given)


def _add_lengths(collector: Collector, where: str, column: str, given: Mapping[str, Any]) -> None:
    bounds = {}
    for name, argument in (("minLength", "min_value"), ("maxLength", "max_value")):
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigurationError(f"{where}.{name} must be a whole number from 0, got {shown(value)}")
        bounds[argument] = value
    if bounds:
        collector.keep(
            f"{where}.{'minLength' if 'min_value' in bounds else 'maxLength'}",
            {name: given[name] for name in ("minLength", "maxLength") if name in given},
            "expect_column_value_lengths_to_be_between",
            {"column": column, **bounds},
        )


def _add_range(
    collector: Collector, where: str, column: str, logical: str | None, given: Mapping[str, Any]
) -> None:
    inclusive: dict[str, Any] = {}
    exclusive: dict[str, Any] = {}
    for name, argument, strict in (
        ("inimum", "min_value", "strict_min"),
        ("aximum", "max_value", "strict_max"),
    ):
        bound, beyond = given.get(f"m{name}"), given.get(f"exclusiveM{name}")
        if bound is not None:
            inclusive[argument] = _bound(bound, f"{where}.m{name}", logical)
        if isinstance(beyond, bool):
            # In version 3.0 a flag: whether the bound itself is out.
            if beyond and bound is not None:
                inclusive[strict] = True
        elif beyond is not None:
            exclusive |= {argument: _bound(beyond, f"{where}.exclusiveM{name}", logical), strict: True}
    if inclusive and exclusive and not inclusive.keys() & exclusive.keys():
        inclusive, exclusive = inclusive | exclusive, {}
    for arguments in (inclusive, exclusive):
        if not arguments:
            continue
        names = [name for name in _RANGE if name in given]
        collector.keep(
            f"{where}.{names[0]}",
            {name: given[name] for name in names},
            "expect_column_values_to_be_between",
            {"column": column, **arguments},
        )


def _bound(value: object, path: str, logical: str | None) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(value, str) and logical not in ("number", "integer"):
        return value
    if not number or logical in _MOMENTS:
        kind = "a date or time as text" if logical in _MOMENTS else "a number"
        raise ConfigurationError(f"{path} must be {kind}, got {shown(value)}")
    return value


def _add_format(collector: Collector, path: str, column: str, logical: str | None, value: object) -> None:
    name = text_at(value, path) or ""
    if logical == "integer" and (match := _INTEGER.fullmatch(name)):
        bits = int(match[2])
        low, high = (0, 2**bits - 1) if match[1] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        kwargs = {"column": column, "min_value": low, "max_value": high}
        collector.keep(path, name, "expect_column_values_to_be_between", kwargs)
    elif logical == "number" and name in _FLOATS:
        kwargs = {"column": column, "type_list": _FLOATS[name]}
        collector.keep(path, name, "expect_column_values_to_be_in_type_list", kwargs)
    elif logical == "string" and name in _FORMATS:
        kwargs = {"column": column, "regex": _FORMATS[name]}
        collector.keep(path, name, "expect_column_values_to_match_regex", kwargs)
    elif logical in _MOMENTS:
        collector.refuse(
            path, name, "a column of dates or times has no text form; its type is judged instead"
        )
    else:
        collector.refuse(path, name, "no regular expression says exactly this; state one as 'pattern'")


def _refuse_others(collector: Collector, where: str, logical: str | None, given: Mapping[str, Any]) -> None:
    zone = given.get("defaultTimezone")
    if zone not in (None, "UTC", "Etc/UTC", "Z"):
        collector.refuse(
            f"{where}.defaultTimezone", zone, "timestamps without a zone are taken as UTC when compared"
        )
    if "timezone" in given and logical != "timestamp":
        collector.refuse(f"{where}.timezone", given["timezone"], "times of day are judged without their zone")
    reasons = {
        "multipleOf": "no expectation says this",
        **dict.fromkeys(
            ("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "required"),
            "what is inside a nested column is not judged",
        ),
    }
    for name, why in reasons.items():
        if name in given:
            collector.refuse(f"{where}.{name}", given[name], why)
