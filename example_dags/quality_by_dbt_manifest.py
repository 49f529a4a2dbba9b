# SPDX-License-Identifier: Apache-2.0
"""
Quality by dbt: the contract and the tests of a model, read from dbt's ``manifest.json``.

The manifest here holds one model. That of a project of your own is in ``target/`` after ``dbt parse`` or
``dbt build``; copy it to S3 there, and name it here.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

with DAG(
    dag_id="quality_by_dbt_manifest",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        dbt_manifest="flight_delays_manifest.json",
        dbt_model="flight_delays",
        report_uri=f"{ML_URI}/reports/quality_by_dbt_manifest/",
    )
