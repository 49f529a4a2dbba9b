# SPDX-License-Identifier: Apache-2.0
"""Check a datamart before anything is built on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.operators._support import (
    add_to_outlets,
    beside_dag_file,
    check_choice,
    failing_fast,
    is_template,
    whole_number,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

FAIL_ON = ("error", "warn", "never")
ENGINES = ("duckdb",)


class DatamartQualityOperator(BaseOperator):
    """
    Judge a Parquet datamart and hand on exactly what was judged.

    The datamart is pinned first: the tasks downstream read the very objects that were checked, or fail.
    Everything is evaluated, then the report is stored, then the verdict is made. An expectation that could
    not be checked fails the task, whatever ``fail_on`` says.

    :param datamart: URI of a Parquet file, a prefix or a hive-partitioned dataset (``s3://``, ``file://`` or
        an absolute path), or the output of :class:`~airflow_provider_mlbridge.sensors.DatamartSensor`.
        (templated)
    :param schema: column name to type; the columns must exist with these types, others may be there too.
        (templated)
    :param not_null: columns without nulls. (templated)
    :param unique: columns whose values are unique; a list among them is a compound key. (templated)
    :param min_rows: the least number of rows. (templated)
    :param max_age: how old the newest object may be; ``{"column": name, "max_age": timedelta}`` measures the
        newest value of a timestamp column instead. (templated)
    :param expectations: Great Expectations, each ``{"type": ..., "kwargs": {...}, "severity": ...}``.
        (templated)
    :param suite: a Great Expectations suite: a mapping, or the path or URI of its JSON; a relative path is
        below the DAG file's folder. (templated)
    :param fail_on: ``error`` fails the task for broken expectations of severity critical, ``warn`` also for
        those of severity warning, ``never`` for none. (templated)
    :param report_uri: prefix for ``quality_report.json`` and ``quality_report.html``; a mapped task instance
        adds its index to it. (templated)
    :param quarantine_uri: reserved; not available in this version. (templated)
    :param unmasked_columns: columns whose failing values may be shown in the report; all others are masked.
        (templated)
    :param aws_conn_id: Airflow connection for S3; None for boto3's own credential chain. (templated)
    :param engine: ``duckdb``.
    :param memory_limit: memory that the engine may use, for example ``"2GB"``. (templated)
    :param scratch_dir: folder for downloads and spilling. (templated)
    :param scratch_limit_bytes: the most that may be downloaded.
    :return: a :class:`~airflow_provider_mlbridge.results.QualitySummary` as JSON, under 2 kB. It is also
        pushed as ``quality`` before the verdict, so that it can be seen when the task fails.

    .. seealso:: :doc:`/guides/quality`
    """

    template_fields: Sequence[str] = (
        "datamart",
        "schema",
        "not_null",
        "unique",
        "min_rows",
        "max_age",
        "expectations",
        "suite",
        "fail_on",
        "report_uri",
        "quarantine_uri",
        "unmasked_columns",
        "aws_conn_id",
        "memory_limit",
        "scratch_dir",
    )
    template_fields_renderers = {"schema": "json", "expectations": "json"}
    ui_color = "#e7f5ec"

    def __init__(
        self,
        *,
        datamart: Any,
        schema: Mapping[str, str] | None = None,
        not_null: Sequence[str] = (),
        unique: Sequence[str | Sequence[str]] = (),
        min_rows: int | None = None,
        max_age: timedelta | Mapping[str, Any] | None = None,
        expectations: Sequence[Mapping[str, Any]] = (),
        suite: str | Mapping[str, Any] | None = None,
        fail_on: Literal["error", "warn", "never"] = "error",
        report_uri: str | None = None,
        quarantine_uri: str | None = None,
        unmasked_columns: Sequence[str] = (),
        aws_conn_id: str | None = "aws_default",
        engine: Literal["duckdb"] = "duckdb",
        memory_limit: str = "2GB",
        scratch_dir: str | None = None,
        scratch_limit_bytes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("engine", engine, ENGINES)
        if not is_template(fail_on):
            check_choice("fail_on", fail_on, FAIL_ON)
        self.datamart = datamart
        self.schema = schema
        self.not_null = not_null
        self.unique = unique
        self.min_rows = min_rows
        self.max_age = max_age
        self.expectations = expectations
        self.suite = suite
        self.fail_on = fail_on
        self.report_uri = report_uri
        self.quarantine_uri = quarantine_uri
        self.unmasked_columns = unmasked_columns
        self.aws_conn_id = aws_conn_id
        self.engine = engine
        self.memory_limit = memory_limit
        self.scratch_dir = scratch_dir
        self.scratch_limit_bytes = scratch_limit_bytes

    def execute(self, context: Context) -> dict[str, Any]:
        """Pin, check, store the report, decide."""
        from airflow_provider_mlbridge.quality import validate
        from airflow_provider_mlbridge.quality.reporting.report import write_report

        with failing_fast():
            check_choice("fail_on", self.fail_on, FAIL_ON)
            if self.quarantine_uri is not None:
                raise ConfigurationError(
                    f"quarantine_uri={self.quarantine_uri!r}: quarantine is not available in this version; "
                    f"leave it out"
                )
            suite = self.suite
            if isinstance(suite, str):
                suite = beside_dag_file(suite, context)
            client = s3_client_for(self.aws_conn_id, self.datamart, self.report_uri, suite)
            report = validate(
                self.datamart,
                self.expectations,
                schema=self.schema,
                not_null=self.not_null,
                unique=self.unique,
                min_rows=whole_number("min_rows", self.min_rows),
                max_age=self.max_age,
                suite=suite,
                fail_on=self.fail_on,
                s3_client=client,
                engine=self.engine,
                memory_limit=self.memory_limit,
                scratch_dir=self.scratch_dir,
                scratch_limit_bytes=self.scratch_limit_bytes,
                unmasked_columns=self.unmasked_columns,
            )
            where = None
            if self.report_uri is not None:
                where = write_report(report, _own_prefix(self.report_uri, context), s3_client=client)
            summary = report.summary(report_uri=where)
            self.log.info(
                "%s: %d of %d expectations held on %d rows in %.1f s%s",
                summary.snapshot.uri,
                summary.passed,
                summary.evaluated,
                summary.rows,
                summary.duration_seconds,
                f"; report: {where}" if where else "",
            )
            document = summary.to_dict()
            context["ti"].xcom_push(key="quality", value=document)
            report.raise_for_verdict(report_uri=where)
            add_to_outlets(
                context,
                self.outlets,
                {"fingerprint": summary.snapshot.fingerprint, "rows": summary.rows, "passed": summary.passed},
            )
            return document


def _own_prefix(report_uri: str, context: Context) -> str:
    """The instances of a mapped task must not overwrite one another's report."""
    index = context["ti"].map_index
    return report_uri if index is None or index < 0 else f"{report_uri.rstrip('/')}/{index}/"
