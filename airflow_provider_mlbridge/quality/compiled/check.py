# SPDX-License-Identifier: Apache-2.0
"""What a compiled expectation is: SQL to run, and how to judge what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import Column


@dataclass(frozen=True)
class Grouping:
    """
    Rows counted per key.

    :param keys: the columns of the key.
    :param where: which rows are looked at (SQL).
    """

    keys: tuple[Column, ...]
    where: str


@dataclass(frozen=True)
class Check:
    """
    How to judge one expectation with SQL.

    :param measures: aggregate expressions; their values are what ``judge`` is called with. With a
        ``grouping`` it is called with the rows looked at and the rows whose key occurs more than once.
    :param judge: makes the outcome.
    :param grouping: the grouping, for uniqueness.
    :param unexpected: condition of the rows to show (SQL), for expectations about rows.
    :param columns: the columns whose values are shown; none when there is no value to show.
    """

    judge: Callable[[Sequence[Any]], Outcome]
    measures: tuple[str, ...] = ()
    grouping: Grouping | None = None
    unexpected: str | None = None
    columns: tuple[Column, ...] = field(default_factory=tuple)


class NotCompiledError(Exception):
    """The expectation is judged by Great Expectations, on columns of this type."""
