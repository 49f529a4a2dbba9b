# SPDX-License-Identifier: Apache-2.0
"""
Looking categories up in DuckDB without a join.

A join changes the order of rows, so that they have to be sorted again, and a hundred of them make a query
that is too deep to be compiled. A list of ``CASE`` branches compares one by one. DuckDB's ``ENUM`` types
have the dictionary that is wanted: a cast to one finds a text's place in one step, and keeps rows in order.
The types stay out of sight behind macros, which Ibis calls as functions of the engine.

What stands beside a category is an item of a list. A short list is a constant; DuckDB writes a constant out
anew for every 2,048 rows, which for a long one takes longer than all else. So long lists stand in a table of
one row, and every row of the datamart is paired with that one: the engine passes on where the lists lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import literal

Numbers = Sequence[float | int]

LIST_TABLE = "mlbridge_lists_"
"""How the names of tables of one row begin."""

_MOST_CONSTANT = 256
"""The longest list that is a constant."""


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

    def beside(self, table: Any, wanted: Mapping[str, tuple[str, Numbers]]) -> Any:
        """
        A table with the numbers that stand beside categories.

        :param table: Ibis table.
        :param wanted: for each new column the column that has what :meth:`place` gave, and a number for each
            category; all floats, or all integers.
        """
        long = {name: how for name, how in wanted.items() if len(how[1]) > _MOST_CONSTANT}
        short = {name: how for name, how in wanted.items() if name not in long}
        if short:
            found = {name: self._constant(table[place], row) for name, (place, row) in short.items()}
            table = table.mutate(**found)
        return self._paired(table, long) if long else table

    def _constant(self, place: Any, numbers: Numbers) -> Any:
        import ibis

        engine_type, kind = _types(numbers)
        name, new = self._name("number", (engine_type, tuple(map(repr, numbers))))
        if new:
            self._execute(f"SET VARIABLE {name}_list = (SELECT ?::{engine_type}[])", [list(numbers)])
            self._execute(f"CREATE TEMP MACRO {name}(x) AS getvariable('{name}_list')[x + 1]", [])
        function = ibis.udf.scalar.builtin(_placeholder, name=name, signature=(("int64",), kind))
        return function(place)

    def _paired(self, table: Any, wanted: Mapping[str, tuple[str, Numbers]]) -> Any:
        import ibis

        lists = tuple(tuple(numbers) for _, numbers in wanted.values())
        name, new = self._name("lists", lists)
        if new:
            columns = [f"?::{_types(numbers)[0]}[] AS {name}_{index}" for index, numbers in enumerate(lists)]
            self._execute(f"CREATE TEMP TABLE {name} AS SELECT {', '.join(columns)}", [*map(list, lists)])
        kinds = [_types(numbers)[1] for numbers in lists]
        schema = {f"{name}_{index}": f"array<{kind}>" for index, kind in enumerate(kinds)}
        row = ibis.table(schema, name=name)
        paired = table.cross_join(row)
        found = {}
        for column, kind, (made, (place, _)) in zip(schema, kinds, wanted.items(), strict=True):
            item = ibis.udf.scalar.builtin(
                _placeholder_of_two, name="list_extract", signature=((schema[column], "int64"), kind)
            )
            found[made] = item(paired[column], paired[place] + literal(1))
        return paired.select(*(paired[column] for column in table.columns), **found)

    def _dictionary(self, texts: tuple[str, ...], kind: Kind) -> str:
        # How the engine writes a float is the engine's own affair.
        converted = "unnest(?::DOUBLE[])::VARCHAR" if kind == "float" else "unnest(?::VARCHAR[])"
        name, new = self._name("place", (kind, texts))
        if new:
            items: list[Any] = [float(text) for text in texts] if kind == "float" else list(texts)
            self._execute(f"CREATE TYPE {name}_type AS ENUM (SELECT {converted})", [items])
            self._execute(f"CREATE TEMP MACRO {name}(x) AS enum_code(TRY_CAST(x AS {name}_type))::BIGINT", [])
        return name

    def _name(self, purpose: str, content: Any) -> tuple[str, bool]:
        new = content not in self._made
        if new:
            self._made[content] = f"mlbridge_{purpose}_{len(self._made)}"
        return self._made[content], new


def _types(numbers: Numbers) -> tuple[str, str]:
    """The engine's type of a list of numbers, and that of Ibis."""
    return ("BIGINT", "int64") if isinstance(numbers[0], int) else ("DOUBLE", "float64")


def _written(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return repr(item + 0.0)
    return str(item)


def _placeholder(x):  # type: ignore[no-untyped-def]
    """The engine's function."""


def _placeholder_of_two(x, y):  # type: ignore[no-untyped-def]
    """The engine's function."""
