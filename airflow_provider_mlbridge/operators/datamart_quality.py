# SPDX-License-Identifier: Apache-2.0
"""Check a datamart before anything is built on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator

from airflow_provider_mlbridge.exceptions import ConfigurationError, StorageError
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.observability import emit, quality_metrics
from airflow_provider_mlbridge.operators._places import named_run, places
from airflow_provider_mlbridge.operators._support import (
    LeavesWhenKilled,
    add_to_outlets,
    beside_dag_file,
    check_choice,
    failing_fast,
    is_template,
    whole_number,
)

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_mlbridge.quality import QualityReport
    from airflow_provider_mlbridge.results import QualitySummary

ResultFormatName = Literal["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]
FAIL_ON = ("error", "warn", "never")
ENGINES = ("duckdb",)
SCHEMA_EVOLUTION = ("strict", "union")


class DatamartQualityOperator(LeavesWhenKilled, BaseOperator):
    """
    Judge a Parquet datamart and hand on exactly what was judged.

    The datamart is pinned first: the tasks downstream read the very objects that were checked, or fail.
    Everything is evaluated, then the report is stored, then the verdict is made. An expectation that could
    not be checked fails the task, whatever ``fail_on`` says.

    :param datamart: URI of a Parquet file, a prefix, a hive-partitioned dataset or an Iceberg table
        (``s3://``, ``file://``, ``iceberg://`` or an absolute path), or the output of
        :class:`~airflow_provider_mlbridge.sensors.DatamartSensor`. (templated)
    :param partitions: hive partition to value, or list of values: only these are read, by this task and by
        those that take its output. (templated)
    :param schema_evolution: ``strict``: all files have the same columns; ``union``: columns may have come
        later, and types may have become wider. (templated)
    :param schema: column name to type; the columns must exist with these types, others may be there too.
        (templated)
    :param not_null: columns without nulls. (templated)
    :param unique: columns whose values are unique; a list among them is a compound key. (templated)
    :param min_rows: the least number of rows. (templated)
    :param max_age: how old the newest object may be, a timedelta or text such as ``26 hours`` or ``PT26H``;
        ``{"column": name, "max_age": ...}`` measures the newest value of a timestamp column instead.
        (templated)
    :param expectations: Great Expectations, each ``{"type": ..., "kwargs": {...}, "severity": ...}``.
        (templated)
    :param suite: a Great Expectations suite: a mapping, the path or URI of its JSON, or a callable that
        returns a suite or its expectations when the task runs, from the task's context when it has a
        parameter. A relative path, here and below, is below the DAG file's folder. (templated)
    :param contract: an ODCS 3 data contract: a mapping, or path or URI of its YAML. (templated)
    :param contract_schema: which of the contract's schemas, when there are several. (templated)
    :param dbt_manifest: dbt's ``manifest.json``: a mapping, or its path or URI. (templated)
    :param dbt_model: the model in it. (templated)
    :param fail_on: ``error`` fails the task for broken expectations of severity critical, ``warn`` also for
        those of severity warning, ``never`` for none. (templated)
    :param report_uri: prefix for ``quality_report.json`` and ``quality_report.html``; a mapped task instance
        adds its index to it. (templated)
    :param history_uri: prefix where every check leaves a line for the anomaly checks and the page's curves;
        ``history/`` below ``report_uri`` when None, with a folder per datamart and partitions when the task
        is mapped. It must be the same from run to run, so name it when ``report_uri`` is not. (templated)
    :param quarantine_uri: prefix where rows that broke an expectation are published with the reasons, and the
        others beside them. A task that takes the output of this one reads the others. (templated)
    :param quarantine_severities: severities of the expectations whose rows are set aside.
    :param masking: what may be shown of a column's values: ``drop``, ``hash``, ``mask`` or ``plain``; ``"*"``
        is for all others, which are masked. (templated)
    :param unmasked_columns: short for a policy of ``plain``. (templated)
    :param hash_key_conn_id: Airflow connection whose password is the key behind ``hash``, so that hashes of
        two reports can be compared; a key of the report's own when None. (templated)
    :param key_columns: columns that tell failing rows apart in the report; shown as ``masking`` says.
        (templated)
    :param failing_rows: the most rows shown for one expectation.
    :param result_format: how much of Great Expectations' result is kept: ``BOOLEAN_ONLY``, ``BASIC``,
        ``SUMMARY`` or ``COMPLETE``, or a mapping with more settings. (templated)
    :param trust_statistics: whether the statistics in Parquet footers are believed; False reads the data.
    :param aws_conn_id: Airflow connection for S3; None for boto3's own credential chain. (templated)
    :param engine: ``duckdb``.
    :param memory_limit: memory that the engine may use, for example ``"2GB"``. (templated)
    :param scratch_dir: folder for downloads and spilling. (templated)
    :param scratch_limit_bytes: the most that may be downloaded.
    :return: a :class:`~airflow_provider_mlbridge.results.QualitySummary` as JSON, under 2 kB. It is also
        pushed as ``quality`` before the verdict, so that it can be seen when the task fails.

    Metrics are those of :mod:`~airflow_provider_mlbridge.observability`. Assets among the outlets get
    ``fingerprint``, ``rows`` and ``pass_ratio`` in their event's extra.

    .. seealso:: :doc:`/guides/quality`
    """

    template_fields: Sequence[str] = (
        "datamart",
        "partitions",
        "schema_evolution",
        "schema",
        "not_null",
        "unique",
        "min_rows",
        "max_age",
        "expectations",
        "suite",
        "contract",
        "contract_schema",
        "dbt_manifest",
        "dbt_model",
        "fail_on",
        "report_uri",
        "history_uri",
        "quarantine_uri",
        "masking",
        "unmasked_columns",
        "hash_key_conn_id",
        "key_columns",
        "result_format",
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
        partitions: Mapping[str, Any] | None = None,
        schema_evolution: Literal["strict", "union"] = "strict",
        schema: Mapping[str, str] | None = None,
        not_null: Sequence[str] = (),
        unique: Sequence[str | Sequence[str]] = (),
        min_rows: int | None = None,
        max_age: timedelta | float | str | Mapping[str, Any] | None = None,
        expectations: Sequence[Mapping[str, Any]] = (),
        suite: str | Mapping[str, Any] | Callable[..., Any] | None = None,
        contract: str | Mapping[str, Any] | None = None,
        contract_schema: str | None = None,
        dbt_manifest: str | Mapping[str, Any] | None = None,
        dbt_model: str | None = None,
        fail_on: Literal["error", "warn", "never"] = "error",
        report_uri: str | None = None,
        history_uri: str | None = None,
        quarantine_uri: str | None = None,
        quarantine_severities: Sequence[Literal["critical", "warning", "info"]] = ("critical", "warning"),
        masking: Mapping[str, Literal["drop", "hash", "mask", "plain"]] | None = None,
        unmasked_columns: Sequence[str] = (),
        hash_key_conn_id: str | None = None,
        key_columns: Sequence[str] = (),
        failing_rows: int = 20,
        result_format: ResultFormatName | Mapping[str, Any] = "SUMMARY",
        trust_statistics: bool = True,
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
        if not is_template(schema_evolution):
            check_choice("schema_evolution", schema_evolution, SCHEMA_EVOLUTION)
        self.datamart = datamart
        self.partitions = partitions
        self.schema_evolution = schema_evolution
        self.schema = schema
        self.not_null = not_null
        self.unique = unique
        self.min_rows = min_rows
        self.max_age = max_age
        self.expectations = expectations
        # Airflow calls a callable in a templated field by itself, with arguments of its own; one in a list it
        # leaves alone.
        self.suite = [suite] if callable(suite) else suite
        self.contract = contract
        self.contract_schema = contract_schema
        self.dbt_manifest = dbt_manifest
        self.dbt_model = dbt_model
        self.fail_on = fail_on
        self.report_uri = report_uri
        self.history_uri = history_uri
        self.quarantine_uri = quarantine_uri
        self.quarantine_severities = quarantine_severities
        self.masking = masking
        self.unmasked_columns = unmasked_columns
        self.hash_key_conn_id = hash_key_conn_id
        self.key_columns = key_columns
        self.failing_rows = failing_rows
        self.result_format = result_format
        self.trust_statistics = trust_statistics
        self.aws_conn_id = aws_conn_id
        self.engine = engine
        self.memory_limit = memory_limit
        self.scratch_dir = scratch_dir
        self.scratch_limit_bytes = scratch_limit_bytes
        self._report: QualityReport | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Pin, check, store the report, decide."""
        with failing_fast(pins=not isinstance(self.datamart, Mapping)), self.leaving_when_killed():
            check_choice("fail_on", self.fail_on, FAIL_ON)
            report, where = self._judge(context)
            self._report = report
            summary = report.summary(report_uri=where)
            self._tell(report, summary, where)
            emit(quality_metrics(summary), context)
            document = summary.to_dict()
            context["ti"].xcom_push(key="quality", value=document)
            report.raise_for_verdict(report_uri=where)
            add_to_outlets(
                context,
                self.outlets,
                {
                    "fingerprint": summary.snapshot.fingerprint,
                    "rows": summary.rows,
                    "pass_ratio": summary.pass_ratio,
                },
            )
            return document

    def _judge(self, context: Context) -> tuple[QualityReport, str | None]:
        """The report, and where it was stored."""
        from airflow_provider_mlbridge.quality import history, validate, write_report

        suite = beside_dag_file(self.suite, context)
        contract = beside_dag_file(self.contract, context)
        dbt_manifest = beside_dag_file(self.dbt_manifest, context)
        reports, runs, quarantine = places(
            self.datamart,
            self.partitions,
            map_index=context["ti"].map_index,
            report_uri=self.report_uri,
            history_uri=self.history_uri,
            quarantine_uri=self.quarantine_uri,
        )
        client = s3_client_for(
            self.aws_conn_id,
            *(self.datamart, suite, contract, dbt_manifest, reports, runs, quarantine),
        )
        earlier = None
        if runs is not None:
            earlier = history.load(runs, s3_client=client)
            self._tell_of_others(runs, {entry.datamart for entry in earlier.entries})
        report = validate(
            self.datamart,
            self.expectations or (),
            partitions=self.partitions,
            schema_evolution=self.schema_evolution,
            schema=self.schema,
            not_null=self.not_null or (),
            unique=self.unique or (),
            min_rows=whole_number("min_rows", self.min_rows),
            max_age=self.max_age,
            suite=suite,
            suite_context=context,
            contract=contract,
            contract_schema=self.contract_schema,
            dbt_manifest=dbt_manifest,
            dbt_model=self.dbt_model,
            fail_on=self.fail_on,
            result_format=self.result_format,
            masking=self.masking,
            unmasked_columns=self.unmasked_columns or (),
            hash_key=_password_of(self.hash_key_conn_id),
            key_columns=self.key_columns or (),
            failing_rows=whole_number("failing_rows", self.failing_rows) or 0,
            trust_statistics=self.trust_statistics,
            history=earlier,
            describe_columns=reports is not None,
            quarantine_uri=quarantine,
            quarantine_severities=self.quarantine_severities,
            s3_client=client,
            engine=self.engine,
            memory_limit=self.memory_limit,
            scratch_dir=self.scratch_dir,
            scratch_limit_bytes=self.scratch_limit_bytes,
        )
        where = None
        if reports is not None:
            run = named_run(context["ti"])
            where = write_report(report, reports, history=earlier, run=run, s3_client=client)
        if runs is not None:
            entry = history.entry_of(report, run_id=context["ti"].run_id)
            try:
                history.append(runs, entry, s3_client=client)
            except StorageError as error:
                # The verdict stands without it; the next run has one run less to compare with.
                self.log.warning("This run is not in the history: %s", error)
        return report, where

    def _tell_of_others(self, runs: str, datamarts: set[str]) -> None:
        if len(datamarts) > 1:
            self.log.info(
                "The history in %s has runs of %s. When these are not one series, give each a history_uri of "
                "its own.",
                runs,
                ", ".join(sorted(datamarts)[:10]),
            )

    def _tell(self, report: QualityReport, summary: QualitySummary, where: str | None) -> None:
        self.log.info(
            "%s: %d of %d expectations held on %d rows in %.1f s%s",
            summary.snapshot.uri,
            summary.passed,
            summary.evaluated,
            summary.rows,
            summary.duration_seconds,
            f"; report: {where}" if where else "",
        )
        if report.success:
            for line in summary.failed_expectations:
                self.log.warning("Let pass: %s", line)
        for constraint in report.unsupported:
            self.log.warning("Not checked, for no expectation stands for it: %s", constraint)
        if summary.quarantined_rows is not None:
            self.log.info(
                "%d rows were quarantined in %s; the others are in %s",
                summary.quarantined_rows,
                summary.quarantine_uri,
                summary.clean_uri,
            )

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage | None:
        """What OpenLineage is told, of failed checks too; called by its provider only."""
        if self._report is None:
            return None
        from airflow_provider_mlbridge.operators._lineage import quality_lineage

        return quality_lineage(self._report)


def _password_of(conn_id: str | None) -> str | None:
    """
    The password of a connection.

    :raises ConfigurationError: when it does not exist, or has none.
    """
    if conn_id is None:
        return None
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        password = BaseHook.get_connection(conn_id).password
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"hash_key_conn_id={conn_id!r}: there is no such Airflow connection"
        ) from error
    if not password:
        raise ConfigurationError(f"hash_key_conn_id={conn_id!r}: the connection has no password")
    return str(password)
