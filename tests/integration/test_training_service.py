# SPDX-License-Identifier: Apache-2.0
"""The reference training service, over HTTP, as a real process with real trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.services.process import REPOSITORY, base_environment, wait_until
from tests.integration.training_service_process import TOKEN, TOKEN_VARIABLE, TRIGGER, TrainingService, told

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    running = TrainingService(tmp_path_factory.mktemp("service"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[TrainingService]:
    """One that the test may crash."""
    running = TrainingService(tmp_path)
    try:
        yield running.start()
    finally:
        running.stop()


def pids_of(job_id: str) -> list[int]:
    """Live processes of a job, by the marker that the training's environment has."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"MLBRIDGE_JOB_ID={job_id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def process_in(service: TrainingService, job_id: str, fact: str) -> int:
    document = json.loads((service.job_folder(job_id) / f"{fact}.json").read_text())
    return int(document["process"]["pid"])


def keyed(key: str, body: dict[str, Any], *, owner: str = "try-1", epoch: int = 1) -> dict[str, Any]:
    return {**body, "key": key, "owner": owner, "epoch": epoch, "digest": "d1"}


def test_training_gets_its_request_and_its_result_is_returned(
    service: TrainingService, tmp_path: Path
) -> None:
    seen = tmp_path / "seen.json"
    body = {
        **told(["write", str(seen)], ["print", "epoch 1"], ["result", {"metrics": {"auc": 0.75}}]),
        "features_uri": "s3://bucket/features/v1/",
        "features_fingerprint": "f00d",
        "experiment_name": "Köln",
    }
    answer = service.trigger("whole", body)
    assert answer.status == 202
    assert answer.json["status"] == "triggered"
    job_id = answer.json["job_id"]
    done = service.wait_for_status(job_id, "succeeded")
    assert (done["exit_code"], done["reason"], done["generation"]) == (0, "", 1)
    assert done["started_at"] <= done["finished_at"]
    saw = json.loads(seen.read_text())
    environment = saw["environment"]
    assert environment["MLBRIDGE_FEATURES_URI"] == "s3://bucket/features/v1/"
    assert environment["MLBRIDGE_FEATURES_FINGERPRINT"] == "f00d"
    assert environment["MLBRIDGE_JOB_KEY"] == "whole"
    assert environment["MLBRIDGE_JOB_GENERATION"] == "1"
    assert environment["FROM_PIPELINE"] == "yes"
    assert environment["PATH"]
    assert json.loads(environment["MLBRIDGE_REQUEST"]) == body
    assert json.loads(Path(environment["MLBRIDGE_REQUEST_FILE"]).read_text()) == body
    assert TOKEN not in json.dumps(environment)
    assert saw["cwd"] == str(service.job_folder(job_id) / "work")
    links = done["links"]
    assert service.call("GET", links["result"]).json == {"metrics": {"auc": 0.75}}
    log = service.call("GET", links["logs"]).json
    assert log == {"text": "epoch 1\n", "offset": 0, "next_offset": 8, "size": 8, "complete": True}


def test_replay_answers_the_same_and_another_payload_is_refused(service: TrainingService) -> None:
    first = service.trigger("replayed", told(["exit", 3]))
    assert "Idempotent-Replayed" not in first.headers
    service.wait_for_status(first.json["job_id"], "failed")
    again = service.trigger("replayed", told(["exit", 3]))
    assert (again.status, again.json) == (202, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = service.trigger("replayed", told(["exit", 4]))
    assert other.status == 422
    assert other.headers["Content-Type"] == "application/problem+json"
    assert other.json["type"] == "urn:mlbridge:problem:key-reused"
    assert "'replayed' generation 1 is failed" in other.json["detail"]


def test_fifty_submissions_at_once_start_one_training(service: TrainingService, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    body = told(["result", {}], journal=str(journal))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: service.trigger("many", keyed("many", body)), range(50)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["job_id"] for answer in answers}) == 1
    assert sum(answer.headers["Idempotent-Replayed"] is None for answer in answers) == 1
    service.wait_for_status(answers[0].json["job_id"], "succeeded")
    assert journal.read_text() == "start many 1\nend many 1\n"


def test_generations_of_a_key(service: TrainingService, tmp_path: Path) -> None:
    failing = told(["wait_for", str(tmp_path / "go")], ["exit", 3])
    first = service.trigger("gens", keyed("gens", failing)).json
    attached = service.trigger("gens", keyed("gens", failing, owner="try-2"))
    assert attached.json == first
    (tmp_path / "go").touch()
    assert service.wait_for_status(first["job_id"], "failed")["exit_code"] == 3
    # A failed training is started again, whatever is asked for now.
    second = service.trigger("gens", keyed("gens", told(["result", {}]), owner="try-3")).json
    assert (second["generation"], second["job_id"] != first["job_id"]) == (2, True)
    service.wait_for_status(second["job_id"], "succeeded")
    # It succeeded: a retry, and a clear before the result was returned, get that result.
    for epoch in (1, 2):
        again = service.trigger("gens", keyed("gens", told(["result", {}]), owner="try-4", epoch=epoch)).json
        assert again == second
    acknowledge = f"/api/v1/training/{second['job_id']}/acknowledge"
    assert service.call("POST", acknowledge, {"owner": "try-3"}).json["type"].endswith(":not-owner")
    assert service.call("POST", acknowledge, {"owner": "try-4"}).json["acknowledged"] is True
    assert service.call("POST", acknowledge, {"owner": "try-4"}).status == 200
    # Returned: a retry within the epoch still gets it, a later clear trains again.
    again = service.trigger("gens", keyed("gens", told(["result", {}]), owner="try-5", epoch=2)).json
    assert again == second
    third = service.trigger("gens", keyed("gens", told(["result", {}]), owner="try-6", epoch=3)).json
    assert third["generation"] == 3


def test_repeated_call_gets_its_answer_even_when_the_job_failed_since(service: TrainingService) -> None:
    body = {**keyed("lost-answer", told(["exit", 1])), "submission_id": "call-1"}
    first = service.trigger("lost-answer", body)
    service.wait_for_status(first.json["job_id"], "failed")
    repeated = service.trigger("lost-answer", body)
    assert repeated.json == first.json
    anew = service.trigger("lost-answer", {**body, "submission_id": "call-2"})
    assert anew.json["generation"] == 2


@pytest.mark.parametrize(
    ("headers", "body", "kind", "said"),
    [
        ({}, told(), "idempotency-key-missing", "Idempotency-Key"),
        ({"Idempotency-Key": "a b"}, told(), "invalid-request", "ASCII"),
        (
            {"Idempotency-Key": "k"},
            {"model_type": "nonsense"},
            "unknown-pipeline",
            "valid: broken, nowhere, told",
        ),
        ({"Idempotency-Key": "k"}, {"pipeline": "nonsense"}, "unknown-pipeline", "broken, nowhere, test"),
        ({"Idempotency-Key": "k"}, {}, "unknown-pipeline", "must name"),
        ({"Idempotency-Key": "k"}, {**told(), "pipeline": "broken"}, "unknown-pipeline", "does not train"),
        ({"Idempotency-Key": "k"}, {**told(), "timeout_seconds": 0}, "invalid-request", "greater than 0"),
        ({"Idempotency-Key": "k"}, {**told(), "features_uri": "a\0b"}, "invalid-request", "features_uri"),
        ({"Idempotency-Key": "k"}, {**told(), "key": "k"}, "invalid-request", "owner and epoch"),
        ({"Idempotency-Key": "k"}, keyed("other", told()), "invalid-request", "differ"),
        (
            {"Idempotency-Key": "k"},
            b'{"model_type": "told", "params": {"x": NaN}}',
            "invalid-request",
            "JSON",
        ),
        ({"Idempotency-Key": "k"}, b"not json", "invalid-request", "JSON"),
    ],
)
def test_bad_requests_name_what_is_wrong(
    service: TrainingService, headers: dict[str, str], body: Any, kind: str, said: str
) -> None:
    answer = service.call("POST", TRIGGER, body, headers=headers)
    assert (answer.status, answer.json["type"]) == (400, f"urn:mlbridge:problem:{kind}")
    assert said in answer.json["detail"]


def test_body_over_the_limit_is_refused(service: TrainingService) -> None:
    body = {"model_type": "told", "params": {"x": "a" * 130_000}}
    assert service.trigger("big", body).json["type"] == "urn:mlbridge:problem:too-large"
    # Small as UTF-8, too large for an environment variable as ASCII.
    body = {"model_type": "told", "params": {"x": "\u20ac" * 30_000}}
    raw = json.dumps(body, ensure_ascii=False).encode()
    answer = service.call("POST", TRIGGER, raw, headers={"Idempotency-Key": "big"})
    assert answer.json["type"] == "urn:mlbridge:problem:too-large"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", TRIGGER), ("GET", "/api/v1/training/0a"), ("POST", "/api/v1/training/0a/cancel")],
)
def test_no_call_without_the_token(
    service: TrainingService, token: str | None, method: str, path: str
) -> None:
    answer = service.call(method, path, {} if method == "POST" else None, token=token)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json["type"] == "urn:mlbridge:problem:unauthorized"


def test_unknown_job_is_404_everywhere_and_missing_in_a_batch(service: TrainingService) -> None:
    path = "/api/v1/training/0123456789abcdef"
    for method, rest in [("GET", ""), ("GET", "/logs"), ("GET", "/result"), ("POST", "/cancel")]:
        answer = service.call(method, path + rest, {} if method == "POST" else None)
        assert (answer.status, answer.json["type"]) == (404, "urn:mlbridge:problem:unknown-job")
    known = service.trigger("batch", told()).json["job_id"]
    answer = service.call("POST", "/api/v1/training/status:batch", {"job_ids": [known, "0a", "0a"]})
    assert [job["job_id"] for job in answer.json["jobs"]] == [known]
    assert answer.json["missing"] == ["0a"]


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


def test_stale_owner_kills_nothing(service: TrainingService, tmp_path: Path) -> None:
    go = tmp_path / "go"
    body = told(["wait_for", str(go)], ["result", {}])
    job_id = service.trigger("fenced", keyed("fenced", body, owner="try-1")).json["job_id"]
    service.trigger("fenced", keyed("fenced", body, owner="try-2"))
    service.wait_for_status(job_id, "running")
    stale = service.call("POST", f"/api/v1/training/{job_id}/cancel", {"owner": "try-1"})
    assert (stale.status, stale.json["type"]) == (409, "urn:mlbridge:problem:not-owner")
    assert service.status(job_id)["status"] == "running"
    go.touch()
    service.wait_for_status(job_id, "succeeded")


def test_late_submission_from_before_a_clear_does_not_take_over(
    service: TrainingService, tmp_path: Path
) -> None:
    body = told(["wait_for", str(tmp_path / "go")])
    job_id = service.trigger("late", keyed("late", body, owner="new", epoch=2)).json["job_id"]
    service.trigger("late", keyed("late", body, owner="old", epoch=1))
    cancel = f"/api/v1/training/{job_id}/cancel"
    assert service.call("POST", cancel, {"owner": "old"}).status == 409
    assert service.call("POST", cancel, {"owner": "new"}).status == 202
    service.wait_for_status(job_id, "cancelled")


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


def test_log_is_read_by_offset_without_gaps_in_any_piece_size(service: TrainingService) -> None:
    text = "Größe 12 €, \U0001f600 ende\n" * 3
    raw = text.encode() + b"\xff\xfe\x80 broken \xe2\x82"
    job_id = service.trigger("log", told(["bytes", raw.hex()])).json["job_id"]
    service.wait_for_status(job_id, "succeeded")
    for limit in (1, 2, 3, 5, 7, 4096):
        offset, pieces, complete = 0, "", False
        while not complete:
            piece = service.call("GET", f"/api/v1/training/{job_id}/logs?offset={offset}&limit={limit}").json
            assert offset < piece["next_offset"] <= offset + limit
            offset, complete = piece["next_offset"], piece["complete"]
            pieces += piece["text"]
        if limit >= 4:  # a smaller piece cannot hold every character
            assert pieces == raw.decode(errors="replace")
    beyond = service.call("GET", f"/api/v1/training/{job_id}/logs?offset=99999").json
    assert (beyond["text"], beyond["next_offset"]) == ("", 99999)


def test_character_that_is_still_being_written_is_left_for_the_next_call(
    service: TrainingService, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    steps = told(["bytes", "61e282"], ["wait_for", str(go)], ["bytes", "ac62"])
    job_id = service.trigger("cut", steps).json["job_id"]
    wait_until(lambda: service.status(job_id)["log_size"] == 3, timeout=10, what="the log", interval=0.05)
    first = service.call("GET", f"/api/v1/training/{job_id}/logs").json
    assert (first["text"], first["next_offset"], first["complete"]) == ("a", 1, False)
    go.touch()
    service.wait_for_status(job_id, "succeeded")
    rest = service.call("GET", f"/api/v1/training/{job_id}/logs?offset=1").json
    assert (rest["text"], rest["complete"]) == ("\u20acb", True)


@pytest.mark.parametrize(
    "report",
    ["not json", "[1]", '{"metrics": {"auc": NaN}}', "x" * 70_000],
    ids=["text", "list", "nan", "huge"],
)
def test_result_that_is_not_json_is_refused(service: TrainingService, report: str) -> None:
    key = f"result-{len(report)}"
    job_id = service.trigger(key, told(["result", report])).json["job_id"]
    service.wait_for_status(job_id, "succeeded")
    answer = service.call("GET", f"/api/v1/training/{job_id}/result")
    assert (answer.status, answer.json["type"]) == (422, "urn:mlbridge:problem:invalid-result")


def test_missing_result_is_an_empty_one_and_a_fifo_does_not_block(service: TrainingService) -> None:
    job_id = service.trigger("silent", told()).json["job_id"]
    service.wait_for_status(job_id, "succeeded")
    path = f"/api/v1/training/{job_id}/result"
    assert service.call("GET", path).json == {}
    os.mkfifo(service.job_folder(job_id) / "result.json")
    assert service.call("GET", path).json["type"] == "urn:mlbridge:problem:invalid-result"


def test_files_are_not_readable_by_others(service: TrainingService) -> None:
    job_id = service.trigger("private", told(["print", "x"])).json["job_id"]
    service.wait_for_status(job_id, "succeeded")
    folder = service.job_folder(job_id)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "launch.json").stat().st_mode & 0o077 == 0


def test_openapi_is_served_and_names_the_contract(service: TrainingService) -> None:
    document = service.call("GET", "/openapi.json", token=None).json
    assert document["openapi"].startswith("3.1")
    prefix = "/api/v1/training"
    assert set(document["paths"]) == {
        "/health",
        f"{prefix}/trigger",
        f"{prefix}/status:batch",
        *(f"{prefix}/{{job_id}}{rest}" for rest in ("", "/logs", "/result", "/cancel", "/acknowledge")),
    }
    assert (
        "application/problem+json"
        in document["paths"][f"{prefix}/trigger"]["post"]["responses"]["422"]["content"]
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auth": None}, "token_env"),
        ({"auth": {"token_env": "NOT_SET_ANYWHERE"}}, "NOT_SET_ANYWHERE"),
        ({"auth": {"token_env": "A", "token_file": "b"}}, "exactly one"),
        ({"auth": {"token_file": "missing"}}, "missing"),
        ({"pipelines": {}}, "pipelines"),
        ({"pipelines": {"a": {"command": []}}}, "pipelines.a.command"),
        ({"pipelines": {"a": {"command": "rm -rf /"}}}, "pipelines.a.command"),
        ({"concurency": 3}, "concurency"),
        ({"pipelines": {n: {"command": ["true"], "model_types": ["m"]} for n in "ab"}}, "more than once"),
    ],
)
def test_configuration_faults_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    service = TrainingService(tmp_path, **changes)
    ended = subprocess.run(
        service.process.argv,
        env=base_environment(PYTHONPATH=str(REPOSITORY / "training_service")),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert said in ended.stderr


def test_data_directory_belongs_to_one_service(service: TrainingService) -> None:
    command = [
        sys.executable,
        "-m",
        "mlbridge_training_service",
        "--config",
        str(service.folder / "service.yaml"),
    ]
    environment = base_environment(PYTHONPATH=str(REPOSITORY / "training_service"), **{TOKEN_VARIABLE: TOKEN})
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "in use by another training service" in ended.stderr


def test_auth_none_must_be_written_and_then_needs_no_token(tmp_path: Path) -> None:
    service = TrainingService(tmp_path, auth="none")
    try:
        service.start()
        request = urllib.request.Request(f"{service.url}/api/v1/training/0a")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as error:
            assert error.code == 404
    finally:
        service.stop()
