# SPDX-License-Identifier: Apache-2.0
"""
The keys that occur more than once: found once, for the verdict, the rows that are shown and those that leave.

They are kept in a table of DuckDB's, which it writes to disk where memory does not hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Grouping
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session

_SHARE = 16
"""The part of the memory limit that counters of keys may take."""
_BATCH_ROWS = 65_000
"""Rows at a time; fewer than what a counter of 16 bits can count on top of two."""
_CHUNK = 4_000_000
"""Counters that are looked through at a time."""


@dataclass(frozen=True)
class RepeatedKeys:
    """
    The keys of a grouping that occur more than once.

    :param table: the table that holds them, in columns ``k0``, ``k1``, ...
    :param parts: the same of a row of the datamart, in SQL.
    :param where: the rows that are looked at, in SQL.
    :param count: how many keys they are.
    :param rows: in how many rows.
    :param total: the rows that are looked at.
    """

    table: str
    parts: tuple[str, ...]
    where: str
    count: int
    rows: int
    total: int

    def select(self, columns: str, source: str) -> str:
        """A query for ``columns`` of all rows of ``source`` with such a key, in any order."""
        same = " AND ".join(f"{part} IS NOT DISTINCT FROM d.k{n}" for n, part in enumerate(self.parts))
        return (
            f"SELECT {columns} FROM (SELECT * FROM {source} WHERE {self.where}) "  # noqa: S608
            f"SEMI JOIN {self.table} d ON {same}"
        )


def repeated_keys(session: Session, grouping: Grouping) -> RepeatedKeys:
    """The keys that occur more than once, by one grouping unless they are known already."""
    found = session.repeated.get(grouping)
    return found if found is not None else _group(session, grouping)


def _group(session: Session, grouping: Grouping) -> RepeatedKeys:
    table = f"repeated_{len(session.repeated)}"
    parts = tuple(sql.key(column) for column in grouping.keys)
    names = [f"k{number}" for number in range(len(parts))]
    named = ", ".join(f"{part} AS {name}" for part, name in zip(parts, names, strict=True))
    # The empty grouping set counts all rows on the way, with neither another pass nor a list of all keys.
    session.query(
        f"CREATE TEMP TABLE {table} AS SELECT {', '.join(names)}, count(*) AS n, grouping(k0) = 1 AS whole "  # noqa: S608
        f"FROM (SELECT {named} FROM {session.source} WHERE {grouping.where}) "
        f"GROUP BY GROUPING SETS (({', '.join(names)}), ()) HAVING n > 1 OR whole"
    )
    [(count, rows, total)] = session.query(
        f"SELECT count(*) FILTER (WHERE NOT whole), coalesce(sum(n) FILTER (WHERE NOT whole), 0), "  # noqa: S608
        f"sum(n) FILTER (WHERE whole) FROM {table}"
    )
    session.query(f"DELETE FROM {table} WHERE whole")  # noqa: S608
    return _keep(session, grouping, RepeatedKeys(table, parts, grouping.where, count, int(rows), int(total)))


def count_repeated(
    session: Session, grouping: Grouping, *, number: str, size: int, total: int, distinct: int
) -> RepeatedKeys:
    """
    The same for keys that are numbered: a counter for each possible one takes the place of a hash table.

    :param number: the number of a row's key, in SQL; never null.
    :param size: numbers are from 0 to below this one.
    :param total: the rows that are looked at.
    :param distinct: how many different keys these have.
    """
    import numpy as np
    import pyarrow as pa

    table = f"repeated_{len(session.repeated)}"
    session.query(f"CREATE TEMP TABLE {table} (k0 BIGINT)")
    count = 0
    step = max(session.limits.memory_bytes // _SHARE // 2, 1)
    for start in range(0, size, step):
        stop = min(start + step, size)
        counters = np.zeros(stop - start, np.uint16)
        keys = f"SELECT ({number} - {start})::BIGINT AS k FROM {session.source} WHERE {grouping.where}"  # noqa: S608
        if stop - start < size:
            keys += f" AND {number} BETWEEN {start} AND {stop - 1}"
        for batch in session.connection.sql(keys).to_arrow_reader(_BATCH_ROWS):
            # By the buffers, for pyarrow's own way to NumPy and back imports pandas.
            column = batch.column(0)
            numbers = np.frombuffer(column.buffers()[1], np.int64, len(column), column.offset * 8)
            np.add.at(counters, numbers, np.uint16(1))
            # More than two is as good as two, and the counter has room for the next batch.
            counters[numbers] = np.minimum(counters[numbers], 2)
        for chunk in range(0, len(counters), _CHUNK):
            found = np.flatnonzero(counters[chunk : chunk + _CHUNK] > 1)
            if not len(found):
                continue
            count += len(found)
            buffers = [None, pa.py_buffer((found + (start + chunk)).astype(np.int64))]
            column = pa.Array.from_buffers(pa.int64(), len(found), buffers)
            session.connection.register("found_numbers", pa.table({"k0": column}))
            session.query(f"INSERT INTO {table} SELECT k0 FROM found_numbers")  # noqa: S608
            session.connection.unregister("found_numbers")
    # All keys but these have one row each.
    rows = total - (distinct - count)
    return _keep(session, grouping, RepeatedKeys(table, (number,), grouping.where, count, rows, total))


def _keep(session: Session, grouping: Grouping, found: RepeatedKeys) -> RepeatedKeys:
    session.repeated[grouping] = found
    return found
