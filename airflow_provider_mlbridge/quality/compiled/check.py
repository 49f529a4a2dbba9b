# SPDX-License-Identifier: Apache-2.0
"""
What a compiled expectation is: SQL to run, and how to judge what it finds.

A check is answered by measures of the one pass over all rows, by measures over the groups of a key, or by
both; the groups of a key are counted once, for all checks on that key. A check whose bounds depend on the
data (z-scores, outliers) makes another check of what the first pass found, which the next pass answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.table import Column

ROWS = "coalesce(sum(n), 0)"
"""A measure over groups: the rows in them."""
REPEATED = "coalesce(sum(n) FILTER (WHERE n > 1), 0)"
"""A measure over groups: the rows whose key occurs more than once."""
DISTINCT = "count(*)"
"""A measure over groups: how many there are."""


@dataclass(frozen=True)
class Grouping:
    """
    Rows counted per key.

    In SQL over the groups, the parts of the key are called as their columns' ``alias``, and ``n`` is the
    number of rows of the group. A measure may also use ``total``, the rows of all groups, ``most``, the rows
    of the largest one, and, of a key of one column, ``upto``, the rows up to and including the group in the
    order of the key.

    :param keys: the columns of the key.
    :param where: which rows are looked at (SQL).
    """

    keys: tuple[Column, ...]
    where: str


@dataclass(frozen=True)
class Cell:
    """
    A value from the rows inside of a result. What is shown of it is decided when the result is complete.

    :param column: the column it comes from.
    :param value: the value.
    """

    column: Column
    value: Any = field(repr=False)


@dataclass(frozen=True)
class Check:
    """
    How to judge one expectation with SQL.

    :param judge: makes the outcome of the values of ``measures`` and then of ``group_measures``; or the check
        that takes this one's place, when that needs another pass.
    :param measures: aggregate expressions over the rows.
    :param grouping: the key whose groups are counted.
    :param group_measures: aggregate expressions over the groups.
    :param unexpected: condition of the rows to show (SQL), for expectations about rows.
    :param columns: the columns whose values are shown; none when there is no value to show.
    :param as_records: whether the values of a row are shown as a mapping of columns, not as a list.
    """

    judge: Callable[[Sequence[Any]], Outcome | Check]
    measures: tuple[str, ...] = ()
    grouping: Grouping | None = None
    group_measures: tuple[str, ...] = ()
    unexpected: str | None = None
    columns: tuple[Column, ...] = field(default_factory=tuple)
    as_records: bool = False


class NotCompiledError(Exception):
    """The expectation is judged by Great Expectations, on columns of this type."""
