# SPDX-License-Identifier: Apache-2.0
"""
Quality by a data contract (Open Data Contract Standard 3.1), kept as YAML beside the DAG.

Each constraint of the contract becomes an expectation, or is listed in the report with the reason why it is
not judged.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

with DAG(
    dag_id="quality_by_contract",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        contract="flight_delays.odcs.yaml",
        contract_schema="flight_delays",
        report_uri=f"{ML_URI}/reports/quality_by_contract/",
    )
