# SPDX-License-Identifier: Apache-2.0
"""
Quality by shorthands: the checks that nearly every datamart needs, as plain arguments.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

with DAG(
    dag_id="quality_by_shorthands",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        schema={"flight_id": "int64", "scheduled_departure": "timestamp", "carrier": "string"},
        not_null=["flight_id", "scheduled_departure", "carrier", "arrived_late_30"],
        unique=["flight_id", ["carrier", "scheduled_departure", "flight_id"]],
        min_rows=1000,
        max_age=timedelta(days=7),
        report_uri=f"{ML_URI}/reports/quality_by_shorthands/",
    )
