# SPDX-License-Identifier: Apache-2.0
"""Datamart quality in a real Airflow: many datamarts at once, and what is told outside."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_mlbridge.results import FeatureSet, QualitySummary
from tests.system.conftest import Bridge, Place
from tests.system.signals import wait_for_lineage

pytestmark = pytest.mark.system

MANY = 50
BROKEN = 17


def objects(bridge: Bridge, prefix: str) -> dict[str, bytes]:
    """Everything below a prefix of the bucket, by the rest of its key."""
    client = bridge.s3.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bridge.bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            body = client.get_object(Bucket=bridge.bucket, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(prefix)] = body
    client.close()
    return found


def put_flight_delays(bridge: Bridge) -> None:
    """A datamart such as the examples name, small."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 1200
    start = datetime(2026, 1, 1)  # noqa: DTZ001  (local time, as in the datamart)
    table = pa.table(
        {
            "flight_id": range(rows),
            "month": [1] * rows,
            "scheduled_departure": pa.array(
                [start + timedelta(minutes=5 * row) for row in range(rows)], pa.timestamp("us")
            ),
            "carrier": [("AA", "B6", "9E")[row % 3] for row in range(rows)],
            "origin": [("EWR", "JFK", "LGA")[row % 3] for row in range(rows)],
            "dest": ["BOS"] * rows,
            "distance": [200 + row for row in range(rows)],
            "temp": [30.0 + row % 50 for row in range(rows)],
            "pressure": [None if row % 10 == 0 else 1013.0 for row in range(rows)],
            "arrived_late_30": [row % 5 == 0 for row in range(rows)],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    client = bridge.s3.client()
    client.put_object(
        Bucket=bridge.bucket,
        Key="examples/flight_delays/part-0.parquet",
        Body=sink.getvalue().to_pybytes(),
    )
    client.close()


def test_an_example_for_each_kind_of_input(bridge: Bridge) -> None:
    put_flight_delays(bridge)
    # How many expectations each makes; what the contract says in words is listed.
    expected = {"shorthands": 11, "suite": 6, "gx_objects": 4, "contract": 18, "dbt_manifest": 9}
    runs = {kind: bridge.api.trigger(f"quality_by_{kind}") for kind in expected}
    found = {}
    for kind, run_id in runs.items():
        dag_id = f"quality_by_{kind}"
        state = bridge.api.wait_for_run(dag_id, run_id, timeout=240)
        assert state == "success", bridge.api.log(dag_id, run_id, "check_quality")
        summary = QualitySummary.from_dict(bridge.api.xcom(dag_id, run_id, "check_quality"))
        assert summary.passed == summary.evaluated
        assert summary.unsupported == (1 if kind == "contract" else 0)
        found[kind] = summary.evaluated
    assert found == expected


def test_fifty_datamarts_by_mapping(bridge: Bridge, place: Place) -> None:
    place.put_datamart()
    client = bridge.s3.client()
    whole = f"{bridge.bucket}/{place.name}/mart/part-0.parquet"
    for number in range(MANY):
        client.copy_object(
            Bucket=bridge.bucket, Key=f"{place.name}/many/{number}/part-0.parquet", CopySource=whole
        )
    client.close()
    bad = bridge.place()
    bad.put_datamart([1, 1, None])
    datamarts = [f"{place.uri}/many/{number}/" for number in range(MANY)]
    datamarts[BROKEN] = bad.conf["datamart"]

    run_id = place.start("quality_many", datamarts=datamarts, report_uri=f"{place.uri}/reports/")
    assert bridge.api.wait_for_run("quality_many", run_id, timeout=600) == "failed"

    tasks = bridge.api.tasks("quality_many", run_id)
    instances = {task.map_index: task.state for task in tasks if task.task_id == "quality"}
    assert [index for index, state in instances.items() if state != "success"] == [BROKEN]
    assert len(instances) == MANY
    written = objects(bridge, f"{place.name}/reports/")
    fit = {
        int(name.split("/")[0]): json.loads(body)["meta"]["mlbridge"]
        for name, body in written.items()
        if name.endswith("/quality_report.json")
    }
    # Each wrote a report of its own, about its own datamart.
    assert {index: report["datamart"] for index, report in fit.items()} == dict(enumerate(datamarts))
    assert [index for index, report in fit.items() if not report["success"]] == [BROKEN]
    histories = [name for name in written if "/history/" in name]
    assert len(histories) == len({name.split("/")[0] for name in histories}) == MANY


def test_what_a_check_tells_metrics_lineage_and_assets(bridge: Bridge, place: Place) -> None:
    place.put_datamart()
    run_id = place.start(
        "quality_signals", report_uri=f"{place.uri}/reports/", quarantine_uri=f"{place.uri}/bad/"
    )
    assert bridge.api.wait_for_run("quality_signals", run_id, timeout=180) == "success"
    summary = QualitySummary.from_dict(bridge.api.xcom("quality_signals", run_id, "quality"))
    missing = summary.quarantined_rows
    assert missing is not None
    assert 0 < missing < 300

    # Metrics, with the tags that an alert would choose by.
    lines = bridge.metrics.wait_for(lambda line: "dag_id=quality_signals" in line, 13, timeout=60)
    values = {line.split(":")[0].removeprefix("airflow."): line.split(":")[1] for line in lines}
    tags = "dag_id=quality_signals,task_id=quality"
    assert values[f"mlbridge.quality.rows,{tags}"] == "300|g"
    assert values[f"mlbridge.quality.pass_ratio,{tags}"] == "0.5|g"
    assert values[f"mlbridge.quality.checks,{tags},result=passed"] == "1|g"
    assert values[f"mlbridge.quality.checks,{tags},result=failed"] == "1|g"
    assert values[f"mlbridge.quality.checks,{tags},result=not_checked"] == "0|g"
    assert values[f"mlbridge.quality.quarantined_rows,{tags}"] == f"{missing}|g"
    assert float(values[f"mlbridge.quality.published,{tags}"].split("|")[0]) > 1_700_000_000
    assert values[f"mlbridge.quality.duration,{tags}"].endswith("|ms")

    # Lineage: the datamart with the verdict on every expectation.
    event = wait_for_lineage(
        bridge.lineage,
        lambda event: event["eventType"] == "COMPLETE" and event["job"]["name"] == "quality_signals.quality",
    )
    (dataset,) = event["inputs"]
    assert (dataset["namespace"], dataset["name"]) == (f"s3://{bridge.bucket}", f"{place.name}/mart")
    facets: dict[str, Any] = dataset["inputFacets"]
    assert facets["dataQualityMetrics"]["rowCount"] == 300
    verdicts = {
        item["column"]: (item["assertion"], item["success"], item["severity"])
        for item in facets["dataQualityAssertions"]["assertions"]
    }
    not_null = "expect_column_values_to_not_be_null"
    assert verdicts == {"delay": (not_null, False, "warn"), "id": (not_null, True, "error")}

    # The asset's event says what was checked.
    found = bridge.api.request(
        "GET",
        "/api/v2/assets/events",
        query={"source_dag_id": "quality_signals", "source_run_id": run_id},
    )
    (asset_event,) = found["asset_events"]
    assert asset_event["extra"] == {
        "fingerprint": summary.snapshot.fingerprint,
        "rows": 300,
        "pass_ratio": 0.5,
    }

    # The features were built from the rows that broke nothing.
    features = FeatureSet.from_dict(bridge.api.xcom("quality_signals", run_id, "features"))
    assert features.rows == 300 - missing
    assert features.datamart_uri == summary.clean_uri

    # They say so, and which column each comes from.
    tags = "dag_id=quality_signals,task_id=features"
    assert values[f"mlbridge.features.rows,{tags}"] == f"{features.rows}|g"
    assert values[f"mlbridge.features.count,{tags}"] == "1|g"
    assert values[f"mlbridge.features.duration,{tags}"].endswith("|ms")
    event = wait_for_lineage(
        bridge.lineage,
        lambda event: event["eventType"] == "COMPLETE" and event["job"]["name"] == "quality_signals.features",
    )
    (written,) = event["outputs"]
    assert (written["namespace"], written["name"]) == (
        f"s3://{bridge.bucket}",
        f"{place.name}/reports/features",
    )
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == features.rows
    fields = written["facets"]["columnLineage"]["fields"]
    assert {name: [item["field"] for item in found["inputFields"]] for name, found in fields.items()} == {
        "delay": ["delay"]
    }
