# SPDX-License-Identifier: Apache-2.0
"""
Which rows break which expectation.

A row is known by its position: its number in the datamart, files in the order of the snapshot, from 0, as in
Great Expectations' ``unexpected_index_list``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ExpectationNotCheckedError, QualityError
from airflow_provider_mlbridge.quality.catalog import EXPECTATION_TYPES
from airflow_provider_mlbridge.quality.compiled import NotCompiledError, compile_check, sql
from airflow_provider_mlbridge.quality.compiled.check import Check, Grouping
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.engines.repeated import repeated_keys
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome
from airflow_provider_mlbridge.quality.reporting.describe import label
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.results import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEYS = ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique")
"""Types whose unexpected rows are those with a key that repeats."""
WORD_BITS = 64
"""Expectations per column of flags in the file of bad rows."""
_CHUNK_ROWS = 1_000_000


@dataclass(frozen=True)
class Broken:
    """
    An expectation, and how to find the rows that break it.

    :param key: its position among the expectations.
    :param expectation: what was expected.
    :param count: how many rows break it, as it was judged.
    :param condition: the rows that break it, in SQL.
    :param grouping: or the key that repeats in them.
    :param positions: or the rows themselves, where Great Expectations judged it.
    """

    key: int
    expectation: Expectation
    count: int
    condition: str | None = None
    grouping: Grouping | None = None
    positions: NDArray[np.int64] | None = None


def concerns_rows(expectation: Expectation) -> bool:
    """Whether single rows can break an expectation; also said of types that user code registered."""
    known = EXPECTATION_TYPES.get(expectation.type)
    return known is None or known.domain in ("column", "pair", "multicolumn")


def find_broken(
    expectations: Mapping[int, Expectation],
    outcomes: Mapping[int, Outcome],
    table: Table,
    severities: Collection[str],
    *,
    checks: Mapping[int, Check] | None = None,
) -> tuple[Broken, ...]:
    """
    The expectations that rows break, also where ``mostly`` tolerates them.

    :param expectations: all expectations, by the same key as ``outcomes``.
    :param outcomes: with ``unexpected_count``, whatever the ``result_format`` of the report.
    :param severities: severities of the expectations that count.
    :param checks: the SQL that judged them, as :func:`~.engines.duckdb_runner.run_checks` left it; that of
        those that the footers answered is made here.
    :raises ExpectationNotCheckedError: when one of them could not be evaluated, or cannot say which rows.
    """
    broken = []
    for key, expectation in expectations.items():
        outcome = outcomes[key]
        if expectation.severity not in severities or not concerns_rows(expectation):
            continue
        if outcome.success is None:
            raise ExpectationNotCheckedError(
                f"the rows of {table.snapshot.uri} cannot be told apart: {label(expectation)} "
                f"[{expectation.severity}] could not be checked: {outcome.error}"
            )
        count = outcome.result.get("unexpected_count")
        if count:
            broken.append(locate(key, expectation, outcome, table, checks=checks))
    return tuple(broken)


def locate(
    key: int,
    expectation: Expectation,
    outcome: Outcome,
    table: Table,
    *,
    checks: Mapping[int, Check] | None = None,
) -> Broken:
    """
    How to find the rows that break an expectation with an ``unexpected_count``.

    :raises ExpectationNotCheckedError: when neither SQL nor Great Expectations says which rows they are.
    """
    count = int(outcome.result["unexpected_count"])
    positions = getattr(outcome, "unexpected_positions", None)
    if positions is not None:
        return Broken(key, expectation, count, positions=positions)
    check = (checks or {}).get(key)
    try:
        # The footers answered some, such as for a column without nulls: their SQL was never needed.
        check = check or compile_check(expectation, table, datetime.now(UTC))
    except (NotCompiledError, CannotCheckError):
        check = None
    if check is not None and check.unexpected is not None:
        return Broken(key, expectation, count, condition=check.unexpected)
    if check is not None and check.grouping is not None and expectation.type in _KEYS:
        return Broken(key, expectation, count, grouping=check.grouping)
    raise ExpectationNotCheckedError(
        f"{label(expectation)}: {count} rows of {table.snapshot.uri} are unexpected, but engine "
        f"{outcome.engine!r} does not say which. Give it severity 'info', so that it does not decide about "
        f"rows."
    )


def located_source(session: Session) -> str:
    """The session's source, to put after FROM, with the columns ``file_index`` and ``file_row_number``."""
    if not session.table.partitions:
        return f"(SELECT *, file_index, file_row_number FROM {session.source})"  # noqa: S608
    # What DuckDB knows of each row beside its columns is lost outside the innermost SELECT.
    head = "(SELECT *, "
    return f"{head}file_index, file_row_number, {session.source.removeprefix(head)}"


def file_offsets(session: Session) -> list[int]:
    """The position of the first row of each file, and at the end the number of all rows."""
    query = f"SELECT file_index, count(*) FROM {located_source(session)} GROUP BY ALL"  # noqa: S608
    counts = {int(index): int(count) for index, count in session.query(query)}
    files = len(session.table.snapshot.files)
    return list(accumulate((counts.get(index, 0) for index in range(files)), initial=0))


def origin_of(snapshot: Snapshot, number: int) -> str:
    """The name of a file below the datamart's URI; that of the datamart itself when it is one file."""
    return snapshot.files[number].path or snapshot.root.rsplit("/", 1)[-1]


def write_bad_rows(session: Session, broken: Sequence[Broken], offsets: Sequence[int], folder: Path) -> Path:
    """
    Write the positions of all rows that break something, in order, each once, to a Parquet file.

    Beside ``position`` it has columns ``w0``, ``w1``, ... of flags: bit ``n`` of word ``m`` is set for the
    expectation number ``m * WORD_BITS + n`` of ``broken``. DuckDB spills what does not fit into memory.

    :param offsets: see :func:`file_offsets`.
    :param folder: an empty folder for this file and those that it is made of.
    :raises QualityError: when DuckDB cannot, for example for lack of memory.
    """
    parts = []
    words = range(-(-len(broken) // WORD_BITS))
    try:
        for number, query in enumerate(_queries(session, broken, offsets, words)):
            parts.append(folder / f"rows-{number:04d}.parquet")
            _copy(session, query, parts[-1])
        for number, item in enumerate(broken):
            if item.positions is not None:
                parts.append(folder / f"positions-{number:04d}.parquet")
                _write_positions(item.positions, number, words, parts[-1])
        listed = ", ".join(sql.path(part) for part in parts)
        flags = ", ".join(f"bit_or(w{word}) AS w{word}" for word in words)
        merged = folder / "bad.parquet"
        _copy(
            session,
            f"SELECT position, {flags} FROM read_parquet([{listed}]) GROUP BY position ORDER BY position",  # noqa: S608
            merged,
        )
    except errors() as error:
        raise QualityError(
            f"the rows of {session.table.snapshot.uri} that break expectations could not be listed: "
            f"{session.explain(error)}"
        ) from None
    for part in parts:
        part.unlink()
    return merged


def _queries(
    session: Session, broken: Sequence[Broken], offsets: Sequence[int], words: Sequence[int]
) -> list[str]:
    """One query for all conditions on single rows, and one for each key."""
    starts = ", ".join(map(str, offsets))
    position = f"(CAST([{starts}] AS BIGINT[]))[file_index::BIGINT + 1] + file_row_number AS position"
    queries = []
    conditions = [
        (number, item.condition) for number, item in enumerate(broken) if item.condition is not None
    ]
    if conditions:
        flags = ", ".join(_flags(conditions, word) for word in words)
        some = " OR ".join(f"w{word} <> 0" for word in words)
        queries.append(
            f"SELECT * FROM (SELECT {position}, {flags} FROM {located_source(session)}) WHERE {some}"  # noqa: S608
        )
    groupings: dict[Grouping, list[tuple[int, str]]] = {}
    for number, item in enumerate(broken):
        if item.grouping is not None:
            groupings.setdefault(item.grouping, []).append((number, "TRUE"))
    for grouping, members in groupings.items():
        flags = ", ".join(_flags(members, word) for word in words)
        repeated = repeated_keys(session, grouping)
        queries.append(repeated.select(f"{position}, {flags}", located_source(session)))
    return queries


def _flags(conditions: Sequence[tuple[int, str]], word: int) -> str:
    bits = [
        f"(CASE WHEN {condition} THEN {1 << number % WORD_BITS}::UBIGINT ELSE 0::UBIGINT END)"
        for number, condition in conditions
        if number // WORD_BITS == word
    ]
    return f"{' | '.join(bits) or '0::UBIGINT'} AS w{word}"


def _copy(session: Session, query: str, target: Path) -> None:
    session.query(f"COPY ({query}) TO {sql.text(str(target))} (FORMAT parquet)")


def _write_positions(positions: Any, number: int, words: Sequence[int], target: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("position", pa.int64()), *((f"w{word}", pa.uint64()) for word in words)])
    with pq.ParquetWriter(target, schema) as writer:
        for start in range(0, len(positions), _CHUNK_ROWS):
            chunk = np.asarray(positions[start : start + _CHUNK_ROWS], dtype=np.int64)
            columns = [pa.array(chunk)]
            for word in words:
                flag = 1 << number % WORD_BITS if number // WORD_BITS == word else 0
                columns.append(pa.array(np.full(len(chunk), flag, dtype=np.uint64)))
            writer.write_table(pa.table(columns, schema=schema))
