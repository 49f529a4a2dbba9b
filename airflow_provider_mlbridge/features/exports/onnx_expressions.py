# SPDX-License-Identifier: Apache-2.0
"""
Expressions on numbers and booleans as ONNX operators.

A boolean is 1.0 or 0.0 there, and NaN is both missing and invalid, which come to the same in a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.features.expressions.parsing import Node

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.exports.onnx_graph import Graph

_UNARY = {"neg": "Neg", "abs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "sin": "Sin", "cos": "Cos"}
_BINARY = {"+": "Add", "-": "Sub", "*": "Mul"}
_COMPARISONS = {"==": "Equal", "<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual"}


def unknown_part(node: Node) -> str | None:
    """The first part of an expression that cannot be said in ONNX."""
    if node.op == "column":
        return None
    if node.op == "constant":
        return None if isinstance(node.value, int | float | None) else "a constant that is no number"
    if node.op not in (*_UNARY, *_BINARY, *_COMPARISONS, *_SPECIAL):
        return f"{node.op} in an expression"
    return next((part for part in map(unknown_part, node.args) if part is not None), None)


def compute(graph: Graph, node: Node, columns: Mapping[str, str], kind: str) -> str:
    """
    The result of an expression.

    :param columns: the values of its columns, by name.
    :param kind: of the result.
    """
    result = _value(graph, node, columns)
    if kind != "float":
        return result
    # Infinite though nothing is that it was made from.
    infinite = reduce(
        lambda left, right: graph.add("Or", left, right),
        [graph.add("IsInf", column) for column in columns.values()],
    )
    overflow = graph.add("And", graph.add("IsInf", result), graph.add("Not", infinite))
    return graph.where(overflow, math.nan, result)


def _value(graph: Graph, node: Node, columns: Mapping[str, str]) -> str:
    if node.op == "constant":
        return graph.number(math.nan if node.value is None else float(node.value))
    if node.op == "column":
        return columns[node.value]
    args = [_value(graph, arg, columns) for arg in node.args]
    if node.op in _UNARY:
        return graph.add(_UNARY[node.op], *args)
    if node.op in _BINARY:
        return graph.add(_BINARY[node.op], *args)
    if node.op in _COMPARISONS:
        return _unless_missing(graph, args, graph.as_number(graph.add(_COMPARISONS[node.op], *args)))
    return _SPECIAL[node.op](graph, args)


def _missing(graph: Graph, args: list[str]) -> str:
    """Whether one of them is."""
    return reduce(lambda left, right: graph.add("Or", left, right), [graph.add("IsNaN", x) for x in args])


def _unless_missing(graph: Graph, args: list[str], result: str) -> str:
    return graph.where(_missing(graph, args), math.nan, result)


def _divide(graph: Graph, args: list[str]) -> str:
    x, y = args
    return graph.add("Div", x, graph.where(graph.add("Equal", y, 0.0), math.nan, y))


def _log(graph: Graph, args: list[str]) -> str:
    (x,) = args
    return graph.where(graph.add("LessOrEqual", x, 0.0), math.nan, graph.add("Log", x))


def _not_equal(graph: Graph, args: list[str]) -> str:
    return _unless_missing(graph, args, graph.as_number(graph.add("Not", graph.add("Equal", *args))))


def _decided(by: float, otherwise: float) -> Callable[[Graph, list[str]], str]:
    """``and`` and ``or``: one of the arguments may decide, whatever is missing."""

    def make(graph: Graph, args: list[str]) -> str:
        deciding = [graph.add("Equal", x, by) for x in args]
        decided = reduce(lambda left, right: graph.add("Or", left, right), deciding)
        return graph.where(decided, by, graph.where(_missing(graph, args), math.nan, otherwise))

    return make


def _coalesce(graph: Graph, args: list[str]) -> str:
    return reduce(lambda rest, x: graph.where(graph.add("IsNaN", x), rest, x), reversed(args))


def _null_if(graph: Graph, args: list[str]) -> str:
    x, y = args
    return graph.where(graph.add("Equal", x, y), math.nan, x)


def _if_else(graph: Graph, args: list[str]) -> str:
    condition, x, y = args
    chosen = graph.where(graph.add("Equal", condition, 1.0), x, y)
    return _unless_missing(graph, [condition], chosen)


_SPECIAL: dict[str, Callable[[Graph, list[str]], str]] = {
    "/": _divide,
    "!=": _not_equal,
    "log": _log,
    "and": _decided(0.0, 1.0),
    "or": _decided(1.0, 0.0),
    "not": lambda graph, args: graph.add("Sub", 1.0, *args),
    "is_null": lambda graph, args: graph.as_number(graph.add("IsNaN", *args)),
    "least": lambda graph, args: _unless_missing(graph, args, graph.add("Min", *args)),
    "greatest": lambda graph, args: _unless_missing(graph, args, graph.add("Max", *args)),
    "coalesce": _coalesce,
    "nullif": _null_if,
    "if_else": _if_else,
}
