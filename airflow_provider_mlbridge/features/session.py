# SPDX-License-Identifier: Apache-2.0
"""
The embedded engine: DuckDB over the local files of a snapshot.

Expressions are written in Ibis and compiled to SQL here; the SQL runs on a connection of our own (``ibis``'
own DuckDB connection calls methods that DuckDB 2.0 no longer has).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    FeatureError,
    InvalidParquetError,
    InvalidRecipeError,
)
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Column, Kind, column_of
from airflow_provider_mlbridge.features.lookups import LIST_TABLE, Lookups
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import (
    common_schema,
    local_files,
    opened_snapshot,
    partition_columns,
    pin_snapshot,
    read_footers,
)
from airflow_provider_mlbridge.storage.memory import buffer_bytes
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

FILE_INDEX, ROW_INDEX = "__mlbridge_file", "__mlbridge_row"
"""Columns of :attr:`Session.table` that give the place of a row in the snapshot."""

ROW_GROUP_ROWS = 122_880

_KEPT_SIZE = 2
"""How many times the size of a datamart its training rows may take when they are kept, loosely packed."""

_ENGINE_COLUMNS = ("file_index", "file_row_number")
"""A column of these names in a file would hide the engine's, which give the place of a row."""

_ROW_OPERATORS = {"FILTER", "PROJECTION", "READ_PARQUET"}
"""Operators of the engine's plans that look at one row at a time."""

_PARTITION_TYPES = {"int64": "BIGINT", "date32": "DATE", "string": "VARCHAR"}


@dataclass(frozen=True)
class Extent:
    """
    What is known of a column.

    :param count: how many values it has.
    :param minimum: the smallest, finite.
    :param maximum: the largest, finite.
    """

    count: int
    minimum: float | int
    maximum: float | int


@dataclass(frozen=True)
class Session:
    """
    One snapshot, open for queries.

    :param snapshot: what is read.
    :param connection: the DuckDB connection.
    :param columns: the datamart's columns in order.
    :param table: Ibis table of them (those of a known kind), with :data:`FILE_INDEX` and :data:`ROW_INDEX`.
    :param scratch: a folder that is deleted with the session.
    :param scratch_limit_bytes: the most that may be put there, besides what the engine spills.
    """

    snapshot: Snapshot
    connection: Any
    columns: Mapping[str, Column]
    table: Any
    scratch: Path
    scratch_limit_bytes: int | None = None

    @property
    def kinds(self) -> dict[str, Kind | None]:
        """Kind by column."""
        return {name: column.kind for name, column in self.columns.items()}

    @property
    def engine_types(self) -> dict[str, str]:
        """DuckDB type by column."""
        return {name: column.engine_type for name, column in self.columns.items()}

    @cached_property
    def lookups(self) -> Lookups | None:
        """Places of categories, found without a join."""
        return Lookups(self._execute)

    def query(self, expression: Any) -> list[dict[str, Any]]:
        """Rows of an Ibis table expression."""
        cursor = self._execute(compile_sql(expression))
        names = [item[0] for item in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def write(self, expression: Any, path: Path) -> None:
        """
        Write an Ibis table expression, whose rows must come in a certain order, to one Parquet file.

        They do when it is sorted, or when it reads :attr:`table` row by row, with neither a join nor a
        grouping. The bytes depend on the rows and the engine's version only, not on threads or memory: DuckDB
        keeps the order of rows and fills every row group to the same number of them (rows that are not sorted
        keep together as the row groups of the files do, so there it is about the same number).
        """
        self._copy(expression, path, f"COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}")

    def keep(self, expression: Any, name: str, size_bytes: int = 0) -> Any:
        """
        An Ibis table with the rows of another one, which are computed once and kept in scratch.

        When that could take more than :attr:`scratch_limit_bytes`, the expression itself.

        :param name: a name for it; it takes the place of an earlier one of that name.
        :param size_bytes: what it takes at most beside the columns of the datamart.
        """
        most = self.scratch_limit_bytes
        if most is not None and _KEPT_SIZE * self.snapshot.total_bytes + size_bytes > most:
            return expression
        path = self.scratch / f"{name}.parquet"
        self._copy(expression, path, "COMPRESSION snappy, PRESERVE_ORDER false")
        schema = {column: str(kind) for column, kind in expression.schema().items()}
        return self.parquet(path, schema, numbered=ROW_INDEX not in schema)

    def in_order(self, expression: Any) -> bool:
        """
        Whether the rows of an Ibis table expression come in the order of their columns, in one pass.

        :param expression: a selection from :attr:`table`, with neither a join nor a grouping; missing values
            count as a lack of order, and so do floats, of which different ones may be equal (zeros).
        """
        names = [f"k{index}" for index in range(len(expression.columns))]
        if any(kind.is_floating() for kind in expression.schema().values()):
            return False
        here, before = ", ".join(names), ", ".join(f"p{name}" for name in names)
        # Without an order of its own, the window follows the order of the rows.
        lagged = ", ".join(f"lag({name}) OVER () AS p{name}" for name in names)
        known = " AND ".join(f"{name} IS NOT NULL" for name in names)
        rows = compile_sql(expression)
        # Of the first row the comparison is NULL.
        sql = (
            f"SELECT count(*) FILTER (WHERE {known} AND ({before}) <= ({here})), count(*) "  # noqa: S608
            f"FROM (SELECT {here}, {lagged} FROM ({rows}) AS t({here}))"
        )
        ((ordered, total),) = self._execute(sql).fetchall()
        return bool(ordered == max(total - 1, 0))

    def _copy(self, expression: Any, path: Path, options: str) -> None:
        target = str(path).replace("'", "''")
        self._execute(f"COPY ({compile_sql(expression)}) TO '{target}' (FORMAT parquet, {options})")

    def parquet(self, path: Path, ibis_schema: Mapping[str, str], *, numbered: bool = False) -> Any:
        """
        An Ibis table over a Parquet file that was written here.

        :param numbered: add the number of the row in the file, as :data:`ROW_INDEX`.
        """
        import ibis

        view = f"written_{path.stem}"
        selected = f"*, file_row_number::BIGINT AS {ROW_INDEX}" if numbered else "*"
        self._execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT {selected} FROM read_parquet({_path(path)})"  # noqa: S608 - quoted
        )
        added = {ROW_INDEX: "int64"} if numbered else {}
        return ibis.table({**ibis_schema, **added}, name=view)

    def row_by_row(self, expression: Any) -> bool:
        """Whether the rows of an Ibis table expression come as those of the files do, each for itself."""
        ((_, plan),) = self._execute(f"EXPLAIN (FORMAT json) {compile_sql(expression)}").fetchall()
        return all(map(_is_by_row, json.loads(plan)))

    def extents(self, path: Path) -> tuple[int, dict[str, Extent]]:
        """
        The number of rows of a Parquet file that was written here, and what its footer says of columns.

        The engine states no extremes for a column with NaN; such a column is left out, as are those that
        have no number at all, infinite ones, and everything but numbers and booleans.
        """
        import pyarrow.parquet as pq

        metadata = pq.read_metadata(path)
        found: dict[str, Extent] = {}
        for index in range(metadata.num_columns):
            chunks = [metadata.row_group(group).column(index) for group in range(metadata.num_row_groups)]
            extent = _extent([chunk.statistics for chunk in chunks], metadata.num_rows)
            if extent is not None:
                found[metadata.schema.column(index).name] = extent
        return metadata.num_rows, found

    def schema_of(self, path: Path) -> dict[str, str]:
        """Column names and DuckDB types of a Parquet file that was written here."""
        sql = f"DESCRIBE SELECT * FROM read_parquet({_path(path)})"  # noqa: S608 - quoted
        rows = self._execute(sql).fetchall()
        return {str(row[0]): str(row[1]) for row in rows}

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        import duckdb

        try:
            return self.connection.execute(sql, parameters)
        except duckdb.OutOfMemoryException as error:
            raise FeatureError(
                f"{self.snapshot.uri}: the engine needs more memory than memory_limit, or more spill space "
                f"than scratch_limit_bytes: {error}. Raise them, or lower threads."
            ) from error
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            raise InvalidParquetError(f"{self.snapshot.uri} cannot be read: {error}") from error
        except duckdb.Error as error:
            # Its message may quote values of rows, which have no place in a log.
            raise FeatureError(
                f"{self.snapshot.uri}: the engine could not compute the features ({type(error).__name__}). "
                f"Look for values at the limits of their type, or find the step by leaving steps out."
            ) from None


def _extent(chunks: Sequence[Any], rows: int) -> Extent | None:
    """Count and extremes of a column, of the statistics of its row groups."""
    if not all(chunk is not None and chunk.has_null_count for chunk in chunks):
        return None
    if any(chunk.logical_type.type not in ("NONE", "INT") for chunk in chunks):
        return None
    known = [chunk for chunk in chunks if chunk.num_values]
    if not known or not all(chunk.has_min_max for chunk in known):
        return None
    low, high = min(chunk.min for chunk in known), max(chunk.max for chunk in known)
    if not isinstance(low, int | float) or not math.isfinite(low) or not math.isfinite(high):
        return None
    return Extent(rows - sum(chunk.null_count for chunk in chunks), low, high)


def _is_by_row(operator: Mapping[str, Any]) -> bool:
    name, children = str(operator["name"]).strip(), operator.get("children", ())
    if name == "CROSS_PRODUCT":
        # The left side is streamed, the right one held. The engine may exchange them when it believes that
        # the datamart is as small as the lists.
        return _is_by_row(children[0]) and _is_lists(children[1])
    return name in _ROW_OPERATORS and all(map(_is_by_row, children))


def _is_lists(operator: Mapping[str, Any]) -> bool:
    """Whether this is the one row of a table of lists, or of several of them."""
    name, children = str(operator["name"]).strip(), operator.get("children", ())
    if name == "SEQ_SCAN":
        return LIST_TABLE in str(operator.get("extra_info", {}).get("Table", ""))
    return name in ("PROJECTION", "CROSS_PRODUCT") and all(map(_is_lists, children))


def compile_sql(expression: Any) -> str:
    """DuckDB SQL of an Ibis expression."""
    return _compiled(expression.op())


@lru_cache(maxsize=4)
def _compiled(operation: Any) -> str:
    # A recipe of two dozen steps takes a quarter of a second, and is asked about before it is written.
    import ibis

    return str(ibis.to_sql(operation.to_expr(), dialect="duckdb", pretty=False))


@contextmanager
def open_session(
    datamart: str | Path | Mapping[str, Any] | Snapshot,
    *,
    s3_client: S3Client | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> Iterator[Session]:
    """
    Pin a datamart, bring it close and open it; see :meth:`Recipe.fit` for the parameters.

    :raises InvalidParquetError: when a file cannot be read, or the files disagree on their columns.
    :raises ConfigurationError: for a memory limit or a thread count that the engine does not take.
    """
    snapshot = pin_snapshot(
        str(datamart.absolute()) if isinstance(datamart, Path) else datamart, s3_client=s3_client
    )
    with ExitStack() as stack:
        places: Any = {
            "s3_client": s3_client,
            "scratch_dir": scratch_dir,
            "scratch_limit_bytes": scratch_limit_bytes,
        }
        near = stack.enter_context(opened_snapshot(snapshot, **places))
        schema = common_schema(near, read_footers(near, s3_client=s3_client))
        paths = stack.enter_context(local_files(near, **places))
        folder = stack.enter_context(scratch_folder(scratch_dir, "spill"))
        connection = connect(memory_limit, threads, folder, scratch_limit_bytes)
        try:
            columns = open_files(connection, near, schema, paths)
            yield Session(snapshot, connection, columns, _table(columns), folder, scratch_limit_bytes)
        finally:
            connection.close()


def connect(memory_limit: str, threads: int | None, folder: Path, spill_limit: int | None) -> Any:
    """A connection of our own, which spills to ``folder``."""
    import duckdb

    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ConfigurationError(f"threads={threads!r} must be an integer from 1, or None for all cores")
    settings: dict[str, Any] = {
        "memory_limit": f"{buffer_bytes(memory_limit)}B",
        "temp_directory": f"{folder}/spill",
        # Nothing is fetched from anywhere, and rows keep the order of the files.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    }
    if threads is not None:
        settings["threads"] = threads
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except (duckdb.Error, TypeError) as error:
        raise ConfigurationError(
            f"memory_limit={memory_limit!r} or threads={threads!r} is not valid for the engine: {error}"
        ) from error
    if spill_limit is not None:
        # Given when connecting, it would be reported but not enforced (DuckDB 2.0).
        connection.execute(f"SET max_temp_directory_size = '{int(spill_limit)}B'")
    connection.execute("SET TimeZone = 'UTC'")
    # Parquet statistics do not tell of NaN, but DuckDB believes that they do: it takes isnan(x) for false, so
    # NaN would never become NULL (duckdb#25521). For the same reason no query here filters on a float column.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    return connection


def open_files(
    connection: Any, snapshot: Snapshot, schema: pa.Schema, paths: list[Path]
) -> dict[str, Column]:
    """Make the view ``datamart``: the columns of the files, those of the folders, the place of each row."""
    import duckdb

    reserved = {FILE_INDEX, ROW_INDEX, *_ENGINE_COLUMNS}
    clash = [name for name in schema.names if name.lower() in reserved]
    if clash:
        raise InvalidRecipeError(
            f"{snapshot.uri}: the column names {options.shown(clash)} are reserved; rename the columns"
        )
    relation = f"read_parquet([{', '.join(map(_path, paths))}], hive_partitioning = false)"
    columns: dict[str, Column] = {}
    selected: list[str] = []

    def add(name: str, engine_type: str, source: str) -> None:
        double = next((other for other in columns if other.lower() == name.lower()), None)
        if double is not None:
            what = f"{engine_type} (but the engine cannot tell its name from {double!r})"
            columns[name] = Column(None, what, "")
            return
        columns[name] = column_of(engine_type)
        expression = columns[name].in_view.format(source)
        selected.append(f"{expression} AS {_name(name)}")

    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608
        # By position, since the engine gives names of its own to columns that it takes for the same.
        for name, row in zip(schema.names, described, strict=True):
            add(name, str(row[1]), _name(str(row[0])))
        for partition in partition_columns(snapshot, schema.names):
            values = ", ".join("NULL" if value is None else _text(str(value)) for value in partition.values)
            engine_type = _PARTITION_TYPES[partition.type_name]
            add(partition.name, engine_type, f"(CAST([{values}] AS {engine_type}[]))[file_index::BIGINT + 1]")
        connection.execute(
            f"CREATE VIEW datamart AS SELECT {', '.join(selected)}, "  # noqa: S608 - quoted
            f"file_index::BIGINT AS {FILE_INDEX}, file_row_number::BIGINT AS {ROW_INDEX} FROM {relation}"
        )
    except (duckdb.Error, ValueError) as error:
        raise InvalidParquetError(f"{snapshot.uri} cannot be read as Parquet: {error}") from error
    return columns


def _path(path: Path) -> str:
    # The engine takes these characters for patterns, which may match other files than the pinned one.
    return _text("".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path)))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _table(columns: Mapping[str, Column]) -> Any:
    import ibis

    schema = {name: column.ibis_type for name, column in columns.items() if column.kind is not None}
    return ibis.table({**schema, FILE_INDEX: "int64", ROW_INDEX: "int64"}, name="datamart")
