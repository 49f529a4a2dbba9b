# SPDX-License-Identifier: Apache-2.0
"""
The types of expressions: ``number``, ``bool``, ``string``, ``date``, ``timestamp``, and ``null`` for null.

They are found twice: from the text alone, where a column may be anything and a result may be "like column x",
and again when the columns' kinds are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from airflow_provider_mlbridge.features.expressions.functions import COMPARISONS, STRICT
from airflow_provider_mlbridge.features.expressions.missing import IS_INVALID
from airflow_provider_mlbridge.features.expressions.parsing import Node, problem
from airflow_provider_mlbridge.features.kinds import Kind

_TYPES: dict[Kind, str] = {
    "bool": "bool",
    "int": "number",
    "float": "number",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
}
_KINDS: dict[str, Kind] = {"number": "float", "bool": "bool", "string": "string", "date": "date"}


@dataclass(frozen=True)
class Like:
    """The type of a column whose kind is not known yet."""

    column: str


Type = str | Like


def result_type(text: str, node: Node, kinds: Mapping[str, Kind] | None = None) -> Type:
    """
    The type of an expression.

    :param kinds: of its columns; without them, what the text alone tells.
    :raises InvalidRecipeError: naming the position where types do not go together.
    """
    return _Inference(text, kinds).of(node)


def check(text: str, node: Node, kinds: Mapping[str, Kind]) -> None:
    """
    Check an expression against its columns.

    :raises InvalidRecipeError: for a column of the wrong kind.
    """
    found = result_type(text, node, kinds)
    foreseen = result_type(text, node)
    if isinstance(foreseen, Like) and _TYPES[kinds[foreseen.column]] != found:
        raise problem(
            text,
            node.position or 1,
            f"the result is a {found}, as is the result's other source, but column {foreseen.column!r} is a "
            f"{kinds[foreseen.column]}; write {foreseen.column} + 0 to make it a number",
        )


def result_kind(found: Type, column_kind: Kind) -> Kind:
    """
    The kind of a result.

    :param column_kind: of the column that it is like, when it is.
    """
    if isinstance(found, Like):
        found = _TYPES[column_kind]
    return _KINDS.get(found, "timestamp")


def common_type(types: Iterable[Type]) -> Type:
    """The type in which values that were found to go together are compared."""
    first, *rest = types
    for other in rest:
        first = _join(first, other, mixed=True) or first
    return first


class _Inference:
    def __init__(self, text: str, kinds: Mapping[str, Kind] | None) -> None:
        self.text, self.kinds = text, kinds

    def refuse(self, node: Node, what: str) -> NoReturn:
        raise problem(self.text, node.position, what)

    def of(self, node: Node) -> Type:
        op, args = node.op, node.args
        if op == "constant":
            return _constant_type(node.value)
        if op == "column":
            return Like(node.value) if self.kinds is None else _TYPES[self.kinds[node.value]]
        for index, arg in enumerate(args):
            if arg.op == "constant" and arg.value is None and (op != "if_else" or index == 0):
                self.refuse(
                    arg,
                    "null is of use as a result of if_else() only; to find missing values, write is_null(x)",
                )
        if op in STRICT or op in ("least", "greatest"):
            return self.all_are(node, args, ("number", "bool"), "number")
        if op in ("and", "or", "not"):
            return self.all_are(node, args, ("bool",), "bool")
        if op in ("days_between", "seconds_between"):
            return self.all_are(node, args, ("date", "timestamp"), "number")
        if op in ("is_null", IS_INVALID):
            self.of(args[0])
            return "bool"
        if op == "if_else":
            self.all_are(node, args[:1], ("bool",), "bool")
            args = args[1:]
        together = self.together(node, args)
        if op in COMPARISONS:
            if together == "string" and op not in ("==", "!="):
                self.refuse(
                    node, f"strings have no order here; {op!r} compares numbers, dates and timestamps"
                )
            return "bool"
        if together == "null":
            self.refuse(node, "the result is always null")
        return together

    def all_are(self, node: Node, args: tuple[Node, ...], wanted: tuple[str, ...], result: str) -> Type:
        for arg in args:
            found = self.of(arg)
            if isinstance(found, str) and found not in wanted:
                shown = f"column {arg.value!r} is a {found}" if arg.op == "column" else f"this is a {found}"
                hint = ""
                if wanted == ("bool",) and found == "number":
                    hint = "; write a comparison, for example x != 0"
                name = "-" if node.op == "neg" else node.op
                self.refuse(arg, f"{name!r} takes {' or '.join(wanted)}, {shown}{hint}")
        return result

    def together(self, node: Node, args: tuple[Node, ...]) -> Type:
        """The one type that all these can be."""
        result = self.of(args[0])
        for arg in args[1:]:
            other = self.of(arg)
            joined = _join(result, other, mixed=node.op in COMPARISONS)
            if joined is None:
                self.refuse(arg, f"{node.op!r} takes values of one type, here are {result} and {other}")
            result = joined
        return result


def _constant_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "timestamp" if hasattr(value, "hour") else "date"


def _join(left: Type, right: Type, *, mixed: bool) -> Type | None:
    """
    The type of two that stand for each other; None when they cannot.

    :param mixed: whether a date may stand with a timestamp, and is one at midnight.
    """
    if left == right or right == "null":
        return left
    if left == "null":
        return right
    if isinstance(left, Like):
        # A number takes booleans in, so that a column beside a boolean may be either.
        return left if isinstance(right, Like) or right == "bool" else right
    if isinstance(right, Like):
        return right if left == "bool" else left
    both = {left, right}
    if both == {"number", "bool"}:
        return "number"
    return "timestamp" if mixed and both == {"date", "timestamp"} else None
