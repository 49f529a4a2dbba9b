# SPDX-License-Identifier: Apache-2.0
"""DAGs that the system tests run; what differs from run to run comes with the run's conf."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG, Asset, dag, get_current_context, task

from airflow_provider_mlbridge.operators import (
    DatamartQualityOperator,
    FeatureBuildOperator,
    MLTrainingTriggerOperator,
)
from airflow_provider_mlbridge.sensors import DatamartSensor

TRAINER = os.environ["TEST_TRAINER"]
MODES: dict[str, dict[str, Any]] = {
    "ssh": {
        "conn_id": "{{ params.conn_id or 'training_ssh' }}",
        "command": f"{sys.executable} -S {TRAINER}",
        "environment": {"TEST_SECRET": "{{ conn.training_secret.password }}"},
    },
    "api": {"conn_id": "{{ params.conn_id or 'training_api' }}"},
    "dag": {"trigger_dag_id": "training_child"},
}
RECIPE: dict[str, Any] = {
    "name": "system",
    "keys": ["id"],
    "label": "late",
    "split": {"by": "hash"},
    "steps": [
        {"type": "impute", "columns": ["delay"], "strategy": "median"},
        {"type": "standard", "columns": ["delay"]},
        {"type": "one_hot", "columns": ["carrier"], "unknown": "other"},
    ],
}
PARAMS = {
    "datamart": "",
    "ml_uri": "",
    "features": "",
    "journal": "",
    "gate": "",
    "exit_code": "0",
    "conn_id": "",
    "min_rows": 1,
    "impute": "median",
}
ARGUMENTS: dict[str, Any] = {
    "schedule": None,
    "catchup": False,
    "params": PARAMS,
    "default_args": {"retries": 1, "retry_delay": timedelta(seconds=1)},
}


def training(mode: str, features: Any, **changes: Any) -> MLTrainingTriggerOperator:
    return MLTrainingTriggerOperator(
        task_id="train",
        mode=mode,  # type: ignore[arg-type]
        features=features,
        experiment_name="system",
        model_type="told",
        params={
            "journal": "{{ params.journal }}",
            "gate": "{{ params.gate }}",
            "exit_code": "{{ params.exit_code }}",
        },
        poll_interval=1,
        unreachable_timeout=timedelta(seconds=20),
        **{"timeout": timedelta(minutes=5), **MODES[mode], **changes},
    )


for name in MODES:
    with DAG(f"chain_{name}", **ARGUMENTS):
        datamart = DatamartSensor(
            task_id="wait", datamart="{{ params.datamart }}", poke_interval=1, settle_seconds=0.2, timeout=120
        )
        quality = DatamartQualityOperator(
            task_id="quality",
            datamart=datamart.output,
            schema={"id": "int64", "carrier": "string"},
            not_null=["id"],
            unique=["id"],
            min_rows="{{ params.min_rows }}",  # type: ignore[arg-type]
            report_uri="{{ params.ml_uri }}/reports/{{ run_id }}/",
        )
        built = FeatureBuildOperator(
            task_id="features",
            datamart=quality.output,
            recipe={
                **RECIPE,
                "steps": [
                    {"type": "impute", "columns": ["delay"], "strategy": "{{ params.impute }}"},
                    *RECIPE["steps"][1:],
                ],
            },
            output_uri="{{ params.ml_uri }}/features/",
            latest_parquet=True,
        )
        training(name, built.output)

    with DAG(f"train_{name}", **ARGUMENTS):
        training(name, "{{ params.features }}")

with DAG("train_ssh_in_worker", **ARGUMENTS):
    training("ssh", "{{ params.features }}", deferrable=False)

# Airflow fails a task that is resumed before it has handled the executor's word that its first part ended;
# on a busy machine that costs a try, in which the task attaches.
with DAG("train_ssh_beside", **ARGUMENTS):
    training("ssh", "{{ params.features }}", retries=4)

    @task
    def beside() -> None:
        """Is cleared while the training runs."""

    beside()

with DAG("train_signals", **{**ARGUMENTS, "params": {**PARAMS, "min_auc": 0.5}}) as signals:
    training(
        "dag",
        "{{ params.features }}",
        min_metrics={"auc": "{{ params.min_auc }}"},
        skip_if_unchanged=True,
        retries=4,
        outlets=[Asset(name="system_model", uri="s3://lake/model")],
    )
enable_lineage(signals)

with DAG("train_ssh_short", **ARGUMENTS):
    training("ssh", "{{ params.features }}", timeout=timedelta(seconds=3), retries=0)


@dag(schedule=None, catchup=False)
def training_child() -> None:
    @task
    def train() -> dict[str, Any]:
        run = get_current_context()["dag_run"]
        request: dict[str, Any] = run.conf or {}
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            environment = {
                **os.environ,
                "MLBRIDGE_REQUEST": json.dumps(request),
                "MLBRIDGE_FEATURES_URI": request["features_uri"],
                "MLBRIDGE_RESULT_FILE": str(result),
                "MLBRIDGE_JOB_KEY": run.run_id,
            }
            subprocess.run([sys.executable, "-S", TRAINER], env=environment, check=True)
            document: dict[str, Any] = json.loads(result.read_text())
            return document

    train()


training_child()
