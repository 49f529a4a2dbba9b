# SPDX-License-Identifier: Apache-2.0
"""Expectations that the footers answer exactly, so that no data is read for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

from airflow_provider_mlbridge.quality.catalog import (
    COLUMN_MAX_AGE,
    COLUMN_TYPE,
    DATAMART_MAX_AGE,
    close_names,
)
from airflow_provider_mlbridge.quality.column_types import parse_type
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.instants import Instant, nanoseconds
from airflow_provider_mlbridge.quality.masking import mask
from airflow_provider_mlbridge.quality.outcome import (
    SAMPLE_LIMIT,
    CannotCheckError,
    Engine,
    Outcome,
    between_outcome,
    map_outcome,
    with_sample,
)
from airflow_provider_mlbridge.quality.statistics import Extreme
from airflow_provider_mlbridge.quality.table import Table


def judge(expectation: Expectation, table: Table, now: datetime) -> Outcome | None:
    """
    The outcome, or None when the footers do not answer.

    The columns that the expectation judges must exist, except for those types whose answer is just that.
    """
    check = _CHECKS.get(expectation.type)
    return None if check is None else check(expectation, table, now)


def _column_to_exist(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    name, index = expectation.kwargs["column"], expectation.kwargs.get("column_index")
    names = table.names
    # Index 0 is not looked at by Great Expectations either.
    success = name in names if not index else -len(names) <= index < len(names) and names[index] == name
    return Outcome("footer", success)


def _column_type(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    name = expectation.kwargs["column"]
    column = table.by_name.get(name)
    if column is None:
        details = f"there is no such column.{close_names(name, table.by_name)}"
        return Outcome("footer", False, {"observed_value": None, "details": details})
    rule = parse_type(expectation.kwargs["type_"])
    return Outcome(
        "footer", rule.matches(column.type_name, column.family), {"observed_value": column.type_name}
    )


def _type_list(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    column = table.by_name[expectation.kwargs["column"]]
    names = expectation.kwargs.get("type_list")
    success = names is None or any(
        parse_type(name).matches(column.type_name, column.family) for name in names
    )
    return Outcome("footer", success, {"observed_value": column.type_name})


def _columns_ordered(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    expected, found = expectation.kwargs.get("column_list"), table.names
    if expected is None or list(expected) == found:
        return Outcome("footer", True, {"observed_value": found})
    mismatched = [
        {"Expected Column Position": position, "Expected": wanted, "Found": name}
        for position, (wanted, name) in enumerate(zip_longest(expected, found))
        if wanted != name
    ]
    return Outcome("footer", False, {"observed_value": found, "details": {"mismatched": mismatched}})


def _columns_set(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    expected = set(expectation.kwargs.get("column_set") or ())
    exact = expectation.kwargs.get("exact_match", True)
    found = set(table.names)
    mismatched = {"unexpected": sorted(found - expected), "missing": sorted(expected - found)}
    mismatched = {name: values for name, values in mismatched.items() if values}
    result: dict[str, Any] = {"observed_value": sorted(found)}
    if not mismatched:
        return Outcome("footer", True, result)
    success = not exact and "missing" not in mismatched
    return Outcome("footer", success, {**result, "details": {"mismatched": mismatched}})


def _column_count(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    return count_outcome("footer", len(table.columns), expectation.kwargs)


def _row_count(expectation: Expectation, table: Table, _: datetime) -> Outcome:
    return count_outcome("footer", table.rows, expectation.kwargs)


def count_outcome(engine: Engine, observed: int, kwargs: Mapping[str, Any]) -> Outcome:
    """Judge a number of rows or columns against the ``value`` or the bounds that it should have."""
    if "value" in kwargs:
        return Outcome(engine, observed == kwargs["value"], {"observed_value": observed})
    return between_outcome(engine, observed, kwargs)


def _not_null(expectation: Expectation, table: Table, _: datetime) -> Outcome | None:
    nulls = _nulls(expectation, table)
    return None if nulls is None else _null_outcome(expectation, table, nulls, None)


def _null(expectation: Expectation, table: Table, _: datetime) -> Outcome | None:
    nulls = _nulls(expectation, table)
    column = table.by_name[expectation.kwargs["column"]]
    return (
        None
        if nulls is None
        else _null_outcome(expectation, table, table.rows - nulls, mask(column.type_name))
    )


def _null_outcome(expectation: Expectation, table: Table, unexpected: int, shown: str | None) -> Outcome:
    outcome = map_outcome(
        "footer",
        mostly=expectation.mostly,
        rows=table.rows,
        considered=table.rows,
        unexpected=unexpected,
        with_missing=False,
    )
    return replace(outcome, result=with_sample(outcome.result, [shown] * min(unexpected, SAMPLE_LIMIT)))


def _nulls(expectation: Expectation, table: Table) -> int | None:
    column = table.by_name[expectation.kwargs["column"]]
    # NaN counts as null, and no footer counts NaN.
    return None if column.family == "float" else column.null_count


def _present_share(expectation: Expectation, table: Table, _: datetime) -> Outcome | None:
    nulls = _nulls(expectation, table)
    if nulls is None:
        return None
    share = (table.rows - nulls) / table.rows if table.rows else 0
    return between_outcome("footer", share, expectation.kwargs)


def _extreme(position: int) -> Callable[[Expectation, Table, datetime], Outcome | None]:
    def check(expectation: Expectation, table: Table, _: datetime) -> Outcome | None:
        bounds = table.by_name[expectation.kwargs["column"]].bounds
        return None if bounds is None else _between(bounds[position], expectation)

    return check


def _values_between(expectation: Expectation, table: Table, _: datetime) -> Outcome | None:
    """An answer when all values lie within the bounds; which ones do not is for those who read them."""
    column = table.by_name[expectation.kwargs["column"]]
    if column.bounds is None or column.null_count is None:
        return None
    for value in column.bounds:
        outcome = _between(value, expectation)
        if outcome is None or (value is not None and not outcome.success):
            return None
    outcome = map_outcome(
        "footer",
        mostly=expectation.mostly,
        rows=table.rows,
        considered=table.rows - column.null_count,
        unexpected=0,
    )
    return replace(outcome, result=with_sample(outcome.result, []))


def _between(value: Extreme | None, expectation: Expectation) -> Outcome | None:
    try:
        return between_outcome("footer", value, expectation.kwargs)
    except CannotCheckError:
        # Said in the same words as for columns whose extremes are not known.
        return None


def _column_age(expectation: Expectation, table: Table, now: datetime) -> Outcome | None:
    bounds = table.by_name[expectation.kwargs["column"]].bounds
    if bounds is None or isinstance(bounds[1], int):
        return None
    return age_outcome("footer", bounds[1], expectation.kwargs, now)


def _datamart_age(expectation: Expectation, table: Table, now: datetime) -> Outcome:
    newest = Instant(nanoseconds(datetime.fromisoformat(table.snapshot.modified_at)), "timestamptz")
    return age_outcome("footer", newest, expectation.kwargs, now)


def age_outcome(engine: Any, newest: Instant | None, kwargs: Any, now: datetime) -> Outcome:
    """
    Judge how old ``newest`` is; the observed value is the age in seconds.

    What lies in the future fails: it would be young enough until then, whatever else stops coming.
    """
    if newest is None:
        return Outcome(engine, False, {"observed_value": None, "details": "there is no value"})
    age = newest.age_seconds(now)
    details = f"newest {newest}, checked at {now.isoformat(timespec='seconds')}"
    ahead = -age > _CLOCK_SECONDS[newest.kind]
    if ahead:
        details = f"the newest value lies in the future, which no age can be taken from: {details}"
    return Outcome(
        engine, not ahead and age <= kwargs["max_age_seconds"], {"observed_value": age, "details": details}
    )


_CLOCK_SECONDS = {"date": 86_400, "timestamp": 300, "timestamptz": 300}
"""How far ahead of now a value may be: clocks differ, and a day begins earlier elsewhere than in UTC."""

_CHECKS: dict[str, Callable[[Expectation, Table, datetime], Outcome | None]] = {
    COLUMN_MAX_AGE: _column_age,
    COLUMN_TYPE: _column_type,
    DATAMART_MAX_AGE: _datamart_age,
    "expect_column_max_to_be_between": _extreme(1),
    "expect_column_min_to_be_between": _extreme(0),
    "expect_column_proportion_of_non_null_values_to_be_between": _present_share,
    "expect_column_to_exist": _column_to_exist,
    "expect_column_type_to_be": _column_type,
    "expect_column_values_to_be_between": _values_between,
    "expect_column_values_to_be_of_type": _column_type,
    "expect_column_values_to_be_in_type_list": _type_list,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_table_column_count_to_be_between": _column_count,
    "expect_table_column_count_to_equal": _column_count,
    "expect_table_columns_to_match_ordered_list": _columns_ordered,
    "expect_table_columns_to_match_set": _columns_set,
    "expect_table_row_count_to_be_between": _row_count,
    "expect_table_row_count_to_equal": _row_count,
}

ANSWERED = frozenset(_CHECKS)
"""Types that the footers may answer."""

ANSWERS_MISSING_COLUMN = frozenset({COLUMN_TYPE, "expect_column_to_exist"})
"""Types for which a column that does not exist is a failure and not a question that cannot be answered."""
