# SPDX-License-Identifier: Apache-2.0
"""
Features day by day: each run checks one partition of the datamart and adds it to the feature set.

What is learned is learned from the first day; the later ones take it over, so that a feature means the same
in all of them. Each day is compared with the day before, and columns that give the label away stop the run.
Trigger it with the parameter `day` to build another day, again or for the first time.
"""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import DAG, Asset

from airflow_provider_mlbridge.operators import DatamartQualityOperator, FeatureBuildOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DAILY_DATAMART", "s3://datalake/datamarts/flight_delays_by_day/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

RECIPE = {
    "name": "flight_delay_by_day",
    "keys": ["flight_id"],
    "label": "arrived_late_30",
    "split": {"by": "hash", "train": 0.8},
    "refit": "never",
    "steps": [
        {"type": "expression", "expression": "distance / (60 + distance / 8)", "output": "planned_speed"},
        {"type": "impute", "columns": ["temp", "pressure"], "strategy": "median", "indicator": True},
        {"type": "robust", "columns": ["temp", "pressure", "planned_speed"]},
        {"type": "one_hot", "columns": ["carrier"], "unknown": "other"},
        {"type": "target", "columns": ["origin"], "unknown": "prior"},
        {"type": "cyclical", "columns": ["scheduled_departure"], "parts": ["hour"]},
    ],
}

with DAG(
    dag_id="features_by_partition",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001  (Airflow's own time zone)
    catchup=False,
    doc_md=__doc__,
    params={"day": ""},
    tags=["mlbridge", "example"],
):
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        partitions={"day": "{{ params.day or ds }}"},
        not_null=["flight_id", "arrived_late_30"],
        unique=["flight_id"],
        report_uri=f"{ML_URI}/reports/features_by_partition/",
    )
    FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        partitioned=True,
        recipe=RECIPE,
        output_uri=f"{ML_URI}/features/flight_delay_by_day/",
        drift_reference="previous",
        lint="error",
        outlets=[Asset(name="flight_delay_features_by_day", uri=f"{ML_URI}/features/flight_delay_by_day/")],
    )
