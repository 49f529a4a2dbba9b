# SPDX-License-Identifier: Apache-2.0
"""Expressions as Ibis expressions, in the same operations and the same order as for rows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from airflow_provider_mlbridge.features.expressions.functions import COMPARISONS, STRICT, number
from airflow_provider_mlbridge.features.expressions.inference import Type, common_type, result_type
from airflow_provider_mlbridge.features.expressions.missing import IS_INVALID, marks, may_be_invalid
from airflow_provider_mlbridge.features.expressions.parsing import Node
from airflow_provider_mlbridge.features.kinds import Kind

_IBIS_TYPES = {
    "number": "float64",
    "bool": "boolean",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
}


@dataclass
class TableResult:
    """
    An expression on the columns of a table.

    :param node: the expression.
    :param columns: Ibis columns by name.
    :param kinds: their kinds.
    """

    node: Node
    columns: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    _known: dict[Node, Any] = field(default_factory=dict)

    def value(self) -> Any:
        """The result; NULL where it is invalid."""
        import ibis

        found = self._type(self.node)
        computed = self._compute(self.node)
        if found != "number":
            return computed
        return ibis.cases((self._bad(computed), ibis.null("float64")), else_=computed)

    def invalid(self) -> Any:
        """Whether the result is invalid; never NULL."""
        import ibis

        computed = self._compute(self.node)
        bad = self._bad(computed) if self._type(self.node) == "number" else ibis.literal(False)
        mark = marks(self.node)
        if mark is not None:
            bad = bad | (computed.isnull() & self._compute(mark).fill_null(False))
        return bad

    def _bad(self, computed: Any) -> Any:
        """Whether a number is none, or infinite though nothing is that it was made from."""
        overflow = computed.isinf()
        infinite = [
            column.isinf().fill_null(False)
            for name, column in self.columns.items()
            if self.kinds[name] == "float"
        ]
        if infinite:
            overflow = overflow & ~reduce(operator.or_, infinite)
        return (computed.isnan() | overflow).fill_null(False)

    def _type(self, node: Node) -> Type:
        return result_type("", node, self.kinds)

    def _compute(self, node: Node) -> Any:
        if node not in self._known:
            self._known[node] = self._made(node)
        return self._known[node]

    def _as(self, node: Node, wanted: Type) -> Any:
        """A part as a value of this type."""
        import ibis

        if node.op == "constant" and node.value is None:
            return ibis.null(_IBIS_TYPES[str(wanted)])
        value = self._compute(node)
        return value if self._type(node) == wanted else value.cast(_IBIS_TYPES[str(wanted)])

    def _clean(self, node: Node, wanted: Type) -> Any:
        """The same with NULL for NaN, which engines take for less, for more, or for neither."""
        import ibis

        value = self._as(node, wanted)
        if wanted == "number" and may_be_invalid(node):
            return ibis.cases((value.isnan(), ibis.null("float64")), else_=value)
        return value

    def _made(self, node: Node) -> Any:
        import ibis

        op, args = node.op, node.args
        if op == "constant":
            return number(node.value) if isinstance(node.value, float) else ibis.literal(node.value)
        if op == "column":
            column, kind = self.columns[node.value], self.kinds[node.value]
            return column.cast("float64") if kind == "int" else column
        if op in STRICT:
            return STRICT[op].ibis(*(self._as(arg, "number") for arg in args))
        if op in COMPARISONS:
            together = common_type(map(self._type, args))
            return COMPARISONS[op](*(self._clean(arg, together) for arg in args))
        return _SPECIAL[op](self, node)

    def _and(self, node: Node) -> Any:
        return reduce(operator.and_, map(self._compute, node.args))

    def _or(self, node: Node) -> Any:
        return reduce(operator.or_, map(self._compute, node.args))

    def _not(self, node: Node) -> Any:
        return ~self._compute(node.args[0])

    def _is_null(self, node: Node) -> Any:
        (arg,) = node.args
        value = self._compute(arg)
        return value.isnull() | value.isnan() if may_be_invalid(arg) else value.isnull()

    def _is_invalid(self, node: Node) -> Any:
        return self._compute(node.args[0]).isnan().fill_null(False)

    def _extreme(self, node: Node) -> Any:
        # Engines differ on NULL in least() and greatest(): some pass over it, others do not.
        import ibis

        choose = ibis.least if node.op == "least" else ibis.greatest
        missing = reduce(operator.or_, (self._is_null(Node("is_null", (arg,))) for arg in node.args))
        values = [self._as(arg, "number") for arg in node.args]
        return ibis.cases((missing, ibis.null("float64")), else_=choose(*values))

    def _coalesce(self, node: Node) -> Any:
        import ibis

        together = self._type(node)
        *earlier, last = node.args
        return ibis.coalesce(*(self._clean(arg, together) for arg in earlier), self._as(last, together))

    def _null_if(self, node: Node) -> Any:
        together = self._type(node)
        first, second = node.args
        return self._as(first, together).nullif(self._clean(second, together))

    def _if_else(self, node: Node) -> Any:
        import ibis

        together = self._type(node)
        condition = self._compute(node.args[0])
        first, second = (self._as(arg, together) for arg in node.args[1:])
        return ibis.cases((condition, first), (~condition, second))

    def _between(self, node: Node) -> Any:
        start, end = (self._seconds(arg) for arg in node.args)
        return end - start if node.op == "seconds_between" else (end - start) / number(86_400.0)

    def _seconds(self, node: Node) -> Any:
        # Whole ones, because engines differ on the fractions. The cast is to what some give already.
        moment = self._as(node, "timestamp")
        if self._type(node) == "timestamp":
            moment = moment.truncate("s")
        return moment.epoch_seconds().cast("float64")


_SPECIAL: dict[str, Callable[[TableResult, Node], Any]] = {
    "and": TableResult._and,  # noqa: SLF001 - its own
    "or": TableResult._or,  # noqa: SLF001
    "not": TableResult._not,  # noqa: SLF001
    "is_null": TableResult._is_null,  # noqa: SLF001
    IS_INVALID: TableResult._is_invalid,  # noqa: SLF001
    "least": TableResult._extreme,  # noqa: SLF001
    "greatest": TableResult._extreme,  # noqa: SLF001
    "coalesce": TableResult._coalesce,  # noqa: SLF001
    "nullif": TableResult._null_if,  # noqa: SLF001
    "if_else": TableResult._if_else,  # noqa: SLF001
    "days_between": TableResult._between,  # noqa: SLF001
    "seconds_between": TableResult._between,  # noqa: SLF001
}
