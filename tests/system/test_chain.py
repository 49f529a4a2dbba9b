# SPDX-License-Identifier: Apache-2.0
"""The bridge in a real Airflow: what was validated is what was featured is what was trained."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlbridge.results import QualitySummary, Snapshot, TrainingResult
from airflow_provider_mlbridge.storage import read_manifest
from tests.system.conftest import Bridge, Place

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def chains(bridge: Bridge) -> dict[str, tuple[Place, str]]:
    """One chain per mode, all at the same time; the datamart comes after they have begun to wait for it."""
    started = {}
    for mode in ("ssh", "api", "dag"):
        place = bridge.place()
        started[mode] = (place, place.start(f"chain_{mode}"))
    for mode, (place, run_id) in started.items():
        bridge.api.wait_for_task(f"chain_{mode}", run_id, "wait", ["deferred"], timeout=120)
        place.put_datamart()
    for mode, (_, run_id) in started.items():
        bridge.api.wait_for_run(f"chain_{mode}", run_id, timeout=300)
    return started


@pytest.mark.parametrize("mode", ["ssh", "api", "dag"])
def test_one_thing_is_validated_featured_and_trained(
    bridge: Bridge, chains: dict[str, tuple[Place, str]], mode: str
) -> None:
    place, run_id = chains[mode]
    dag_id = f"chain_{mode}"
    # The first try is lost where Airflow hears of the deferral only after its end.
    last = bridge.api.task(dag_id, run_id, "train").try_number
    assert bridge.api.run_state(dag_id, run_id) == "success", bridge.api.log(dag_id, run_id, "train", last)

    snapshot = Snapshot.from_dict(bridge.api.xcom(dag_id, run_id, "wait"))
    quality = QualitySummary.from_dict(bridge.api.xcom(dag_id, run_id, "quality"))
    features = place.feature_set(dag_id, run_id)
    result = TrainingResult.from_dict(bridge.api.xcom(dag_id, run_id, "train"))
    assert quality.snapshot.fingerprint == snapshot.fingerprint == features.datamart_fingerprint
    assert (quality.success, quality.rows, quality.failed, quality.not_checked) == (True, 300, 0, 0)
    assert quality.evaluated == quality.passed > 0
    assert features.rows == 300
    assert 0 < features.train_rows < 300
    assert result.features_uri == features.uri
    assert result.features_fingerprint == features.fingerprint
    assert result.metrics == {"auc": 0.75}
    assert (result.mode, result.generation, result.state) == (mode, 1, "succeeded")
    assert len(place.journal("start")) == len(place.journal("end")) == 1

    client = bridge.s3.client()
    assert read_manifest(f"{place.uri}/ml/features/", s3_client=client).fingerprint == features.fingerprint
    reports = client.list_objects_v2(Bucket=bridge.bucket, Prefix=f"{place.name}/ml/reports/")["Contents"]
    client.close()
    names = [report["Key"].removeprefix(f"{place.name}/ml/reports/{run_id}/") for report in reports]
    assert sorted(name for name in names if not name.startswith("history/")) == [
        "quality_report.html",
        "quality_report.json",
    ]
    assert len(names) == 3


@pytest.mark.parametrize("mode", ["ssh", "api"])
def test_the_trainings_own_lines_are_in_the_tasks_log(
    bridge: Bridge, chains: dict[str, tuple[Place, str]], mode: str
) -> None:
    _, run_id = chains[mode]
    # From the files: where Airflow has lost the first try, its API does not show that try's log any more.
    folder = bridge.airflow.folder / "logs" / f"dag_id=chain_{mode}" / f"run_id={run_id}" / "task_id=train"
    log = "".join(path.read_text() for path in folder.iterdir())
    assert log.count("last words of the training") == 1


@pytest.mark.parametrize("mode", ["ssh", "api", "dag"])
def test_where_it_trains_is_told_before_the_wait(
    bridge: Bridge, chains: dict[str, tuple[Place, str]], mode: str
) -> None:
    _, run_id = chains[mode]
    job: dict[str, Any] = bridge.api.xcom(f"chain_{mode}", run_id, "train", "training_job")
    assert job["mode"] == mode
    assert job["job_id"]


def test_a_bad_datamart_fails_at_once_with_report_and_nothing_after_it(bridge: Bridge, place: Place) -> None:
    place.put_datamart([1, 2, 2, None, *range(10, 100)])
    run_id = place.start("chain_ssh")
    assert bridge.api.wait_for_run("chain_ssh", run_id, timeout=180) == "failed"

    task = bridge.api.task("chain_ssh", run_id, "quality")
    assert (task.state, task.try_number) == ("failed", 1), "a retry cannot help, so none is used up"
    log = bridge.api.log("chain_ssh", run_id, "quality")
    assert "expect_column_values_to_be_unique" in log
    assert "expect_column_values_to_not_be_null" in log
    assert f"{place.uri}/ml/reports/" in log
    summary = QualitySummary.from_dict(bridge.api.xcom("chain_ssh", run_id, "quality", "quality"))
    assert (summary.success, summary.failed) == (False, 2)
    assert bridge.api.task("chain_ssh", run_id, "features").state == "upstream_failed"
    assert place.journal("start") == []


def test_a_recipe_that_is_wrong_fails_at_once_and_publishes_nothing(bridge: Bridge, place: Place) -> None:
    place.put_datamart()
    run_id = place.start("chain_ssh", impute="average")
    assert bridge.api.wait_for_run("chain_ssh", run_id, timeout=180) == "failed"
    task = bridge.api.task("chain_ssh", run_id, "features")
    assert (task.state, task.try_number) == ("failed", 1)
    log = bridge.api.log("chain_ssh", run_id, "features")
    assert "InvalidRecipeError" in log
    assert "'average'" in log
    assert "median" in log
    client = bridge.s3.client()
    found = client.list_objects_v2(Bucket=bridge.bucket, Prefix=f"{place.name}/ml/features/")
    client.close()
    assert found["KeyCount"] == 0


def test_a_repeat_on_the_same_datamart_publishes_no_second_version(
    bridge: Bridge, chains: dict[str, tuple[Place, str]]
) -> None:
    place, run_id = chains["ssh"]
    again = place.start("chain_ssh")
    assert bridge.api.wait_for_run("chain_ssh", again, timeout=180) == "success"
    assert place.feature_set("chain_ssh", again).uri == place.feature_set("chain_ssh", run_id).uri
    assert len(place.journal("start")) == 2, "another run is another training"
