# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a training, in a real Airflow: exactly one run per key, and nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.services.process import wait_until
from tests.system.conftest import ENVIRONMENT_SECRET, TOKEN, Bridge, Place

pytestmark = pytest.mark.system

MODES = ("ssh", "api", "dag")


def started_training(place: Place, mode: str) -> tuple[str, str]:
    """A training that runs and waits for its gate, with its task deferred; DAG id and run id."""
    place.put_features()
    dag_id = f"train_{mode}"
    run_id = place.start(dag_id, gate=str(place.gate))
    place.bridge.api.wait_for_task(dag_id, run_id, "train", ["deferred"], timeout=120)
    wait_until(lambda: bool(place.journal("start")), timeout=60, what="the training to start")
    if mode != "dag":
        # Airflow calls on_kill only of a trigger that runs; its first line in the log says that it does.
        wait_until(
            lambda: "training on s3://" in place.bridge.api.log(dag_id, run_id, "train"),
            timeout=60,
            what="the trigger to pass on the log",
            interval=0.5,
        )
    return dag_id, run_id


def is_running(line: str) -> bool:
    """Whether the process of a journal line is there."""
    return Path(f"/proc/{line.split()[1]}").exists()


@pytest.fixture(scope="module")
def failures(bridge: Bridge) -> dict[str, tuple[Place, str]]:
    """One training per mode that fails, each tried twice."""
    started = {}
    for mode in MODES:
        place = bridge.place()
        place.put_features()
        started[mode] = (place, place.start(f"train_{mode}", exit_code="3"))
    for mode, (_, run_id) in started.items():
        bridge.api.wait_for_run(f"train_{mode}", run_id, timeout=240)
    return started


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_training_fails_its_task_and_is_tried_again(
    bridge: Bridge, failures: dict[str, tuple[Place, str]], mode: str
) -> None:
    place, run_id = failures[mode]
    task = bridge.api.task(f"train_{mode}", run_id, "train")
    assert (task.state, task.try_number) == ("failed", 2)
    assert len(place.journal("start")) == 2
    second: dict[str, Any] = bridge.api.xcom(f"train_{mode}", run_id, "train", "training_job")
    assert second["generation"] == 2


@pytest.mark.parametrize("mode", ["ssh", "api"])
def test_the_error_has_the_exit_code_and_the_last_lines(
    bridge: Bridge, failures: dict[str, tuple[Place, str]], mode: str
) -> None:
    _, run_id = failures[mode]
    log = "".join(bridge.api.log(f"train_{mode}", run_id, "train", number) for number in (1, 2))
    assert "exit code 3" in log
    assert "Last lines of its log" in log
    assert "last words of the training" in log


def test_a_triggerer_that_is_killed_loses_and_repeats_nothing(bridge: Bridge) -> None:
    started = []
    for mode in MODES:
        place = bridge.place()
        started.append((place, *started_training(place, mode)))
    bridge.airflow.kill_component("triggerer")
    for place, _, _ in started:
        place.gate.touch()
    bridge.airflow.start_component("triggerer")
    bridge.airflow.wait_component("triggerer")
    for place, dag_id, run_id in started:
        assert bridge.api.wait_for_run(dag_id, run_id, timeout=240) == "success"
        assert bridge.api.task(dag_id, run_id, "train").try_number == 1
        assert len(place.journal("start")) == len(place.journal("end")) == 1


@pytest.mark.parametrize("mode", ["ssh", "api"])
def test_marking_a_waiting_task_failed_stops_the_training(bridge: Bridge, place: Place, mode: str) -> None:
    dag_id, run_id = started_training(place, mode)
    (line,) = place.journal("start")
    assert is_running(line)
    bridge.api.mark_task(dag_id, run_id, "train", "failed")
    wait_until(lambda: not is_running(line), timeout=60, what="the training to be stopped")
    assert place.journal("end") == []


@pytest.mark.parametrize("mode", MODES)
def test_clearing_a_finished_task_trains_again(bridge: Bridge, place: Place, mode: str) -> None:
    place.put_features()
    dag_id = f"train_{mode}"
    run_id = place.start(dag_id)
    assert bridge.api.wait_for_run(dag_id, run_id, timeout=120) == "success"
    first = bridge.api.xcom(dag_id, run_id, "train")
    bridge.api.clear(dag_id, run_id, ["train"])
    bridge.api.wait_for_task(dag_id, run_id, "train", ["success"], timeout=120, try_number=2)
    second = bridge.api.xcom(dag_id, run_id, "train")
    assert (first["generation"], second["generation"]) == (1, 2)
    assert len(place.journal("start")) == 2


@pytest.mark.parametrize("mode", MODES)
def test_clearing_a_waiting_task_never_trains_twice_at_once(bridge: Bridge, place: Place, mode: str) -> None:
    dag_id, run_id = started_training(place, mode)
    (first,) = place.journal("start")
    bridge.api.clear(dag_id, run_id, ["train"])
    bridge.api.wait_for_task(dag_id, run_id, "train", ["deferred"], timeout=120, try_number=2)
    wait_until(
        lambda: is_running(first) or len(place.journal("start")) == 2,
        timeout=60,
        what="the adopted training or the next one",
    )
    assert sum(is_running(line) for line in place.journal("start")) == 1
    place.gate.touch()
    assert bridge.api.wait_for_run(dag_id, run_id, timeout=120) == "success"
    assert len(place.journal("end")) == 1


def test_waiting_in_the_worker_does_the_same(bridge: Bridge, place: Place) -> None:
    place.put_features()
    run_id = place.start("train_ssh_in_worker")
    assert bridge.api.wait_for_run("train_ssh_in_worker", run_id, timeout=120) == "success"
    assert bridge.api.xcom("train_ssh_in_worker", run_id, "train")["metrics"] == {"auc": 0.75}
    assert bridge.api.log("train_ssh_in_worker", run_id, "train").count("last words of the training") == 1


def test_a_training_over_its_time_is_stopped(bridge: Bridge, place: Place) -> None:
    place.put_features()
    run_id = place.start("train_ssh_short", gate=str(place.gate))
    assert bridge.api.wait_for_run("train_ssh_short", run_id, timeout=120) == "failed"
    (line,) = place.journal("start")
    assert not is_running(line)
    assert "TrainingTimedOutError" in bridge.api.log("train_ssh_short", run_id, "train")


@pytest.mark.parametrize(
    ("mode", "conn_id", "error", "tries"),
    [
        ("ssh", "training_ssh_wrong_host_key", "HostKeyError", 1),
        ("ssh", "training_ssh_nobody_there", "BackendUnreachableError", 2),
        ("api", "training_api_wrong_token", "BackendAuthenticationError", 1),
        ("api", "training_ssh", "mode='api' takes mlbridge_api or http", 1),
        ("ssh", "no_such_connection", "no_such_connection", 2),
    ],
)
def test_a_connection_that_does_not_work_is_told_and_retried_only_when_that_can_help(
    bridge: Bridge, place: Place, mode: str, conn_id: str, error: str, tries: int
) -> None:
    place.put_features()
    run_id = place.start(f"train_{mode}", conn_id=conn_id)
    assert bridge.api.wait_for_run(f"train_{mode}", run_id, timeout=180) == "failed"
    task = bridge.api.task(f"train_{mode}", run_id, "train")
    assert task.try_number == tries
    assert error in bridge.api.log(f"train_{mode}", run_id, "train", tries)
    assert place.journal("start") == []


def test_no_secret_is_left_in_logs_or_database(
    bridge: Bridge, failures: dict[str, tuple[Place, str]]
) -> None:
    # Asks for runs of all modes, so that there is something to search in.
    assert failures
    key_line = bridge.sshd.client_key_path.read_text().splitlines()[2].encode()
    secrets = [TOKEN.encode(), ENVIRONMENT_SECRET.encode(), bridge.s3.secret_key.encode(), key_line]
    home = bridge.airflow.folder
    searched = 0
    for path in [*home.glob("logs/**/*.log"), *home.glob("airflow.db*"), *home.glob("*.log")]:
        if not path.is_file():
            continue
        searched += 1
        data = path.read_bytes()
        found = [secret for secret in secrets if secret in data]
        assert not found, f"{path} holds a planted secret"
    assert searched > 10
    assert (home / "airflow.db").stat().st_size > 0
