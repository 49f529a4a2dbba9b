# SPDX-License-Identifier: Apache-2.0
"""Datamart quality alone: many datamarts by mapping, and what it tells the world outside."""

from __future__ import annotations

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG, Asset, task

from airflow_provider_mlbridge.operators import DatamartQualityOperator, FeatureBuildOperator

CHECKED = Asset(name="system_checked_mart", uri="s3://lake/checked/")

with DAG("quality_many", schedule=None, catchup=False, params={"datamarts": [], "report_uri": ""}):

    @task
    def datamarts(params: dict[str, list[str]] | None = None) -> list[str]:
        return (params or {})["datamarts"]

    DatamartQualityOperator.partial(
        task_id="quality",
        not_null=["id"],
        unique=["id"],
        expectations=[
            {
                "type": "expect_column_values_to_be_in_set",
                "kwargs": {"column": "carrier", "value_set": ["AA", "B6", "UA"]},
            }
        ],
        report_uri="{{ params.report_uri }}",
    ).expand(datamart=datamarts())

with DAG(
    "quality_signals",
    schedule=None,
    catchup=False,
    params={"datamart": "", "report_uri": "", "quarantine_uri": ""},
) as signals:
    quality = DatamartQualityOperator(
        task_id="quality",
        datamart="{{ params.datamart }}",
        not_null=["id"],
        expectations=[
            {
                "type": "expect_column_values_to_not_be_null",
                "kwargs": {"column": "delay"},
                "severity": "warning",
            }
        ],
        report_uri="{{ params.report_uri }}",
        quarantine_uri="{{ params.quarantine_uri }}",
        outlets=[CHECKED],
    )
    FeatureBuildOperator(
        task_id="features",
        datamart=quality.output,
        recipe={"name": "clean", "keys": ["id"], "steps": [{"type": "standard", "columns": ["delay"]}]},
        output_uri="{{ params.report_uri }}features/",
    )

enable_lineage(signals)
