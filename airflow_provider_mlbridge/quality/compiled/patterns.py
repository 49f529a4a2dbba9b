# SPDX-License-Identifier: Apache-2.0
"""
Expectations about the text of values: regular expressions, LIKE patterns, lengths.

Great Expectations knows LIKE on SQL engines only. Here it is standard SQL's: ``%`` stands for any text, ``_``
for one character, letters differ by case, the pattern covers the whole value, and no character is an escape
unless ``escape`` names one, whatever it is in front of. Classes such as ``[a-c]``, which only SQL Server
knows, are plain text.

Regular expressions are Python's here. Where pandas holds text in Arrow, it hands some
patterns to RE2, which knows classes such as ``[[:alpha:]]`` and tells the Turkish i apart; this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.builders import check_rows, column_of
from airflow_provider_mlbridge.quality.compiled.check import Check, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.members import is_unicode
from airflow_provider_mlbridge.quality.compiled.regex import UntranslatableError, may_be_empty, to_re2
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import CannotCheckError
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import parse_bound

_Compiler = Callable[[Expectation, Table, datetime], Check]


def _text(column: Column) -> str:
    """
    The values as pandas writes them.

    :raises NotCompiledError: for columns whose values pandas writes in a way of its own, such as integers
        beside nulls, which it holds as doubles.
    """
    if column.family == "string":
        return column.alias
    if column.family == "bool":
        return f"(CASE WHEN {column.alias} THEN 'True' ELSE 'False' END)"
    if column.family == "date" or (column.family == "int" and column.null_count == 0):
        return f"{column.alias}::VARCHAR"
    raise NotCompiledError


def _regex(*, positive: bool) -> _Compiler:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        pattern = expectation.kwargs.get("regex")
        found = _search(column, "(?s).*" if pattern is None else pattern)
        valid = found if positive else f"NOT {found}"
        return check_rows(expectation, table, sql.present(column), valid, (column,))

    return compiler


def _regex_list(*, positive: bool) -> _Compiler:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        found = [_search(column, pattern) for pattern in expectation.kwargs["regex_list"]]
        valid = _joined(expectation, found, positive=positive)
        return check_rows(expectation, table, sql.present(column), valid, (column,))

    return compiler


def _search(column: Column, pattern: str) -> str:
    try:
        translated = to_re2(pattern)
    except UntranslatableError:
        raise NotCompiledError from None
    return sql.matches(_text(column), translated, may_be_empty=may_be_empty(pattern))


def _like(*, positive: bool) -> _Compiler:
    def compiler(expectation: Expectation, table: Table, _: datetime) -> Check:
        column = column_of(expectation, table)
        if column.family not in ("string", "null"):
            raise CannotCheckError(f"column {column.name!r} is {column.type_name}; LIKE is for text")
        found = [
            _is_like(column, pattern, expectation.kwargs.get("escape"))
            for pattern in expectation.kwargs.get("like_pattern_list") or [expectation.kwargs["like_pattern"]]
        ]
        valid = _joined(expectation, found, positive=positive)
        return check_rows(expectation, table, sql.present(column), valid, (column,))

    return compiler


def _is_like(column: Column, pattern: str, escape: str | None) -> str:
    if column.family == "null" or not is_unicode(pattern):
        return "FALSE"
    if escape is None:
        return f"({column.alias} LIKE {sql.text(pattern)})"
    # DuckDB takes no escape beyond ASCII, so that every pattern is written anew with one and the same.
    parts = []
    letters = iter(pattern)
    for letter in letters:
        if letter == escape:
            literal = next(letters)
            parts.append(f"\\{literal}" if literal in "%_\\" else literal)
        else:
            parts.append(r"\\" if letter == "\\" else letter)
    return f"({column.alias} LIKE {sql.text(''.join(parts))} ESCAPE '\\')"


def _joined(expectation: Expectation, found: Sequence[str], *, positive: bool) -> str:
    """Whether one pattern, or with ``match_on="all"`` each, is found; or none, when that is wanted."""
    if positive and expectation.kwargs.get("match_on") == "all":
        return f"({' AND '.join(found)})"
    anywhere = f"({' OR '.join(found)})"
    return anywhere if positive else f"(NOT {anywhere})"


def _lengths(expectation: Expectation, table: Table, _: datetime) -> Check:
    column = column_of(expectation, table)
    length = f"length({_text(column)})"
    if "value" in expectation.kwargs:
        valid = f"{length} = {sql.number(expectation.kwargs['value'])}"
        return check_rows(expectation, table, sql.present(column), valid, (column,))
    conditions = []
    for name, sign, strict in (("min_value", ">", "strict_min"), ("max_value", "<", "strict_max")):
        bound = parse_bound(expectation.kwargs.get(name), name)
        if isinstance(bound, int | float):
            operator = sign if expectation.kwargs.get(strict) else f"{sign}="
            conditions.append(f"{length} {operator} {sql.number(bound)}")
    return check_rows(expectation, table, sql.present(column), f"({' AND '.join(conditions)})", (column,))


COMPILERS: dict[str, _Compiler] = {
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _lengths,
    "expect_column_values_to_match_like_pattern": _like(positive=True),
    "expect_column_values_to_match_like_pattern_list": _like(positive=True),
    "expect_column_values_to_match_regex": _regex(positive=True),
    "expect_column_values_to_match_regex_list": _regex_list(positive=True),
    "expect_column_values_to_not_match_like_pattern": _like(positive=False),
    "expect_column_values_to_not_match_like_pattern_list": _like(positive=False),
    "expect_column_values_to_not_match_regex": _regex(positive=False),
    "expect_column_values_to_not_match_regex_list": _regex_list(positive=False),
}
