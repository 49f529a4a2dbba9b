# SPDX-License-Identifier: Apache-2.0
"""
Dependency option 2: the DataOps DAG starts the bridge when its datamart is written.

``dataops_flights`` stands for the DataOps team's DAG: it runs dbt and then triggers this bridge, and says in
the ``conf`` where the datamart is. The run id of the DataOps run becomes part of the bridge's, so the same
datamart never starts two bridges.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")
DBT = os.environ.get("MLBRIDGE_EXAMPLE_DBT_COMMAND", "dbt build --project-dir /opt/dbt/flights")

with DAG(
    dag_id="dataops_flights",
    schedule="0 6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    build = BashOperator(task_id="build_datamart", bash_command=DBT)
    start_bridge = TriggerDagRunOperator(
        task_id="start_bridge",
        trigger_dag_id="integration_by_trigger",
        trigger_run_id="dataops__{{ run_id }}",
        conf={"datamart": DATAMART},
        skip_when_already_exists=True,
    )
    build >> start_bridge

with DAG(
    dag_id="integration_by_trigger",
    schedule=None,
    catchup=False,
    params={"datamart": Param(DATAMART, type="string", description="URI of the datamart")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart="{{ params.datamart }}",
        unique=["flight_id"],
        not_null=["flight_id", "arrived_late_30"],
        min_rows=1000,
        report_uri=f"{ML_URI}/reports/by_trigger/",
    )
    features = FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        recipe="flight_delay_recipe.yaml",
        output_uri=f"{ML_URI}/features/flight_delay/",
    )
    MLTrainingTriggerOperator(
        task_id="train",
        mode="dag",
        trigger_dag_id="train_flight_delay",
        features=features.output,
        experiment_name="flight_delay",
        model_type="hist_gradient_boosting",
    )
