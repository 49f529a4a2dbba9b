# SPDX-License-Identifier: Apache-2.0
"""A DuckDB session over the snapshot's files: limits, the source, and how errors read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.foreign_errors import first_line, without_values
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.storage.memory import buffer_bytes, memory_bytes
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    import duckdb

    from airflow_provider_mlbridge.quality.compiled.check import Grouping
    from airflow_provider_mlbridge.quality.engines.repeated import RepeatedKeys
    from airflow_provider_mlbridge.storage.partitions import PartitionColumn

_BLIND = frozenset(
    {
        "filter_pushdown",
        "join_filter_pushdown",
        "late_materialization",
        "row_group_pruner",
        "statistics_propagation",
        "top_n",
    }
)
"""
Optimizers that take minima and maxima from the footers for the data: they answer aggregates from them, drop
conditions, and leave out row groups. Whether footers are trusted is decided in one place, :mod:`..table`.
Parquet statistics know no NaN, either: ``isnan()`` was false for every NaN next to numbers (DuckDB 2.0).
"""
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
        return memory_bytes(self.memory)

    @property
    def buffer_bytes(self) -> int:
        """What DuckDB is told, see :func:`~airflow_provider_mlbridge.storage.memory.buffer_bytes`."""
        return buffer_bytes(self.memory)


@contextmanager
def open_session(table: Table, paths: Sequence[Path], limits: Limits) -> Iterator[Session]:
    """
    A session for the length of the block.

    :param paths: the snapshot's files, local, in its order.
    :raises InvalidParquetError: when DuckDB cannot read them, or finds other columns than the footers.
    """
    import duckdb

    with scratch_folder(limits.scratch_dir, "spill") as spill:
        config: dict[str, Any] = {
            "memory_limit": f"{limits.buffer_bytes}B",
            "temp_directory": str(spill),
            # What is needed is built in; nothing is fetched at run time.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if limits.threads is not None:
            config["threads"] = limits.threads
        with duckdb.connect(":memory:", config=config) as connection:
            if limits.scratch_limit_bytes is not None:
                # Given when connecting, it would be reported but not enforced (DuckDB 2.0).
                connection.execute(f"SET max_temp_directory_size = '{limits.scratch_limit_bytes}B'")
            # Not every release has all of them, and none accepts a name that it does not know.
            known = {
                name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()
            }
            connection.execute(f"SET disabled_optimizers = '{','.join(sorted(_BLIND & known))}'")
            yield Session(connection, table, _source(connection, table, paths), limits, paths)


def _source(connection: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[Path]) -> str:
    """The files as a table whose columns are called by position, whatever their names are."""
    import duckdb

    files = f"read_parquet([{', '.join(map(sql.path, paths))}], hive_partitioning = false)"
    inside = [column for column in table.columns if not column.partition]
    try:
        names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()]  # noqa: S608
    except duckdb.Error as error:
        raise InvalidParquetError(
            # Only the footers were read so far, so that it holds nothing of the rows.
            f"DuckDB cannot read the files of {table.snapshot.uri}: {first_line(str(error))}"
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


class Session:
    """
    Queries over the datamart.

    :param source: the datamart, to put after FROM; its columns are called as their ``alias``.

    Attribute ``repeated`` holds what :mod:`.repeated` found.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        source: str,
        limits: Limits,
        paths: Sequence[Path],
    ) -> None:
        self.connection = connection
        self.table = table
        self.source = source
        self.limits = limits
        self.repeated: dict[Grouping, RepeatedKeys] = {}
        self._paths = paths

    @cached_property
    def threads(self) -> int:
        """Threads that a query uses."""
        return int(self.query("SELECT current_setting('threads')")[0][0])

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        rows: list[tuple[Any, ...]] = self.connection.execute(query).fetchall()
        return rows

    def explain(self, error: Exception) -> str:
        """
        The error in a sentence, without values of rows.

        Whatever the policy: the columns that a query reads are not known here.
        """
        import duckdb

        message = without_values(type(error).__name__, str(error))
        if isinstance(error, duckdb.OutOfMemoryException):
            return f"DuckDB ran out of memory; raise memory_limit or scratch_limit_bytes ({message})"
        # What is wrong with a query or a value has a class of its own; what is wrong with a page has not.
        broken = self._broken_file if type(error) in (duckdb.Error, duckdb.IOException) else None
        if broken is not None:
            return f"DuckDB could not read {broken}: {message}"
        return f"DuckDB could not evaluate it: {message}"

    @cached_property
    def _broken_file(self) -> str | None:
        """The first file with a page that cannot be read, whichever column it is of."""
        import duckdb

        for file, path in zip(self.table.snapshot.files, self._paths, strict=True):
            try:
                # The sum of lengths, because counting values may leave them unread.
                self.connection.execute(
                    f"SELECT sum(length(t::VARCHAR)) FROM read_parquet({sql.path(path)}) AS t"  # noqa: S608
                ).fetchall()
            except duckdb.Error:
                return file.path or path.name
        return None


def errors() -> tuple[type[Exception], ...]:
    """What a query raises: DuckDB's errors, and Python's for text or values that it cannot hold."""
    import duckdb

    return (duckdb.Error, ArithmeticError, ValueError)
