# SPDX-License-Identifier: Apache-2.0
"""
Runs compiled checks on DuckDB: one pass for all aggregates, one grouping per key, samples for what failed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidParquetError
from airflow_provider_mlbridge.quality import sql
from airflow_provider_mlbridge.quality.compiler import Check, Grouping
from airflow_provider_mlbridge.quality.masking import mask, mask_message
from airflow_provider_mlbridge.quality.outcome import (
    SAMPLE_LIMIT,
    CannotCheckError,
    Outcome,
    not_checked,
    with_sample,
)
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value

if TYPE_CHECKING:
    import duckdb

    from airflow_provider_mlbridge.storage.partitions import PartitionColumn

_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", re.IGNORECASE)
_MANY = 8
_PARTITION_TYPES = {"int64": "BIGINT", "date32": "DATE", "string": "VARCHAR"}


@dataclass(frozen=True)
class Limits:
    """
    What DuckDB may use.

    :param memory: memory, for example ``"2GB"``.
    :param threads: threads; all cores when None.
    :param scratch_dir: folder for what does not fit into memory; the system's when None.
    :param scratch_limit_bytes: the most that may be written there.
    """

    memory: str = "2GB"
    threads: int | None = None
    scratch_dir: str | Path | None = None
    scratch_limit_bytes: int | None = None

    @property
    def memory_bytes(self) -> int:
        """
        The memory limit as a number.

        :raises ConfigurationError: when it is not an amount of memory.
        """
        match = _MEMORY.fullmatch(self.memory) if isinstance(self.memory, str) else None
        if match is None or float(match[1]) <= 0:
            raise ConfigurationError(
                f"memory_limit must be an amount such as '500MB' or '2GB', got {self.memory!r}"
            )
        base = 1024 if match[3] else 1000
        return int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))


def run_checks(
    checks: Mapping[int, Check],
    table: Table,
    paths: Sequence[Path],
    *,
    limits: Limits,
    unmasked: Collection[str] = (),
) -> dict[int, Outcome]:
    """
    The outcome of every check, by the key it came under.

    :param paths: the snapshot's files, local.
    :param unmasked: columns whose values may be shown.
    """
    if not checks:
        return {}
    with _connect(table, paths, limits) as runner:
        outcomes = runner.aggregates(checks)
        outcomes |= runner.groupings(checks)
        return {key: runner.with_sample(checks[key], outcome, unmasked) for key, outcome in outcomes.items()}


@contextmanager
def _connect(table: Table, paths: Sequence[Path], limits: Limits) -> Iterator[_Runner]:
    import duckdb

    if limits.scratch_dir is not None:
        Path(limits.scratch_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlbridge-spill-", dir=limits.scratch_dir) as spill:
        config: dict[str, Any] = {
            "memory_limit": f"{limits.memory_bytes}B",
            "temp_directory": spill,
            # What is needed is built in; nothing is fetched at run time.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if limits.threads is not None:
            config["threads"] = limits.threads
        if limits.scratch_limit_bytes is not None:
            config["max_temp_directory_size"] = f"{limits.scratch_limit_bytes}B"
        with duckdb.connect(":memory:", config=config) as connection:
            yield _Runner(connection, table, _source(connection, table, paths))


def _source(connection: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[Path]) -> str:
    """The files as a table whose columns are called by position, whatever their names are."""
    import duckdb

    files = f"read_parquet([{', '.join(map(sql.path, paths))}], hive_partitioning = false)"
    inside = [column for column in table.columns if not column.partition]
    try:
        names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()]  # noqa: S608
    except duckdb.Error as error:
        raise InvalidParquetError(
            f"DuckDB cannot read the files of {table.snapshot.uri}: {mask_message(str(error), (), ())}"
        ) from None
    if len(names) != len(inside):
        raise InvalidParquetError(
            f"DuckDB finds the columns {names} in {table.snapshot.uri}, the footers say "
            f"{[column.name for column in inside]}"
        )
    source = f"{files} AS t({', '.join(column.alias for column in inside)})"
    if not table.partitions:
        return source
    # The folders are not left to DuckDB: it reads those above the datamart too, and its types are others.
    values = ", ".join(
        f"{_by_file(column.partition)} AS {column.alias}" for column in table.columns if column.partition
    )
    return f"(SELECT *, {values} FROM {source})"  # noqa: S608


def _by_file(partition: PartitionColumn) -> str:
    """The value of a partition column, by the position of the file in the list."""
    listed = ", ".join("NULL" if value is None else sql.text(str(value)) for value in partition.values)
    return f"(CAST([{listed}] AS {_PARTITION_TYPES[partition.type_name]}[]))[t.file_index::BIGINT + 1]"


class _Runner:
    def __init__(self, connection: duckdb.DuckDBPyConnection, table: Table, source: str) -> None:
        self._connection = connection
        self._table = table
        self._source = source

    def _query(self, query: str, *, floats: bool = True) -> list[tuple[Any, ...]]:
        # Parquet statistics know no NaN, and this optimizer concludes from them that a column has none:
        # isnan() was false for every NaN next to numbers (DuckDB 2.0). Groupings gain by it, though.
        disabled = "statistics_propagation" if floats else ""
        self._connection.execute(f"SET disabled_optimizers = '{disabled}'")
        rows: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        return rows

    def aggregates(self, checks: Mapping[int, Check]) -> dict[int, Outcome]:
        wanted = {key: check for key, check in checks.items() if check.grouping is None}
        # Several expectations on a column share measures, such as its number of values.
        measures = list(dict.fromkeys(measure for check in wanted.values() for measure in check.measures))
        values = self._measure(measures)
        return {
            key: _judge(check, [values[measure] for measure in check.measures])
            for key, check in wanted.items()
        }

    def _measure(self, measures: Sequence[str]) -> dict[str, Any]:
        """
        The value of every measure, in one pass; an error in its place for one that DuckDB cannot compute.

        One that fails must not take the others with it, so the list is halved until it stands alone.
        """
        if not measures:
            return {}
        try:
            row = self._query(f"SELECT {', '.join(measures)} FROM {self._source}")[0]  # noqa: S608
        except _errors() as error:
            if len(measures) == 1:
                return {measures[0]: CannotCheckError(self._explain(error))}
            middle = len(measures) // 2
            first = self._measure(measures[:middle])
            if len(first) >= _MANY and all(isinstance(value, CannotCheckError) for value in first.values()):
                # A corrupt page or too little memory is not worth a pass for every single measure.
                return first | self._measure_once(measures[middle:])
            return first | self._measure(measures[middle:])
        return dict(zip(measures, row, strict=True))

    def _measure_once(self, measures: Sequence[str]) -> dict[str, Any]:
        try:
            row = self._query(f"SELECT {', '.join(measures)} FROM {self._source}")[0]  # noqa: S608
        except _errors() as error:
            return dict.fromkeys(measures, CannotCheckError(self._explain(error)))
        return dict(zip(measures, row, strict=True))

    def groupings(self, checks: Mapping[int, Check]) -> dict[int, Outcome]:
        counted: dict[Grouping, Sequence[Any]] = {}
        proven: list[frozenset[str]] = []
        outcomes: dict[int, Outcome] = {}
        wanted = [(key, check, check.grouping) for key, check in checks.items() if check.grouping is not None]
        # Short keys first: a key that holds a unique column without nulls is unique as well.
        for key, check, grouping in sorted(wanted, key=lambda item: len(item[2].keys)):
            names = frozenset(column.name for column in grouping.keys)
            if grouping not in counted:
                try:
                    counted[grouping] = self._count(grouping, implied=any(known < names for known in proven))
                except _errors() as error:
                    outcomes[key] = not_checked("duckdb", self._explain(error))
                    continue
            considered, repeated = counted[grouping]
            if repeated == 0 and considered == self._table.rows:
                proven.append(names)
            outcomes[key] = _judge(check, (considered, repeated))
        return outcomes

    def _count(self, grouping: Grouping, *, implied: bool) -> Sequence[Any]:
        if implied:
            query = f"SELECT count(*) FILTER (WHERE {grouping.where}), 0 FROM {self._source}"  # noqa: S608
        else:
            keys = ", ".join(sql.key(column) for column in grouping.keys)
            query = (
                f"SELECT coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE n > 1), 0) "  # noqa: S608
                f"FROM (SELECT count(*) AS n FROM {self._source} WHERE {grouping.where} GROUP BY {keys})"
            )
        return self._query(query, floats=any(column.family == "float" for column in grouping.keys))[0]

    def with_sample(self, check: Check, outcome: Outcome, unmasked: Collection[str]) -> Outcome:
        """The outcome with values that are not as expected, masked unless their column may be shown."""
        count = outcome.result.get("unexpected_count")
        if count is None:
            return outcome
        hidden = all(column.name not in unmasked for column in check.columns)
        sample: list[Any]
        if not count:
            sample = []
        elif not check.columns:
            sample = [None] * min(count, SAMPLE_LIMIT)
        elif hidden:
            # Nothing is read that is not shown.
            sample = [_shown(check.columns, None, unmasked, check)] * min(count, SAMPLE_LIMIT)
        else:
            try:
                rows = self._query(_sample_query(check, self._source))
            except _errors():
                # The verdict stands; what is shown beside it is not worth losing it.
                return outcome
            sample = [_shown(check.columns, row, unmasked, check) for row in rows]
        return replace(outcome, result=with_sample(outcome.result, sample))

    def _explain(self, error: Exception) -> str:
        import duckdb

        message = mask_message(str(error), (), self._table.by_name)
        if isinstance(error, duckdb.OutOfMemoryException):
            return f"DuckDB ran out of memory; raise memory_limit or scratch_limit_bytes ({message})"
        return f"DuckDB could not evaluate it: {message}"


def _errors() -> tuple[type[Exception], ...]:
    """What a query raises: DuckDB's errors, and Python's for text or values that it cannot hold."""
    import duckdb

    return (duckdb.Error, ArithmeticError, ValueError)


def _judge(check: Check, values: Sequence[Any]) -> Outcome:
    for value in values:
        if isinstance(value, CannotCheckError):
            return not_checked("duckdb", value)
    try:
        return check.judge(values)
    except CannotCheckError as error:
        return not_checked("duckdb", error)
    # Whatever it raises, this one expectation is not checked; the others go on.
    except Exception as error:  # noqa: BLE001
        # Its message might quote the value.
        return not_checked("duckdb", f"what DuckDB found could not be judged ({type(error).__name__})")


def _sample_query(check: Check, source: str) -> str:
    columns = ", ".join(column.alias for column in check.columns)
    if check.grouping is None:
        return f"SELECT {columns} FROM {source} WHERE {check.unexpected} LIMIT {SAMPLE_LIMIT}"  # noqa: S608
    keys = [sql.key(column) for column in check.grouping.keys]
    named = ", ".join(f"{key} AS k{position}" for position, key in enumerate(keys))
    same = " AND ".join(f"{key} IS NOT DISTINCT FROM d.k{position}" for position, key in enumerate(keys))
    return (
        f"WITH d AS (SELECT {named} FROM {source} WHERE {check.grouping.where} GROUP BY ALL "  # noqa: S608
        f"HAVING count(*) > 1 LIMIT {SAMPLE_LIMIT}) SELECT {columns} FROM {source}, d WHERE {same} "
        f"LIMIT {SAMPLE_LIMIT}"
    )


def _shown(
    columns: Sequence[Column], row: Sequence[Any] | None, unmasked: Collection[str], check: Check
) -> Any:
    """One unexpected value in the form of Great Expectations: a value, a pair, or a mapping for a key."""
    values = []
    for position, column in enumerate(columns):
        if row is not None and (column.name in unmasked or row[position] is None):
            values.append(json_value(row[position]))
        else:
            values.append(mask(column.type_name))
    if len(values) == 1:
        return values[0]
    if check.grouping is None:
        return values
    return {column.name: value for column, value in zip(columns, values, strict=True)}
