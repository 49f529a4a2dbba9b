# SPDX-License-Identifier: Apache-2.0
"""What users write, for the type checker: it is never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from airflow.sdk import DAG, Asset

from airflow_provider_mlbridge.operators import FeatureBuildOperator, MLTrainingTriggerOperator

with DAG("typed", schedule=None):
    built = FeatureBuildOperator(
        task_id="features", datamart="s3://lake/mart/", recipe="recipe.yaml", output_uri="s3://lake/features/"
    )
    MLTrainingTriggerOperator(
        task_id="ssh",
        mode="ssh",
        conn_id="training_host",
        features=built.output,
        experiment_name="flights",
        model_type="gbm",
        command="python train.py",
        environment={"TOKEN": "{{ conn.tracking.password }}"},
        timeout=timedelta(hours=8),
        unreachable_timeout=timedelta(minutes=30),
        min_metrics={"accuracy": 0.8},
        skip_if_unchanged=True,
        forgotten="train",
        outlets=[Asset(name="model", uri="s3://lake/model")],
    )
    MLTrainingTriggerOperator(
        task_id="wrong_mode",
        mode="shh",  # type: ignore[arg-type]
        features="s3://lake/features/",
        experiment_name="flights",
        model_type="gbm",
    )
    MLTrainingTriggerOperator(
        task_id="wrong_way_out",
        mode="dag",
        trigger_dag_id="child",
        features="s3://lake/features/",
        experiment_name="flights",
        model_type="gbm",
        poll_interval="{{ params.poll_interval }}",
        forgotten="ignore",  # type: ignore[arg-type]
    )
    adapter: Mapping[str, object] = {"name": "ours"}
    MLTrainingTriggerOperator.partial(
        task_id="mapped",
        mode="api",
        conn_id="service",
        adapter=adapter,
        features=built.output,
        experiment_name="flights",
        model_type="gbm",
    ).expand(training_params=[{"project": number} for number in range(50)])
