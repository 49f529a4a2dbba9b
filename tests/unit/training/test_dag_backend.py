# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    InvalidTrainingResultError,
    TrainingConflictError,
)
from airflow_provider_mlbridge.training.backends.dag import DagBackend
from airflow_provider_mlbridge.training.request import TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.state import JobState


class Airflow:
    """DAG runs in memory."""

    def __init__(self, paused: bool | None = False) -> None:
        self.paused = paused
        self.runs: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.offers: dict[str, Any] = {}

    async def is_paused(self, dag_id: str) -> bool | None:
        return self.paused

    async def conf(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        return self.runs.get(run_id)

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        if run_id in self.runs:
            return False
        self.runs[run_id] = dict(conf)
        self.states[run_id] = "queued"
        return True

    async def state(self, dag_id: str, run_id: str) -> str | None:
        return self.states.get(run_id)

    async def reported(self, dag_id: str, run_id: str) -> Mapping[str, Any]:
        return self.offers


class Record:
    """The memory of one task instance."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def load(self) -> Mapping[str, Any]:
        return self.value

    def save(self, record: Mapping[str, Any]) -> None:
        self.value = dict(record)


def job(epoch: int = 0, depth: int = 3) -> TrainingJob:
    request = TrainingRequest("s3://f/v1/", "f" * 64, "exp", "gbm", {"depth": depth})
    return TrainingJob("a" * 32, f"owner-{epoch}", epoch, request)


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def backend(airflow: Airflow) -> DagBackend:
    return DagBackend(airflow, "train", Record())


def test_the_request_becomes_the_conf_of_a_run_with_a_name_of_its_own(
    airflow: Airflow, backend: DagBackend
) -> None:
    submission = asyncio.run(backend.submit(job()))
    assert submission.ref.job_id == f"train/mlbridge__{'a' * 32}__1"
    conf = airflow.runs[f"mlbridge__{'a' * 32}__1"]
    assert conf["features_uri"] == "s3://f/v1/"
    assert conf["params"] == {"depth": 3}
    assert conf["mlbridge"]["generation"] == 1


def test_submitting_twice_attaches(airflow: Airflow, backend: DagBackend) -> None:
    first = asyncio.run(backend.submit(job()))
    second = asyncio.run(backend.submit(job()))
    assert (first.ref, second.attached) == (second.ref, True)
    assert len(airflow.runs) == 1


@pytest.mark.parametrize("dies_after", ["saved", "created"])
def test_dying_around_the_creation_starts_it_once(airflow: Airflow, dies_after: str) -> None:
    record = Record()
    backend = DagBackend(airflow, "train", record)
    if dies_after == "saved":
        asyncio.run(backend.submit(job()))
        record.save({**record.load(), "created": False})
        airflow.runs.clear()
    else:
        asyncio.run(backend.submit(job()))
        record.value = {}
    submission = asyncio.run(backend.submit(job()))
    assert submission.ref.generation == 1
    assert len(airflow.runs) == 1


def test_a_failed_run_is_followed_by_the_next_generation(airflow: Airflow, backend: DagBackend) -> None:
    first = asyncio.run(backend.submit(job()))
    airflow.states[first.ref.job_id.split("/")[1]] = "failed"
    assert asyncio.run(backend.submit(job())).ref.generation == 2


def test_a_returned_result_is_trained_again_only_after_a_clear(airflow: Airflow, backend: DagBackend) -> None:
    first = asyncio.run(backend.submit(job(epoch=2)))
    airflow.states[first.ref.job_id.split("/")[1]] = "success"
    asyncio.run(backend.acknowledge(first.ref, "owner-2"))
    assert asyncio.run(backend.submit(job(epoch=2))).ref.generation == 1
    assert asyncio.run(backend.submit(job(epoch=4))).ref.generation == 2


def test_attaching_in_a_later_epoch_makes_it_that_epochs_training(
    airflow: Airflow, backend: DagBackend
) -> None:
    # Cleared while running: the new attempt adopts the run, so a later retry of it must not train again.
    first = asyncio.run(backend.submit(job(epoch=2)))
    asyncio.run(backend.submit(job(epoch=4)))
    airflow.states[first.ref.job_id.split("/")[1]] = "success"
    asyncio.run(backend.acknowledge(first.ref, "owner-4"))
    assert asyncio.run(backend.submit(job(epoch=4))).attached


def test_another_request_is_a_conflict(backend: DagBackend) -> None:
    asyncio.run(backend.submit(job(depth=3)))
    with pytest.raises(TrainingConflictError):
        asyncio.run(backend.submit(job(depth=4)))


def test_a_deleted_run_is_lost(airflow: Airflow, backend: DagBackend) -> None:
    ref = asyncio.run(backend.submit(job())).ref
    airflow.states.clear()
    status = asyncio.run(backend.status([ref]))[ref]
    assert status.state is JobState.LOST
    assert "was deleted" in status.reason


def test_a_deleted_run_does_not_bring_back_an_older_one(airflow: Airflow, backend: DagBackend) -> None:
    first = asyncio.run(backend.submit(job(epoch=1)))
    airflow.states[first.ref.job_id.split("/")[1]] = "success"
    asyncio.run(backend.acknowledge(first.ref, "owner-1"))
    second = asyncio.run(backend.submit(job(epoch=2)))
    run_id = second.ref.job_id.split("/")[1]
    del airflow.runs[run_id], airflow.states[run_id]
    third = asyncio.run(backend.submit(job(epoch=2)))
    assert (third.ref.generation, third.attached) == (3, False)


def test_a_paused_dag_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = DagBackend(Airflow(paused=True), "train", Record())
    with caplog.at_level(logging.WARNING):
        asyncio.run(backend.submit(job()))
    assert "The DAG is paused: its run will not start" in caplog.text


def test_an_unknown_dag_is_named() -> None:
    backend = DagBackend(Airflow(paused=None), "trian", Record())
    with pytest.raises(BackendProtocolError, match="there is no DAG 'trian'"):
        asyncio.run(backend.submit(job()))


def test_the_childs_result_comes_back(airflow: Airflow, backend: DagBackend) -> None:
    ref = asyncio.run(backend.submit(job())).ref
    airflow.states[ref.job_id.split("/")[1]] = "success"
    airflow.offers = {"train": {"metrics": {"auc": 0.8}, "model_uri": "s3://m"}}
    result = asyncio.run(backend.result(ref))
    assert result.metrics == {"auc": 0.8}


@pytest.mark.parametrize(
    ("offers", "problem"),
    [
        ({}, "no task reports one"),
        ({"a": {"metrics": {}}, "b": {"metrics": {}}}, "tasks a, b each report one"),
        ({"a": {"metrics": {"auc": "high"}}}, "auc"),
    ],
)
def test_a_result_that_is_not_clear_is_refused(
    airflow: Airflow, backend: DagBackend, offers: dict[str, Any], problem: str
) -> None:
    ref = asyncio.run(backend.submit(job())).ref
    airflow.states[ref.job_id.split("/")[1]] = "success"
    airflow.offers = offers
    with pytest.raises(InvalidTrainingResultError, match=problem):
        asyncio.run(backend.result(ref))
