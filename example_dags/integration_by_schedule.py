# SPDX-License-Identifier: Apache-2.0
"""
Dependency option 1: a schedule of its own, an hour after the DataOps DAG.

The clock alone proves nothing, so the sensor waits for a datamart that was written at most three hours before
this run was due, is complete and has stopped changing.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)
from airflow_provider_mlbridge.sensors import DatamartSensor

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

with DAG(
    dag_id="integration_by_schedule",
    schedule="0 7 * * *",  # the DataOps DAG runs at six
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    datamart = DatamartSensor(
        task_id="wait_for_datamart",
        datamart=DATAMART,
        max_age=timedelta(hours=3),  # not yesterday's
        poke_interval=60,
        timeout=3 * 3600,
    )
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart=datamart.output,
        unique=["flight_id"],
        not_null=["flight_id", "arrived_late_30"],
        min_rows=1000,
        report_uri=f"{ML_URI}/reports/by_schedule/",
    )
    features = FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        recipe="flight_delay_recipe.yaml",
        output_uri=f"{ML_URI}/features/flight_delay/",
    )
    MLTrainingTriggerOperator(
        task_id="train",
        mode="api",
        conn_id="training_api",
        features=features.output,
        experiment_name="flight_delay",
        model_type="hist_gradient_boosting",
    )
