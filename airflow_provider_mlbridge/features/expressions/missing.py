# SPDX-License-Identifier: Apache-2.0
"""
Missing and invalid results.

Inside an expression a missing value is NULL and an invalid one NaN. NaN runs through arithmetic by itself, in
every engine and in Python, so nothing has to be asked at each operation. Where engines differ on NaN (in
comparisons and choices) it is taken for NULL; :func:`marks` remembers that it was there.
"""

from __future__ import annotations

from airflow_provider_mlbridge.features.expressions.functions import COMPARISONS, STRICT
from airflow_provider_mlbridge.features.expressions.parsing import Node

IS_INVALID = "is invalid"
"""Operator that no text can have: whether a number is NaN, never NULL."""


def may_be_invalid(node: Node) -> bool:
    """Whether a number can be NaN. Columns never are."""
    if node.op in STRICT:
        return STRICT[node.op].makes_nan or any(map(may_be_invalid, node.args))
    if node.op == "if_else":
        return any(map(may_be_invalid, node.args[1:]))
    if node.op == "coalesce":
        return may_be_invalid(node.args[-1])
    return node.op == "nullif" and may_be_invalid(node.args[0])


def marks(node: Node) -> Node | None:
    """
    Whether the result is unknown because something invalid was compared, as an expression; None when nothing
    can be.

    Parts that were not chosen do not count, nor what is_null() and coalesce() were asked about.
    """
    op, args = node.op, node.args
    if op in ("constant", "column", "is_null"):
        return None
    if op == "coalesce":
        return marks(args[-1])
    if op == "if_else":
        condition, first, second = (marks(arg) for arg in args)
        branches = None
        if first or second:
            nothing = Node("constant", value=False)
            branches = Node("if_else", (args[0], first or nothing, second or nothing))
        return _any(condition, branches)
    found = [marks(arg) for arg in args]
    if op in COMPARISONS or op in ("least", "greatest"):
        found += [Node(IS_INVALID, (arg,)) for arg in args if may_be_invalid(arg)]
    elif op == "nullif" and may_be_invalid(args[1]):
        found.append(Node(IS_INVALID, (args[1],)))
    return _any(*found)


def expanded_size(node: Node) -> int:
    """
    How many parts an expression has in an engine, where a part that is needed twice is there twice.

    An upper bound, so that a nested expression of moderate length does not become a query of any length.
    """
    if not node.args:
        return 1
    if node.op in STRICT:
        copies: tuple[int, ...] = STRICT[node.op].copies
    elif node.op in ("least", "greatest"):
        copies = (3,) * len(node.args)
    elif node.op == "if_else":
        copies = (2, 1, 1)
    elif node.op in ("and", "or", "not"):
        copies = (1,) * len(node.args)
    else:
        copies = (2,) * len(node.args)
    return 1 + sum(count * expanded_size(arg) for count, arg in zip(copies, node.args, strict=True))


def _any(*conditions: Node | None) -> Node | None:
    found = tuple(condition for condition in conditions if condition is not None)
    if len(found) < 2:
        return found[0] if found else None
    return Node("or", found)
