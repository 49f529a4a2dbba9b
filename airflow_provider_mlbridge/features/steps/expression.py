# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""New columns that are computed from others: ratios, differences, conditions, products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import combinations
from math import comb
from operator import or_
from typing import Any, ClassVar, Self

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.expressions import (
    Like,
    Node,
    TableResult,
    check,
    columns_of,
    expanded_size,
    inner_value,
    normalised,
    parse,
    result_kind,
    result_type,
    row_result,
)
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.selectors import Selector
from airflow_provider_mlbridge.features.steps.base import Check, Input, Roles, RowFunction, State, Step

MAX_SIZE = 10_000
"""Parts of an expression in an engine, see :func:`~..expressions.missing.expanded_size`."""

MAX_PRODUCTS = 1_000
_JOINED = "{columns}"
_ADVICE = (
    "A division by zero, a logarithm or root where there is none, and a result beyond 1.8e308 give no "
    'number. Guard them, for example with nullif(x, 0) or if_else(), or set invalid="null".'
)


@dataclass(frozen=True)
class _Computed(Step):
    """A step whose results are trees of expressions on all its columns."""

    REPLACES: ClassVar[bool] = False
    KEEPS: ClassVar[bool] = True
    PER_COLUMN: ClassVar[bool] = False

    def validate(self) -> None:
        options.choice(self.TYPE, "invalid", self._invalid, ("null", "error"))

    @property
    def _invalid(self) -> str:
        invalid: str = getattr(self, "invalid", "null")
        return invalid

    def results(self, kind: Kind) -> list[tuple[str, Kind, Node]]:
        """Name, kind and tree of the results, for a first column of ``kind``."""
        raise NotImplementedError

    def reads(self, roles: Roles) -> Sequence[str]:
        return self.selector.names[1:]

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(name, result) for name, result, _ in self.results(kind)]

    def _tables(self, x: Input) -> Iterator[TableResult]:
        first = self.selector.names[0]
        columns, kinds = {first: x.value, **x.others}, {first: x.kind, **x.kinds}
        for _, _, node in self.results(x.kind):
            read = columns_of(node)
            yield TableResult(
                node, {name: columns[name] for name in read}, {name: kinds[name] for name in read}
            )

    def expressions(self, x: Input, state: State) -> list[Any]:
        return [result.value() for result in self._tables(x)]

    def checks(self, x: Input, state: State) -> list[Check]:
        invalid = reduce(or_, (result.invalid() for result in self._tables(x)))
        return [Check("invalid", invalid, self._invalid == "error", _ADVICE)]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        names, fatal = self.selector.names, self._invalid == "error"
        functions: list[Callable[[Sequence[Any]], tuple[Any, bool]]] = [
            row_result(node, names, result) for _, result, node in self.results(kind)
        ]

        def compute(*values: Any) -> list[Any]:
            inner = [inner_value(value) for value in values]
            results = []
            for function in functions:
                result, invalid = function(inner)
                if invalid and fatal:
                    raise FeatureValueError(f"{where}: the result is invalid. {_ADVICE}")
                results.append(result)
            return results

        return compute


@dataclass(frozen=True)
class Expression(_Computed):
    """
    A new column that is computed from others, for example ``distance / nullif(air_time, 0)``.

    Arithmetic is in 64-bit floats; booleans are 0 and 1 in it. A result is a float, a boolean (of a
    comparison), or of the type of the columns that ``coalesce`` and ``if_else`` choose from. It is missing
    when an operand is, except in ``coalesce``, ``is_null`` and where ``and`` and ``or`` know the answer
    anyway. An invalid one (a division by zero, a number that no operation gives, an infinite result of finite
    columns) is missing too, and counted. The columns themselves stay what they are.

    :param expression: numbers, strings, ``true``, ``false``, columns, ``+ - * / // %`` (the last two as in
        Python), comparisons, ``and``, ``or``, ``not``, and the functions of the guide. A column whose name is
        no plain word is written ``col("name")``.
    :param output: name of the result.
    :param invalid: whether an invalid result is ``null``, or an ``error``.
    """

    TYPE: ClassVar[str] = "expression"

    columns: Any = field(default=None, init=False, repr=False)
    expression: str
    output: str = field(kw_only=True)
    invalid: str = field(default="null", kw_only=True)

    def __post_init__(self) -> None:
        options.text(self.TYPE, "output", self.output)
        text = normalised(self.expression)
        node = parse(text)
        found = result_type(text, node)
        columns = columns_of(node)
        if not columns:
            raise InvalidRecipeError(f"expression {text!r} reads no column; its result would be a constant")
        size = expanded_size(node)
        if size > MAX_SIZE:
            raise InvalidRecipeError(
                f"expression {text[:80]!r}: it has {size} parts in an engine, where what is nested in //, %, "
                f"log1p, least and the like is repeated; {MAX_SIZE} are allowed. Compute a part of it in an "
                f"expression step of its own, and use the output of that"
            )
        if isinstance(found, Like):
            # The kind of the result is that of the step's first column, which a step is told.
            columns = (found.column, *(name for name in columns if name != found.column))
        self.set("expression", text)
        self.set("columns", Selector(names=columns))
        self.validate()

    def stem(self, column: str) -> str:
        return self.output

    def check_kinds(self, kinds: Mapping[str, Kind]) -> None:
        check(self.expression, self._node, kinds)

    def results(self, kind: Kind) -> list[tuple[str, Kind, Node]]:
        return [(self.output, result_kind(self._found, kind), self._node)]

    @cached_property
    def _node(self) -> Node:
        return parse(self.expression)

    @cached_property
    def _found(self) -> str | Like:
        return result_type(self.expression, self._node)

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {"type": self.TYPE, "expression": self.expression, "output": self.output}
        return document if self.invalid == "null" else {**document, "invalid": self.invalid}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        given = {key: value for key, value in document.items() if key != "type"}
        options.known_keys(cls.TYPE, given, ("expression", "output", "invalid"))
        for name in ("expression", "output"):
            if name not in given:
                raise InvalidRecipeError(f"{cls.TYPE}: {name!r} is missing")
        return cls(**given)


@dataclass(frozen=True)
class Interaction(_Computed):
    """
    Products of the columns, each pair (and with ``degree=3`` each triple) once, as new columns.

    They are those of scikit-learn's ``PolynomialFeatures(interaction_only=True)``, in its order and without
    the columns themselves. A product is missing when a factor is, and when it is invalid as in
    :class:`Expression`.

    :param columns: at least two names.
    :param degree: most factors of a product, 2 or 3.
    :param output: name of the results, in which ``{columns}`` stands for the factors' names, joined by
        ``_x_``; that alone when None.
    :param invalid: whether an invalid product is ``null``, or an ``error``.
    """

    TYPE: ClassVar[str] = "interaction"
    KINDS: ClassVar[tuple[Kind, ...]] = SCALAR

    degree: int = 2
    invalid: str = "null"

    def __post_init__(self) -> None:
        self.set("columns", Selector.of(self.columns))
        if self.output is not None and _JOINED not in options.text(self.TYPE, "output", self.output):
            raise InvalidRecipeError(
                f"{self.TYPE}: output={self.output!r} must contain {_JOINED}, which stands for the names "
                f"of the columns that are multiplied"
            )
        self.validate()

    def validate(self) -> None:
        super().validate()
        options.integer(self.TYPE, "degree", self.degree, low=2, high=3)
        if len(self.selector.names) < self.degree:
            raise InvalidRecipeError(
                f"{self.TYPE}: columns={self.selector.to_plain()!r} must name at least {self.degree} columns "
                f"(degree={self.degree}); a regex or a type selects none here"
            )
        products = sum(comb(len(self.selector.names), size) for size in range(2, self.degree + 1))
        if products > MAX_PRODUCTS:
            raise InvalidRecipeError(
                f"{self.TYPE}: {len(self.selector.names)} columns give {products} products, {MAX_PRODUCTS} "
                f"are allowed; name fewer columns"
            )

    def stem(self, column: str) -> str:
        return self.output or _JOINED

    def results(self, kind: Kind) -> list[tuple[str, Kind, Node]]:
        return [
            (self.stem("").replace(_JOINED, "_x_".join(names)), "float", _product(names))
            for names in self._groups()
        ]

    def check_kinds(self, kinds: Mapping[str, Kind]) -> None:
        for name, kind in kinds.items():
            if kind not in self.KINDS:
                raise InvalidRecipeError(f"column {name!r} is {kind}; {self.TYPE} takes {', '.join(SCALAR)}")

    def _groups(self) -> Iterator[tuple[str, ...]]:
        for size in range(2, self.degree + 1):
            yield from combinations(self.selector.names, size)


def _product(names: Sequence[str]) -> Node:
    factors = [Node("column", value=name) for name in names]
    return reduce(lambda left, right: Node("*", (left, right)), factors[1:], factors[0])
