# SPDX-License-Identifier: Apache-2.0
"""Expectations about two columns, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.comparisons import comparable, require_comparable
from airflow_provider_mlbridge.quality.compiled.members import (
    LONG_LIST,
    literal_of,
    member,
    operand_of,
    position,
    whole_member,
)
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Column, Table


def _domain(expectation: Expectation, a: Column, b: Column) -> str:
    return {
        "both_values_are_missing": f"({sql.present(a)} OR {sql.present(b)})",
        "either_value_is_missing": _both(a, b),
        "neither": "TRUE",
    }[expectation.kwargs.get("ignore_row_if") or "both_values_are_missing"]


def _both(a: Column, b: Column) -> str:
    return f"({sql.present(a)} AND {sql.present(b)})"


def _greater(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    require_comparable(a, b)
    if a.family == "bool":
        raise NotCompiledError
    operator = ">=" if expectation.kwargs.get("or_equal") else ">"
    # A comparison with a missing value is false for pandas; DuckDB would find NaN the greatest of all.
    valid = f"({_both(a, b)} AND {comparable(a)} {operator} {comparable(b)})"
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b))


def _equal(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    require_comparable(a, b)
    valid = f"({_both(a, b)} AND {comparable(a)} = {comparable(b)})"
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b))


def _in_set(expectation: Expectation, table: Table, _: datetime) -> Check:
    a, b = column_of(expectation, table, "column_A"), column_of(expectation, table, "column_B")
    pairs = expectation.kwargs["value_pairs_set"]
    firsts, seconds = _Side(a, [first for first, _ in pairs]), _Side(b, [second for _, second in pairs])
    numbers = dict.fromkeys(
        first * seconds.size + second
        for first, second in ((firsts.number(first), seconds.number(second)) for first, second in pairs)
        if first is not None and second is not None
    )
    valid = whole_member(f"({firsts.code} * {seconds.size} + {seconds.code})", list(numbers))
    counted = _joined(a, b, pairs) if len(numbers) > LONG_LIST else None
    return check_rows(expectation, table, _domain(expectation, a, b), valid, (a, b), counted=counted)


def _joined(a: Column, b: Column, pairs: Sequence[Sequence[Any]]) -> str:
    """Whether two values are one of the pairs, as a join, which counts fast and mixes the rows."""
    literals = [
        (first, second)
        for one, other in pairs
        if one is not None and other is not None
        if (first := literal_of(a, one)) is not None and (second := literal_of(b, other)) is not None
    ]
    conditions = []
    if literals:
        lists = ", ".join(f"unnest([{', '.join(side)}])" for side in zip(*literals, strict=True))
        row = f"({operand_of(a)}, {operand_of(b)})"
        conditions.append(f"({_both(a, b)} AND coalesce({row} IN (SELECT {lists}), FALSE))")
    if any(one is None and other is None for one, other in pairs):
        conditions.append(f"(NOT {sql.present(a)} AND NOT {sql.present(b)})")
    # None stands for a missing value.
    for column, missing, values in (
        (a, b, [one for one, other in pairs if one is not None and other is None]),
        (b, a, [other for one, other in pairs if one is None and other is not None]),
    ):
        if values:
            found = member(column, values, counted=True)
            conditions.append(f"({sql.present(column)} AND {found} AND NOT {sql.present(missing)})")
    return f"({' OR '.join(conditions)})"


class _Side:
    """
    One column's values in a set of pairs, numbered from 1; a missing value, which None stands for, is 0.

    :ivar size: greater than any number.
    :ivar code: the number of the column's value (SQL); null when it is in no pair.
    """

    def __init__(self, column: Column, values: list[Any]) -> None:
        self._column = column
        self._numbers: dict[str, int] = {}
        listed = []
        for value in values:
            literal = literal_of(column, value) if value is not None else None
            if literal is not None and literal not in self._numbers:
                listed.append(value)
                self._numbers[literal] = len(listed)
        self.size = len(listed) + 1
        # In 64 bits, which hold the number of any pair.
        self.code = (
            f"(CASE WHEN {sql.present(column)} THEN {position(column, listed)}::BIGINT + 1 ELSE 0 END)"
        )

    def number(self, value: Any) -> int | None:
        """The number of a value; None when the column can hold no such value."""
        if value is None:
            return 0
        return self._numbers.get(literal_of(self._column, value) or "")


COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": _equal,
    "expect_column_pair_values_to_be_in_set": _in_set,
}
