# SPDX-License-Identifier: Apache-2.0
"""The whole of a quality check, from expectations to a report."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetEmptyError
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.compiled import Check, NotCompiledError, compile_check
from airflow_provider_mlbridge.quality.engines import duckdb_runner, footers, gx, samples
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, open_session
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.inputs.shorthands import Key, MaxAge, expand
from airflow_provider_mlbridge.quality.inputs.suite import load_suite, parse_expectations
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome, not_checked
from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport, check_fail_on
from airflow_provider_mlbridge.quality.table import Table, read_table
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import local_files, pin_snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROW_COUNTS = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")


def validate(
    datamart: str | Mapping[str, Any] | Snapshot,
    expectations: Sequence[object] = (),
    *,
    schema: Mapping[str, str] | None = None,
    not_null: Sequence[str] = (),
    unique: Sequence[Key] = (),
    min_rows: int | None = None,
    max_age: MaxAge | None = None,
    suite: object = None,
    fail_on: str = "error",
    s3_client: S3Client | None = None,
    engine: str = "duckdb",
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
    unmasked_columns: Collection[str] = (),
    now: datetime | None = None,
) -> QualityReport:
    """
    Check a datamart against expectations.

    Everything is evaluated; nothing is raised for data that is not as expected. Ask ``report.success``, or
    call ``report.raise_for_verdict()``.

    :param datamart: URI (``s3://``, ``file://``) or absolute path of a Parquet file, of a prefix of files,
        also hive-partitioned, or of a published dataset; or an earlier result that names its snapshot.
    :param expectations: Great Expectations' expectations, ``{"type": ..., "kwargs": {...}, "severity":
        ...}``. See :mod:`~airflow_provider_mlbridge.quality.catalog` for the types and what judges them.
    :param schema: columns that must exist, with their types; more columns may exist. Types are pyarrow's
        names; common names from SQL are understood: ``bigint``, ``double``, ``varchar``, ``timestamp`` (of
        any unit), ``int`` (any integer), ``float`` (any floating-point number).
    :param not_null: columns that must have a value in every row. NaN is none.
    :param unique: keys that must not repeat: names of columns, or lists of names for compound keys. Rows
        without a value are passed over, in a compound key those without any.
    :param min_rows: the least number of rows.
    :param max_age: the greatest age of the newest object of the datamart (a timedelta, or seconds), or
        ``{"column": ..., "max_age": ...}`` for that of the greatest value of a date or timestamp column; a
        date counts from its midnight, a timestamp without zone is UTC. A newest value that is more than five
        minutes (for dates: a day) ahead of now fails.
    :param suite: a suite of Great Expectations: a mapping, or path or URI of its JSON.
    :param fail_on: ``error``: failures of severity critical count; ``warn``: those of severity warning as
        well; ``never``: none. What could not be evaluated always counts.
    :param s3_client: boto3 S3 client for ``s3://`` URIs; boto3's default session when None.
    :param engine: ``duckdb``, the only one so far.
    :param memory_limit: memory for DuckDB, and for the data that Great Expectations judges.
    :param threads: threads of DuckDB; all cores when None.
    :param scratch_dir: folder for downloads and for what does not fit into memory.
    :param scratch_limit_bytes: the most that may be downloaded, and the most that may spill.
    :param unmasked_columns: columns whose values may be shown in reports; those of all others are masked.
    :param now: the time that ages are measured against; the present when None.
    :raises ConfigurationError: for an argument that is wrong, among them unknown expectations
        (:class:`~airflow_provider_mlbridge.exceptions.InvalidExpectationError`), before any data is read.
    :raises DatasetEmptyError: when there is no row and no expectation about the number of rows.
    :raises StorageError: when the datamart is missing, broken or was replaced.
    """
    start = time.perf_counter()
    checked_fail_on = check_fail_on(fail_on)
    limits = Limits(memory_limit, threads, scratch_dir, scratch_limit_bytes)
    memory_bytes = limits.memory_bytes
    moment = _check_now(now)
    if engine != "duckdb":
        raise ConfigurationError(f"engine must be 'duckdb', got {engine!r}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ConfigurationError(f"threads must be a number from 1, got {threads!r}")
    if isinstance(unmasked_columns, str):
        raise ConfigurationError(f"unmasked_columns must be a list of names, got {unmasked_columns!r}")
    wanted = expand(schema=schema, not_null=not_null, unique=unique, min_rows=min_rows, max_age=max_age)
    wanted += parse_expectations(expectations, "expectations")
    suite_name = None
    if suite is not None:
        suite_name, from_suite = load_suite(suite, s3_client=s3_client)
        wanted += from_suite
    if not wanted:
        raise ConfigurationError(
            "there is nothing to check: give expectations, a suite, schema, not_null, unique, min_rows or "
            "max_age"
        )
    snapshot = pin_snapshot(datamart, s3_client=s3_client)
    table = read_table(snapshot, s3_client=s3_client)
    if not table.rows and not any(item.type in _ROW_COUNTS for item in wanted):
        raise DatasetEmptyError(
            f"{snapshot.uri} has no rows in {snapshot.file_count} files, so that nearly every expectation "
            f"would hold. If that is all right, say so with min_rows=0."
        )
    plan = _Plan(wanted, table, moment)
    built = gx.build(plan.handed_over)
    outcomes = dict(plan.outcomes)
    if plan.checks or plan.handed_over:
        with ExitStack() as stack:
            paths = stack.enter_context(
                local_files(
                    snapshot,
                    s3_client=s3_client,
                    scratch_dir=scratch_dir,
                    scratch_limit_bytes=scratch_limit_bytes,
                )
            )
            if plan.checks:
                with open_session(table, paths, limits) as session:
                    found = duckdb_runner.run_checks(session, plan.checks)
                    outcomes |= samples.add_samples(session, plan.checks, found, unmasked_columns)
            outcomes |= gx.run(
                plan.handed_over, built, table, paths, memory_bytes=memory_bytes, unmasked=unmasked_columns
            )
    return QualityReport(
        snapshot=snapshot,
        results=tuple(
            ExpectationResult(expectation, outcomes[position]) for position, expectation in enumerate(wanted)
        ),
        rows=table.rows,
        fail_on=checked_fail_on,
        suite_name=suite_name or snapshot.uri,
        checked_at=moment,
        duration_seconds=time.perf_counter() - start,
    )


class _Plan:
    """Who judges which expectation: the footers at once, DuckDB, or Great Expectations."""

    def __init__(self, expectations: Sequence[Expectation], table: Table, now: datetime) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.checks: dict[int, Check] = {}
        self.handed_over: dict[int, Expectation] = {}
        for position, expectation in enumerate(expectations):
            try:
                self._place(position, expectation, table, now)
            except CannotCheckError as error:
                self.outcomes[position] = not_checked("footer", error)
            # Whatever it raises, this one expectation is not checked; the others go on.
            except Exception as error:  # noqa: BLE001
                reason = f"it could not be prepared for this column: {type(error).__name__}: {error}"
                self.outcomes[position] = not_checked("footer", reason)

    def _place(self, position: int, expectation: Expectation, table: Table, now: datetime) -> None:
        if expectation.type not in footers.ANSWERS_MISSING_COLUMN:
            _require_columns(expectation, table)
        if expectation.kwargs.get("row_condition") is None:
            outcome = footers.judge(expectation, table, now)
            if outcome is not None:
                self.outcomes[position] = outcome
                return
        try:
            self.checks[position] = compile_check(expectation, table, now)
        except NotCompiledError:
            self.handed_over[position] = expectation


def _require_columns(expectation: Expectation, table: Table) -> None:
    for name in expectation.columns:
        if name not in table.by_name:
            shown = ", ".join(map(repr, table.names[:10]))
            more = f" and {len(table.names) - 10} more" if len(table.names) > 10 else ""
            raise CannotCheckError(
                f"there is no column {name!r}.{close_names(name, table.by_name)} There are {shown}{more}."
            )


def _check_now(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise ConfigurationError(f"now must be a datetime with a time zone, got {now!r}")
    return now.astimezone(UTC)
