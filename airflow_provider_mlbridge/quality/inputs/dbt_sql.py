# SPDX-License-Identifier: Apache-2.0
"""The little SQL of dbt's tests that is understood: literals, and comparisons of a column joined by AND."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.inputs import conditions
from airflow_provider_mlbridge.quality.inputs.thresholds import NotExpressibleError

_NAME = r'(?:[A-Za-z_]\w*|"[^"]+"|`[^`]+`)'
_COLUMN = re.compile(_NAME)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_TOKEN = re.compile(
    rf"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>{_NUMBER.pattern}\b)|(?P<word>{_NAME})"
    r"|(?P<sign><>|!=|<=|>=|==|=|<|>|\(|\)|,))"
)
_SIGNS = {"=": "==", "==": "==", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "is", "null", "like", "between", "case", "when", "true", "false", "select"}
)


@dataclass(frozen=True)
class Predicate:
    """
    One comparison of a column.

    :param column: its name.
    :param operator: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``, ``is null`` or
        ``is not null``.
    :param value: a number or text; a list for the memberships; None for the tests for null.
    """

    column: str
    operator: str
    value: Any = None


def column_name(text: object) -> str:
    """
    A column from an argument that dbt pastes into SQL.

    :raises NotExpressibleError: when it is an expression.
    """
    if isinstance(text, str) and _COLUMN.fullmatch(text.strip()):
        return text.strip().strip('"`')
    raise NotExpressibleError(f"{shown(text)} is an expression and no name of a column")


def literal(value: object) -> Any:
    """
    A value that dbt pastes into SQL: a number, or text between quotes.

    :raises NotExpressibleError: when it is an expression.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _TEXT.fullmatch(text):
            return text[1:-1].replace("''", "'")
        if _NUMBER.fullmatch(text):
            return _number(text)
    raise NotExpressibleError(f"{shown(value)} is an expression and no literal")


def predicates(sql: object) -> list[Predicate]:
    """
    Comparisons of columns with literals, joined by AND.

    :raises NotExpressibleError: for any other SQL.
    """
    if not isinstance(sql, str):
        raise NotExpressibleError(f"{shown(sql)} is no SQL")
    tokens = _tokens(sql)
    found = []
    while True:
        found.append(_predicate(tokens))
        if not tokens:
            return found
        if _word(tokens.pop(0)) != "and":
            raise _not_simple()


def row_condition(sql: object) -> conditions.Condition:
    """
    Comparisons joined by AND, as a condition on rows.

    In SQL a comparison with null is not true; in Great Expectations' conditions ``!=`` and ``NOT_IN`` are, so
    that they come with one for a value.

    :raises NotExpressibleError: for any other SQL, and for what cannot be compared without knowing types.
    """
    parts: list[conditions.Condition] = []
    for item in predicates(sql):
        match item.operator:
            case "is null":
                parts.append(conditions.is_null(item.column))
            case "is not null":
                parts.append(conditions.not_null(item.column))
            case "in" | "not in":
                negated = item.operator == "not in"
                members = conditions.members(item.column, item.value, negated=negated)
                if negated:
                    members.insert(0, conditions.not_null(item.column))
                elif len(members) > 1:
                    raise NotExpressibleError("the list mixes texts and numbers")
                parts.extend(members)
            case _:
                if isinstance(item.value, str) and item.operator not in ("==", "!="):
                    raise NotExpressibleError("how text is ordered depends on the type of the column")
                if isinstance(item.value, str):
                    # A list knows when a text may be a date, which only the column's type could tell.
                    conditions.members(item.column, [item.value], negated=False)
                if item.operator == "!=":
                    parts.append(conditions.not_null(item.column))
                parts.append(conditions.compare(item.column, item.operator, item.value))
    return conditions.all_of(parts)


_Token = tuple[str, str]


def _tokens(sql: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, text = 0, sql.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _not_simple()
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _predicate(tokens: list[_Token]) -> Predicate:
    kind, name = _next(tokens)
    if kind != "word" or name.lower() in _KEYWORDS:
        raise _not_simple()
    column = name.strip('"`')
    kind, text = _next(tokens)
    if kind == "sign" and text in _SIGNS:
        return Predicate(column, _SIGNS[text], _literal(_next(tokens)))
    words = text.lower()
    if words == "is":
        words = "is null"
        if _word(_peek(tokens)) == "not":
            tokens.pop(0)
            words = "is not null"
        if _word(_next(tokens)) != "null":
            raise _not_simple()
        return Predicate(column, words)
    if words == "not" and _word(_next(tokens)) == "in":
        return Predicate(column, "not in", _list(tokens))
    if words == "in":
        return Predicate(column, "in", _list(tokens))
    raise _not_simple()


def _list(tokens: list[_Token]) -> list[Any]:
    if _next(tokens) != ("sign", "("):
        raise _not_simple()
    values = []
    while True:
        values.append(_literal(_next(tokens)))
        end = _next(tokens)
        if end == ("sign", ")"):
            return values
        if end != ("sign", ","):
            raise _not_simple()


def _literal(token: _Token) -> Any:
    kind, text = token
    if kind == "text":
        return text[1:-1].replace("''", "'")
    if kind == "number":
        return _number(text)
    raise _not_simple()


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _next(tokens: list[_Token]) -> _Token:
    if not tokens:
        raise _not_simple()
    return tokens.pop(0)


def _peek(tokens: list[_Token]) -> _Token:
    return tokens[0] if tokens else ("end", "")


def _word(token: _Token) -> str:
    return token[1].lower() if token[0] == "word" else ""


def _not_simple() -> NotExpressibleError:
    return NotExpressibleError(
        "only comparisons of a column with a number or text, joined by AND, are read from SQL"
    )
