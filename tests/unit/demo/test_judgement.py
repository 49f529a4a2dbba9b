# SPDX-License-Identifier: Apache-2.0
"""The demo ends with 0 only when every run really succeeded; a green DAG alone is not that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.results import FeatureSet, QualitySummary, Snapshot, TrainingResult
from demo.datamart import Datamart
from demo.integration import TASKS, ModeRun, judge
from demo.report import problems, results_table
from demo.services.airflow_api import TaskState

DATAMART = Datamart(rows=327_346, files=12, size=4_100_000, label_rate=0.157, source="x")
SNAPSHOT = Snapshot(
    uri="s3://b/d/",
    root="s3://b/d/",
    fingerprint="snap",
    file_count=12,
    total_bytes=4_100_000,
    pinned_at="2026-01-01T00:00:00+00:00",
    modified_at="2026-01-01T00:00:00+00:00",
)
QUALITY = QualitySummary(
    snapshot=SNAPSHOT,
    success=True,
    rows=327_346,
    evaluated=16,
    passed=16,
    failed=0,
    not_checked=0,
    failed_expectations=(),
    report_uri="s3://b/r/",
    duration_seconds=2.0,
)
FEATURES = FeatureSet(
    uri="s3://b/f/v1/",
    fingerprint="feat",
    recipe_hash="r",
    datamart_uri="s3://b/d/",
    datamart_fingerprint="snap",
    rows=327_346,
    train_rows=261_877,
    feature_count=33,
    label="late",
    latest_uri=None,
    duration_seconds=3.0,
)


def success(task_id: str) -> TaskState:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return TaskState(task_id, -1, "success", 1, 2, 2.5, started, started + timedelta(seconds=2.5), None)


@pytest.fixture
def good_run(tmp_path: Path) -> ModeRun:
    model = tmp_path / "model.joblib"
    model.write_bytes(b"m" * 5000)
    model.with_suffix(".json").write_text(json.dumps({"features_fingerprint": "feat"}))
    training = TrainingResult(
        state="succeeded",
        mode="ssh",
        key="k",
        generation=1,
        job_id="j",
        metrics={"accuracy": 0.861, "auc": 0.719, "log_loss": 0.373, "base_rate": 0.141},
        model_uri=model.as_uri(),
        mlflow_run_id=None,
        features_uri=FEATURES.uri,
        features_fingerprint="feat",
        started_at=None,
        finished_at=None,
        duration_seconds=None,
        log_uri=None,
    )
    return ModeRun(
        "ssh",
        "demo_1",
        state="success",
        tasks={task_id: success(task_id) for task_id in TASKS},
        results={
            "wait_for_datamart": SNAPSHOT,
            "check_quality": QUALITY,
            "build_features": FEATURES,
            "train": training,
        },
    )


def test_a_run_with_all_results_of_one_chain_is_good(good_run: ModeRun) -> None:
    assert judge(good_run, DATAMART) == []
    table = results_table([good_run])
    assert "327,346 rows, 16 of 16 checks passed" in table
    assert "327,346 rows, 33 features, fitted on 261,877 rows" in table
    assert "accuracy 0.861, AUC 0.719" in table
    assert problems([good_run]) == ""


def with_result(task_id: str, **changes: Any) -> Callable[[ModeRun], None]:
    def change(run: ModeRun) -> None:
        run.results[task_id] = replace(run.results[task_id], **changes)

    return change


def without_model(run: ModeRun) -> None:
    training = run.results["train"]
    assert isinstance(training, TrainingResult)
    run.results["train"] = replace(training, model_uri=f"{training.model_uri}.gone")


def with_failed_task(run: ModeRun) -> None:
    run.tasks["train"] = replace(run.tasks["train"], state="upstream_failed")


def with_failed_run(run: ModeRun) -> None:
    run.state = "failed"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_failed_run, "the run is 'failed'"),
        (with_failed_task, "train is 'upstream_failed'"),
        (with_result("wait_for_datamart", file_count=11), "found 11 files, 12 were put there"),
        (with_result("wait_for_datamart", fingerprint="other"), "judged another snapshot"),
        (with_result("check_quality", passed=15), "passed 15 of 16 checks"),
        (with_result("check_quality", passed=0, evaluated=0), "passed 0 of 0 checks"),
        (with_result("check_quality", rows=1), "saw 1 rows, dbt wrote 327,346"),
        (with_result("build_features", rows=1), "build_features wrote 1 rows"),
        (with_result("build_features", train_rows=0), "0 to train on"),
        (with_result("build_features", datamart_fingerprint="other"), "read another snapshot"),
        (with_result("build_features", fingerprint="other"), "train used other features"),
        (with_result("train", mode="api"), "in mode 'api'"),
        (with_result("train", metrics={}), "the metrics are implausible"),
        (with_result("train", metrics={"auc": 0.999, "accuracy": 0.99}), "the metrics are implausible"),
        (with_result("train", metrics={"auc": 0.5, "accuracy": 0.85}), "the metrics are implausible"),
        (with_result("train", model_uri=None), "there is no model"),
        (without_model, "there is no model"),
    ],
)
def test_what_a_green_dag_would_hide_is_told(
    good_run: ModeRun, change: Callable[[ModeRun], None], problem: str
) -> None:
    change(good_run)
    good_run.problems.extend(judge(good_run, DATAMART))
    assert any(problem in found for found in good_run.problems), good_run.problems
    assert problem in problems([good_run])


def test_a_model_of_other_features_is_told(good_run: ModeRun, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"features_fingerprint": "older"}))
    assert judge(good_run, DATAMART) == ["the model was trained on other features than the result says"]
