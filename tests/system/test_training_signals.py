# SPDX-License-Identifier: Apache-2.0
"""What a training is judged by, what is not trained again, and what others are told, in a real Airflow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.conftest import Bridge, Place
from tests.system.signals import wait_for_lineage

pytestmark = pytest.mark.system

DAG_ID = "train_signals"


def test_what_is_unchanged_is_not_trained_again_and_what_is_not_good_enough_fails(
    bridge: Bridge, place: Place
) -> None:
    place.put_features()
    first = place.start(DAG_ID)
    assert bridge.api.wait_for_run(DAG_ID, first, timeout=120) == "success"
    result = bridge.api.xcom(DAG_ID, first, "train")

    # Metrics of both slices of the task.
    tags = f"dag_id={DAG_ID},task_id=train,mode=dag"
    lines = bridge.metrics.wait_for(lambda line: f"dag_id={DAG_ID}," in line, 2, timeout=60)
    assert {
        f"mlbridge.training.submitted,{tags},attached=false:1|c",
        f"mlbridge.training.ended,{tags},outcome=succeeded:1|c",
    } <= {line.removeprefix("airflow.") for line in lines}

    # Lineage from the features to the model.
    event = wait_for_lineage(
        bridge.lineage,
        lambda event: event["eventType"] == "COMPLETE" and event["job"]["name"] == f"{DAG_ID}.train",
    )
    assert [(item["namespace"], item["name"]) for item in event["inputs"]] == [
        (f"s3://{bridge.bucket}", f"{place.name}/ready")
    ]
    assert [(item["namespace"], item["name"]) for item in event["outputs"]] == [("file", "/models/1")]
    facet: dict[str, Any] = event["run"]["facets"]["mlbridge_training"]
    assert (facet["outcome"], facet["metrics"], facet["jobId"]) == (
        "succeeded",
        {"auc": 0.75},
        result["job_id"],
    )

    # The link leads to the run that trained.
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{first}/taskInstances/train/links"
    link = bridge.api.request("GET", path)["extra_links"]["Training run"]
    assert link.endswith(f"/dags/training_child/runs/{result['job_id'].split('/')[1]}")

    second = place.start(DAG_ID)
    assert bridge.api.wait_for_run(DAG_ID, second, timeout=120) == "success"
    assert bridge.api.xcom(DAG_ID, second, "train") == result
    assert bridge.api.xcom(DAG_ID, second, "train", "training_job")["unchanged_since"] == first
    assert len(place.journal("start")) == 1

    third = place.start(DAG_ID, min_auc=0.8)
    assert bridge.api.wait_for_run(DAG_ID, third, timeout=120) == "failed"
    # Airflow itself may lose a try whose deferral was very short; the next attaches.
    last = bridge.api.task(DAG_ID, third, "train").try_number
    assert "auc is 0.75, at least 0.8 was asked for" in bridge.api.log(DAG_ID, third, "train", last)
    assert len(place.journal("start")) == 2
