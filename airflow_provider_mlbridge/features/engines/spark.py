# SPDX-License-Identifier: Apache-2.0
"""
Spark as the engine: the files of a pinned snapshot, read by a cluster that sees the same folder.

The files are brought close exactly as for DuckDB, pinned, so what Spark reads is what was validated. Spark
reads them and writes its results by ``file://``, so ``scratch_dir`` (and a datamart on disk) must be a folder
that this machine and all of the cluster see under the same path; with ``local[...]`` any folder is. Its
results are put together here to the one sorted file that DuckDB would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import FeatureError
from airflow_provider_mlbridge.features.engines.spark_sessions import guarded, own_session
from airflow_provider_mlbridge.features.engines.spark_sql import compile_spark_sql
from airflow_provider_mlbridge.features.kinds import Column
from airflow_provider_mlbridge.features.session import (
    FILE_INDEX,
    ROW_GROUP_ROWS,
    ROW_INDEX,
    Session,
    connect,
    open_files,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import (
    common_schema,
    local_files,
    opened_snapshot,
    partition_columns,
    pin_snapshot,
    read_footers,
)
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPARK_TYPES = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INTEGER": "INT",
    "BIGINT": "BIGINT",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INT",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20, 0)",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "VARCHAR": "STRING",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMP_S": "TIMESTAMP_NTZ",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ",
    "TIMESTAMP_NS": "BIGINT",
    "TIMESTAMPTZ_NS": "BIGINT",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ",
}
"""How Spark reads the columns of a Parquet file, by their type in DuckDB's words."""

_FROM_NANOSECONDS = "CAST(timestamp_micros(CAST(floor({} / 1000BD) AS BIGINT)) AS TIMESTAMP_NTZ)"


@dataclass(frozen=True)
class SparkSession(Session):
    """
    One snapshot, open for queries in Spark.

    :param spark: Spark's own session, used by nobody else.
    """

    spark: Any = field(default=None, kw_only=True)

    @property
    def lookups(self) -> None:
        """Spark has no dictionaries; tables are joined, and everything that is written is sorted."""
        return

    def query(self, expression: Any) -> list[dict[str, Any]]:
        """Rows of an Ibis table expression."""
        sql = compile_spark_sql(expression)
        convert = {name: _converter(kind) for name, kind in expression.schema().items()}
        rows = self._guarded(lambda: self.spark.sql(sql).collect())
        return [
            {name: function(value) for (name, function), value in zip(convert.items(), row, strict=True)}
            for row in rows
        ]

    def write(self, expression: Any, path: Path) -> None:
        """
        Write an Ibis table expression that is sorted to one Parquet file.

        The bytes depend on the rows alone: Spark's parts are put together here, in row groups of a fixed
        size, so that it does not matter how many there were.
        """
        folder = self.scratch / f"{path.stem}.parts"
        self._save(expression, folder)
        _put_together(sorted(folder.glob("part-*")), path, _arrow_schema(expression))

    def keep(self, expression: Any, name: str, size_bytes: int = 0) -> Any:  # noqa: ARG002
        """An Ibis table with the rows of another one, which are computed once and kept in scratch."""
        folder = self.scratch / f"{name}.parts"
        self._save(expression, folder)
        schema = {column: str(kind) for column, kind in expression.schema().items()}
        return self.parquet(folder, schema, numbered=ROW_INDEX not in schema)

    def row_by_row(self, expression: Any) -> bool:  # noqa: ARG002
        """Never: Spark promises no order of rows but that of a sort."""
        return False

    def in_order(self, expression: Any) -> bool:  # noqa: ARG002
        """Never; see :meth:`row_by_row`."""
        return False

    def parquet(self, path: Path, ibis_schema: Mapping[str, str], *, numbered: bool = False) -> Any:
        """An Ibis table over what was written here, a file or a folder; see :meth:`Session.parquet`."""
        import ibis

        view = f"written_{path.stem}"
        names = [*ibis_schema, *([ROW_INDEX] if numbered else [])]

        def make() -> None:
            frame = self.spark.read.parquet(_glob(path))
            columns = [_quoted(name) for name in ibis_schema]
            if numbered:
                columns.append(f"_metadata.row_index AS {ROW_INDEX}")
            frame.selectExpr(*columns).createOrReplaceTempView(view)

        self._guarded(make)
        return ibis.table(dict(zip(names, [*ibis_schema.values(), "int64"], strict=False)), name=view)

    def _save(self, expression: Any, folder: Path) -> None:
        sql = compile_spark_sql(expression)
        self._guarded(lambda: self.spark.sql(sql).write.mode("overwrite").parquet(folder.as_uri()))

    def _guarded(self, action: Callable[[], Any]) -> Any:
        return guarded(self.snapshot.uri, action)


@contextmanager
def open_spark_session(
    datamart: str | Path | Mapping[str, Any] | Snapshot,
    *,
    spark: Any = None,
    s3_client: S3Client | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> Iterator[SparkSession]:
    """
    Pin a datamart, bring it close and open it in Spark.

    :param spark: a session of Spark, or where to get one: the URL of Spark Connect (``sc://host:15002``) or
        of a master (``spark://host:7077``, ``local[4]``), or a :class:`~.spark_sessions.SparkAddress` with
        settings in addition. A session that is started for a URL is stopped at the end. None: the session
        that is active, or ``local[*]``.
    :raises ConfigurationError: when Spark cannot be started or reached.
    :raises FeatureError: when Spark does not see the same files.
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
        own = stack.enter_context(own_session(spark))
        near = stack.enter_context(opened_snapshot(snapshot, **places))
        footers = read_footers(near, s3_client=s3_client)
        schema = common_schema(near, footers)
        paths = stack.enter_context(local_files(near, **places))
        folder = stack.enter_context(scratch_folder(scratch_dir, "spark"))
        connection = connect("256MB", 1, folder, None)
        stack.callback(connection.close)
        columns = {
            name: _column(column) for name, column in open_files(connection, near, schema, paths).items()
        }
        rows = [footer.metadata.num_rows for footer in footers]
        partitions = {item.name: item.values for item in partition_columns(near, schema.names)}
        guarded(snapshot.uri, lambda: _open_view(own, columns, paths, rows, partitions, folder, snapshot.uri))
        yield SparkSession(
            snapshot, connection, columns, _ibis_table(columns), folder, scratch_limit_bytes, spark=own
        )


def _column(column: Column) -> Column:
    """The same in the view here, where times have no zone and the largest integers are decimals."""
    if column.kind is None:
        return column
    if column.kind == "timestamp":
        return Column(column.kind, column.engine_type, "timestamp")
    return Column(column.kind, column.engine_type, column.ibis_type)


def _open_view(
    spark: Any,
    columns: Mapping[str, Column],
    paths: list[Path],
    rows: list[int],
    partitions: Mapping[str, tuple[Any, ...]],
    folder: Path,
    where: str,
) -> None:
    """Make the view ``datamart``: the columns of the files, those of the folders, the place of each row."""
    known = {name: column for name, column in columns.items() if column.kind is not None}
    read = {name: _spark_type(column) for name, column in known.items() if name not in partitions}
    schema = ", ".join(f"{_quoted(name)} {kind}" for name, kind in read.items())
    frame = spark.read.schema(schema).parquet(*map(_glob, paths)) if schema else None
    if frame is None:
        frame = spark.read.parquet(*map(_glob, paths))
    selected = [f"{_in_view(name, known[name])} AS {_quoted(name)}" for name in read]
    place = [f"_metadata.file_path AS {FILE_INDEX}", f"_metadata.row_index AS {ROW_INDEX}"]
    frame = frame.selectExpr(*selected, *place)
    counted = frame.groupBy(FILE_INDEX).count().collect()
    seen = _matched({row[0]: row[1] for row in counted}, paths, rows, where)
    file_table = folder / "files.parquet"
    _write_files(seen, {name: values for name, values in partitions.items() if name in known}, file_table)
    files = spark.read.parquet(_glob(file_table))
    frame.createOrReplaceTempView("mlbridge_rows")
    files.createOrReplaceTempView("mlbridge_files")
    names = [
        f"CAST(f.{_quoted(name)} AS {_spark_type(column)}) AS {_quoted(name)}"
        if name in partitions
        else f"r.{_quoted(name)}"
        for name, column in known.items()
    ]
    spark.sql(
        f"SELECT /*+ BROADCAST(f) */ {', '.join([*names, ''])}f.`number` AS {FILE_INDEX}, "  # noqa: S608 - quoted
        f"r.{ROW_INDEX} FROM mlbridge_rows AS r JOIN mlbridge_files AS f ON r.{FILE_INDEX} = f.`path`"
    ).createOrReplaceTempView("datamart")


def _matched(seen: Mapping[str, int], paths: list[Path], rows: list[int], where: str) -> dict[str, int]:
    """
    The number of the file by what Spark calls it.

    :raises FeatureError: unless Spark sees the rows of each file that its footer states.
    """
    numbers = {str(path): number for number, path in enumerate(paths)}
    result: dict[str, int] = {}
    found = [0] * len(paths)
    for name, count in seen.items():
        local = name.removeprefix("file:")
        local = "/" + local.lstrip("/")
        number = numbers.get(local, numbers.get(unquote(local)))
        if number is not None:
            result[name] = number
            found[number] += count
    wrong = sum(count != expected for count, expected in zip(found, rows, strict=True))
    if wrong:
        raise FeatureError(
            f"{where}: Spark sees {sum(found)} of {sum(rows)} rows, {wrong} of {len(paths)} files are not as "
            f"they are here. Let scratch_dir (and a datamart on disk) be a folder that all of the cluster "
            f"sees under the same path."
        )
    return result


def _write_files(numbers: Mapping[str, int], partitions: Mapping[str, tuple[Any, ...]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    order = list(numbers.values())
    arrays: dict[str, Any] = {
        "path": pa.array(list(numbers), pa.string()),
        "number": pa.array(order, pa.int64()),
    }
    for name, values in partitions.items():
        texts = [None if values[number] is None else str(values[number]) for number in order]
        arrays[name] = pa.array(texts, pa.string())
    pq.write_table(pa.table(arrays), path)


def _spark_type(column: Column) -> str:
    return _SPARK_TYPES.get(column.engine_type, column.engine_type)


def _in_view(name: str, column: Column) -> str:
    quoted = _quoted(name)
    if column.engine_type in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
        return _FROM_NANOSECONDS.format(quoted)
    return f"CAST({quoted} AS TIMESTAMP_NTZ)" if column.kind == "timestamp" else quoted


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _glob(path: Path) -> str:
    """The path as Spark takes it, which looks for patterns in it."""
    return "file:" + "".join(f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in str(path))


def _ibis_table(columns: Mapping[str, Column]) -> Any:
    import ibis

    schema = {name: column.ibis_type for name, column in columns.items() if column.kind is not None}
    return ibis.table({**schema, FILE_INDEX: "int64", ROW_INDEX: "int64"}, name="datamart")


def _converter(kind: Any) -> Callable[[Any], Any]:
    """Values as DuckDB gives them: Spark's sums of integers are decimals."""
    if kind.is_integer():
        return lambda value: None if value is None else int(value)
    if kind.is_floating():
        return lambda value: None if value is None else float(value)
    if kind.is_array():
        inner = _converter(kind.value_type)
        return lambda values: None if values is None else [inner(value) for value in values]
    return _as_it_is


def _as_it_is(value: bool | str | date | datetime | None) -> Any:
    return value


def _arrow_schema(expression: Any) -> Any:
    """The Arrow schema of an Ibis table expression; Ibis' own takes a package that is not needed."""
    import pyarrow as pa

    names = {"boolean": "bool", "float64": "double", "float32": "float"}
    fields = []
    for name, kind in expression.schema().items():
        if kind.is_timestamp():
            arrow = pa.timestamp("us")
        elif kind.is_date():
            arrow = pa.date32()
        else:
            text = str(kind.copy(nullable=True)).lower()
            arrow = pa.type_for_alias(names.get(text, text))
        fields.append(pa.field(name, arrow))
    return pa.schema(fields)


def _put_together(parts: list[Path], path: Path, schema: Any) -> None:
    """One file of the rows of several, in row groups of :data:`ROW_GROUP_ROWS`, a few of them in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[Any] = []
        held = 0
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS):
                    waiting.append(pa.Table.from_batches([batch]).cast(schema))
                    held += batch.num_rows
                    while held >= ROW_GROUP_ROWS:
                        together = pa.concat_tables(waiting)
                        writer.write_table(together.slice(0, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
                        waiting = [together.slice(ROW_GROUP_ROWS)]
                        held -= ROW_GROUP_ROWS
        if held:
            writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP_ROWS)
