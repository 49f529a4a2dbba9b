# SPDX-License-Identifier: Apache-2.0
"""The contract of the reference training service, over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.services.process import wait_until
from tests.integration.training_service_process import (
    TOKEN,
    TRIGGER,
    TrainingService,
    keyed,
    running_service,
    told,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running


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


def test_two_hundred_submissions_at_once_start_one_training(service: TrainingService, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    body = told(["result", {}], journal=str(journal))
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: service.trigger("many", keyed("many", body)), range(200)))
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
        "/metrics",
        f"{prefix}/trigger",
        f"{prefix}/status:batch",
        *(f"{prefix}/{{job_id}}{rest}" for rest in ("", "/logs", "/result", "/cancel", "/acknowledge")),
    }
    assert (
        "application/problem+json"
        in document["paths"][f"{prefix}/trigger"]["post"]["responses"]["422"]["content"]
    )
