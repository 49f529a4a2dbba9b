# SPDX-License-Identifier: Apache-2.0
"""The features of one row where steps look at other rows, in pure Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, ConfigurationError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind, reader
from airflow_provider_mlbridge.features.plan import Operation
from airflow_provider_mlbridge.features.steps.base import HistoryFunction, RowFunction, State


@dataclass(frozen=True)
class _Line:
    """
    One operation of the program.

    :param columns: what it reads.
    :param outputs: what it makes.
    :param everywhere: whether later operations read its results of the other rows.
    :param alone: the function, of an operation that looks at its own row only.
    :param together: the function, of one that looks at others.
    """

    columns: tuple[str, ...]
    outputs: list[str]
    everywhere: bool
    alone: RowFunction | None
    together: HistoryFunction | None


class HistoryProgram:
    """
    A fitted recipe for a row and its history.

    Of the other rows, only the columns are read and computed that some step looks at.

    :param inputs: the columns that the steps read, with their kinds.
    :param operations: the operations.
    :param states: what each has learned.
    :param names: the features.
    :param label: the label; a row without it is one whose label is missing.
    """

    def __init__(
        self,
        inputs: Mapping[str, Kind],
        operations: Sequence[Operation],
        states: Sequence[State],
        names: Sequence[str],
        *,
        label: str | None,
    ) -> None:
        self._names = tuple(names)
        self._label = label
        needed: set[str] = set()
        lines = []
        for operation, state in zip(reversed(operations), reversed(states), strict=True):
            outputs = [name for name, _ in operation.outputs(state)]
            everywhere = not needed.isdisjoint(outputs)
            back = operation.step.HISTORY
            if everywhere or back:
                needed.update(operation.columns)
            lines.append(
                _Line(
                    operation.columns,
                    outputs,
                    everywhere,
                    None if back else operation.row_function(state),
                    operation.history_function(state) if back else None,
                )
            )
        self._lines = lines[::-1]
        self._where = next(operation.where for operation in operations if operation.step.HISTORY)
        self._readers = {name: reader(name, kind) for name, kind in inputs.items()}
        self._past_readers = {name: read for name, read in self._readers.items() if name in needed}

    def transform(
        self, row: Mapping[str, Any], history: Sequence[Mapping[str, Any]] | None
    ) -> dict[str, Any]:
        """See :meth:`FittedRecipe.transform_row`."""
        if history is None:
            raise ConfigurationError(
                f"{self._where} looks at earlier rows: give history=..., rows of the same group, or an empty "
                f"list when there are none"
            )
        if isinstance(history, str | Mapping) or not isinstance(history, Sequence):
            raise ConfigurationError(f"history must be a list of mappings, got {type(history).__name__}")
        past = [
            self._read(item, self._past_readers, f"row {index} of the history")
            for index, item in enumerate(history)
        ]
        given = row
        if self._label in self._readers and self._label not in row:
            given = {**row, self._label: None}
        values = self._read(given, self._readers, "the row")
        for line in self._lines:
            targets = [*past, values] if line.everywhere else [values]
            if line.alone is not None:
                results = [line.alone(*(item[name] for name in line.columns)) for item in targets]
            elif line.together is not None:
                rows = [[item[name] for name in line.columns] for item in (*past, values)]
                asking = rows if line.everywhere else rows[-1:]
                results = [line.together(each, rows) for each in asking]
            for item, result in zip(targets, results, strict=True):
                item.update(zip(line.outputs, result, strict=True))
        return {name: values[name] for name in self._names}

    @staticmethod
    def _read(
        row: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], what: str
    ) -> dict[str, Any]:
        if not isinstance(row, Mapping):
            raise ConfigurationError(f"{what} must be a mapping, got {type(row).__name__}")
        missing = [name for name in readers if name not in row]
        if missing:
            raise ColumnNotFoundError(
                f"{what} has no {options.shown(missing)}; it must have {options.shown(readers)} (None when "
                f"the value is missing)"
            )
        return {name: read(row[name]) for name, read in readers.items()}
