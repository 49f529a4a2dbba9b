# SPDX-License-Identifier: Apache-2.0
"""Judge a datamart and set its bad rows aside, as the operator does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_mlbridge.quality import QualityReport, validate
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, open_session
from airflow_provider_mlbridge.quality.quarantine import Quarantined, write_quarantine
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.storage import local_files, opened_snapshot


def expect(type_: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs, "severity": severity}


def quarantine_of(
    report: QualityReport, quarantine_uri: str, *, memory: str = "500MB", **options: Any
) -> Quarantined:
    """Set aside the rows that a report found."""
    expectations = {key: result.expectation for key, result in enumerate(report.results)}
    outcomes = {key: result.outcome for key, result in enumerate(report.results)}
    client = options.get("s3_client")
    with opened_snapshot(report.snapshot, s3_client=client) as files:
        table = read_table(files, s3_client=client)
        with (
            local_files(files, s3_client=client) as paths,
            open_session(table, paths, Limits(memory, threads=1)) as session,
        ):
            return write_quarantine(
                expectations, outcomes, session, paths, quarantine_uri, pinned=report.snapshot, **options
            )


def judge_and_quarantine(
    datamart: str, expectations: Iterable[dict[str, Any]], quarantine_uri: str, **options: Any
) -> Quarantined:
    """Both steps."""
    report = validate(datamart, list(expectations), s3_client=options.get("s3_client"))
    return quarantine_of(report, quarantine_uri, **options)


def rows_of(uri: str) -> list[dict[str, Any]]:
    """All rows of a local dataset, in order, without partition columns."""
    paths = sorted(Path(uri.removeprefix("file://")).rglob("*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path
