# SPDX-License-Identifier: Apache-2.0
"""The training service on a real PostgreSQL, alone and beside another one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from demo.services.process import REPOSITORY, base_environment, wait_until
from mlbridge_training_service.generations import Status
from mlbridge_training_service.store import JobStore, NotOwnerError
from mlbridge_training_service.tables import Submission
from tests.integration.postgres_process import Postgres
from tests.integration.training_service_process import (
    TOKEN,
    TOKEN_VARIABLE,
    TrainingService,
    keyed,
    running_service,
    told,
)

pytestmark = pytest.mark.integration

URL_VARIABLE = "TRAINING_DATABASE_URL"
Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """URL of an empty database."""
    return postgres.new_database()


@pytest.fixture
def store(database: str) -> Iterator[JobStore]:
    opened = JobStore(database, instance="here")
    yield opened
    opened.close()


def on(folder: Path, database: str, **config: Any) -> Any:
    folder.mkdir(exist_ok=True)
    environment = {URL_VARIABLE: database}
    return running_service(folder, environment=environment, database_url_env=URL_VARIABLE, **config)


def submission(key: str, **changes: Any) -> Submission:
    given = Submission(
        key=key,
        owner="try-1",
        epoch=1,
        digest="d",
        payload_digest="d",
        submission_id="",
        replay_only=False,
        pipeline="p",
        payload={},
        at="2026-01-01T00:00:00.000+00:00",
    )
    return replace(given, **changes)


def while_held(
    postgres: Postgres, database: str, statement: str, job_id: str, action: Callable[[], Answer]
) -> Future[Answer]:
    """Do something while another transaction has changed the job and not committed yet; then commit it."""
    name = database.rpartition("/")[2]
    with ThreadPoolExecutor(1) as pool:
        with postgres.connect(name) as other, other.transaction():
            other.execute(statement, {"job_id": job_id})
            future = pool.submit(action)
            wait_until(
                lambda: postgres.waiting(name) > 0 or future.done(), timeout=20, what="it", interval=0.01
            )
            assert not future.done(), "it did not wait for the other transaction"
        future.exception(timeout=20)
    return future


def test_stale_owner_does_not_cancel_a_job_that_is_being_taken_over(
    postgres: Postgres, database: str, store: JobStore
) -> None:
    job, _ = store.submit(submission("k"))
    store.take_queued(1)
    taken_over = "UPDATE jobs SET owner = 'try-2' WHERE job_id = %(job_id)s"
    cancelled = while_held(
        postgres, database, taken_over, job.job_id, lambda: store.cancel(job.job_id, "try-1", "late", "now")
    )
    assert isinstance(cancelled.exception(), NotOwnerError)
    assert store.get(job.job_id).status is Status.STARTING


def test_job_that_is_being_cancelled_is_not_taken_from_the_queue(
    postgres: Postgres, database: str, store: JobStore
) -> None:
    job, _ = store.submit(submission("k"))
    cancel = "UPDATE jobs SET status = 'cancelled', finished_at = '2026' WHERE job_id = %(job_id)s"
    taken = while_held(postgres, database, cancel, job.job_id, lambda: store.take_queued(1))
    assert taken.result() == []
    assert store.get(job.job_id).status is Status.CANCELLED


def test_job_that_is_being_taken_from_the_queue_is_cancelled_as_one_that_runs(
    postgres: Postgres, database: str, store: JobStore
) -> None:
    job, _ = store.submit(submission("k"))
    take = "UPDATE jobs SET status = 'starting' WHERE job_id = %(job_id)s"
    cancelled = while_held(
        postgres, database, take, job.job_id, lambda: store.cancel(job.job_id, "try-1", "enough", "now")
    )
    # Still to be followed: its training may have begun.
    assert cancelled.result().status is Status.CANCELLING
    assert [active.job_id for active in store.active()] == [job.job_id]


def test_job_that_is_being_removed_is_followed_by_the_next_generation(
    postgres: Postgres, database: str, store: JobStore
) -> None:
    job, _ = store.submit(submission("k"))
    store.take_queued(1)
    store.record(job.job_id, Status.FAILED, finished_at="2026")
    remove = """
        WITH gone AS (DELETE FROM jobs WHERE job_id = %(job_id)s RETURNING key, generation)
        INSERT INTO retired SELECT key, generation FROM gone
    """
    submitted = while_held(
        postgres, database, remove, job.job_id, lambda: store.submit(submission("k", known_generation=1))
    )
    assert (submitted.result()[0].generation, submitted.result()[1]) == (2, False)


def test_two_hundred_submissions_at_once_start_one_training(tmp_path: Path, database: str) -> None:
    journal = tmp_path / "journal"
    body = told(["write", str(tmp_path / "seen")], ["result", {}], journal=str(journal))
    with on(tmp_path / "a", database) as service:
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda _: service.trigger("many", keyed("many", body)), range(200)))
        assert {answer.status for answer in answers} == {202}
        assert len({answer.json["job_id"] for answer in answers}) == 1
        assert sum(answer.headers["Idempotent-Replayed"] is None for answer in answers) == 1
        service.wait_for_status(answers[0].json["job_id"], "succeeded")
        assert journal.read_text() == "start many 1\nend many 1\n"
        # The password of the database is in its URL.
        assert database not in (tmp_path / "seen").read_text()
        assert database.split(":")[2].split("@")[0] not in service.process.log_path.read_text()


def test_two_services_on_one_database_share_keys_and_nothing_else(tmp_path: Path, database: str) -> None:
    go, journal = tmp_path / "go", tmp_path / "journal"
    body = told(["wait_for", str(go)], ["result", {"metrics": {"auc": 1}}], journal=str(journal))
    with on(tmp_path / "a", database, concurrency=1) as first, on(tmp_path / "b", database) as second:
        both = [first, second]
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda n: both[n % 2].trigger("k", keyed("k", body)), range(40)))
        (job_id,) = {answer.json["job_id"] for answer in answers}
        first.wait_for_status(job_id, "running")
        both.sort(key=lambda service: not service.job_folder(job_id).exists())
        runs_at, other = both
        # The other one starts anew, finds the job in the database, and leaves it alone.
        other.crash()
        other.start()
        own = other.trigger("own", told()).json["job_id"]
        ended = other.wait_for_status(own, "succeeded")
        seen = other.status(job_id)
        assert (seen["status"], seen["log_size"]) == ("running", None)
        assert seen["instance"] not in ("", ended["instance"])
        assert not other.job_folder(job_id).exists()
        assert not runs_at.job_folder(own).exists()
        go.touch()
        other.wait_for_status(job_id, "succeeded")
        for rest in ("logs", "result"):
            elsewhere = other.call("GET", f"/api/v1/training/{job_id}/{rest}")
            assert (elsewhere.status, elsewhere.json["type"]) == (421, "urn:mlbridge:problem:other-instance")
        assert runs_at.call("GET", f"/api/v1/training/{job_id}/result").json == {"metrics": {"auc": 1}}
        assert journal.read_text() == "start k 1\nend k 1\n"


def test_jobs_of_a_service_that_is_gone_can_be_given_up(tmp_path: Path, database: str) -> None:
    body = told(["wait_for", "/does/not/exist"])
    with on(tmp_path / "a", database) as gone:
        job_id = gone.trigger("k", keyed("k", body)).json["job_id"]
        instance = gone.wait_for_status(job_id, "running")["instance"]
    # Its host went with it: the folder and the training are no more.
    secrets = {TOKEN_VARIABLE: TOKEN, URL_VARIABLE: database}
    with on(tmp_path / "b", database) as service:
        assert service.status(job_id)["status"] == "running"
        service.stop()
        given_up = subprocess.run(
            [
                *(sys.executable, "-m", "mlbridge_training_service", "--give-up", instance),
                *("--config", str(service.folder / "service.yaml")),
            ],
            env=base_environment(PYTHONPATH=str(REPOSITORY / "training_service"), **secrets),
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert (given_up.returncode, given_up.stdout) == (0, f"1 jobs of {instance} are called lost\n")
        service.start()
        assert service.status(job_id)["status"] == "lost"
        again = service.trigger("k", keyed("k", told())).json
        assert again["generation"] == 2


def test_service_killed_in_the_middle_of_many_submissions_starts_each_once(
    tmp_path: Path, database: str
) -> None:
    journal = tmp_path / "journal"
    with on(tmp_path / "a", database) as service:

        def submit(number: int) -> str | None:
            key = f"k{number}"
            body = {**keyed(key, told(journal=str(journal))), "submission_id": f"call-{number}"}
            try:
                return str(service.trigger(key, body).json["job_id"])
            except OSError:
                return None

        with ThreadPoolExecutor(20) as pool:
            first = [pool.submit(submit, number) for number in range(60)]
            wait_until(lambda: any(call.done() for call in first), timeout=20, what="a job", interval=0.001)
            service.crash()
            told_before = [call.result() for call in first]
            service.start()
            after = list(pool.map(submit, range(60)))
        assert None in told_before, "nothing was cut off: the test shows nothing"
        assert all(job_id is not None for job_id in after)
        # Who was answered before the crash was told the truth.
        assert all(old in (None, new) for old, new in zip(told_before, after, strict=True))
        for job_id in after:
            service.wait_for_status(str(job_id), "succeeded", timeout=60)
        starts = [line for line in journal.read_text().splitlines() if line.startswith("start")]
        assert sorted(starts) == sorted(f"start k{number} 1" for number in range(60))


def test_database_that_is_away_for_a_while_loses_nothing(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    try:
        server.start()
        go = tmp_path / "go"
        with on(tmp_path / "a", server.new_database()) as service:
            job_id = service.trigger("k", told(["wait_for", str(go)], ["exit", 3])).json["job_id"]
            service.wait_for_status(job_id, "running")
            server.shut_down()
            away = service.call("GET", f"/api/v1/training/{job_id}")
            assert (away.status, away.json["type"]) == (503, "urn:mlbridge:problem:database")
            assert away.headers["Retry-After"]
            assert service.call("GET", "/health").status == 503
            go.touch()
            end = service.job_folder(job_id) / "end.json"
            wait_until(end.exists, timeout=10, what="the end of the training", interval=0.02)
            server.start()
            assert service.wait_for_status(job_id, "failed")["exit_code"] == 3
    finally:
        server.stop()


def test_database_that_cannot_be_used_is_named_without_its_password(tmp_path: Path, database: str) -> None:
    password = database.split(":")[2].split("@")[0]
    for url, said in [
        (database.replace(password, "wrong-password"), "password authentication failed"),
        ("postgresql+nodriver://u:wrong-password@h/d", "database_url"),
        ("mysql+pymysql://u:wrong-password@h/d", "needs the Python module 'pymysql'"),
    ]:
        service = TrainingService(tmp_path, database_url=url)
        ended = subprocess.run(
            service.process.argv,
            env=base_environment(
                PYTHONPATH=str(REPOSITORY / "training_service"), **{TOKEN_VARIABLE: TOKEN}
            ),
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert ended.returncode == 2, ended.stderr
        assert said in ended.stderr
        assert "wrong-password" not in ended.stderr
