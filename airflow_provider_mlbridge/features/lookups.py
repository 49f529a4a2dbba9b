# SPDX-License-Identifier: Apache-2.0
"""
Looking categories up in DuckDB without a join.

A join changes the order of rows, so that they have to be sorted again, and a hundred of them make a query
that is too deep to be compiled. A list of ``CASE`` branches compares one by one. DuckDB's ``ENUM`` types
have the dictionary that is wanted: a cast to one finds a text's place in one step, and keeps rows in order.
The types stay out of sight behind macros, which Ibis calls as functions of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import literal

Numbers = Sequence[float | int]


class Lookups:
    """
    The dictionaries of one connection.

    :param execute: runs SQL with parameters.
    """

    def __init__(self, execute: Callable[[str, list[Any]], Any]) -> None:
        self._execute = execute
        self._made: dict[Any, str] = {}

    def place(self, value: Any, categories: Sequence[Any], kind: Kind) -> Any:
        """
        The place of a value among the categories, from 0; NULL when it is not there.

        :param value: Ibis expression.
        :param categories: at least one; all different.
        :param kind: the kind of both.
        """
        import ibis

        name = self._dictionary(tuple(map(_written, categories)), kind)
        if kind == "float":
            value = value + literal(0.0)  # -0.0 and 0.0 are one category
        text = value if kind == "string" else value.cast("string")
        function = ibis.udf.scalar.builtin(_placeholder, name=name, signature=(("string",), "int64"))
        return function(text)

    def number(self, place: Any, numbers: Numbers) -> Any:
        """
        The number that stands beside a category.

        :param place: what :meth:`place` gave.
        :param numbers: one for each category; all floats, or all integers.
        """
        import ibis

        whole = isinstance(numbers[0], int)
        name = self._list(tuple(numbers), "BIGINT" if whole else "DOUBLE")
        kind = "int64" if whole else "float64"
        function = ibis.udf.scalar.builtin(_placeholder, name=name, signature=(("int64",), kind))
        return function(place)

    def _dictionary(self, texts: tuple[str, ...], kind: Kind) -> str:
        # How the engine writes a float is the engine's own affair.
        converted = "unnest(?::DOUBLE[])::VARCHAR" if kind == "float" else "unnest(?::VARCHAR[])"
        name, new = self._name("place", (kind, texts))
        if new:
            items: list[Any] = [float(text) for text in texts] if kind == "float" else list(texts)
            self._execute(f"CREATE TYPE {name}_type AS ENUM (SELECT {converted})", [items])
            self._execute(f"CREATE TEMP MACRO {name}(x) AS enum_code(TRY_CAST(x AS {name}_type))::BIGINT", [])
        return name

    def _list(self, numbers: tuple[float | int, ...], engine_type: str) -> str:
        name, new = self._name("number", (engine_type, tuple(map(repr, numbers))))
        if new:
            self._execute(f"SET VARIABLE {name}_list = (SELECT ?::{engine_type}[])", [list(numbers)])
            self._execute(f"CREATE TEMP MACRO {name}(x) AS getvariable('{name}_list')[x + 1]", [])
        return name

    def _name(self, purpose: str, content: Any) -> tuple[str, bool]:
        new = content not in self._made
        if new:
            self._made[content] = f"mlbridge_{purpose}_{len(self._made)}"
        return self._made[content], new


def _written(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return repr(item + 0.0)
    return str(item)


def _placeholder(x):  # type: ignore[no-untyped-def]
    """The engine's function."""
