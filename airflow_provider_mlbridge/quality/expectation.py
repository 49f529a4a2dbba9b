# SPDX-License-Identifier: Apache-2.0
"""An expectation as a suite states it, checked before any data is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast, get_args

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.arguments import plain
from airflow_provider_mlbridge.quality.catalog import (
    COMPILED,
    EXPECTATION_TYPES,
    RUNTIME_KWARGS,
    ExpectationType,
    close_names,
)
from airflow_provider_mlbridge.quality.column_types import parse_type
from airflow_provider_mlbridge.quality.values import Bound, in_utc, parse_bound

Severity = Literal["critical", "warning", "info"]

_FIELDS = frozenset({"type", "kwargs", "severity", "meta", "notes", "description", "id", "rendered_content"})
_LIST = (
    "The list is in airflow_provider_mlbridge.quality.catalog.EXPECTATION_TYPES and at "
    "https://greatexpectations.io/expectations/."
)


@dataclass(frozen=True)
class Expectation:
    """
    One expectation of a suite.

    :param type: a type of :mod:`~airflow_provider_mlbridge.quality.catalog`, or one that user code registered
        with Great Expectations.
    :param kwargs: its arguments, without those that only shape Great Expectations' output.
    :param severity: what its failure means; ``critical`` unless stated.
    :param extra: ``meta``, ``notes``, ``description`` and ``id`` of the suite, kept for the report.
    """

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the expectation judges, in order; none for one about the whole table."""
        if self.type in ("expect_table_columns_to_match_ordered_list", "expect_table_columns_to_match_set"):
            return ()
        names = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        listed = self.kwargs.get("column_list")
        if isinstance(listed, list | tuple):
            names.extend(listed)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))

    @property
    def mostly(self) -> float:
        """Share of values that must be as expected; 1 unless stated."""
        return float(self.kwargs.get("mostly", 1))


def parse_expectation(item: object, where: str) -> Expectation:
    """
    Check one entry of a suite.

    :param item: ``{"type": ..., "kwargs": {...}, "severity": ..., "meta": ...}``, or an object of Great
        Expectations that describes itself this way.
    :param where: where it stands, for messages.
    :raises InvalidExpectationError: for an unknown type or argument, or a value that makes no sense.
    """
    document = _document(item, where)
    unknown = sorted(document.keys() - _FIELDS)
    if unknown:
        raise InvalidExpectationError(
            f"{where} has the unknown key {unknown[0]!r}; an expectation has 'type', 'kwargs' and, when "
            f"wanted, 'severity', 'meta', 'notes', 'description', 'id'"
        )
    type_ = document.get("type")
    if not isinstance(type_, str) or not type_:
        raise InvalidExpectationError(f"{where} has no 'type'; it holds {sorted(map(str, document))}")
    where = f"{where} ({type_})"
    kwargs = document.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise InvalidExpectationError(f"{where}: 'kwargs' must be a mapping, got {kwargs!r}")
    kwargs = {
        str(key): plain(value, f"{where}: {key}")
        for key, value in kwargs.items()
        if key not in RUNTIME_KWARGS
    }
    severity = document.get("severity") or "critical"
    severity = getattr(severity, "value", severity)
    if severity not in get_args(Severity):
        raise InvalidExpectationError(
            f"{where}: severity must be one of {', '.join(map(repr, get_args(Severity)))}, got {severity!r}"
        )
    _check_kwargs(type_, kwargs, where)
    extra = {key: document[key] for key in ("meta", "notes", "description", "id") if document.get(key)}
    return Expectation(type_, kwargs, cast(Severity, severity), extra)


def _document(item: object, where: str) -> Mapping[str, Any]:
    configuration = getattr(item, "configuration", item)
    if hasattr(configuration, "to_json_dict"):
        configuration = configuration.to_json_dict()
    if not isinstance(configuration, Mapping):
        raise InvalidExpectationError(
            f"{where} must be a mapping with 'type' and 'kwargs', got {type(item).__name__}"
        )
    if "type" not in configuration and "expectation_type" in configuration:
        raise InvalidExpectationError(
            f"{where} has 'expectation_type', as suites of Great Expectations before 1.0 do; "
            f"call it 'type' (and note that names of arguments changed in 1.0)"
        )
    return configuration


def _check_kwargs(type_: str, kwargs: Mapping[str, Any], where: str) -> None:
    known = EXPECTATION_TYPES.get(type_)
    if known is None:
        if _is_registered(type_):
            return
        raise InvalidExpectationError(
            f"{where}: there is no expectation type {type_!r}.{close_names(type_, EXPECTATION_TYPES)} {_LIST}"
        )
    unknown = sorted(kwargs.keys() - known.kwargs)
    if unknown:
        raise InvalidExpectationError(
            f"{where}: unknown argument {unknown[0]!r}.{close_names(unknown[0], known.kwargs)} "
            f"It takes {', '.join(sorted(known.kwargs)) or 'no arguments'}."
        )
    missing = sorted(name for name in known.required if kwargs.get(name) is None)
    if missing:
        raise InvalidExpectationError(f"{where}: the argument {missing[0]!r} is missing")
    for name, value in kwargs.items():
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            raise InvalidExpectationError(
                f"{where}: {name} is the suite parameter {value['$PARAMETER']!r}, which has no value here. "
                f"Put the value in, for example with a template of the DAG."
            )
    if type_ in COMPILED:
        try:
            _check_values(known, kwargs)
        except (InvalidExpectationError, ArithmeticError) as error:
            raise InvalidExpectationError(f"{where}: {error}") from None


def _is_registered(type_: str) -> bool:
    """Whether user code registered the type; only a type that is not known otherwise costs the import."""
    from airflow_provider_mlbridge.quality.gx_engine import import_gx

    import_gx()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return type_ in list_registered_expectation_implementations()


def _check_values(known: ExpectationType, kwargs: Mapping[str, Any]) -> None:
    for name, check in _CHECKS.items():
        if kwargs.get(name) is not None:
            check(kwargs[name], name)
    if kwargs.get("ignore_row_if") is not None:
        _ignore_row_if(known, kwargs["ignore_row_if"])
    if known.domain == "multicolumn" and len(set(kwargs["column_list"])) < 2:
        raise InvalidExpectationError(
            f"column_list must name at least two columns, got {kwargs['column_list']!r}"
        )
    if "min_value" not in known.optional:
        return
    whole = known.domain == "table" or "lengths" in known.name
    low, high = (parse_bound(kwargs.get(name), name) for name in ("min_value", "max_value"))
    for name, bound in (("min_value", low), ("max_value", high)):
        if whole and bound is not None and (not isinstance(bound, int | float) or bound % 1 != 0):
            raise InvalidExpectationError(f"{name} must be a whole number, got {kwargs[name]!r}")
    if isinstance(low, date) != isinstance(high, date):
        # '20240131' is a number or a date; beside a date it is one.
        low, high = (
            parse_bound(kwargs.get(name), name, instants=True) for name in ("min_value", "max_value")
        )
    if known.domain == "column" and low is None and high is None:
        raise InvalidExpectationError("min_value and max_value cannot both be missing")
    if _greater(low, high):
        raise InvalidExpectationError(
            f"min_value {kwargs['min_value']!r} is greater than max_value {kwargs['max_value']!r}"
        )


def _greater(low: Bound | None, high: Bound | None) -> bool:
    if low is None or high is None:
        return False
    numbers = isinstance(low, int | float), isinstance(high, int | float)
    if numbers[0] != numbers[1]:
        raise InvalidExpectationError(f"min_value {low!r} and max_value {high!r} cannot be compared")
    if numbers[0]:
        return cast(float, low) > cast(float, high)
    return in_utc(cast(Any, low)) > in_utc(cast(Any, high))


def _column(value: object, name: str) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidExpectationError(f"{name} must be the name of a column, got {value!r}")


def _columns(value: object, name: str) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of column names, got {value!r}")
    for item in value:
        _column(item, f"{name}: each item")


def _ignore_row_if(known: ExpectationType, value: object) -> None:
    valid = (
        ("both_values_are_missing", "either_value_is_missing", "neither")
        if known.domain == "pair"
        else ("all_values_are_missing", "any_value_is_missing", "never")
    )
    if value not in valid:
        raise InvalidExpectationError(
            f"ignore_row_if must be one of {', '.join(map(repr, valid))}, got {value!r}"
        )


def _mostly(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidExpectationError(f"{name} must be a number from 0 to 1, got {value!r}")


def _flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise InvalidExpectationError(f"{name} must be true or false, got {value!r}")


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidExpectationError(f"{name} must be a whole number, got {value!r}")


def _value_set(value: object, name: str) -> None:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of values, got {value!r}")


def _regex(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise InvalidExpectationError(f"{name} must be a regular expression, got {value!r}")
    try:
        re.compile(value)
    except re.error as error:
        raise InvalidExpectationError(f"{name} {value!r} is not a regular expression: {error}") from None


def _type(value: object, _: str) -> None:
    parse_type(value)


def _type_list(value: object, name: str) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of type names, got {value!r}")
    for item in value:
        parse_type(item)


def _seconds(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidExpectationError(f"{name} must be a positive number of seconds, got {value!r}")


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "column": _column,
    "column_A": _column,
    "column_B": _column,
    "column_list": _columns,
    "column_set": _columns,
    "column_index": _whole,
    "exact_match": _flag,
    "mostly": _mostly,
    "strict_min": _flag,
    "strict_max": _flag,
    "or_equal": _flag,
    "value": _whole,
    "value_set": _value_set,
    "regex": _regex,
    "type_": _type,
    "type_list": _type_list,
    "max_age_seconds": _seconds,
}
