# SPDX-License-Identifier: Apache-2.0
"""
From the DataOps team's datamart to the ML team's model, in four tasks.

wait for the datamart -> check it -> build features -> train, three times: once per training mode. The chain
is the same; only the last task's arguments differ. A team of your own needs one of the three calls at the
end.

Connections: ``aws_default`` (S3), ``training_ssh`` and ``training_api``. ``mode="dag"`` starts
``train_flight_delay``, which stands in this folder too.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)
from airflow_provider_mlbridge.sensors import DatamartSensor

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")
COMMAND = os.environ.get("MLBRIDGE_EXAMPLE_COMMAND", "python3 /opt/flights/train.py")


def integration_dag(mode: str, **training: Any) -> DAG:
    with DAG(
        dag_id=f"dataops_to_mlops_integration_{mode}",
        schedule=None,
        catchup=False,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
        doc_md=__doc__,
        tags=["mlbridge", "example"],
    ) as dag:
        datamart = DatamartSensor(
            task_id="wait_for_datamart", datamart=DATAMART, poke_interval=30, timeout=3600
        )
        quality = DatamartQualityOperator(
            task_id="check_quality",
            datamart=datamart.output,
            schema={
                "flight_id": "int64",
                "scheduled_departure": "timestamp",
                "carrier": "string",
                "arrived_late_30": "bool",
            },
            not_null=["flight_id", "scheduled_departure", "carrier", "arrived_late_30"],
            unique=["flight_id", ["carrier", "scheduled_departure", "flight_id"]],
            min_rows=1000,
            max_age=timedelta(days=7),
            expectations=[
                {
                    "type": "expect_column_values_to_be_in_set",
                    "kwargs": {"column": "origin", "value_set": ["EWR", "JFK", "LGA"]},
                },
                {
                    "type": "expect_column_values_to_be_between",
                    "kwargs": {"column": "distance", "min_value": 0, "max_value": 6000},
                },
                {
                    "type": "expect_column_values_to_match_regex",
                    "kwargs": {"column": "carrier", "regex": "^[0-9A-Z]{2}$"},
                },
                {
                    "type": "expect_column_values_to_be_between",
                    "kwargs": {"column": "temp", "min_value": -20, "max_value": 120, "mostly": 0.98},
                    "severity": "warning",
                },
            ],
            report_uri=f"{ML_URI}/reports/{mode}/",
        )
        features = FeatureBuildOperator(
            task_id="build_features",
            datamart=quality.output,
            recipe="flight_delay_recipe.yaml",
            output_uri=f"{ML_URI}/features/flight_delay_{mode}/",
        )
        MLTrainingTriggerOperator(
            task_id="train",
            mode=mode,  # type: ignore[arg-type]  # one of the three, see below
            features=features.output,
            experiment_name="flight_delay",
            model_type="hist_gradient_boosting",
            params={"max_iter": 100, "learning_rate": 0.1},
            timeout=timedelta(hours=1),
            poll_interval=5,
            **training,
        )
    return dag


ssh = integration_dag("ssh", conn_id="training_ssh", command=COMMAND)
api = integration_dag("api", conn_id="training_api")
dag = integration_dag("dag", trigger_dag_id="train_flight_delay")
