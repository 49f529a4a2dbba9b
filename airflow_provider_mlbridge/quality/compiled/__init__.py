# SPDX-License-Identifier: Apache-2.0
"""
Expectations as SQL aggregates, so that one pass over the needed columns answers many of them.

Semantics are those of Great Expectations 1.24 on pandas. Deliberate differences, each where that would raise
an error or mislead:

- Integers are compared and added exactly; pandas turns a column with nulls, and every bound, into doubles,
  and lets sums overflow.
- Decimals are compared as doubles, so that 0.1 is 0.1; Python finds the double 0.1 a little greater. With the
  values of a set they are compared exactly, where 0.1 is 0.1 as well.
- A date as a bound of a timestamp is its midnight, and a bound without a zone is UTC on a column with one.
- Text in a set, in a set of pairs and in a ``row_condition`` is read as a date or timestamp when the column
  holds those, also by ``to_be_in_set``; pandas finds most text different from them, or cannot compare it.
- LIKE is standard SQL's, see :mod:`.patterns`; on pandas there is none.
- ``expect_column_pair_values_to_be_in_set`` heeds its ``row_condition``; there the rows under it are counted,
  but all are judged.
- Timestamps of the deprecated encoding INT96 are judged in microseconds, so that all years fit; what a writer
  stored beyond them is cut off. They are called ``timestamp[ns]`` all the same.
- A date in a set for a column of timestamps is equal to its midnight.
- Columns of 16-bit floats are judged like those of 32 bits.
- The observed minimum and maximum of a column with a time zone are given in UTC.
- ``partial_unexpected_count`` shortens the lists of distinct values as well.
- A deviation that no double can hold cannot be checked; pandas finds it infinite.
- An empty table, or a column without values, is judged for every type of column.
- The most common values are listed up to the first twenty in order, with their number beside them; pandas
  lists them all, which for a unique column is every value. The verdict considers all.
- Means, deviations and quantiles are computed in doubles, also of 32-bit floats, in which pandas stays. The
  last digit may differ, and with it the verdict on a value that lies exactly on a threshold of z-scores.
- Sums and means of doubles are compensated, where pandas lets rounding add up. Between runs with several
  threads the last digit may differ, and of deviations the last four: leave bounds that much room.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from airflow_provider_mlbridge.quality.compiled import (
    aggregates,
    deviations,
    distincts,
    multicolumn,
    pairs,
    patterns,
    quantiles,
    rows,
    uniqueness,
)
from airflow_provider_mlbridge.quality.compiled.check import Check, Grouping, NotCompiledError
from airflow_provider_mlbridge.quality.compiled.comparisons import require_exact
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.table import Table

__all__ = ["Check", "Grouping", "NotCompiledError", "compile_check"]

COMPILERS: dict[str, Callable[[Expectation, Table, datetime], Check]] = {
    **aggregates.COMPILERS,
    **deviations.COMPILERS,
    **distincts.COMPILERS,
    **multicolumn.COMPILERS,
    **pairs.COMPILERS,
    **patterns.COMPILERS,
    **quantiles.COMPILERS,
    **rows.COMPILERS,
    **uniqueness.COMPILERS,
}

_PRESENCE = (
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_values_to_be_null",
    "expect_column_values_to_not_be_null",
)
"""Types that look at whether there is a value, and at none."""


def compile_check(expectation: Expectation, table: Table, now: datetime) -> Check:
    """
    The SQL for an expectation whose columns exist.

    :raises NotCompiledError: when Great Expectations has to judge it.
    :raises CannotCheckError: when it makes no sense for columns of this type.
    """
    compiler = COMPILERS.get(expectation.type)
    if compiler is None:
        raise NotCompiledError
    if expectation.type not in _PRESENCE:
        require_exact(*(table.by_name[name] for name in expectation.columns if name in table.by_name))
    return compiler(expectation, table, now)
