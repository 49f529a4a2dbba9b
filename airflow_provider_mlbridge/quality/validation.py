# SPDX-License-Identifier: Apache-2.0
"""The whole of a quality check, from expectations to a report."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetEmptyError
from airflow_provider_mlbridge.quality.anomalies import require_history
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits
from airflow_provider_mlbridge.quality.evaluation import Settings, evaluate
from airflow_provider_mlbridge.quality.failing_rows import (
    DEFAULT_LIMIT,
    check_failing_rows,
    check_key_columns,
)
from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.inputs.shorthands import Key, MaxAge
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.quarantine import DEFAULT_SEVERITIES, check_quarantine
from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport, check_fail_on
from airflow_provider_mlbridge.quality.result_formats import ResultFormat
from airflow_provider_mlbridge.quality.table import Table, read_table
from airflow_provider_mlbridge.quality.wanted import Wanted, collect
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import opened_snapshot, pin_snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROW_COUNTS = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")


def validate(
    datamart: str | Mapping[str, Any] | Snapshot,
    expectations: Sequence[object] = (),
    *,
    partitions: Mapping[str, Any] | None = None,
    schema_evolution: str | None = None,
    schema: Mapping[str, str] | None = None,
    not_null: Sequence[str] = (),
    unique: Sequence[Key] = (),
    min_rows: int | None = None,
    max_age: MaxAge | None = None,
    suite: object = None,
    suite_context: object = None,
    contract: str | Mapping[str, Any] | None = None,
    contract_schema: str | None = None,
    dbt_manifest: str | Mapping[str, Any] | None = None,
    dbt_model: str | None = None,
    fail_on: str = "error",
    result_format: object = None,
    masking: Mapping[str, str] | None = None,
    unmasked_columns: Collection[str] = (),
    hash_key: str | None = None,
    key_columns: Sequence[str] = (),
    failing_rows: int = DEFAULT_LIMIT,
    trust_statistics: bool = True,
    history: History | None = None,
    quarantine_uri: str | None = None,
    quarantine_severities: Collection[str] = DEFAULT_SEVERITIES,
    describe_columns: bool = False,
    s3_client: S3Client | None = None,
    engine: str = "duckdb",
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
    now: datetime | None = None,
) -> QualityReport:
    """
    Check a datamart against expectations.

    Everything is evaluated; nothing is raised for data that is not as expected. Ask ``report.success``, or
    call ``report.raise_for_verdict()``.

    :param datamart: URI (``s3://``, ``file://``) or absolute path of a Parquet file, of a prefix of files,
        also hive-partitioned, or of a published dataset; or an earlier result that names its snapshot.
    :param partitions: hive partition to value, or list of values: only these are read.
    :param schema_evolution: ``strict`` or ``union``, see
        :func:`~airflow_provider_mlbridge.storage.pin_snapshot`.
    :param expectations: Great Expectations' expectations, ``{"type": ..., "kwargs": {...}, "severity":
        ...}``. See :mod:`~airflow_provider_mlbridge.quality.catalog` for the types and what judges them.
    :param schema: columns that must exist, with their types; more columns may exist. Types are pyarrow's
        names; common names from SQL are understood: ``bigint``, ``double``, ``varchar``, ``timestamp`` (of
        any unit), ``int`` (any integer), ``float`` (any floating-point number).
    :param not_null: columns that must have a value in every row. NaN is none.
    :param unique: keys that must not repeat: names of columns, or lists of names for compound keys. Rows
        without a value are passed over, in a compound key those without any.
    :param min_rows: the least number of rows.
    :param max_age: the greatest age of the newest object of the datamart (a timedelta, seconds, or text
        such as ``26 hours`` or ``PT26H``), or
        ``{"column": ..., "max_age": ...}`` for that of the greatest value of a date or timestamp column; a
        date counts from its midnight, a timestamp without zone is UTC. A newest value that is more than five
        minutes (for dates: a day) ahead of now fails.
    :param suite: a suite of Great Expectations: a mapping, the path or URI of its JSON, its objects, or a
        callable that returns one of these.
    :param suite_context: what such a callable is called with, when it has a parameter.
    :param contract: an ODCS 3 data contract: a mapping, or path or URI of its YAML.
    :param contract_schema: which of the contract's schemas, when there are several.
    :param dbt_manifest: dbt's ``manifest.json``: a mapping, or its path or URI.
    :param dbt_model: name or unique id of the model in it.
    :param fail_on: ``error``: failures of severity critical count; ``warn``: those of severity warning as
        well; ``never``: none. What could not be evaluated always counts.
    :param result_format: Great Expectations' ``result_format``, a name or a mapping, for the report's JSON;
        ``SUMMARY`` when None.
    :param masking: what may be shown of a column's values: ``drop``, ``hash``, ``mask`` or ``plain``; ``"*"``
        is for all others, which are masked.
    :param unmasked_columns: short for a policy of ``plain``.
    :param hash_key: the key behind ``hash``; one of the report's own when None.
    :param key_columns: columns that tell failing rows apart in the report.
    :param failing_rows: the most rows shown for one expectation; 0 for none.
    :param trust_statistics: whether the statistics in Parquet footers are believed.
    :param history: earlier runs, for the anomaly checks; see
        :func:`~airflow_provider_mlbridge.quality.history.load`.
    :param quarantine_uri: prefix where rows that broke an expectation are published, and the others beside
        them; see :mod:`~airflow_provider_mlbridge.quality.quarantine`.
    :param quarantine_severities: severities of the expectations whose rows are set aside.
    :param describe_columns: whether the report has a profile of the columns; it is taken from a bounded
        sample where data is read anyway, else from the footers alone.
    :param s3_client: boto3 S3 client for ``s3://`` URIs; boto3's default session when None.
    :param engine: ``duckdb``, the only one so far.
    :param memory_limit: memory for DuckDB, and for the data that Great Expectations judges.
    :param threads: threads of DuckDB; all cores when None.
    :param scratch_dir: folder for downloads and for what does not fit into memory.
    :param scratch_limit_bytes: the most that may be downloaded, and the most that may spill.
    :param now: the time that ages are measured against; the present when None.
    :raises ConfigurationError: for an argument that is wrong, among them unknown expectations
        (:class:`~airflow_provider_mlbridge.exceptions.InvalidExpectationError`), before any data is read.
    :raises DatasetEmptyError: when there is no row and no expectation about the number of rows.
    :raises StorageError: when the datamart is missing, broken or was replaced.
    """
    start = time.perf_counter()
    checked_fail_on = check_fail_on(fail_on)
    limits = Limits(memory_limit, threads, scratch_dir, scratch_limit_bytes)
    _check_engine(engine, limits)
    check_failing_rows(key_columns, failing_rows)
    settings = Settings(
        policy=MaskingPolicy.parse(masking, unmasked_columns, hash_key),
        result_format=ResultFormat.parse(result_format),
        limits=limits,
        now=_check_now(now),
        history=history,
        key_columns=tuple(key_columns),
        failing_rows=failing_rows,
        quarantine_uri=quarantine_uri,
        quarantine_severities=quarantine_severities,
        describe_columns=describe_columns,
    )
    wanted = collect(
        expectations,
        schema=schema,
        not_null=not_null,
        unique=unique,
        min_rows=min_rows,
        max_age=max_age,
        suite=suite,
        suite_context=suite_context,
        contract=contract,
        contract_schema=contract_schema,
        dbt_manifest=dbt_manifest,
        dbt_model=dbt_model,
        s3_client=s3_client,
    )
    require_history(wanted.expectations, history)
    snapshot = pin_snapshot(
        datamart, partitions=partitions, schema_evolution=schema_evolution, s3_client=s3_client
    )
    if quarantine_uri is not None:
        check_quarantine(quarantine_uri, quarantine_severities, snapshot)
    with opened_snapshot(
        snapshot, s3_client=s3_client, scratch_dir=scratch_dir, scratch_limit_bytes=scratch_limit_bytes
    ) as files:
        table = read_table(files, s3_client=s3_client, trust_statistics=trust_statistics)
        _check_table(table, wanted, settings)
        found = evaluate(wanted.expectations, table, snapshot, settings, s3_client=s3_client)
    return QualityReport(
        snapshot=snapshot,
        results=tuple(map(ExpectationResult, wanted.expectations, found.outcomes)),
        rows=table.rows,
        fail_on=checked_fail_on,
        suite_name=wanted.name or snapshot.uri,
        checked_at=settings.now,
        duration_seconds=time.perf_counter() - start,
        profile=found.profile,
        unsupported=tuple(map(str, wanted.unsupported)),
        quarantined=found.quarantined,
        clean=found.clean,
        quarantine_error=found.quarantine_error,
        result_format=settings.result_format,
        table=table,
    )


def _check_table(table: Table, wanted: Wanted, settings: Settings) -> None:
    """
    Check what can be checked only once the columns are known.

    :raises ConfigurationError: for a column that is named and does not exist.
    :raises DatasetEmptyError: when there is no row, and nothing says what to think of that.
    """
    settings.policy.check_columns(table.names)
    if settings.failing_rows:
        check_key_columns(settings.key_columns, table)
    for name in settings.result_format.unexpected_index_column_names:
        if name not in table.by_name:
            raise ConfigurationError(
                f"unexpected_index_column_names has {name!r}, which {table.snapshot.uri} does not have."
                f"{close_names(name, table.by_name)}"
            )
    if not table.rows and not any(item.type in _ROW_COUNTS for item in wanted.expectations):
        raise DatasetEmptyError(
            f"{table.snapshot.uri} has no rows in {table.snapshot.file_count} files, so that nearly every "
            f"expectation would hold. If that is all right, say so with min_rows=0."
        )


def _check_engine(engine: str, limits: Limits) -> None:
    if engine != "duckdb":
        raise ConfigurationError(f"engine must be 'duckdb', got {engine!r}")
    threads = limits.threads
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ConfigurationError(f"threads must be a number from 1, got {threads!r}")
    # Raises when it is no amount of memory.
    _ = limits.memory_bytes


def _check_now(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise ConfigurationError(f"now must be a datetime with a time zone, got {now!r}")
    return now.astimezone(UTC)
