# SPDX-License-Identifier: Apache-2.0
"""
``row_condition`` as a predicate in SQL.

Understood are the three notations of Great Expectations 1.24: its condition objects (also as the JSON in
which suites keep them), ``col("x") > 5`` with ``condition_parser`` ``great_expectations``, and with any other
parser the expressions of ``DataFrame.query``. Great Expectations evaluates all three with pandas, so what is
true is what is true there: a comparison with a missing value is false, but ``!=`` and ``not in`` are true.
Text is never evaluated: an expression is taken apart by Python's own parser, and only what is listed here is
translated. Everything else (arithmetic, methods of text, names of variables) is left to Great Expectations.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.compiled.comparisons import comparable, require_comparable
from airflow_provider_mlbridge.quality.compiled.members import is_unicode, member
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import CannotCheckError
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import parse_instant

_NOTATION_OF_GX = ("great_expectations", "great_expectations__experimental__")
_SIGNS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_NUMBERS = ("int", "float", "decimal")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
_OF_GX = re.compile(
    r"""\s*col\("(?P<column>[^"]+)"\)\s*
    (?: (?P<notnull>\.notnull\(\))
      | (?P<op>[<>]=?|[!=]=)\s*
        (?: (?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
          | (?P<date>date\()?(?P<quote>["'])(?P<text>[^"'\s](?:[^"'\r\n]*[^"'\s])?)(?P=quote)(?(date)\))
        )
    )\s*""",
    re.VERBOSE,
)
_KNOWN_TO_PANDAS = frozenset({"index", "inf", "Inf", "Timestamp", "datetime", "list", "tuple"})
"""Names that mean something in an expression of pandas without being columns."""
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`\n]+`|[^'"`]""", re.DOTALL)
"""Text in quotes, a name in backticks, or any other character of an expression."""
_PLACEHOLDER = "__quoted_name_"


def condition_of(expectation: Expectation, table: Table) -> str | None:
    """
    The rows that an expectation is about, as a predicate that is true or false, never null.

    :returns: None when it is about all rows.
    :raises NotCompiledError: when Great Expectations has to evaluate the condition.
    :raises CannotCheckError: when it names a column that does not exist, or compares what cannot be compared.
    """
    condition = expectation.kwargs.get("row_condition")
    if condition is None:
        return None
    if hasattr(condition, "dict"):
        condition = condition.dict()
    if isinstance(condition, Mapping):
        return _from_document(condition, table)
    if not isinstance(condition, str):
        raise NotCompiledError
    if expectation.kwargs.get("condition_parser") in _NOTATION_OF_GX:
        return _from_notation_of_gx(condition, table)
    return _from_expression(condition, table)


def _from_document(condition: Mapping[str, Any], table: Table) -> str:
    match condition:
        case {"type": "and" | "or" as type_, "conditions": [*conditions]} if conditions:
            parts = [_from_document(_document(item), table) for item in conditions]
            return f"({f' {type_.upper()} '.join(parts)})"
        case {"type": "nullity", "column": {"name": str(name)}, "is_null": bool(is_null)}:
            return _null(_column(name, table), is_null=is_null)
        case {"type": "comparison", "column": {"name": str(name)}, "operator": operator, "parameter": value}:
            column, operator = _column(name, table), getattr(operator, "value", operator)
            if operator in ("IN", "NOT_IN") and isinstance(value, list | tuple):
                return _member(column, value, negated=operator == "NOT_IN")
            if operator in _SIGNS:
                return _compare(column, operator, value)
        case {"type": "pass_through", "pass_through_filter": str(expression)}:
            return _from_expression(expression, table)
    raise NotCompiledError


def _document(condition: Any) -> Mapping[str, Any]:
    document = condition.dict() if hasattr(condition, "dict") else condition
    if not isinstance(document, Mapping):
        raise NotCompiledError
    return document


def _from_notation_of_gx(condition: str, table: Table) -> str:
    match = _OF_GX.fullmatch(condition)
    if match is None:
        raise NotCompiledError
    column = _column(match["column"], table)
    if match["notnull"]:
        return _null(column, is_null=False)
    if match["text"] is not None:
        return _compare(column, match["op"], match["text"])
    try:
        number: float = int(match["number"])
    except ValueError:
        number = float(match["number"])
    return _compare(column, match["op"], number)


def _from_expression(expression: str, table: Table) -> str:
    """An expression of ``DataFrame.query``."""
    text, quoted = _prepare(expression)
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Expression(table, quoted).predicate(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotCompiledError from None


def _prepare(expression: str) -> tuple[str, list[str]]:
    """
    The expression as Python reads it, and the names that stood between backticks.

    As in pandas, ``&`` and ``|`` are ``and`` and ``or``, so that they bind less than a comparison.
    """
    parts: list[str] = []
    names: list[str] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or match.group() in "#@\n\r":
            raise NotCompiledError
        piece, position = match.group(), match.end()
        if piece.startswith("`"):
            parts.append(f"{_PLACEHOLDER}{len(names)}")
            names.append(piece[1:-1])
        else:
            parts.append({"&": " and ", "|": " or "}.get(piece, piece))
    return "".join(parts), names


class _Expression:
    """Translates the tree of an expression."""

    def __init__(self, table: Table, quoted: Sequence[str]) -> None:
        self._table = table
        self._quoted = quoted

    def predicate(self, node: ast.expr) -> str:
        match node:
            case ast.BoolOp(op=op, values=values):
                word = " AND " if isinstance(op, ast.And) else " OR "
                return f"({word.join(map(self.predicate, values))})"
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return f"(NOT {self.predicate(operand)})"
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                parts = [
                    self._comparison(op, sides[position], sides[position + 1])
                    for position, op in enumerate(ops)
                ]
                if len(ops) > 1 and any(isinstance(op, ast.In | ast.NotIn) for op in ops):
                    raise NotCompiledError
                return f"({' AND '.join(parts)})"
            case ast.Call(func=ast.Attribute(value=value, attr=method), args=arguments, keywords=[]):
                return self._method(self._name(value), method, arguments)
            case ast.Name():
                column = self._name(node)
                # With nulls pandas holds objects, which it takes for no condition.
                if column.family == "bool" and column.null_count == 0:
                    return f"coalesce({column.alias}, FALSE)"
        raise NotCompiledError

    def _method(self, column: Column, method: str, arguments: Sequence[ast.expr]) -> str:
        if method in ("isnull", "isna") and not arguments:
            return _null(column, is_null=True)
        if method in ("notnull", "notna") and not arguments:
            return _null(column, is_null=False)
        if method == "isin" and len(arguments) == 1:
            return _member(column, self._values(arguments[0]), negated=False)
        raise NotCompiledError

    def _comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> str:
        if isinstance(op, ast.In | ast.NotIn):
            return _member(self._name(left), self._values(right), negated=isinstance(op, ast.NotIn))
        operator = _OPERATORS.get(type(op))
        if operator is None:
            raise NotCompiledError
        if isinstance(right, ast.List | ast.Tuple) and operator in ("==", "!="):
            # pandas compares with a list as with its members.
            return _member(self._name(left), self._values(right), negated=operator == "!=")
        if isinstance(left, ast.Name) and isinstance(right, ast.Name):
            return _compare_columns(self._name(left), operator, self._name(right))
        if isinstance(left, ast.Name):
            return _compare(self._name(left), operator, self._value(right))
        return _compare(self._name(right), _FLIPPED[operator], self._value(left))

    def _name(self, node: ast.expr) -> Column:
        if not isinstance(node, ast.Name):
            raise NotCompiledError
        name = node.id
        if name.startswith(_PLACEHOLDER) and name.removeprefix(_PLACEHOLDER).isdigit():
            name = self._quoted[int(name.removeprefix(_PLACEHOLDER))]
        elif name not in self._table.by_name and name in _KNOWN_TO_PANDAS:
            raise NotCompiledError
        return _column(name, self._table)

    def _values(self, node: ast.expr) -> list[Any]:
        if not isinstance(node, ast.List | ast.Tuple):
            raise NotCompiledError
        return [self._value(item) for item in node.elts]

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Call(func=ast.Name(id="Timestamp"), args=[ast.Constant(value=str(text))], keywords=[]):
                moment = _moment(text)
                if moment is not None and "Timestamp" not in self._table.by_name:
                    return moment
        raise NotCompiledError


def _column(name: str, table: Table) -> Column:
    column = table.by_name.get(name)
    if column is None:
        raise CannotCheckError(
            f"row_condition names the column {name!r}, which there is not.{close_names(name, table.by_name)}"
        )
    return column


def _null(column: Column, *, is_null: bool) -> str:
    return f"(NOT {sql.present(column)})" if is_null else sql.present(column)


def _member(column: Column, values: Sequence[Any], *, negated: bool) -> str:
    found = f"({sql.present(column)} AND {member(column, values)})"
    return f"(NOT {found})" if negated else found


def _compare(column: Column, operator: str, value: Any) -> str:
    sign = "=" if operator == "!=" else _SIGNS[operator]
    found = f"({sql.present(column)} AND {_condition(column, sign, value)})"
    return f"(NOT {found})" if operator == "!=" else found


def _condition(column: Column, sign: str, value: Any) -> str:
    if isinstance(value, bool):
        if column.family != "bool" or sign != "=":
            raise NotCompiledError
        return f"{column.alias} = {str(value).upper()}"
    if isinstance(value, str):
        if column.family == "string":
            if not is_unicode(value):
                raise NotCompiledError
            return f"{column.alias} {sign} {sql.text(value)}"
        value = _moment(value)
    if isinstance(value, date) and column.family in ("date", "timestamp", "timestamptz"):
        return f"{sql.operand(column, value)} {sign} {sql.literal(column, value)}"
    if isinstance(value, int | float) and value == value and column.family in (*_NUMBERS, "bool"):
        if column.type_name == "float32":
            value = _rounded(value)
        return f"{sql.operand(column, value)} {sign} {sql.literal(column, value)}"
    raise NotCompiledError


def _rounded(value: float) -> float:
    """The number as pandas rounds it beside a column of 32 bits: to what such a column can hold."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _moment(text: str) -> date | None:
    """Text in the notations that Python and pandas read alike."""
    return parse_instant(text) if _INSTANT.fullmatch(text) else None


def _compare_columns(a: Column, operator: str, b: Column) -> str:
    require_comparable(a, b)
    sign = "=" if operator == "!=" else _SIGNS[operator]
    found = f"({sql.present(a)} AND {sql.present(b)} AND {comparable(a)} {sign} {comparable(b)})"
    return f"(NOT {found})" if operator == "!=" else found
