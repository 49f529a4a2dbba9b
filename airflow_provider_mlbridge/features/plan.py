# SPDX-License-Identifier: Apache-2.0
"""A recipe bound to the columns of a datamart: which step works on which column, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.hashing import fold_columns
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN, Recipe
from airflow_provider_mlbridge.features.selectors import not_found
from airflow_provider_mlbridge.features.steps import Check, Needs, Step
from airflow_provider_mlbridge.features.steps.base import HistoryFunction, Input, Roles, RowFunction, State

_RESERVED = ("file_row_number",)
"""Columns of these names cannot be read beside the engine's own."""


@dataclass(frozen=True)
class Operation:
    """
    One step on one column.

    :param position: place of the step in the recipe, from 1.
    :param step: the step.
    :param column: the column it works on.
    :param kind: kind of the column at this point.
    :param reads: further columns that it reads, with their kinds.
    :param roles: what columns mean in the recipe.
    """

    position: int
    step: Step
    column: str
    kind: Kind
    reads: Mapping[str, Kind] = field(default_factory=dict)
    roles: Roles = field(default_factory=Roles)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it reads, its own first."""
        return (self.column, *self.reads)

    @property
    def where(self) -> str:
        """For messages."""
        return f"step {self.position} ({self.step.TYPE}), column {self.column!r}"

    @property
    def stem(self) -> str:
        """Name of the result, or what several begin with."""
        return self.step.stem(self.column)

    @property
    def replaced(self) -> str | None:
        """The column whose place the first result takes."""
        return self.column if self.step.REPLACES and self.stem == self.column else None

    @property
    def needs(self) -> Needs:
        """What must be known of the column before the step can be fitted."""
        return self.step.needs(self.kind)

    def outputs(self, state: State | None) -> list[tuple[str, Kind]]:
        """Names and kinds of the results."""
        return self.step.outputs(self.stem, self.kind, state)

    def expressions(self, x: Input, state: State) -> list[Any]:
        """The results as Ibis expressions."""
        return self.step.expressions(x, state)

    def checks(self, x: Input, state: State) -> list[Check]:
        """What to count in a transform."""
        return self.step.checks(x, state)

    def extend(self, table: Any, names: Mapping[str, str], outputs: Sequence[str], state: State) -> Any:
        """The table with the results; see :meth:`Step.extend`."""
        aliases = {name: names[name] for name in self.columns}
        return self.step.extend(table, aliases, outputs, state, self.roles)

    def row_function(self, state: State) -> RowFunction:
        """The results as a Python function."""
        return self.step.row_function(self.where, self.kind, state)

    def history_function(self, state: State) -> HistoryFunction:
        """The results as a Python function of this row and the others."""
        kinds = {self.column: self.kind, **self.reads}
        return self.step.history_function(self.columns, kinds, state, self.roles)


@dataclass(frozen=True)
class Feature:
    """
    A column of the result.

    :param name: its name.
    :param kind: its kind.
    :param discrete: whether its values are codes, worth counting the different ones.
    :param flag: whether it is 0 or 1 and never missing.
    """

    name: str
    kind: Kind
    discrete: bool
    flag: bool = False


@dataclass(frozen=True)
class Plan:
    """
    A recipe bound to columns.

    :param recipe: the recipe.
    :param inputs: the columns that the steps read, with their kinds, in the datamart's order.
    :param operations: step by step, column by column.
    """

    recipe: Recipe
    inputs: Mapping[str, Kind]
    operations: Sequence[Operation]


def bind(recipe: Recipe, kinds: Mapping[str, Kind | None], engine_types: Mapping[str, str]) -> Plan:
    """
    Find the columns of every step.

    :param kinds: the datamart's columns in order; None for types that no step takes.
    :param engine_types: their types, for messages.
    :raises ColumnNotFoundError: for a column that is not there, with those that are.
    :raises InvalidRecipeError: for a step on the wrong type, and for two results of one name.
    """
    split = recipe.resolved_split()
    roles = [*recipe.keys, *(split.columns() if split else ())]
    roles += [name for name in (recipe.label, recipe.event_time, recipe.known_time) if name is not None]
    for name in roles:
        if name not in kinds:
            raise not_found(name, list(kinds))
        if kinds[name] is None:
            raise InvalidRecipeError(f"column {name!r} has type {engine_types[name]}, which has no use here")
    if split:
        split.check_kinds(kinds)

    current: dict[str, Kind | None] = dict(kinds)
    operations: list[Operation] = []
    inputs: set[str] = set()
    for position, step in enumerate(recipe.steps, start=1):
        label = f"step {position} ({step.TYPE})"
        try:
            columns = step.selector.select(kinds, current, roles, recipe.columns_by_role)
        except ColumnNotFoundError as error:
            raise ColumnNotFoundError(f"{label}: {error}") from error
        except InvalidRecipeError as error:
            raise InvalidRecipeError(f"{label}: {error}") from error
        for group in [[column] for column in columns] if step.PER_COLUMN else [columns]:
            operation = _operation(position, step, group, current, recipe, engine_types)
            try:
                _ = operation.needs
                produced = operation.outputs(None)
            except InvalidRecipeError as error:
                raise InvalidRecipeError(f"{operation.where}: {error}") from error
            # A column made by an earlier step may share its name with no column of the datamart.
            inputs.update(name for name in (operation.column, *operation.reads) if name in kinds)
            _add(current, produced, operation.replaced, operation.where)
            operations.append(operation)
    return Plan(recipe, {name: kind for name, kind in kinds.items() if name in inputs and kind}, operations)


def _operation(
    position: int,
    step: Step,
    columns: Sequence[str],
    current: Mapping[str, Kind | None],
    recipe: Recipe,
    engine_types: Mapping[str, str],
) -> Operation:
    """The step on these columns, which must be of kinds that it takes."""
    label = f"step {position} ({step.TYPE})"
    roles = recipe.roles
    if recipe.label in columns:
        try:
            step.admit_label(roles)
        except InvalidRecipeError as error:
            raise InvalidRecipeError(f"{label}: {error}") from error
    kinds: dict[str, Kind] = {}
    for column in columns:
        kind = current[column]
        if kind is None or kind not in step.KINDS:
            raise InvalidRecipeError(
                f"{label}: column {column!r} is {kind or engine_types[column]}; "
                f"{step.TYPE} takes {', '.join(step.KINDS)}"
            )
        kinds[column] = kind
    try:
        if step.SUPERVISED:
            _check_target(step, current, recipe)
        for column in step.reads(roles):
            if column not in current:
                raise not_found(column, list(current))
            kind = current[column]
            if kind is None:
                raise InvalidRecipeError(
                    f"column {column!r} has type {engine_types[column]}, which has no use here"
                )
            kinds[column] = kind
        if step.HISTORY:
            _check_times(roles, kinds)
        step.check_kinds(kinds)
    except (ColumnNotFoundError, InvalidRecipeError) as error:
        raise type(error)(f"{label}, column {columns[0]!r}: {error}") from error
    first = columns[0]
    return Operation(position, step, first, kinds.pop(first), kinds, roles)


def _check_times(roles: Roles, kinds: Mapping[str, Kind]) -> None:
    """The times that say which rows are earlier must be times."""
    for role, name in (("event_time", roles.event_time), ("known_time", roles.known_time)):
        if name is not None and kinds.get(name) not in ("date", "timestamp"):
            raise InvalidRecipeError(
                f"the recipe's {role} {name!r} is {kinds.get(name)}; a step that looks at earlier rows needs "
                f"a date or a timestamp"
            )


def _check_target(step: Step, kinds: Mapping[str, Kind | None], recipe: Recipe) -> None:
    """What a step needs that learns from the label: a label that it can use, and rows that have a name."""
    kind = None if recipe.label is None else kinds[recipe.label]
    if recipe.label is None or kind is None:
        raise InvalidRecipeError(f"{step.TYPE} learns from the label, but the recipe has none; give label")
    step.check_target(recipe.label, kind)
    together = fold_columns(recipe)
    if not together:
        raise InvalidRecipeError(
            f"{step.TYPE} learns each row's value from rows in other folds, and rows are shared out to folds "
            f"by their keys, but the recipe has none; give keys"
        )
    for name in together:
        if kinds[name] == "float":
            raise InvalidRecipeError(
                f"{step.TYPE} learns each row's value from rows in other folds, and rows are shared out to "
                f"folds by the text of their keys, but {name!r} is float, which engines write in different "
                f"ways. Make it an integer or a string in the datamart, or give other keys"
            )


def features_of(
    recipe: Recipe,
    inputs: Mapping[str, Kind],
    operations: Sequence[Operation],
    states: Sequence[State],
    columns: Sequence[str] = (),
) -> list[Feature]:
    """
    The result's columns, in order.

    :param columns: the datamart's columns, whose names no new feature may take.
    :raises InvalidRecipeError: when a feature and a key, the label or the split have one name.
    """
    current: dict[str, Kind | None] = {**dict.fromkeys(columns), **inputs}
    features: dict[str, Feature] = {}
    for operation, state in zip(operations, states, strict=True):
        step, produced = operation.step, operation.outputs(state)
        try:
            _add(current, produced, operation.replaced, operation.where)
        except InvalidRecipeError as error:
            raise FitError(str(error)) from error
        if not step.REPLACES and not step.KEEPS:
            features.pop(operation.column, None)
        for name, kind in produced:
            discrete = step.DISCRETE or (name != operation.stem and kind == "int")
            features[name] = Feature(name, kind, discrete, flag=step.FLAGS)
    roles = [name for name in (*recipe.keys, recipe.label) if name is not None]
    for name in roles:
        if name.lower() == SPLIT_COLUMN:
            raise InvalidRecipeError(
                f"{name!r} is a key or the label, but the output has a column {SPLIT_COLUMN!r} of its own; "
                f"rename the column in the datamart"
            )
    for name in features:
        if name.lower() in _RESERVED:
            raise InvalidRecipeError(
                f"the feature {name!r} has a name that the engine keeps for the place of a row; give the "
                f'step another output name, for example output="{{column}}_feature"'
            )
    taken = {name.lower(): name for name in (*roles, SPLIT_COLUMN)}
    for name in features:
        if name.lower() in taken:
            raise InvalidRecipeError(
                f"the feature {name!r} has the name of the output column {taken[name.lower()]!r} (key, label "
                f'or split); give the step an output name, for example output="{{column}}_feature"'
            )
    if not features:
        raise InvalidRecipeError(f"recipe {recipe.name!r}: the steps produce no feature")
    return list(features.values())


def _add(
    current: dict[str, Kind | None],
    produced: Sequence[tuple[str, Kind]],
    replaced: str | None,
    where: str,
) -> None:
    # Names that differ only in case are one name to DuckDB, Spark and Athena.
    taken = {name.lower(): name for name in current}
    for name, kind in produced:
        if name != replaced and name.lower() in taken:
            raise InvalidRecipeError(
                f"{where}: the result {name!r} would be a second column {taken[name.lower()]!r}; give the "
                f'step another output name, for example output="{{column}}_2". '
                f"There are {options.shown(current)}"
            )
        current[name] = kind
        taken[name.lower()] = name
