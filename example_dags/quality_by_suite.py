# SPDX-License-Identifier: Apache-2.0
"""
Quality by a suite of Great Expectations, kept as JSON beside the DAG.

The suite may as well be a mapping, or lie in S3. Great Expectations is not imported for it: all of
its expectations are judged by DuckDB.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

with DAG(
    dag_id="quality_by_suite",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        suite="flight_delays_suite.json",
        report_uri=f"{ML_URI}/reports/quality_by_suite/",
    )
