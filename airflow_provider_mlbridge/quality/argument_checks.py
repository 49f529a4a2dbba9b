# SPDX-License-Identifier: Apache-2.0
"""Whether the arguments of an expectation make sense, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, TypeGuard, cast

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.catalog import (
    ANOMALIES,
    ANOMALY_DEFAULTS,
    MAX_WINDOW,
    ExpectationType,
)
from airflow_provider_mlbridge.quality.column_types import parse_type
from airflow_provider_mlbridge.quality.values import Bound, in_utc, parse_bound

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")
"""What ``allow_relative_error`` may say, besides False for ``nearest``."""


def check_values(known: ExpectationType, kwargs: Mapping[str, Any]) -> None:
    """
    Check the values of arguments whose names are known to be right.

    :raises InvalidExpectationError: for a value of the wrong kind, or bounds that exclude each other.
    """
    for name, check in _CHECKS.items():
        if kwargs.get(name) is not None:
            check(kwargs[name], name)
    if kwargs.get("ignore_row_if") is not None:
        _ignore_row_if(known, kwargs["ignore_row_if"])
    if known.domain == "multicolumn" and len(set(kwargs["column_list"])) < 2:
        raise InvalidExpectationError(
            f"column_list must name at least two columns, got {shown(kwargs['column_list'])}"
        )
    if known.name in ANOMALIES:
        _check_window(kwargs)
    if kwargs.get("escape") is not None:
        _escaped(kwargs)
    if "min_value" not in known.optional:
        return
    whole = known.domain == "table" or "lengths" in known.name
    low, high = (parse_bound(kwargs.get(name), name) for name in ("min_value", "max_value"))
    for name, bound in (("min_value", low), ("max_value", high)):
        if whole and bound is not None and (not isinstance(bound, int | float) or bound % 1 != 0):
            raise InvalidExpectationError(f"{name} must be a whole number, got {shown(kwargs[name])}")
    if isinstance(low, date) != isinstance(high, date):
        # '20240131' is a number or a date; beside a date it is one.
        low, high = (
            parse_bound(kwargs.get(name), name, instants=True) for name in ("min_value", "max_value")
        )
    if known.domain == "column" and low is None and high is None:
        raise InvalidExpectationError("min_value and max_value cannot both be missing")
    if _greater(low, high):
        raise InvalidExpectationError(
            f"min_value {shown(kwargs['min_value'])} is greater than max_value {shown(kwargs['max_value'])}"
        )


def _greater(low: Bound | None, high: Bound | None) -> bool:
    if low is None or high is None:
        return False
    numbers = isinstance(low, int | float), isinstance(high, int | float)
    if numbers[0] != numbers[1]:
        raise InvalidExpectationError(
            f"min_value {shown(low)} and max_value {shown(high)} cannot be compared"
        )
    if numbers[0]:
        return cast(float, low) > cast(float, high)
    return in_utc(cast(Any, low)) > in_utc(cast(Any, high))


def _column(value: object, name: str) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidExpectationError(f"{name} must be the name of a column, got {shown(value)}")


def _columns(value: object, name: str) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of column names, got {shown(value)}")
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
            f"ignore_row_if must be one of {', '.join(map(repr, valid))}, got {shown(value)}"
        )


def _mostly(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidExpectationError(f"{name} must be a number from 0 to 1, got {shown(value)}")


def _flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise InvalidExpectationError(f"{name} must be true or false, got {shown(value)}")


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidExpectationError(f"{name} must be a whole number, got {shown(value)}")


def _value_set(value: object, name: str) -> None:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of values, got {shown(value)}")


def _regex(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise InvalidExpectationError(f"{name} must be a regular expression, got {shown(value)}")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise InvalidExpectationError(
            f"{name} {shown(value)} is not a regular expression: {reason}"
        ) from None


def _texts(value: object, name: str) -> None:
    if isinstance(value, str) or not isinstance(value, Collection) or not value:
        raise InvalidExpectationError(f"{name} must be a list of at least one text, got {shown(value)}")
    for item in value:
        _text(item, f"{name}: each item")


def _text(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise InvalidExpectationError(f"{name} must be text, got {shown(value)}")


def _regexes(value: object, name: str) -> None:
    _texts(value, name)
    for item in cast(Collection[object], value):
        _regex(item, f"{name}: each item")


def _match_on(value: object, name: str) -> None:
    if value not in ("any", "all"):
        raise InvalidExpectationError(f"{name} must be 'any' or 'all', got {shown(value)}")


def _escape(value: object, name: str) -> None:
    if not isinstance(value, str) or len(value) != 1:
        raise InvalidExpectationError(f"{name} must be a single character, got {shown(value)}")


def _escaped(kwargs: Mapping[str, Any]) -> None:
    """An escape character needs one to escape."""
    escape = kwargs["escape"]
    for pattern in kwargs.get("like_pattern_list") or [kwargs.get("like_pattern") or ""]:
        if pattern.replace(escape * 2, "").endswith(escape):
            raise InvalidExpectationError(
                f"the pattern {shown(pattern)} ends with its escape character {escape!r}, which must "
                f"stand in front of another"
            )


def _pairs(value: object, name: str) -> None:
    _value_set(value, name)
    for item in cast(Collection[object], value):
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2:
            raise InvalidExpectationError(f"{name}: each item must be a pair of values, got {shown(item)}")


def _number(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value:
        raise InvalidExpectationError(f"{name} must be a number, got {shown(value)}")


def _row_condition(value: object, name: str) -> None:
    if isinstance(value, Mapping) or hasattr(value, "dict"):
        return
    if not isinstance(value, str) or not value.strip():
        raise InvalidExpectationError(
            f"{name} must be a condition as text, or a condition of Great Expectations, got {shown(value)}"
        )


def _condition_parser(value: object, name: str) -> None:
    valid = ("great_expectations", "great_expectations__experimental__", "pandas", "spark")
    if value not in valid:
        raise InvalidExpectationError(
            f"{name} must be one of {', '.join(map(repr, valid))}, got {shown(value)}"
        )


def _type(value: object, _: str) -> None:
    parse_type(value)


def _type_list(value: object, name: str) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise InvalidExpectationError(f"{name} must be a list of type names, got {shown(value)}")
    for item in value:
        parse_type(item)


def _seconds(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidExpectationError(f"{name} must be a positive number of seconds, got {shown(value)}")


def _check_window(kwargs: Mapping[str, Any]) -> None:
    window, needed = (kwargs.get(name) or ANOMALY_DEFAULTS[name] for name in ("window", "min_history"))
    if window < needed:
        raise InvalidExpectationError(
            f"window {window} is smaller than min_history {needed}, so that there would never be enough "
            f"history"
        )


def _runs(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 3 <= value <= MAX_WINDOW:
        raise InvalidExpectationError(
            f"{name} must be a number of runs from 3 to {MAX_WINDOW}, got {shown(value)}"
        )


def _positive(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidExpectationError(f"{name} must be a positive number, got {shown(value)}")


def _change(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InvalidExpectationError(f"{name} must be a number from 0, got {shown(value)}")


def _one_of(*valid: str) -> Callable[[Any, str], None]:
    def check(value: object, name: str) -> None:
        if value not in valid:
            raise InvalidExpectationError(
                f"{name} must be one of {', '.join(map(repr, valid))}, got {shown(value)}"
            )

    return check


def _quantile_ranges(value: object, name: str) -> None:
    if not isinstance(value, Mapping) or not {"quantiles", "value_ranges"} <= value.keys():
        raise InvalidExpectationError(
            f"{name} must have the keys 'quantiles' and 'value_ranges', got {shown(value)}"
        )
    quantiles, ranges = value["quantiles"], value["value_ranges"]
    for key, listed in (("quantiles", quantiles), ("value_ranges", ranges)):
        if not isinstance(listed, list | tuple):
            raise InvalidExpectationError(f"{name}: {key} must be a list, got {shown(listed)}")
    for quantile in quantiles:
        if not _is_number(quantile) or not 0 <= quantile <= 1:
            raise InvalidExpectationError(
                f"{name}: a quantile must be a number from 0 to 1, got {shown(quantile)}"
            )
    if len(quantiles) != len(ranges):
        raise InvalidExpectationError(
            f"{name} has {len(quantiles)} quantiles, but {len(ranges)} value_ranges"
        )
    for bounds in ranges:
        if (
            not isinstance(bounds, list | tuple)
            or len(bounds) != 2
            or not all(bound is None or _is_number(bound) for bound in bounds)
        ):
            raise InvalidExpectationError(
                f"{name}: each of value_ranges must be two numbers, None where there is no bound, "
                f"got {shown(bounds)}"
            )
        if None not in bounds and bounds[0] > bounds[1]:
            raise InvalidExpectationError(f"{name}: {shown(bounds[0])} is greater than {shown(bounds[1])}")


def _relative_error(value: object, name: str) -> None:
    if value is not False and value not in INTERPOLATIONS:
        raise InvalidExpectationError(
            f"{name} must be false or one of {', '.join(map(repr, INTERPOLATIONS))}, got {shown(value)}"
        )


def _multiplier(value: object, name: str) -> None:
    if not _is_number(value) or value < 0:
        raise InvalidExpectationError(f"{name} must be a number from 0, got {shown(value)}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "quantile_ranges": _quantile_ranges,
    "allow_relative_error": _relative_error,
    "ties_okay": _flag,
    "threshold": _number,
    "double_sided": _flag,
    "multiplier": _multiplier,
    "method": _one_of("iqr", "std"),
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
    "regex_list": _regexes,
    "match_on": _match_on,
    "like_pattern": _text,
    "like_pattern_list": _texts,
    "escape": _escape,
    "value_pairs_set": _pairs,
    "sum_total": _number,
    "row_condition": _row_condition,
    "condition_parser": _condition_parser,
    "type_": _type,
    "type_list": _type_list,
    "max_age_seconds": _seconds,
    "max_z": _positive,
    "min_history": _runs,
    "window": _runs,
    "min_change": _change,
    "direction": _one_of("both", "low", "high"),
    "only": _one_of("passed", "all"),
    "on_short_history": _one_of("warn", "fail"),
}
