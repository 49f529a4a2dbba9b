# SPDX-License-Identifier: Apache-2.0
"""
Dependency by asset: the bridge runs whenever the datamart's asset is updated.

``watch_flight_delays`` updates the asset when it has seen a new, complete datamart; a dbt DAG with the asset
among its outlets does as well. An asset-triggered run has no logical date, so nothing here is templated on
one.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Asset

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)
from airflow_provider_mlbridge.sensors import DatamartSensor

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")
COMMAND = os.environ.get("MLBRIDGE_EXAMPLE_COMMAND", "python3 /opt/flights/train.py")

FLIGHT_DELAYS = Asset(name="flight_delays", uri=DATAMART)
FLIGHT_DELAY_FEATURES = Asset(name="flight_delay_features", uri=f"{ML_URI}/features/flight_delay/")

with DAG(
    dag_id="watch_flight_delays",
    schedule="0 6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartSensor(
        task_id="wait_for_datamart",
        datamart=DATAMART,
        max_age=timedelta(hours=3),  # not yesterday's
        poke_interval=60,
        timeout=3 * 3600,
        outlets=[FLIGHT_DELAYS],
    )

with DAG(
    dag_id="integration_by_asset",
    schedule=[FLIGHT_DELAYS],
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        unique=["flight_id"],
        not_null=["flight_id", "arrived_late_30"],
        min_rows=1000,
        report_uri=f"{ML_URI}/reports/by_asset/",
    )
    features = FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        recipe="flight_delay_recipe.yaml",
        output_uri=f"{ML_URI}/features/flight_delay/",
        outlets=[FLIGHT_DELAY_FEATURES],
    )
    MLTrainingTriggerOperator(
        task_id="train",
        mode="ssh",
        conn_id="training_ssh",
        command=COMMAND,
        features=features.output,
        experiment_name="flight_delay",
        model_type="hist_gradient_boosting",
    )
