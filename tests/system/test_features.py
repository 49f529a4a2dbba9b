# SPDX-License-Identifier: Apache-2.0
"""Feature builds in a real Airflow, partition by partition."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta

import pytest

from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.storage import read_manifest
from tests.system.conftest import Bridge

pytestmark = pytest.mark.system

ROWS = 600


def put_day(bridge: Bridge, day: int) -> None:
    """One partition of a datamart such as the example names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(day)
    start = datetime(2026, 1, day)  # noqa: DTZ001  (local time, as in the datamart)
    flights = sorted(rng.sample(range(10**9), ROWS))
    columns = {
        "flight_id": flights,
        "scheduled_departure": pa.array(
            [start + timedelta(minutes=rng.randrange(1440)) for _ in flights], pa.timestamp("us")
        ),
        "carrier": [rng.choice(["AA", "B6", "9E"]) for _ in flights],
        "origin": [rng.choice(["EWR", "JFK", "LGA"]) for _ in flights],
        "distance": [rng.randrange(100, 3000) for _ in flights],
        "temp": [rng.gauss(50, 10) for _ in flights],
        "pressure": [None if rng.random() < 0.1 else rng.gauss(1013, 5) for _ in flights],
        "arrived_late_30": [rng.random() < 0.2 for _ in flights],
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    client = bridge.s3.client()
    client.put_object(
        Bucket=bridge.bucket,
        Key=f"examples/flight_delays_by_day/day=2026-01-{day:02}/part-0.parquet",
        Body=sink.getvalue().to_pybytes(),
    )
    client.close()


def test_the_example_adds_one_day_after_another(bridge: Bridge) -> None:
    bridge.api.wait_for_dag("features_by_partition")
    bridge.api.unpause("features_by_partition")
    built = {}
    for day in (1, 2):
        put_day(bridge, day)
        run_id = bridge.api.trigger("features_by_partition", conf={"day": f"2026-01-{day:02}"})
        state = bridge.api.wait_for_run("features_by_partition", run_id, timeout=240)
        assert state == "success", bridge.api.log("features_by_partition", run_id, "build_features")
        found = bridge.api.xcom("features_by_partition", run_id, "build_features")
        built[day] = FeatureSet.from_dict(found)
    assert [built[day].rows for day in (1, 2)] == [ROWS, 2 * ROWS]
    client = bridge.s3.client()
    manifest = read_manifest(built[2].manifest_uri, s3_client=client)
    names = [file.name for file in manifest.files]
    for day in (1, 2):
        assert f"day=2026-01-{day:02}/features.parquet" in names
    drift = next(file for file in manifest.files if file.name == "day=2026-01-02/drift.json")
    key = drift.uri.removeprefix(f"s3://{bridge.bucket}/")
    verdict = json.loads(client.get_object(Bucket=bridge.bucket, Key=key)["Body"].read())
    client.close()
    assert verdict["verdict"] == "no_drift"
    assert verdict["reference"] == f"{built[1].uri}day=2026-01-01/"
