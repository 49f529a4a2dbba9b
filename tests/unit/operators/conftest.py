# SPDX-License-Identifier: Apache-2.0
"""A task's context without Airflow's database, and a backend that keeps its jobs in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.training.backend import Capability, logs_one_by_one
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import (
    Generation,
    JobRef,
    JobState,
    JobStatus,
    LogChunk,
    ReportedResult,
    Submission,
    next_generation,
)


class Store(dict[str, Any]):
    """The task's state store."""

    def __init__(self) -> None:
        super().__init__()
        self.retentions: dict[str, timedelta | None] = {}

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        self[key] = value
        self.retentions[key] = retention


@dataclass
class TaskInstance:
    """The fields of a running task instance that operators use."""

    id: str = "11111111-aaaa"
    dag_id: str = "bridge"
    run_id: str = "manual__1"
    task_id: str = "train"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 2
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@dataclass
class MemoryBackend:
    """A training backend whose jobs are entries of a dictionary; the test ends them."""

    jobs: dict[JobRef, JobStatus] = field(default_factory=dict)
    submitted: dict[JobRef, TrainingJob] = field(default_factory=dict)
    acknowledged: set[JobRef] = field(default_factory=set)
    cancelled: list[tuple[JobRef, str]] = field(default_factory=list)
    epochs: dict[JobRef, int] = field(default_factory=dict)
    text: str = ""
    reported: ReportedResult = field(
        default_factory=lambda: ReportedResult(metrics={"auc": 0.9}, model_uri="s3://models/1")
    )
    starts: int = 0

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({"cancel", "logs", "result"})

    async def submit(self, job: TrainingJob) -> Submission:
        mine = [ref for ref in self.jobs if ref.key == job.key]
        newest = max(mine, key=lambda ref: ref.generation, default=None)
        known = (
            None
            if newest is None
            else Generation(
                newest.generation,
                self.jobs[newest].state,
                self.submitted[newest].digest,
                self.epochs[newest],
                newest in self.acknowledged,
            )
        )
        number = next_generation(job, known)
        if number is None and newest is not None:
            self.epochs[newest] = job.epoch
            return Submission(newest, self.jobs[newest].state, attached=True)
        ref = JobRef(job.key, number or 1, f"job-{number}")
        self.starts += 1
        self.jobs[ref] = JobStatus(ref, JobState.RUNNING)
        self.submitted[ref] = job
        self.epochs[ref] = job.epoch
        return Submission(ref, JobState.RUNNING, attached=False)

    async def status(
        self, refs: Sequence[JobRef], shown: Mapping[JobRef, int] | None = None
    ) -> Mapping[JobRef, JobStatus]:
        return {ref: self.jobs[ref] for ref in refs}

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        data = self.text.encode()[offset : offset + limit]
        return LogChunk(data.decode(), offset + len(data))

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        return await logs_one_by_one(self, offsets, limit)

    def log_uri(self, ref: JobRef) -> str | None:
        return f"memory://{ref.job_id}"

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        self.cancelled.append((ref, owner))
        return True

    async def result(self, ref: JobRef) -> ReportedResult:
        return self.reported

    async def acknowledge(self, ref: JobRef, owner: str) -> None:
        self.acknowledged.add(ref)

    async def reap(self, keep_seconds: float) -> int:
        return 0

    async def close(self) -> None:
        return None

    def end(self, state: JobState, **details: Any) -> JobStatus:
        """End the newest job."""
        ref = max(self.jobs, key=lambda ref: ref.generation)
        self.jobs[ref] = replace(self.jobs[ref], state=state, **details)
        return self.jobs[ref]


@pytest.fixture
def backend(mocker: Any) -> MemoryBackend:
    """Takes the place of every backend that an operator or trigger opens."""
    memory = MemoryBackend()
    mocker.patch("airflow_provider_mlbridge.hooks.training.BackendSpec.open", return_value=memory)
    mocker.patch("airflow_provider_mlbridge.hooks.training.BackendSpec.aopen", return_value=memory)
    return memory


@pytest.fixture
def context() -> dict[str, Any]:
    """What Airflow gives to ``execute``."""
    return {
        "ti": TaskInstance(),
        "task_state_store": Store(),
        "outlet_events": {},
        "dag": SimpleNamespace(fileloc="/dags/bridge.py"),
        "dag_run": SimpleNamespace(clear_number=0, run_after=datetime(2026, 1, 2, 7, tzinfo=UTC)),
    }


@pytest.fixture
def features() -> dict[str, Any]:
    """The output of a feature build."""
    return FeatureSet(
        uri="s3://lake/ml/features/versions/v1/",
        fingerprint="f" * 64,
        recipe_hash="a" * 64,
        datamart_uri="s3://lake/mart/",
        datamart_fingerprint="b" * 64,
        rows=10,
        train_rows=8,
        feature_count=3,
        label="y",
        latest_uri=None,
        duration_seconds=0.5,
    ).to_dict()
