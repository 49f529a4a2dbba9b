# SPDX-License-Identifier: Apache-2.0
"""Runs the integration DAG once per training mode, follows the runs, and judges what they left behind."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.results import FeatureSet, QualitySummary, Snapshot, TrainingResult
from demo.datamart import Datamart
from demo.services.airflow import AirflowInstance
from demo.services.airflow_api import RUN_END_STATES, TaskState
from demo.services.process import ServiceError

MODES = ("ssh", "api", "dag")
TASKS = ("wait_for_datamart", "check_quality", "build_features", "train")
TRAINING_DAG = "train_flight_delay"

_SHOWN = {"running", "deferred", "up_for_retry", "success", "failed", "upstream_failed", "skipped"}


def dag_id(mode: str) -> str:
    """The integration DAG of a mode."""
    return f"dataops_to_mlops_integration_{mode}"


@dataclass
class ModeRun:
    """
    One run of the integration DAG.

    :param mode: ``ssh``, ``api`` or ``dag``.
    :param run_id: its id, the same for all modes.
    :param state: state of the run, as Airflow says.
    :param tasks: task id to task state.
    :param results: task id to what the task returned, as read by its class.
    :param problems: everything that is not as it must be; empty when the run really succeeded.
    """

    mode: str
    run_id: str
    state: str = "none"
    tasks: dict[str, TaskState] = field(default_factory=dict)
    results: dict[str, Snapshot | QualitySummary | FeatureSet | TrainingResult] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def dag_id(self) -> str:
        """The DAG."""
        return dag_id(self.mode)


def run_all(
    airflow: AirflowInstance, datamart: Datamart, *, say: Callable[[str], None], timeout: float
) -> list[ModeRun]:
    """
    Trigger the three runs, follow them to their end, and judge them.

    :param timeout: seconds for all runs together.
    :raises ServiceError: when a DAG is missing, or time is over.
    """
    for dag in (TRAINING_DAG, *map(dag_id, MODES)):
        airflow.api.wait_for_dag(dag, timeout=120)
        airflow.api.unpause(dag)
    run_id = datetime.now(UTC).strftime("demo_%Y%m%dT%H%M%SZ")
    runs = [ModeRun(mode, run_id) for mode in MODES]
    for run in runs:
        airflow.api.trigger(run.dag_id, run_id=run.run_id)
        say(f"{run.mode}: run {run.run_id} of {run.dag_id} triggered")
    _follow(airflow, runs, say, time.monotonic() + timeout)
    for run in runs:
        _collect(airflow, run)
        run.problems.extend(judge(run, datamart))
    return runs


def _follow(
    airflow: AirflowInstance, runs: list[ModeRun], say: Callable[[str], None], deadline: float
) -> None:
    """Print every change of a task until all runs are over."""
    printed: dict[tuple[str, str], tuple[str, int]] = {}
    while True:
        for run in runs:
            # The state of the run first: once it is over, the tasks read after it are final.
            run.state = airflow.api.run_state(run.dag_id, run.run_id)
            for task in airflow.api.tasks(run.dag_id, run.run_id):
                run.tasks[task.task_id] = task
                now = (task.state, task.try_number)
                if task.state in _SHOWN and printed.get((run.mode, task.task_id)) != now:
                    printed[run.mode, task.task_id] = now
                    say(f"{run.mode}: {task.task_id:<18} {_in_words(task)}")
        if all(run.state in RUN_END_STATES for run in runs):
            return
        if time.monotonic() > deadline:
            states = {run.mode: {name: task.state for name, task in run.tasks.items()} for run in runs}
            raise ServiceError(f"the runs did not end in time: {states}")
        time.sleep(1.5)


def _in_words(task: TaskState) -> str:
    words = task.state
    if task.state == "deferred":
        words = "waits in the triggerer, no worker is held"
    elif task.state in ("success", "failed") and task_seconds(task) is not None:
        words = f"{task.state} after {task_seconds(task):.1f} s"
    return words if task.try_number <= 1 else f"{words} (try {task.try_number})"


def task_seconds(task: TaskState) -> float | None:
    """Wall time from the start of the last try to its end, waiting included."""
    if task.started is None or task.ended is None:
        return None
    return (task.ended - task.started).total_seconds()


_CLASSES: dict[str, Any] = {
    "wait_for_datamart": Snapshot,
    "check_quality": QualitySummary,
    "build_features": FeatureSet,
    "train": TrainingResult,
}


def _collect(airflow: AirflowInstance, run: ModeRun) -> None:
    """Read what the tasks returned, by the classes that the next task reads it by."""
    for task_id, kind in _CLASSES.items():
        try:
            run.results[task_id] = kind.from_dict(airflow.api.xcom(run.dag_id, run.run_id, task_id))
        except LookupError:
            run.problems.append(f"{task_id} returned nothing")
        except ConfigurationError as error:
            run.problems.append(f"{task_id} returned something else: {error}")


def judge(run: ModeRun, datamart: Datamart) -> list[str]:
    """
    What is wrong with a run. A green DAG is not enough: results must be there, plausible, and of one chain.

    :param datamart: what was put into S3.
    """
    return [*_judge_states(run), *_judge_chain(run, datamart), *_judge_training(run)]


def _judge_states(run: ModeRun) -> Iterator[str]:
    if run.state != "success":
        yield f"the run is {run.state!r}"
    for task_id in TASKS:
        task = run.tasks.get(task_id)
        if task is None or task.state != "success":
            yield f"{task_id} is {task.state if task else 'missing'!r}"


def _judge_chain(run: ModeRun, datamart: Datamart) -> Iterator[str]:
    """What was waited for is what was checked, and that is what the features come from."""
    snapshot, quality = run.results.get("wait_for_datamart"), run.results.get("check_quality")
    features = run.results.get("build_features")
    if isinstance(snapshot, Snapshot) and snapshot.file_count != datamart.files:
        yield f"wait_for_datamart found {snapshot.file_count} files, {datamart.files} were put there"
    if isinstance(quality, QualitySummary):
        if not quality.success or quality.passed != quality.evaluated or not quality.evaluated:
            yield f"check_quality passed {quality.passed} of {quality.evaluated} checks"
        if quality.rows != datamart.rows:
            yield f"check_quality saw {quality.rows:,} rows, dbt wrote {datamart.rows:,}"
        if isinstance(snapshot, Snapshot) and quality.snapshot.fingerprint != snapshot.fingerprint:
            yield "check_quality judged another snapshot than was waited for"
    if isinstance(features, FeatureSet):
        if features.rows != datamart.rows or not 0 < features.train_rows < features.rows:
            yield f"build_features wrote {features.rows:,} rows, {features.train_rows:,} to train on"
        if features.feature_count < 10:
            yield f"build_features made {features.feature_count} features only"
        if isinstance(quality, QualitySummary) and (
            features.datamart_fingerprint != quality.snapshot.fingerprint
        ):
            yield "build_features read another snapshot than was checked"


def _judge_training(run: ModeRun) -> Iterator[str]:
    training, features = run.results.get("train"), run.results.get("build_features")
    if not isinstance(training, TrainingResult):
        return
    if (training.state, training.mode) != ("succeeded", run.mode):
        yield f"train is {training.state!r} in mode {training.mode!r}"
    if isinstance(features, FeatureSet) and training.features_fingerprint != features.fingerprint:
        yield "train used other features than were built"
    auc, accuracy = (training.metrics.get(name, math.nan) for name in ("auc", "accuracy"))
    # Better than guessing, and not so good that a column must have told the answer.
    if not (0.6 < auc < 0.95 and 0.7 < accuracy < 0.97):
        yield f"the metrics are implausible: {dict(training.metrics)}"
    model = model_path(training)
    if model is None or not model.is_file() or model.stat().st_size < 1000:
        yield f"there is no model at {training.model_uri}"
        return
    try:
        about = json.loads(model.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        yield f"the description of the model is not readable: {error}"
        return
    if about.get("features_fingerprint") != training.features_fingerprint:
        yield "the model was trained on other features than the result says"


def model_path(training: TrainingResult) -> Path | None:
    """Path of the model, which in the demo is on this machine."""
    parts = urlsplit(training.model_uri or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
