# SPDX-License-Identifier: Apache-2.0
"""What the service keeps of its jobs, for how long, and in which database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlbridge_training_service.config import ConfigError, Pipeline, ServiceConfig
from mlbridge_training_service.generations import ForgottenError, Status
from mlbridge_training_service.metrics import Metrics
from mlbridge_training_service.retention import Keeper
from mlbridge_training_service.store import ConflictError, JobStore, UnknownJobError
from mlbridge_training_service.tables import Job, Submission

SUBMISSION = Submission(
    key="k",
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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield opened
    opened.close()


def keeper(store: JobStore, tmp_path: Path) -> Keeper:
    pipelines = {"p": Pipeline(command=["true"])}
    config = ServiceConfig(data_dir=tmp_path, auth="none", pipelines=pipelines, keep_days=10)
    return Keeper(config, store, Metrics(store, concurrency=1))


def ended(
    store: JobStore, tmp_path: Path, key: str, status: Status, *, days_ago: float, owner: str = "try-1"
) -> Job:
    job, _ = store.submit(replace(SUBMISSION, key=key, owner=owner))
    store.take_queued(1)
    at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(timespec="milliseconds")
    store.record(job.job_id, status, finished_at=at)
    (tmp_path / "jobs" / job.job_id / "work").mkdir(parents=True)
    return store.get(job.job_id)


def test_jobs_are_removed_some_days_after_their_end_unless_their_result_is_owed(
    store: JobStore, tmp_path: Path
) -> None:
    failed = ended(store, tmp_path, "failed", Status.FAILED, days_ago=11)
    owed = ended(store, tmp_path, "owed", Status.SUCCEEDED, days_ago=11)
    returned = ended(store, tmp_path, "returned", Status.SUCCEEDED, days_ago=11)
    store.acknowledge(returned.job_id, "try-1", "now")
    # A caller without identity is not asked to acknowledge.
    plain = ended(store, tmp_path, "plain", Status.SUCCEEDED, days_ago=11, owner="")
    recent = ended(store, tmp_path, "recent", Status.FAILED, days_ago=9)
    waiting, _ = store.submit(replace(SUBMISSION, key="waiting"))
    # Its service died when the row was about to go, and the folder was put away already.
    (tmp_path / "removed").mkdir()
    (tmp_path / "jobs" / failed.job_id).rename(tmp_path / "removed" / failed.job_id)
    assert keeper(store, tmp_path).sweep() == 3
    for gone in (failed, returned, plain):
        with pytest.raises(UnknownJobError):
            store.get(gone.job_id)
    assert {job.job_id for job in store.get_many([owed.job_id, recent.job_id, waiting.job_id])} == {
        owed.job_id, recent.job_id, waiting.job_id,
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == {owed.job_id, recent.job_id}
    assert list((tmp_path / "removed").iterdir()) == []


def test_key_whose_job_was_removed_goes_on_with_the_next_generation(store: JobStore, tmp_path: Path) -> None:
    ended(store, tmp_path, "k", Status.FAILED, days_ago=11)
    keeper(store, tmp_path).sweep()
    again, attached = store.submit(replace(SUBMISSION, known_generation=1))
    assert (again.generation, attached) == (2, False)
    with pytest.raises(ForgottenError, match="told of generation 3, but 2 is the newest here"):
        store.submit(replace(SUBMISSION, known_generation=3))
    with pytest.raises(ForgottenError, match="nothing is known"):
        store.submit(replace(SUBMISSION, key="other", known_generation=1))


def test_folder_that_cannot_be_put_away_keeps_its_job(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(store, tmp_path, "k", Status.FAILED, days_ago=11)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        keeper(store, tmp_path).sweep()
    assert store.get(job.job_id).status is Status.FAILED
    monkeypatch.undo()
    assert keeper(store, tmp_path).sweep() == 1


def test_shown_bytes_of_a_log_never_become_fewer(store: JobStore) -> None:
    job, _ = store.submit(SUBMISSION)
    assert job.log_shown is None
    for told, kept in [(0, 0), (70, 70), (30, 70)]:
        store.show({job.job_id: told, "unknown": 5})
        assert store.get(job.job_id).log_shown == kept


def test_submission_id_stands_for_one_key(store: JobStore) -> None:
    store.submit(replace(SUBMISSION, submission_id="call-1"))
    with pytest.raises(ConflictError, match="'call-1' was used for key 'k'"):
        store.submit(replace(SUBMISSION, key="other", submission_id="call-1"))


def test_database_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    first = JobStore(f"sqlite:///{path}")
    job, _ = first.submit(SUBMISSION)
    first.close()
    with sqlite3.connect(path) as connection:
        for column in ("instance", "log_shown"):
            connection.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    connection.close()
    later = JobStore(f"sqlite:///{path}")
    try:
        assert later.get(job.job_id) == job
        assert [taken.job_id for taken in later.take_queued(1)] == [job.job_id]
    finally:
        later.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+nodriver://u:a-password@h/d", "no SQLAlchemy URL of a known database"),
        ("mysql+pymysql://u:a-password@h/d", "needs the Python module 'pymysql'"),
        ("nonsense", "no SQLAlchemy URL"),
    ],
)
def test_database_url_that_cannot_be_used_is_named_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        JobStore(url)
    assert said in str(caught.value)
    assert "a-password" not in str(caught.value)


def test_metrics_count_jobs_in_the_database_and_ends_since_the_start(store: JobStore, tmp_path: Path) -> None:
    job = ended(store, tmp_path, "k", Status.FAILED, days_ago=0)
    store.submit(replace(SUBMISSION, key="waiting"))
    metrics = Metrics(store, concurrency=3)
    odd = replace(job, pipeline='a"b\\c\nd')
    for began in ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"):
        metrics.ended(odd, Status.FAILED, began, "2026-01-01T00:00:02.500+00:00")
    metrics.submitted("started")
    lines = metrics.text().splitlines()
    assert 'mlbridge_training_jobs{status="failed"} 1' in lines
    assert 'mlbridge_training_jobs{status="queued"} 1' in lines
    assert 'mlbridge_training_jobs{status="running"} 0' in lines
    assert 'mlbridge_training_submissions_total{outcome="started"} 1' in lines
    assert 'mlbridge_training_submissions_total{outcome="forgotten"} 0' in lines
    labels = '{pipeline="a\\"b\\\\c\\nd",status="failed"}'
    assert f"mlbridge_training_ended_total{labels} 2" in lines
    assert f"mlbridge_training_run_seconds_total{labels} 4.0" in lines
    assert "mlbridge_training_concurrency 3" in lines
