# SPDX-License-Identifier: Apache-2.0
"""
Dependency option 3: wait for a task of the DataOps DAG of the same schedule.

``ExternalTaskSensor`` knows that the DataOps task has ended, not what it has written; the quality check pins
and judges that.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")
COMMAND = os.environ.get("MLBRIDGE_EXAMPLE_COMMAND", "python3 /opt/flights/train.py")

with DAG(
    dag_id="integration_by_external_task",
    schedule="0 6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    datamart_built = ExternalTaskSensor(
        task_id="wait_for_dataops",
        external_dag_id="dataops_flights",
        external_task_id="build_datamart",
        failed_states=["failed", "upstream_failed", "skipped"],
        check_existence=True,
        deferrable=True,
        timeout=3 * 3600,
    )
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        unique=["flight_id"],
        not_null=["flight_id", "arrived_late_30"],
        min_rows=1000,
        report_uri=f"{ML_URI}/reports/by_external_task/",
    )
    features = FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        recipe="flight_delay_recipe.yaml",
        output_uri=f"{ML_URI}/features/flight_delay/",
    )
    training = MLTrainingTriggerOperator(
        task_id="train",
        mode="ssh",
        conn_id="training_ssh",
        command=COMMAND,
        features=features.output,
        experiment_name="flight_delay",
        model_type="hist_gradient_boosting",
    )
    datamart_built >> quality
