# SPDX-License-Identifier: Apache-2.0
"""The table at the end of the demo, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_provider_mlbridge.results import FeatureSet, QualitySummary, Snapshot, TrainingResult
from demo.console import table
from demo.integration import TASKS, ModeRun, model_path, task_seconds


def results_table(runs: Sequence[ModeRun]) -> str:
    """A line per task: mode, task, state, seconds, and what came out."""
    rows = []
    for run in runs:
        for task_id in TASKS:
            task = run.tasks.get(task_id)
            duration = task_seconds(task) if task else None
            rows.append(
                [
                    run.mode,
                    task_id,
                    task.state if task else "missing",
                    f"{duration:.1f}" if duration is not None else "",
                    _in_words(run.results.get(task_id)),
                ]
            )
    return table(["mode", "task", "state", "seconds", "result"], rows, right=[3])


def _in_words(result: Snapshot | QualitySummary | FeatureSet | TrainingResult | None) -> str:
    if isinstance(result, Snapshot):
        return f"{result.file_count} files, {result.total_bytes / 1e6:.1f} MB"
    if isinstance(result, QualitySummary):
        return f"{result.rows:,} rows, {result.passed} of {result.evaluated} checks passed"
    if isinstance(result, FeatureSet):
        return f"{result.rows:,} rows, {result.feature_count} features, fitted on {result.train_rows:,} rows"
    if isinstance(result, TrainingResult):
        metrics = result.metrics
        return (
            f"accuracy {metrics.get('accuracy', 0):.3f}, AUC {metrics.get('auc', 0):.3f} "
            f"(log loss {metrics.get('log_loss', 0):.3f}, {metrics.get('base_rate', 0):.1%} late)"
        )
    return ""


def where_to_look(runs: Sequence[ModeRun], *, airflow_home: Path, root: Path) -> str:
    """Models, reports, features and logs, relative to ``root`` where they are files."""
    lines = []
    for run in runs:
        training, quality = run.results.get("train"), run.results.get("check_quality")
        features = run.results.get("build_features")
        model = model_path(training) if isinstance(training, TrainingResult) else None
        lines.append(f"{run.mode}:")
        if model is not None:
            lines.append(f"  model     {_short(model, root)}")
        if isinstance(features, FeatureSet):
            lines.append(f"  features  {features.uri}")
        if isinstance(quality, QualitySummary) and quality.report_uri:
            lines.append(f"  report    {quality.report_uri}")
        logs = airflow_home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
        lines.append(f"  logs      {_short(logs, root)}")
    return "\n".join(lines)


def problems(runs: Sequence[ModeRun]) -> str:
    """Everything that is wrong, a line each; empty when all is well."""
    return "\n".join(f"{run.mode}: {problem}" for run in runs for problem in run.problems)


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
