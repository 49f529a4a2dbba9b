# SPDX-License-Identifier: Apache-2.0
"""
Some partitions of a datamart instead of all.

A text selects the folders whose decoded value is exactly this text; an integer those whose text is a whole
number of that value (1 selects ``month=1`` and ``month=01``); a date those of its ISO form; None those of
rows without a value. What was selected is kept as the folders' texts, so that a later listing means the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetNotFoundError
from airflow_provider_mlbridge.storage.partitions import NULL_PARTITION, folder_values
from airflow_provider_mlbridge.storage.store import ObjectInfo, ObjectStore
from airflow_provider_mlbridge.storage.uris import stored_path

PartitionValue = str | int | date | None
PartitionSelector = Mapping[str, PartitionValue | Sequence[PartitionValue]]
"""By partition column, the value or the values to read."""

_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")
_SHOWN = 10


@dataclass
class Selection:
    """
    A checked selector, and what it met.

    :param wanted: the values by column; empty to select everything.
    """

    wanted: Mapping[str, tuple[PartitionValue, ...]] = field(default_factory=dict)
    _met: dict[str, set[str]] = field(default_factory=dict)
    _selected: dict[str, set[str]] = field(default_factory=dict)
    _reached: bool = False

    def objects(self, root: str, store: ObjectStore) -> Iterator[ObjectInfo]:
        """
        The objects below ``root`` that may belong to the selection, sorted as the store lists them.

        As long as the folders' columns are among those selected, only the folders that match are listed.
        """
        if not self.wanted:
            return store.list(root)
        return self._walk(root, root, store)

    def holds(self, root: str, path: str) -> bool:
        """Whether a file of this path below the root is selected."""
        values = _texts(stored_path(root, path))
        for column, text in values.items():
            self._met.setdefault(column, set()).add(text)
        self._reached |= bool(values.keys() & self.wanted.keys())
        if not all(
            column in values and _matches(values[column], wanted) for column, wanted in self.wanted.items()
        ):
            return False
        for column in self.wanted:
            self._selected.setdefault(column, set()).add(values[column])
        return True

    @property
    def met(self) -> bool:
        """Whether there was a folder of any partition column."""
        return bool(self._met)

    def texts(self) -> dict[str, tuple[str, ...]]:
        """The folders' texts that were selected, by column, sorted."""
        return {column: tuple(sorted(self._selected[column])) for column in sorted(self._selected)}

    def nothing_found(self, uri: str) -> Exception:
        """
        The error for a selection that no file belongs to.

        :return: a ConfigurationError when a column is none of the datamart, else a DatasetNotFoundError.
        """
        unknown = [column for column in self.wanted if column not in self._met]
        known = [column for column in self.wanted if column in self._met]
        # Where no folder matched, nothing was listed below, so nothing is known of the columns there.
        if unknown and (self._reached or not known):
            there = f"it has {_listed(self._met)}" if self._met else "it has none"
            return ConfigurationError(
                f"partitions: {_listed(unknown)} is no partition column of {uri}; {there}. Partition columns "
                f"are the folders named column=value below it."
            )
        there = "; ".join(f"{column} is {_listed(self._met[column])}" for column in known)
        return DatasetNotFoundError(
            f"{uri} has no file of partitions {self.describe()}; there {there}. Its producer may be late, or "
            f"the values are written differently."
        )

    def describe(self) -> str:
        """The selector in words, at most ten values of each column."""
        return _described(self.wanted)

    def passed_over(self) -> str:
        """The values that no selected file has, in words; empty when there are none."""
        missing = {
            column: [
                value
                for value in values
                if not any(_equals(text, value) for text in self._selected.get(column, ()))
            ]
            for column, values in self.wanted.items()
        }
        return _described({column: values for column, values in missing.items() if values})

    def _walk(self, root: str, prefix: str, store: ObjectStore) -> Iterator[ObjectInfo]:
        folders, objects = store.level(prefix)
        yield from objects
        for folder in folders:
            values = _texts(stored_path(root, folder.removeprefix(prefix)))
            if not values.keys() & self.wanted.keys():
                yield from store.list(folder)
                continue
            ((column, text),) = values.items()
            self._met.setdefault(column, set()).add(text)
            if _matches(text, self.wanted[column]):
                yield from self._walk(root, folder, store)


def check_selector(partitions: object) -> Selection:
    """
    Check what the user gave.

    :param partitions: None, or by column a value or a list of values.
    :raises ConfigurationError: naming the column, what was given and what is valid.
    """
    if partitions is None:
        return Selection({})
    if not isinstance(partitions, Mapping):
        raise ConfigurationError(
            f"partitions must map columns to values, for example {{'day': '2026-01-31'}}, got {partitions!r}"
        )
    wanted: dict[str, tuple[PartitionValue, ...]] = {}
    for column, given in partitions.items():
        if not isinstance(column, str) or not column:
            raise ConfigurationError(f"partitions: {column!r} is no name of a column")
        values = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
        if not values:
            raise ConfigurationError(f"partitions: {column!r} has an empty list, which selects nothing")
        for value in values:
            if isinstance(value, bool | datetime) or not isinstance(value, str | int | date | None):
                raise ConfigurationError(
                    f"partitions: {column!r} is {value!r}; valid are a text, an integer, a date, None, and "
                    f"lists of them"
                )
        wanted[column] = values
    return Selection(wanted)


def _texts(path: str) -> dict[str, str]:
    """The folders' values of a path, decoded; a folder of rows without value is :data:`NULL_PARTITION`."""
    return {
        column: NULL_PARTITION if value is None else value for column, value in folder_values(path).items()
    }


def _matches(text: str, wanted: Sequence[PartitionValue]) -> bool:
    return any(_equals(text, value) for value in wanted)


def _equals(text: str, value: PartitionValue) -> bool:
    if value is None:
        return text == NULL_PARTITION
    if isinstance(value, int):
        return _WHOLE_NUMBER.fullmatch(text) is not None and int(text) == value
    return text == (value.isoformat() if isinstance(value, date) else value)


def _described(wanted: Mapping[str, Sequence[PartitionValue]]) -> str:
    return ", ".join(
        f"{column}={_listed([NULL_PARTITION if value is None else str(value) for value in values])}"
        for column, values in wanted.items()
    )


def _listed(names: Mapping[str, object] | Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(map(repr, shown[:_SHOWN])) + more
