# SPDX-License-Identifier: Apache-2.0
"""Trainings of the reference service as processes: killed, cancelled, orphaned, queued, too slow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.services.process import wait_until
from tests.integration.training_service_process import (
    TrainingService,
    keyed,
    pids_of,
    process_in,
    running_service,
    told,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[TrainingService]:
    """One that the test may crash."""
    with running_service(tmp_path) as running:
        yield running


def test_queue_is_in_order_and_within_the_limit(tmp_path: Path) -> None:
    service = TrainingService(tmp_path, concurrency=1)
    journal, go = tmp_path / "journal", tmp_path / "go"
    body = told(["wait_for", str(go)], journal=str(journal))
    try:
        service.start()
        jobs = [service.trigger(f"q{number}", body).json["job_id"] for number in range(4)]
        service.wait_for_status(jobs[0], "running")
        waiting = service.call("GET", f"/api/v1/training/{jobs[1]}")
        assert waiting.json["status"] == "queued"
        assert waiting.headers["Retry-After"] == "1"
        cancelled = service.call("POST", f"/api/v1/training/{jobs[2]}/cancel", {"reason": "not needed"})
        assert (cancelled.json["status"], cancelled.json["reason"]) == ("cancelled", "not needed")
        assert journal.read_text().count("start") == 1
        go.touch()
        for job_id in (jobs[0], jobs[1], jobs[3]):
            service.wait_for_status(job_id, "succeeded")
        keys = [line.split()[:2] for line in journal.read_text().splitlines()]
        assert keys == [[word, key] for key in ("q0", "q1", "q3") for word in ("start", "end")]
    finally:
        service.stop()


def test_training_survives_a_killed_service_and_its_result_is_returned(
    own_service: TrainingService, tmp_path: Path
) -> None:
    go, journal = tmp_path / "go", tmp_path / "journal"
    body = told(["wait_for", str(go)], ["result", {"metrics": {"auc": 1}}], journal=str(journal))
    running = own_service.trigger("survivor", keyed("survivor", body)).json["job_id"]
    own_service.wait_for_status(running, "running")
    own_service.crash()
    go.touch()
    wait_until(lambda: "end" in journal.read_text(), timeout=10, what="the training to end", interval=0.02)
    own_service.start()
    own_service.wait_for_status(running, "succeeded")
    assert own_service.call("GET", f"/api/v1/training/{running}/result").json == {"metrics": {"auc": 1}}
    again = own_service.trigger("survivor", keyed("survivor", body, owner="try-2"))
    assert again.json["job_id"] == running
    assert journal.read_text() == "start survivor 1\nend survivor 1\n"


def test_service_takes_up_jobs_that_run_and_jobs_that_wait(tmp_path: Path) -> None:
    service = TrainingService(tmp_path, concurrency=1)
    go, journal = tmp_path / "go", tmp_path / "journal"
    body = told(["wait_for", str(go)], journal=str(journal))
    try:
        service.start()
        first = service.trigger("first", body).json["job_id"]
        second = service.trigger("second", body).json["job_id"]
        service.wait_for_status(first, "running")
        service.crash()
        service.start()
        assert service.status(first)["status"] == "running"
        assert service.status(second)["status"] == "queued"
        go.touch()
        service.wait_for_status(second, "succeeded")
        assert [line.split()[1] for line in journal.read_text().splitlines()] == [
            "first", "first", "second", "second",
        ]  # fmt: skip
    finally:
        service.stop()


def test_killed_training_fails_with_the_reason(service: TrainingService) -> None:
    job_id = service.trigger("shot", told(["wait_for", "/does/not/exist"])).json["job_id"]
    service.wait_for_status(job_id, "running")
    os.kill(process_in(service, job_id, "child"), signal.SIGKILL)
    ended = service.wait_for_status(job_id, "failed")
    assert ended["exit_code"] == 137
    assert "SIGKILL" in ended["reason"]
    no_result = service.call("GET", f"/api/v1/training/{job_id}/result")
    assert (no_result.status, no_result.json["type"]) == (409, "urn:mlbridge:problem:no-result")


def test_training_without_its_supervisor_is_orphaned_and_then_lost(
    service: TrainingService, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job_id = service.trigger("orphan", told(["wait_for", str(go)], ["result", {}])).json["job_id"]
    service.wait_for_status(job_id, "running")
    os.kill(process_in(service, job_id, "supervisor"), signal.SIGKILL)
    service.wait_for_status(job_id, "orphaned")
    assert pids_of(job_id)
    go.touch()
    ended = service.wait_for_status(job_id, "lost")
    assert "exit code" in ended["reason"]


def test_orphan_can_be_cancelled(service: TrainingService) -> None:
    job_id = service.trigger("orphan-2", told(["wait_for", "/does/not/exist"])).json["job_id"]
    service.wait_for_status(job_id, "running")
    os.kill(process_in(service, job_id, "supervisor"), signal.SIGKILL)
    service.wait_for_status(job_id, "orphaned")
    service.call("POST", f"/api/v1/training/{job_id}/cancel", {})
    service.wait_for_status(job_id, "cancelled")
    assert pids_of(job_id) == []


def test_children_of_a_lost_training_are_ended(service: TrainingService) -> None:
    steps = told(["detached_child", None], ["print", "up"], ["wait_for", "/does/not/exist"])
    job_id = service.trigger("lost-tree", steps).json["job_id"]
    wait_until(lambda: service.status(job_id)["log_size"] > 0, timeout=10, what="the child", interval=0.05)
    for fact in ("supervisor", "child"):
        os.kill(process_in(service, job_id, fact), signal.SIGKILL)
    service.wait_for_status(job_id, "lost")
    assert pids_of(job_id) == []


def test_supervisor_and_training_killed_while_the_service_is_down_is_lost(
    own_service: TrainingService,
) -> None:
    job_id = own_service.trigger("both", told(["wait_for", "/does/not/exist"])).json["job_id"]
    own_service.wait_for_status(job_id, "running")
    own_service.crash()
    for fact in ("supervisor", "child"):
        os.kill(process_in(own_service, job_id, fact), signal.SIGKILL)
    own_service.start()
    assert "gone" in own_service.wait_for_status(job_id, "lost")["reason"]


def test_pid_that_was_given_out_again_is_not_taken_for_the_training(own_service: TrainingService) -> None:
    job_id = own_service.trigger("reused", told(["wait_for", "/does/not/exist"])).json["job_id"]
    own_service.wait_for_status(job_id, "running")
    own_service.crash()
    for fact in ("supervisor", "child"):
        path = own_service.job_folder(job_id) / f"{fact}.json"
        document = json.loads(path.read_text())
        os.kill(document["process"]["pid"], signal.SIGKILL)
        # Our own pid, with the dead process's start time: it lives, and is someone else.
        document["process"]["pid"] = os.getpid()
        path.write_text(json.dumps(document))
    own_service.start()
    own_service.wait_for_status(job_id, "lost")


def test_restarted_host_loses_the_training(own_service: TrainingService) -> None:
    job_id = own_service.trigger("rebooted", told(["wait_for", "/does/not/exist"])).json["job_id"]
    own_service.wait_for_status(job_id, "running")
    own_service.crash()
    for fact in ("supervisor", "child"):
        path = own_service.job_folder(job_id) / f"{fact}.json"
        document = json.loads(path.read_text())
        document["process"]["boot"] = "another boot"
        path.write_text(json.dumps(document))
    own_service.start()
    assert "host was restarted" in own_service.wait_for_status(job_id, "lost")["reason"]


@pytest.mark.parametrize("child", ["detached_child", "detached_child_without_environment"])
def test_cancel_ends_the_whole_tree(service: TrainingService, child: str) -> None:
    body = told(["ignore_term", None], [child, None], ["print", "up"], ["wait_for", "/does/not/exist"])
    job_id = service.trigger(child, keyed(child, body)).json["job_id"]
    wait_until(lambda: service.status(job_id)["log_size"] > 0, timeout=10, what="the child", interval=0.05)
    supervisor = process_in(service, job_id, "supervisor")
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(supervisor)], capture_output=True, text=True
    ).stdout.split()
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", listing[0]], capture_output=True, text=True
    ).stdout.split()
    assert len(children) == 1
    answer = service.call("POST", f"/api/v1/training/{job_id}/cancel", {"owner": "try-1", "reason": "enough"})
    assert (answer.status, answer.json["status"]) == (202, "cancelling")
    ended = service.wait_for_status(job_id, "cancelled")
    assert ended["reason"] == "enough"
    assert not any(Path(f"/proc/{pid}").exists() for pid in [*listing, *children])


def test_children_left_behind_do_not_outlive_the_training(service: TrainingService) -> None:
    job_id = service.trigger("leaver", told(["detached_child", None], ["result", {}])).json["job_id"]
    service.wait_for_status(job_id, "succeeded")
    assert pids_of(job_id) == []


def test_timeout_stops_the_training(service: TrainingService) -> None:
    body = {**told(["wait_for", "/does/not/exist"]), "timeout_seconds": 0.5}
    job_id = service.trigger("slow", body).json["job_id"]
    ended = service.wait_for_status(job_id, "timed_out")
    assert "0.5 s" in ended["reason"]
    assert pids_of(job_id) == []


@pytest.mark.parametrize(
    ("model_type", "said"), [("broken", "/does/not/exist"), ("nowhere", "working_dir '/does/not/exist'")]
)
def test_pipeline_that_cannot_start_fails_with_the_reason(
    service: TrainingService, model_type: str, said: str
) -> None:
    job_id = service.trigger(model_type, {"model_type": model_type}).json["job_id"]
    ended = service.wait_for_status(job_id, "failed")
    assert said in ended["reason"]
