# SPDX-License-Identifier: Apache-2.0
"""
JSON Schema of recipes, with which editors complete and check them.

It is made from the classes: options and their types from the dataclasses, descriptions from the docstrings,
choices and bounds from the checks of :mod:`~.options`, which are recorded while each option is tried. Rules
about several options together (``lower`` or ``lower_quantile``, not both) are left to
:class:`~.recipe.Recipe`, whose word is the last.

``python -m airflow_provider_mlbridge.features.recipe_schema`` prints it; ``recipe.schema.json`` beside this
module is that text.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.exceptions import FeatureError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.allow import SEVERITIES, Allow
from airflow_provider_mlbridge.features.recipe import RECIPE_VERSION, Recipe, Refit
from airflow_provider_mlbridge.features.selectors import ROLES, TYPES, Selector
from airflow_provider_mlbridge.features.splits import SPLITS
from airflow_provider_mlbridge.features.steps import STEP_TYPES

SCHEMA_PATH = Path(__file__).with_name("recipe.schema.json")

_PARAMETER = re.compile(r"^:param (\w+):\s*(.*?)(?=^:|\Z)", re.DOTALL | re.MULTILINE)
_NAME: dict[str, Any] = {"type": "string", "minLength": 1}
_NAMES: dict[str, Any] = {"anyOf": [_NAME, {"type": "array", "items": _NAME, "uniqueItems": True}]}
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    date: {"type": "string"},
    timedelta: {"type": "string"},
    type(None): {"type": "null"},
}
_PROBES: dict[str, Sequence[Any]] = {
    "string": ("probe", "1d", "2020-01-01"),
    "boolean": (True,),
    "integer": (1, 2),
    "number": (0.5,),
    "array": (["probe"], [1], [0.5, 1.5]),
}
"""What options of each type are tried with."""


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the YAML and JSON of recipes."""
    steps = {name: _object(step, "type", name) for name, step in STEP_TYPES.items()}
    splits = {name: _object(split, "by", name) for name, split in SPLITS.items()}
    texts = _descriptions(Recipe)
    time = {"anyOf": [_NAME, {"type": "null"}]}
    properties: dict[str, Any] = {
        "version": {
            "type": "integer",
            "minimum": 1,
            "maximum": RECIPE_VERSION,
            "description": "version of the recipe's format.",
        },
        "name": _NAME,
        "keys": _NAMES,
        "label": time,
        "event_time": time,
        "known_time": time,
        "split": {"anyOf": [{"$ref": "#/$defs/split"}, {"type": "null"}]},
        "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        "allow": {"type": "array", "items": {"$ref": "#/$defs/allow"}},
        "refit": {"enum": list(typing.get_args(Refit))},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Feature recipe of airflow-provider-mlbridge",
        "description": _summary(Recipe),
        "type": "object",
        "properties": {
            name: {**schema, **({"description": texts[name]} if name in texts else {})}
            for name, schema in properties.items()
        },
        "required": ["name", "steps"],
        "additionalProperties": False,
        "$defs": {
            "columns": _columns(),
            "allow": _allow(),
            "step": _one_of("type", steps, "step"),
            "split": _one_of("by", splits, "split"),
            **{f"step_{name}": schema for name, schema in steps.items()},
            **{f"split_{name}": schema for name, schema in splits.items()},
        },
    }


def schema_text() -> str:
    """The schema as the text of ``recipe.schema.json``."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _one_of(discriminator: str, schemas: Mapping[str, Any], what: str) -> dict[str, Any]:
    # if and then instead of oneOf: an editor then says what is wrong with this step, not that it is none of
    # all steps.
    return {
        "type": "object",
        "properties": {discriminator: {"enum": list(schemas)}},
        "required": [discriminator],
        "allOf": [
            {
                "if": {"properties": {discriminator: {"const": name}}, "required": [discriminator]},
                "then": {"$ref": f"#/$defs/{what}_{name}"},
            }
            for name in schemas
        ],
    }


def _columns() -> dict[str, Any]:
    texts = _descriptions(Selector)
    matching: dict[str, dict[str, Any]] = {
        "regex": {"type": "string", "minLength": 1, "format": "regex"},
        "type": {"enum": list(TYPES)},
        "role": {"enum": list(ROLES)},
    }
    return {
        "description": "a name, a list of names, or what the names, types or roles must match.",
        "anyOf": [
            _NAME,
            {"type": "array", "items": _NAME, "uniqueItems": True, "minItems": 1},
            {
                "type": "object",
                "properties": {
                    name: {"description": texts[name], **schema}
                    for name, schema in {**matching, "exclude": _NAMES}.items()
                },
                "additionalProperties": False,
                "anyOf": [{"required": [name]} for name in matching],
            },
        ],
    }


def _allow() -> dict[str, Any]:
    texts = _descriptions(Allow)
    schemas: dict[str, dict[str, Any]] = {
        "code": {"enum": list(SEVERITIES)},
        "column": _NAME,
        "reason": _NAME,
    }
    return {
        "description": _summary(Allow),
        "type": "object",
        "properties": {name: {"description": texts[name], **schema} for name, schema in schemas.items()},
        "required": list(schemas),
        "additionalProperties": False,
    }


def _object(cls: type[Any], discriminator: str, name: str) -> dict[str, Any]:
    """A step or a split: its options, as the class says."""
    texts, hints = _descriptions(cls), typing.get_type_hints(cls)
    rules = _rules(cls, hints)
    properties: dict[str, Any] = {discriminator: {"const": name}}
    required = [discriminator]
    schemas: dict[str, dict[str, Any]] = {}
    for item in _options(cls):
        if item.name == "columns":
            schemas[item.name] = {"$ref": "#/$defs/columns"}
        else:
            schemas[item.name] = _option(hints[item.name], [rule for rule in rules if rule.name == item.name])
    needed = _needed(cls, _given(cls, hints), hints, schemas)
    for item in _options(cls):
        schema = schemas[item.name]
        if item.name in texts:
            schema = {"description": texts[item.name], **schema}
        if item.default is MISSING or item.name == needed:
            required.append(item.name)
        elif item.default is not None:
            default = item.default
            schema = {**schema, "default": list(default) if isinstance(default, tuple) else default}
        properties[item.name] = schema
    return {
        "description": _summary(cls),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _rules(cls: type[Any], hints: Mapping[str, Any]) -> list[options.Rule]:
    """What the class checks, found by making it with one option after the other."""
    given = _given(cls, hints)
    with options.recorded() as rules:
        for item in _options(cls):
            for probe in _probes(hints[item.name]):
                # Most of these are no valid objects; what was checked before that was found is recorded.
                with suppress(FeatureError, InvalidRecipeError):
                    cls(**{**given, item.name: probe})
    return rules


def _given(cls: type[Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Something for each option that has no default."""
    return {
        item.name: "probe" if item.name == "columns" else _probes(hints[item.name])[0]
        for item in _options(cls)
        if item.default is MISSING
    }


def _needed(
    cls: type[Any], given: Mapping[str, Any], hints: Mapping[str, Any], schemas: Mapping[str, dict[str, Any]]
) -> str | None:
    """The one option without which nothing is valid, though it has a default; None when there is none."""
    if _valid(cls, given):
        return None
    found = []
    for item in _options(cls):
        parts = schemas[item.name].get("anyOf", [schemas[item.name]])
        words = [word for part in parts for word in part.get("enum", [])]
        probes = [*words[:1], *_probes(hints[item.name])]
        if any(_valid(cls, {**given, item.name: probe}) for probe in probes):
            found.append(item.name)
    return found[0] if len(found) == 1 else None


def _options(cls: type[Any]) -> list[Field[Any]]:
    return [item for item in fields(cls) if item.init]


def _valid(cls: type[Any], given: Mapping[str, Any]) -> bool:
    try:
        cls(**given)
    except (FeatureError, InvalidRecipeError):
        return False
    return True


def _probes(hint: Any) -> list[Any]:
    kinds = [schema.get("type") for schema in _variants(hint)]
    return [probe for kind in kinds if isinstance(kind, str) for probe in _PROBES.get(kind, ())] or ["probe"]


def _variants(hint: Any) -> list[dict[str, Any]]:
    """The JSON types of an annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        unique: list[dict[str, Any]] = []
        for argument in arguments:
            unique += [schema for schema in _variants(argument) if schema not in unique]
        # Every integer is a number.
        return [s for s in unique if s != _PLAIN[int] or _PLAIN[float] not in unique]
    if origin is typing.Literal:
        return [{"enum": list(arguments)}]
    if hint in _PLAIN:
        return [_PLAIN[hint]]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [{"type": "object", "additionalProperties": _joined(_variants(arguments[1]))}]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return [{"type": "array", "items": _joined(_variants(arguments[0]))}]
    return [{}]


def _option(hint: Any, rules: Sequence[options.Rule]) -> dict[str, Any]:
    variants = _variants(hint)
    if {} in variants:
        return {}
    listed = any(variant.get("type") == "array" for variant in variants)
    items = [rule.schema for rule in rules if listed and not isinstance(rule.value, list | tuple)]
    wholes = [rule.schema for rule in rules if not listed or isinstance(rule.value, list | tuple)]
    lists = [schema for schema in wholes if "anyOf" in schema]
    result: list[dict[str, Any]] = []
    for variant in variants:
        kind = variant.get("type")
        if kind == "array" and lists:
            found = [dict(part) for part in lists[0]["anyOf"]]
            # A single one may stand for a list of one, and is then what a list's items are.
            result += [
                _with_items(part, items) if part["type"] == "array" else _refined(part, items)
                for part in found
            ]
        elif kind == "array":
            result.append(_with_items(_refined(variant, wholes), items))
        else:
            result.append(_refined(variant, items if listed else wholes))
    return _joined(result)


def _with_items(schema: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    plain = schema.get("items", {})
    return {**schema, "items": _refined(plain, items) if isinstance(plain.get("type"), str) else plain}


def _refined(variant: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A type with what the checks say about it."""
    kind = variant.get("type")
    for schema in rules:
        if schema.get("type") == kind or (kind == "integer" and schema.get("type") == "number"):
            return {**schema, "type": kind}
    return dict(variant)


def _joined(variants: Sequence[dict[str, Any]]) -> dict[str, Any]:
    unique: list[dict[str, Any]] = []
    unique += [variant for variant in variants if variant not in unique]
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def _summary(cls: type[Any]) -> str:
    return _plain((inspect.getdoc(cls) or "").split("\n\n:param")[0].split("\n\n")[0])


def _descriptions(cls: type[Any]) -> dict[str, str]:
    """What the docstrings say about each option; that of the class itself before those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        # Not getdoc: it would repeat a base's docstring where there is none.
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        for name, description in _PARAMETER.findall(text):
            found[name] = _plain(description)
    return found


def _plain(text: str) -> str:
    """Without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?\.*([^`]*)`", lambda match: match[1].rpartition(".")[2], text)
    return " ".join(text.replace("``", "").split())


def main() -> None:
    """Print the schema."""
    sys.stdout.write(schema_text())


if __name__ == "__main__":
    main()
