# SPDX-License-Identifier: Apache-2.0
"""The report as files: JSON in Great Expectations' shape, and a page for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.reporting.page import to_html
from airflow_provider_mlbridge.quality.result import QualityReport
from airflow_provider_mlbridge.storage import open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JSON_NAME = "quality_report.json"
HTML_NAME = "quality_report.html"


def write_report(
    report: QualityReport,
    report_uri: str,
    *,
    history: History | None = None,
    run: Mapping[str, str] | None = None,
    s3_client: S3Client | None = None,
) -> str:
    """
    Write ``quality_report.json`` and ``quality_report.html`` below a prefix.

    :param report_uri: the prefix: ``s3://``, ``file://`` or an absolute path.
    :param history: earlier runs, which the page draws beside this one.
    :param run: what made the report, shown on the page: name to text, such as DAG, task and run.
    :return: URI of the JSON, which is the full result; the page lies beside it.
    :raises StorageError: when the store refuses or does not answer.
    """
    prefix = report_uri if report_uri.endswith("/") else f"{report_uri}/"
    store = open_store(prefix, s3_client=s3_client)
    document = json.dumps(report.to_gx_json(), allow_nan=False, ensure_ascii=False, indent=1)
    page = to_html(report, history=history, run=run)
    store.put(prefix + HTML_NAME, _bytes(page), content_type="text/html; charset=utf-8")
    # Last, so that whoever finds the full result finds its page too.
    store.put(prefix + JSON_NAME, _bytes(document), content_type="application/json")
    return prefix + JSON_NAME


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair, as an argument may hold it, has no form in UTF-8; in JSON it keeps its escape.
    return text.encode(errors="backslashreplace")
