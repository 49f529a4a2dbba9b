# SPDX-License-Identifier: Apache-2.0
"""
Expectations that Great Expectations itself judges, on pandas, reading only the columns they need.

Importing it costs several CPU seconds, so that happens only when there is such an expectation. It runs in an
ephemeral context: no project folder, no files, no analytics, no progress bars.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.engines.gx_results import FrameReader, texts_in, told_of
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.foreign_errors import first_class
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome, not_checked
from airflow_provider_mlbridge.quality.result_formats import ResultFormat
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.storage.schemas import stored_type

if TYPE_CHECKING:
    import pyarrow as pa

_OBJECT_BYTES = 120
"""Memory of one value that pandas holds as a Python object, such as a date or a decimal."""
_COPIES = 3
"""How many times Great Expectations may hold a column while it judges: the frame, a filtered copy, a mask."""
_LONGEST = 500
"""Letters of a message of Great Expectations about arguments, which it repeats whole."""
DATABASE_ONLY = {
    "expect_query_results_to_match_comparison": (
        "it compares the answers of two databases; check the datamart with expectations about its columns, "
        "and reconcile the sources in a task of its own"
    ),
    "expect_table_row_count_to_equal_other_table": (
        "it asks a database for the other table; use expect_table_row_count_to_equal with the number of rows "
        "that a task before this one counted"
    ),
    "unexpected_rows_expectation": (
        "it runs a query of yours in a database; use an expectation about rows with a row_condition, or one "
        "about pairs of columns"
    ),
}
"""Types that Great Expectations judges in databases only, and what to do instead."""


def import_gx() -> Any:
    """Great Expectations, without what its import warns of and logs about itself."""
    with _quiet():
        import great_expectations

    return great_expectations


@contextmanager
def _quiet(level: int = logging.WARNING) -> Iterator[None]:
    """
    Great Expectations without its warnings and log lines below a level; afterwards all is as it was.

    At INFO it logs hundreds of lines about its own functions, which would fill the log of a task.
    """
    logger = logging.getLogger("great_expectations")
    before = logger.level
    logger.setLevel(max(before, level))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def build(expectations: Mapping[int, Expectation]) -> dict[int, Any]:
    """
    Great Expectations' own objects, before any data is read.

    :raises InvalidExpectationError: when Great Expectations refuses the arguments.
    """
    if not expectations:
        return {}
    import_gx()
    with _quiet():
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    built = {}
    for key, expectation in expectations.items():
        try:
            # Conditions as text, which suites in use still have, are deprecated.
            with _quiet():
                built[key] = ExpectationConfiguration(
                    type=expectation.type, kwargs=dict(expectation.kwargs), severity=expectation.severity
                ).to_domain_obj()
        # Its validation raises errors of a library of its own, and plain ones.
        except Exception as error:
            told = " ".join(str(error).split())
            raise InvalidExpectationError(
                f"Great Expectations refuses {expectation.type} with {shown(dict(expectation.kwargs))}: "
                f"{told[:_LONGEST]}"
            ) from error
    return built


def run(
    expectations: Mapping[int, Expectation],
    built: Mapping[int, Any],
    table: Table,
    paths: Sequence[Path],
    *,
    memory_bytes: int,
    policy: MaskingPolicy,
    result_format: ResultFormat | None = None,
    with_positions: bool = False,
) -> dict[int, Outcome]:
    """
    The outcome of every expectation, by the key it came under.

    :param built: what :func:`build` made of them.
    :param memory_bytes: the most that the data may take; expectations on more are not checked.
    :param policy: what may be shown of which column.
    :param result_format: what results hold; ``SUMMARY`` when None.
    :param with_positions: whether outcomes have ``unexpected_positions``.
    """
    result_format = result_format or ResultFormat()
    outcomes: dict[int, Outcome] = {}
    groups: dict[tuple[str, ...], list[int]] = {}
    for key, expectation in expectations.items():
        if expectation.type in DATABASE_ONLY:
            reason = (
                f"Great Expectations judges {expectation.type} in databases only, and a datamart is files: "
                f"{DATABASE_ONLY[expectation.type]}"
            )
            outcomes[key] = not_checked("gx", reason)
        else:
            groups.setdefault(_needed(expectation, table, result_format), []).append(key)
    # One frame at a time: expectations on the same columns share it.
    for names, keys in groups.items():
        columns = [table.by_name[name] for name in names]
        estimate = _estimate(columns, table.rows)
        if estimate > memory_bytes:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            reason = (
                f"on pandas, and {table.rows} rows of {', '.join(map(repr, names[:10]))}{more} take about "
                f"{estimate // 1_000_000} MB, more than memory_limit ({memory_bytes // 1_000_000} MB). Raise "
                f"memory_limit, name fewer partitions, or use a type that is judged by DuckDB "
                f"(airflow_provider_mlbridge.quality.catalog.COMPILED)."
            )
            for key in keys:
                judged = f"Great Expectations judges {expectations[key].type} with these arguments"
                outcomes[key] = not_checked("gx", f"{judged} {reason}")
            continue
        try:
            frame = _frame(columns, paths)
        # A corrupt page, or values that pandas cannot hold: these are not checked; the others go on.
        except Exception as error:  # noqa: BLE001
            message = told_of(type(error).__name__, str(error), names, table, policy)
            reason = f"the columns could not be read for Great Expectations: {message}"
            outcomes |= dict.fromkeys(keys, not_checked("gx", reason))
            continue
        reader = FrameReader(frame, table, policy, result_format, with_positions=with_positions)
        outcomes |= _judge({key: expectations[key] for key in keys}, built, reader)
    return outcomes


def _needed(expectation: Expectation, table: Table, result_format: ResultFormat) -> tuple[str, ...]:
    """The columns that are read for an expectation; all where it does not say."""
    names = set(expectation.columns)
    if not names or result_format.rows_wanted:
        return tuple(table.names)
    names.update(result_format.unexpected_index_column_names)
    # A condition names columns in one of several notations; a column too many does no harm.
    texts = list(texts_in(expectation.kwargs.get("row_condition")))
    names.update(name for name in table.names if any(name in text for text in texts))
    return tuple(name for name in table.names if name in names)


def _estimate(columns: Iterable[Column], rows: int) -> int:
    total = 0
    for column in columns:
        match column.family:
            case "int" | "float" | "bool" | "timestamp" | "timestamptz" | "duration":
                total += rows * 8
            case "string":
                total += rows * 16 + column.size
            case _:
                total += rows * _OBJECT_BYTES + column.size
    return total * _COPIES


def _frame(columns: Sequence[Column], paths: Sequence[Path]) -> Any:
    """
    The columns as a pandas frame, whose index is the number of the row.

    What pandas notes in a file about the frame that it was is not heeded: with its index and its labels,
    columns would be missing or called otherwise, and rows would be known by other numbers than their own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [column.name for column in columns if not column.partition]
    parts = []
    types: dict[str, pa.DataType] = {"int64": pa.int64(), "date32": pa.date32(), "string": pa.string()}
    for position, path in enumerate(paths):
        # As DuckDB reads them: most years do not fit into nanoseconds.
        with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as parquet:
            # With no column asked for, the rows are still counted.
            part = parquet.read(columns=names, use_pandas_metadata=False).select(names)
            rows = parquet.metadata.num_rows
        for column in columns:
            if column.partition:
                value = pa.scalar(column.partition.values[position], types[column.type_name])
                part = part.append_column(column.name, pa.repeat(value, rows))
        # Files may lay the same values out in their own ways, such as dictionaries.
        schema = pa.schema([(field.name, stored_type(field.type)) for field in part.schema])
        parts.append(part.replace_schema_metadata(None).cast(schema))
    return pa.concat_tables(parts).select([column.name for column in columns]).to_pandas(ignore_metadata=True)


def _judge(
    expectations: Mapping[int, Expectation], built: Mapping[int, Any], reader: FrameReader
) -> dict[int, Outcome]:
    gx = import_gx()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    with _quiet():
        context = gx.get_context(mode="ephemeral", project_config=config)
        asset = context.data_sources.add_pandas("mlbridge").add_dataframe_asset("datamart")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": reader.frame})
    outcomes: dict[int, Outcome] = {}
    for key, expectation in expectations.items():
        try:
            # What it logs and warns of while it judges may quote values; its errors are in its answers.
            with _quiet(logging.CRITICAL + 1):
                validation = batch.validate(built[key], result_format=reader.asked)
            raised = _exception(validation.exception_info)
            if raised is not None:
                outcomes[key] = not_checked("gx", reader.message(expectation, *raised))
            else:
                outcomes[key] = reader.outcome(expectation, bool(validation.success), validation.result)
        # Whatever it raises, or answers that cannot be read: this one is not checked; the others go on.
        except Exception as error:  # noqa: BLE001
            reason = reader.message(expectation, type(error).__name__, str(error))
            outcomes[key] = not_checked("gx", reason)
    return outcomes


def _exception(info: Mapping[str, Any]) -> tuple[str, str] | None:
    """Class and message, from one of the two shapes in which Great Expectations reports exceptions."""
    entries = [item for item in info.values() if isinstance(item, Mapping)] or [info]
    for entry in entries:
        if entry.get("raised_exception"):
            class_name = first_class(str(entry.get("exception_traceback") or ""), "MetricResolutionError")
            return class_name, str(entry.get("exception_message") or "an exception without a message")
    return None
