# SPDX-License-Identifier: Apache-2.0
"""
Quality rules of the Open Data Contract Standard: five metrics by eight operators, and rules for engines.

Where an expectation counts something else than the rule, the rule becomes a count of rows under a condition,
which is exact. Where no expectation is exact, it is not supported.

The standard leaves open what a percentage is of and what counts as a duplicate. Here a percentage of null and
of missing values is one of all rows, and one of invalid and of duplicate values is one of the values that are
there, as Great Expectations counts; every row whose value occurs more than once is a duplicate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.inputs import conditions
from airflow_provider_mlbridge.quality.inputs.documents import (
    list_at,
    mapping_at,
    parse_yaml,
    plain_copy,
    refuse_misspelt,
    shown,
    text_at,
)
from airflow_provider_mlbridge.quality.inputs.imported import Collector
from airflow_provider_mlbridge.quality.inputs.thresholds import (
    OPERATORS,
    Counts,
    NotExpressibleError,
    Shares,
    allowed,
    as_counts,
    as_shares,
)

_METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
_TYPES = ("library", "text", "sql", "custom")
_WORDS = (
    "id name description dimension businessImpact method severity tags customProperties "
    "authoritativeDefinitions schedule scheduler"
)
_DESCRIBES = tuple(_WORDS.split())
_KEYS = frozenset(
    (
        *_DESCRIBES,
        *OPERATORS,
        *("type", "metric", "rule", "arguments", "unit", "query", "engine", "implementation"),
    )
)
_ARGUMENTS = {
    "missingValues": frozenset({"missingValues"}),
    "invalidValues": frozenset({"validValues", "pattern"}),
    "duplicateValues": frozenset({"properties"}),
}
_SEVERITIES = {
    **dict.fromkeys(("critical", "error", "fatal", "blocker", "high", "major"), "critical"),
    **dict.fromkeys(("warning", "warn", "medium", "moderate", "minor"), "warning"),
    **dict.fromkeys(("info", "information", "informational", "low", "trivial"), "info"),
}
"""The standard names info, warning and error as examples; any word is valid."""


@dataclass(frozen=True)
class _Rule:
    collector: Collector
    path: str
    document: Mapping[str, Any]
    columns: Mapping[str, str]
    column: str | None
    text_column: bool

    @property
    def says(self) -> object:
        """What is shown of the rule. What is written for another program may hold a password of it."""
        if self.document.get("type") != "custom":
            return self.document
        kept = {key: self.document[key] for key in ("type", "engine", "name") if key in self.document}
        return {**kept, "keys": sorted(self.document)}

    def keep(self, type_: str, kwargs: Mapping[str, Any]) -> None:
        """As an expectation."""
        described = {key: self.document[key] for key in _DESCRIBES if self.document.get(key)}
        severity = _SEVERITIES.get(str(self.document.get("severity")).lower(), "critical")
        description = self.document.get("description")
        self.collector.keep(
            self.path,
            self.says,
            type_,
            kwargs,
            severity=severity,
            meta={"rule": described} if described else None,
            notes=description if isinstance(description, str) else None,
        )

    def refuse(self, why: str, says: object = None) -> None:
        """As not supported."""
        self.collector.refuse(self.path, self.says if says is None else says, why)


def add_rules(
    collector: Collector,
    path: str,
    element: Mapping[str, Any],
    *,
    columns: Mapping[str, str],
    column: str | None,
) -> None:
    """
    The rules of an object or a property.

    :param columns: names of all properties, and what their columns are called.
    :param column: the property's column; None for the object's own rules.
    :raises ConfigurationError: for a rule that is not well formed, naming path and valid choices.
    """
    for position, item in enumerate(list_at(element.get("quality"), f"{path}.quality")):
        where = f"{path}.quality[{position}]"
        document = mapping_at(item, where)
        rule = _Rule(collector, where, document, columns, column, element.get("logicalType") == "string")
        for key in document:
            if key not in _KEYS and not (key in ("validValues", "pattern") and "metric" in document):
                refuse_misspelt(key, _KEYS, where)
                collector.refuse(
                    f"{where}.{key}",
                    document[key],
                    f"{shown(key)!r} is no key of a quality rule",
                )
        type_ = document.get("type", "library")
        if type_ not in _TYPES:
            raise ConfigurationError(
                f"{where}.type must be one of {', '.join(map(repr, _TYPES))}, got {shown(type_)}"
            )
        if type_ == "text":
            rule.refuse("it is text for people", document.get("description"))
        elif type_ == "sql":
            rule.refuse(
                "SQL is written for the contract's server; state it as a metric or as an expectation",
                document.get("query"),
            )
        elif type_ == "custom":
            _add_custom(rule)
        else:
            _add_metric(rule)


def _add_custom(rule: _Rule) -> None:
    engine = text_at(rule.document.get("engine"), f"{rule.path}.engine")
    name = "".join(letter for letter in (engine or "").lower() if letter.isalnum())
    if name not in ("greatexpectations", "gx"):
        rule.refuse(f"it is written for the engine {shown(engine)!r}; only Great Expectations' are read")
        return
    where = f"{rule.path}.implementation"
    implementation = rule.document.get("implementation")
    if isinstance(implementation, str):
        implementation = plain_copy(parse_yaml(implementation, where), where)
    if isinstance(implementation, Mapping) and "expectations" in implementation:
        implementation = implementation["expectations"]
    for item in implementation if isinstance(implementation, list) else [implementation]:
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            rule.refuse("the implementation is no expectation with 'type' and 'kwargs'")
            continue
        kwargs = item.get("kwargs")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            rule.refuse("the 'kwargs' of the expectation are no mapping")
            continue
        rule.keep(item["type"], kwargs or {})


def _add_metric(rule: _Rule) -> None:
    # 'rule' is the name of this key in version 3.0.
    metric = rule.document.get("metric", rule.document.get("rule"))
    if metric is None:
        raise ConfigurationError(f"{rule.path}.metric is missing; valid are {', '.join(_METRICS)}")
    if metric not in _METRICS:
        if "metric" not in rule.document:
            rule.refuse(f"{shown(metric)!r} is none of the metrics of version 3.1 ({', '.join(_METRICS)})")
            return
        raise ConfigurationError(
            f"{rule.path}.metric must be one of {', '.join(map(repr, _METRICS))}, got {shown(metric)}"
        )
    if (metric == "rowCount" and rule.column is not None) or (
        metric not in ("rowCount", "duplicateValues") and rule.column is None
    ):
        level = "a property" if rule.column is not None else "an object"
        rule.refuse(f"{metric} does not belong to {level}")
        return
    operators = [name for name in OPERATORS if name in rule.document]
    if not operators:
        rule.refuse(f"there is no operator to compare with; valid are {', '.join(OPERATORS)}")
        return
    unit = rule.document.get("unit") or "rows"
    if unit not in ("rows", "percent", "%"):
        rule.refuse(f"the unit {shown(unit)} is neither 'rows' nor 'percent'")
        return
    arguments = mapping_at(rule.document.get("arguments"), f"{rule.path}.arguments")
    if metric == "invalidValues":
        # The standard's own example has them beside 'arguments'.
        beside = {key: rule.document[key] for key in ("validValues", "pattern") if key in rule.document}
        arguments = {**beside, **arguments}
    for key in arguments:
        if key not in _ARGUMENTS.get(metric, ()):
            rule.refuse(f"{shown(key)!r} is no argument of {metric}", arguments[key])
    for operator in operators:
        ranges = allowed(operator, rule.document[operator], f"{rule.path}.{operator}")
        try:
            if unit == "rows":
                _add_counts(rule, metric, arguments, as_counts(ranges))
            else:
                _add_shares(rule, metric, arguments, as_shares(ranges))
        except NotExpressibleError as error:
            rule.refuse(f"{operator}: {error}")


def _add_counts(rule: _Rule, metric: str, arguments: Mapping[str, Any], counts: Counts) -> None:
    if metric == "rowCount":
        if counts.low == counts.high:
            rule.keep("expect_table_row_count_to_equal", {"value": counts.low})
        else:
            rule.keep("expect_table_row_count_to_be_between", counts.bounds())
        return
    if counts.high == 0:
        _add_none(rule, metric, arguments)
        return
    condition = _condition(rule, metric, arguments)
    rule.keep("expect_table_row_count_to_be_between", {**counts.bounds(), "row_condition": condition})


def _add_shares(rule: _Rule, metric: str, arguments: Mapping[str, Any], shares: Shares) -> None:
    if metric == "rowCount":
        raise NotExpressibleError("a number of rows is no percentage")
    if shares.none_allowed:
        _add_none(rule, metric, arguments)
        return
    if metric == "missingValues":
        if _missing(rule, arguments) != (True, []):
            raise NotExpressibleError("no expectation has a share of rows that are null or among values")
        metric = "nullValues"
    if metric == "nullValues":
        _add_null_share(rule, shares)
        return
    if not shares.from_zero:
        raise NotExpressibleError(f"no expectation asks for a least share of {metric}")
    if metric == "duplicateValues":
        _add_unique(rule, arguments, mostly=shares.mostly)
        return
    expectations = _valid(rule, arguments)
    if len(expectations) > 1:
        raise NotExpressibleError("a share of values that miss a set or a pattern is two expectations")
    type_, kwargs = expectations[0]
    rule.keep(type_, {**kwargs, "mostly": shares.mostly})


def _add_null_share(rule: _Rule, shares: Shares) -> None:
    if shares.from_zero:
        kwargs = {"column": rule.column, "mostly": shares.mostly}
        rule.keep("expect_column_values_to_not_be_null", kwargs)
        return
    rule.keep(
        "expect_column_proportion_of_non_null_values_to_be_between",
        {
            "column": rule.column,
            "min_value": float(1 - shares.high),
            "max_value": float(1 - shares.low),
            **({"strict_min": True} if shares.strict_high else {}),
            **({"strict_max": True} if shares.strict_low else {}),
        },
    )


def _add_none(rule: _Rule, metric: str, arguments: Mapping[str, Any]) -> None:
    """Not a single row may be so."""
    match metric:
        case "nullValues":
            rule.keep("expect_column_values_to_not_be_null", {"column": rule.column})
        case "missingValues":
            null, values = _missing(rule, arguments)
            if null:
                rule.keep("expect_column_values_to_not_be_null", {"column": rule.column})
            if values:
                kwargs = {"column": rule.column, "value_set": values}
                rule.keep("expect_column_values_to_not_be_in_set", kwargs)
        case "invalidValues":
            for type_, kwargs in _valid(rule, arguments):
                rule.keep(type_, kwargs)
        case _:
            _add_unique(rule, arguments)


def _add_unique(rule: _Rule, arguments: Mapping[str, Any], **mostly: float) -> None:
    path = f"{rule.path}.arguments.properties"
    names = list_at(arguments.get("properties"), path)
    if rule.column is not None:
        if names:
            raise NotExpressibleError("'properties' belongs to a rule of the object, not of a property")
        rule.keep("expect_column_values_to_be_unique", {"column": rule.column, **mostly})
        return
    if not names:
        raise ConfigurationError(f"{path} is missing; it names the properties that must not repeat together")
    for name in names:
        if not isinstance(name, str) or name not in rule.columns:
            raise ConfigurationError(
                f"{path}: {shown(name)} is no property of the object."
                f"{close_names(name, rule.columns) if isinstance(name, str) else ''}"
            )
    columns = list(dict.fromkeys(rule.columns[name] for name in names))
    if len(columns) == 1:
        rule.keep("expect_column_values_to_be_unique", {"column": columns[0], **mostly})
    else:
        rule.keep("expect_compound_columns_to_be_unique", {"column_list": columns, **mostly})


def _condition(rule: _Rule, metric: str, arguments: Mapping[str, Any]) -> conditions.Condition:
    """Which rows the metric counts."""
    column = str(rule.column)
    if metric == "nullValues":
        return conditions.is_null(column)
    if metric == "missingValues":
        null, values = _missing(rule, arguments)
        parts = [conditions.is_null(column)] if null else []
        parts += conditions.members(column, values, negated=False, text_column=rule.text_column)
        return conditions.any_of(parts)
    if metric == "invalidValues":
        _valid(rule, arguments)
        if "pattern" in arguments:
            raise NotExpressibleError("no expectation counts the rows that miss a pattern, unless none may")
        parts = conditions.members(
            column, arguments["validValues"], negated=True, text_column=rule.text_column
        )
        return conditions.all_of([conditions.not_null(column), *parts])
    raise NotExpressibleError(
        "no expectation counts duplicates, unless none may be there; give a percentage, or mustBe: 0"
    )


def _missing(rule: _Rule, arguments: Mapping[str, Any]) -> tuple[bool, list[Any]]:
    """Whether null counts as missing, and which values do."""
    listed = list_at(arguments.get("missingValues"), f"{rule.path}.arguments.missingValues")
    if not listed:
        raise NotExpressibleError("arguments.missingValues lists no value that counts as missing")
    values = [value for value in listed if value is not None]
    return len(values) < len(listed), values


def _valid(rule: _Rule, arguments: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    expectations: list[tuple[str, dict[str, Any]]] = []
    path = f"{rule.path}.arguments"
    if "validValues" in arguments:
        values = [
            value for value in list_at(arguments["validValues"], f"{path}.validValues") if value is not None
        ]
        kwargs: dict[str, Any] = {"column": rule.column, "value_set": values}
        expectations.append(("expect_column_values_to_be_in_set", kwargs))
    if "pattern" in arguments:
        kwargs = {"column": rule.column, "regex": text_at(arguments["pattern"], f"{path}.pattern")}
        expectations.append(("expect_column_values_to_match_regex", kwargs))
    if not expectations:
        raise NotExpressibleError("arguments name neither validValues nor a pattern")
    return expectations
