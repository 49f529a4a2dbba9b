# SPDX-License-Identifier: Apache-2.0
"""From the datamart's table to the table of features, as far as the states are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.features.hashing import fold_columns, fold_number
from airflow_provider_mlbridge.features.kinds import Column, Kind
from airflow_provider_mlbridge.features.lookups import Lookups
from airflow_provider_mlbridge.features.plan import Operation
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX
from airflow_provider_mlbridge.features.splits import TRAIN
from airflow_provider_mlbridge.features.steps import Check
from airflow_provider_mlbridge.features.steps.base import Input, State, literal

SPLIT_ALIAS = "split"
FOLD_ALIAS = "fold"
"""Aliases of columns that are no one's; see :func:`start`."""

INLINE_CATEGORIES = 8
"""With more categories than this, places are looked up instead of found by comparing one by one."""


@dataclass
class Pipeline:
    """
    A table that grows column by column, under names of its own (``c0``, ``c1``, ...).

    Column names of users may differ from one another in ways that engines cannot see (case), so they appear
    in the last selection only. A column is added in a new layer of the query only when it is computed from
    one that is not in the table yet.

    :param table: Ibis table.
    :param names: current alias by column name.
    :param lookups: the engine's dictionaries; None for an engine that has none, where tables are joined.
    """

    table: Any
    names: dict[str, str]
    lookups: Lookups | None = None
    _pending: dict[str, Any] = field(default_factory=dict)
    _codes: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    _count: int = 0

    def copy(self) -> Pipeline:
        """One to go on with, while this one stays as it is."""
        self.flush()
        return Pipeline(self.table, dict(self.names), self.lookups)

    def column(self, name: str) -> Any:
        """The current expression of a column."""
        alias = self.names[name]
        if alias in self._pending:
            self.flush()
        return self.table[alias]

    def assign(self, name: str, expression: Any) -> str:
        """Give a column a new value, and return its alias."""
        alias = self._alias()
        self._pending[alias] = expression
        self.names[name] = alias
        return alias

    def _alias(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def flush(self) -> None:
        """Take what was assigned into the table."""
        if self._pending:
            self.table = self.table.mutate(**self._pending)
            self._pending = {}

    def inputs(self, operation: Operation, state: State) -> Input:
        """What an operation works on."""

        # All of them first: a column that is still to be taken into the table makes a new one.
        for name in (operation.column, *operation.reads):
            self.column(name)
        code, found = None, []
        if operation.step.categories(state) is not None:
            self.look_ahead([(operation, state)])
            alias, *others = self._codes[_key(operation)]
            code, found = self.table[alias], [self.table[other] for other in others]
        return Input(
            self.table[self.names[operation.column]],
            operation.kind,
            {name: self.table[self.names[name]] for name in operation.reads},
            operation.reads,
            code,
            self.table[FOLD_ALIAS] if FOLD_ALIAS in self.table.columns else None,
            found,
        )

    def look_ahead(self, following: Sequence[tuple[Operation, State | None]]) -> None:
        """
        Look up the categories of the first of these operations, and of all whose columns are there by now.

        Each lookup is a layer of the query, and there may be hundreds of them; together they are one.
        """
        import ibis

        if not following or _key(following[0][0]) in self._codes:
            return
        self.flush()
        made: set[str] = set()
        places: dict[str, Any] = {}
        numbers: dict[str, tuple[str, Sequence[float | int]]] = {}
        nothing: list[str] = []
        for operation, state in following:
            step = operation.step
            if step.HISTORY:
                break  # a new table, in which earlier columns may have other values
            categories = None if state is None else step.categories(state)
            known = _key(operation) in self._codes or not made.isdisjoint(operation.columns)
            made.update(name for name, _ in operation.outputs(state))
            if state is None or categories is None or known:
                continue
            beside = step.lookups(state, folds=FOLD_ALIAS in self.table.columns)
            alias, *others = self._codes[_key(operation)] = [self._alias() for _ in (None, *beside)]
            source = self.names[operation.column]
            if not categories or (not beside and len(categories) <= INLINE_CATEGORIES):
                places[alias] = _compared(self.table[source], categories)
                nothing += others
            elif self.lookups is None:
                together = dict(zip(others, beside, strict=True))
                if places:
                    # A join makes a new table, on which what was found in this one cannot be added.
                    self.table, places = self.table.mutate(**places), {}
                self.table = with_places(self.table, source, alias, categories, operation.kind, together)
            else:
                places[alias] = self.lookups.place(self.table[source], categories, operation.kind)
                numbers |= {other: (alias, row) for other, row in zip(others, beside, strict=True)}
        if places:
            self.table = self.table.mutate(**places)
        if nothing:
            self.table = self.table.mutate(**dict.fromkeys(nothing, ibis.null("float64")))
        if numbers and self.lookups is not None:
            self.table = self.lookups.beside(self.table, numbers)

    def apply(self, operation: Operation, state: State) -> None:
        """Add the results of an operation."""
        if operation.step.HISTORY:
            self.extend(operation, state)
        else:
            self.add(operation, state, self.inputs(operation, state))

    def add(self, operation: Operation, state: State, x: Input) -> None:
        """Add the results of an operation on these inputs."""
        results = zip(operation.outputs(state), operation.expressions(x, state), strict=True)
        for (name, _), expression in results:
            self.assign(name, expression)

    def extend(self, operation: Operation, state: State) -> None:
        """Add the results of an operation that looks at other rows."""
        self.flush()
        produced = [(name, self._alias()) for name, _ in operation.outputs(state)]
        self.table = operation.extend(self.table, self.names, [alias for _, alias in produced], state)
        self.names.update(produced)

    def flushed(self) -> Any:
        """The table with all that was assigned."""
        self.flush()
        return self.table


def _key(operation: Operation) -> tuple[int, str]:
    return operation.position, operation.column


def _compared(value: Any, categories: Sequence[Any]) -> Any:
    import ibis

    branches = [(value == literal(item), literal(place)) for place, item in enumerate(categories)]
    return ibis.cases(*branches) if branches else ibis.null("int64")


def start(
    table: Any,
    columns: Mapping[str, Column],
    recipe: Recipe,
    inputs: Mapping[str, Kind],
    split_state: Mapping[str, Any],
    *,
    train_only: bool = False,
    folds: bool = False,
    lookups: Lookups | None = None,
) -> Pipeline:
    """
    The columns that a recipe reads, cleaned, with the split.

    Columns with a role (keys, label) are read when they are there: a table to be scored has no label.

    :param train_only: leave the rows of the other splits out.
    :param folds: whether the rows are those to learn from, and those of the training split get the number
        that shares them out to folds, see :class:`~.steps.base.Input`.
    :param lookups: see :class:`Pipeline`.
    """
    import ibis

    together = fold_columns(recipe) if folds else ()
    wanted = dict.fromkeys([*inputs, *recipe.keys, *([recipe.label] if recipe.label else []), *together])
    names: dict[str, str] = {}
    selected: dict[str, Any] = {}
    for name in wanted:
        if name in columns:
            names[name] = f"c{len(names)}"
            selected[names[name]] = clean(table[name], columns[name], inputs.get(name))
    place = {name: table[name] for name in (FILE_INDEX, ROW_INDEX)}
    split = recipe.resolved_split()
    if split is None:
        started = table.select(**selected, **place, **{SPLIT_ALIAS: ibis.literal(TRAIN)})
    elif all(name in columns for name in split.columns()):
        cleaned = table.select(
            **{name: clean(table[name], columns[name]) for name in split.columns()}, **selected, **place
        )
        where = split.expression(cleaned, split_state)
        if train_only:
            cleaned, where = cleaned.filter(split.train_rows(cleaned, split_state)), ibis.literal(TRAIN)
        started = cleaned.select(*names.values(), *place, **{SPLIT_ALIAS: where})
    else:
        started = table.select(**selected, **place)
    if folds:
        number = fold_number([started[names[name]] for name in together])
        train = started[SPLIT_ALIAS] == TRAIN
        started = started.mutate(**{FOLD_ALIAS: ibis.ifelse(train, number, ibis.null("int64"))})
    return Pipeline(started, names, lookups)


def clean(value: Any, column: Column, kind: Kind | None = None) -> Any:
    """
    One missing value (NULL), one float, one timestamp: see ``kinds``.

    :param kind: kind that the column had when the recipe was fitted; a float may be an integer now.
    """
    import ibis

    if kind == "float" and column.kind == "int":
        return value.cast("float64")
    if column.kind == "float":
        number = value if column.ibis_type == "float64" else value.cast("float64")
        return ibis.ifelse(number.isnan(), ibis.null("float64"), number)
    if column.kind == "timestamp" and column.ibis_type != "timestamp":
        return value.cast("timestamp")
    return value


def collect_checks(
    pipeline: Pipeline, operations: Sequence[Operation], states: Sequence[State]
) -> list[tuple[Operation, Check, str]]:
    """
    Apply all operations, and add what they want to have counted.

    :return: operation, check, alias of its boolean column.
    """
    found = []
    for number, (operation, state) in enumerate(zip(operations, states, strict=True)):
        if operation.step.HISTORY:
            pipeline.extend(operation, state)
            continue
        if operation.step.categories(state) is not None:
            pipeline.look_ahead(list(zip(operations, states, strict=True))[number:])
        x = pipeline.inputs(operation, state)
        for check in operation.checks(x, state):
            alias = pipeline.assign(f"\0check {number} {check.name}", check.matches)
            found.append((operation, check, alias))
        pipeline.add(operation, state, x)
    pipeline.flush()
    return found


def with_places(
    table: Any,
    source: str,
    alias: str,
    categories: Sequence[Any],
    kind: Kind,
    numbers: Mapping[str, Sequence[float | int]],
) -> Any:
    """
    ``table`` with the place of each value of ``source`` among the categories, by a join.

    A join changes the order of rows, which is why everything that is written is sorted. (So does
    ``x IN (...)`` in DuckDB, which makes a join of five values or more, against its own setting.)

    :param numbers: what stands beside each category, by the alias that it gets.
    """
    import ibis

    # The categories travel as one text, for each literal of its own costs a millisecond of compilation.
    texts = [repr(item) if kind == "float" else str(item) for item in categories]
    everything = "".join(texts)
    free = (sign for sign in map(chr, range(0xE000, 0xF8FF)) if sign not in everything)
    row_end, cell_end = next(free), next(free)
    columns = [map(str, range(len(texts))), *(map(repr, column) for column in numbers.values()), texts]
    joined = row_end.join(map(cell_end.join, zip(*columns, strict=True)))
    # In two layers, for Spark takes nothing around what makes rows.
    rows = ibis.literal(joined).split(row_end).unnest().name("row").as_table()
    cells = rows.select(cells=rows["row"].split(cell_end))["cells"]
    value = cells[1 + len(numbers)]
    places = cells.as_table().select(
        category=value
        if kind == "string"
        else value.cast("float64" if kind == "float" else table[source].type()),
        **{alias: cells[0].cast("int64")},
        **{
            name: cells[index].cast("int64" if isinstance(column[0], int) else "float64")
            for index, (name, column) in enumerate(numbers.items(), start=1)
        },
    )
    joined_table = table.left_join(places, table[source] == places["category"])
    return joined_table.select(
        *(table[name] for name in table.columns), *(places[name] for name in (alias, *numbers))
    )
