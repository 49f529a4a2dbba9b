# SPDX-License-Identifier: Apache-2.0
"""
Hive partitions: columns whose values stand in the names of folders.

Every engine here asks this module, so that a partition means the same to quality and to features.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.uris import stored_path

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


@dataclass(frozen=True)
class PartitionColumn:
    """
    One partition column.

    :param name: its name.
    :param type_name: ``int64`` when every value is an integer without leading zeros, ``date32`` when every
        value is a calendar date as in ``2026-01-31``, else ``string``.
    :param values: one value per file, in the order of the snapshot's files.
    """

    name: str
    type_name: Literal["int64", "date32", "string"]
    values: tuple[int | date | str | None, ...]


def partition_columns(snapshot: Snapshot, file_columns: Collection[str]) -> tuple[PartitionColumn, ...]:
    """
    The partition columns of a snapshot, in the order of the folders.

    Only folders below the snapshot's root count. Where the files have a column of the same name (in whatever
    case), that column is the one that counts, and the folder says nothing.

    :param file_columns: names of the columns inside the files.
    :raises InvalidParquetError: when the files lie in folders of different partitions.
    """
    per_file = [folder_values(stored_path(snapshot.root, file.path)) for file in snapshot.files]
    if not per_file:
        return ()
    names = list(per_file[0])
    for file, values in zip(snapshot.files, per_file, strict=True):
        if list(values) != names:
            raise InvalidParquetError(
                f"the partition folders of {snapshot.uri} disagree: one file lies in folders of {names}, "
                f"file {file.path.rsplit('/', 1)[-1]!r} in folders of {list(values)}. Name one level of "
                f"partitions, or let its producer write one."
            )
    inside = {name.lower() for name in file_columns}
    return tuple(
        _column(name, [values[name] for values in per_file]) for name in names if name.lower() not in inside
    )


def folder_values(path: str) -> dict[str, str | None]:
    """The decoded values of the folders ``column=value`` in a file's path, in order; None for no value."""
    values: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, sign, value = unquote(folder).partition("=")
        if sign and name:
            values[name] = None if value == NULL_PARTITION else value
    return values


def _column(name: str, texts: list[str | None]) -> PartitionColumn:
    given = [text for text in texts if text is not None]
    if given and all(_INTEGER.fullmatch(text) for text in given):
        return PartitionColumn(name, "int64", tuple(None if text is None else int(text) for text in texts))
    if given and all(_is_date(text) for text in given):
        dates = tuple(None if text is None else date.fromisoformat(text) for text in texts)
        return PartitionColumn(name, "date32", dates)
    return PartitionColumn(name, "string", tuple(texts))


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
