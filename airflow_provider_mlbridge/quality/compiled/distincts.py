# SPDX-License-Identifier: Apache-2.0
"""
Expectations about which values a column holds.

However many different values there are, no more of them leave the database than are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any

from airflow_provider_mlbridge.quality.compiled.builders import column_of
from airflow_provider_mlbridge.quality.compiled.check import DISTINCT, Cell, Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.members import literal_of, member, position
from airflow_provider_mlbridge.quality.compiled.uniqueness import groups_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value, parse_instant

VALUE_LIMIT = 20
"""Values shown of those that are too many or missing; Great Expectations shows as many."""
_MOST_COMMON = ("string", "int", "float", "bool", "date", "null")
"""Families of columns whose most common value pandas holds in a form that it finds in a set."""


class _Expected:
    """The values of a set, each once, as a column of this type is compared with them."""

    def __init__(self, column: Column, values: Iterable[Any]) -> None:
        self.listed = list(_once(values))
        self.values: list[Any] = []
        known: set[str] = set()
        for value in self.listed:
            literal = literal_of(column, value)
            if literal is None or literal not in known:
                self.values.append(value)
            if literal is not None:
                known.add(literal)
        self.position = position(column, self.values)
        """The position of the column's value among these (SQL); null when it is none of them."""


def _once(values: Iterable[Any]) -> Iterable[Any]:
    try:
        return dict.fromkeys(values)
    except TypeError:
        # Lists and the like, which Great Expectations cannot put into a set either.
        raise NotCompiledError from None


def _distinct(*, contain: bool, within: bool) -> Callable[[Expectation, Table, datetime], Check]:
    """
    :param contain: whether every value of the set must occur.
    :param within: whether no other value may occur.
    """

    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        value_set = expectation.kwargs["value_set"]
        _check_moments(column, value_set)
        expected = _Expected(column, value_set)

        def judge(values: Sequence[Any]) -> Outcome:
            distinct, positions, shown = values
            found = {index for index in positions or () if index is not None}
            # No two different values are equal to the same expected one.
            others = int(distinct) - len(found)
            missing = [value for index, value in enumerate(expected.values) if index not in found]
            if not distinct:
                # Nothing to compare with: values that would be the same in this column are not for pandas.
                missing = expected.listed
            result: dict[str, Any] = {"observed_value": None}
            if within:
                result["unexpected_count"] = others
                result["partial_unexpected_list"] = [Cell(column, value) for value in shown or ()]
            if contain:
                result["missing_count"] = len(missing)
                result["partial_missing_list"] = [json_value(value) for value in missing[:VALUE_LIMIT]]
            success = not (within and others) and not (contain and missing)
            return Outcome("duckdb", success, result)

        # Each of these measures has the whole list in it, which takes longer to parse than to look up.
        measures = (
            DISTINCT,
            f"list(DISTINCT {expected.position})",
            f"min({column.alias}, {VALUE_LIMIT}) FILTER (WHERE NOT {member(column, expected.values)})"
            if within
            else "NULL",
        )
        return Check(judge, grouping=groups_of(expectation, table, column), group_measures=measures)

    return compiler


def _check_moments(column: Column, values: Iterable[Any]) -> None:
    """
    Leave to Great Expectations what it reads in ways of its own beside dates and points in time.

    :raises NotCompiledError: for numbers, texts in other notations, and values without the column's zone.
    """
    if column.family not in ("date", "timestamp", "timestamptz"):
        return
    for value in values:
        moment = parse_instant(value) if isinstance(value, str) else value
        if not isinstance(moment, date):
            raise NotCompiledError
        zone = moment.tzinfo if isinstance(moment, datetime) else None
        if column.family != "date" and (zone is not None) != (column.family == "timestamptz"):
            raise NotCompiledError
        if column.family == "date" and isinstance(value, str) and isinstance(moment, datetime):
            raise NotCompiledError


def _most_common(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    if column.family not in _MOST_COMMON:
        raise NotCompiledError
    values = _once(expectation.kwargs["value_set"])
    if column.family == "date":
        # Text is not read as a date here.
        values = [value for value in values if not isinstance(value, str)]
    expected = member(column, values)

    def judge(values: Sequence[Any]) -> Outcome:
        ties, members, shown = values
        success = members > 0 if expectation.kwargs.get("ties_okay") else ties == 1 and members == 1
        result: dict[str, Any] = {"observed_value": [Cell(column, value) for value in shown or ()]}
        if ties > VALUE_LIMIT:
            result["details"] = {"most_common_values": int(ties), "shown": VALUE_LIMIT}
        return Outcome("duckdb", success, result)

    measures = (
        "count(*) FILTER (WHERE n = most)",
        f"count(*) FILTER (WHERE n = most AND {expected})",
        f"min({column.alias}, {VALUE_LIMIT}) FILTER (WHERE n = most)",
    )
    return Check(judge, grouping=groups_of(expectation, table, column), group_measures=measures)


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_distinct_values_to_be_in_set": _distinct(contain=False, within=True),
    "expect_column_distinct_values_to_contain_set": _distinct(contain=True, within=False),
    "expect_column_distinct_values_to_equal_set": _distinct(contain=True, within=True),
    "expect_column_most_common_value_to_be_in_set": _most_common,
}
