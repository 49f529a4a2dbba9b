# SPDX-License-Identifier: Apache-2.0
"""What a training task tells others: metrics, lineage and the events of its assets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.observability import emit, submission_metrics, training_metrics
from airflow_provider_mlbridge.operators._lineage import is_listening, training_lineage
from airflow_provider_mlbridge.operators._support import add_to_outlets
from airflow_provider_mlbridge.operators._training import duration_of, resolve_features

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_mlbridge.operators.ml_training_trigger import MLTrainingTriggerOperator
    from airflow_provider_mlbridge.training.event import CompletionEvent


class Signals:
    """
    What one part of a task tells.

    :param task: the operator, rendered.
    :param context: of the task.
    :param mode: where it trains.
    """

    def __init__(self, task: MLTrainingTriggerOperator, context: Context, mode: str) -> None:
        self._task = task
        self._context = context
        self._mode = mode
        self.lineage: OperatorLineage | None = None

    def submitted(self, *, attached: bool) -> None:
        """The training is there."""
        emit(submission_metrics(self._mode, attached=attached), self._context)

    def ended(self, outcome: str, event: CompletionEvent, document: Mapping[str, Any] | None = None) -> None:
        """
        The training has ended, or its wait.

        :param document: its result, where it has one.
        """
        emit(training_metrics(self._mode, outcome, duration_of(event)), self._context)
        self._note_lineage(outcome, event.job_id, document or {"generation": event.generation})

    def reused(self, document: Mapping[str, Any]) -> None:
        """A former result is returned again."""
        emit(training_metrics(self._mode, "reused", None), self._context)
        self._note_lineage("reused", document["job_id"], document)
        self.outlets(document)

    def outlets(self, document: Mapping[str, Any]) -> None:
        """What the events of the task's assets carry."""
        extra = {name: document[name] for name in ("model_uri", "metrics", "job_id")}
        add_to_outlets(self._context, self._task.outlets, extra)

    def _note_lineage(self, outcome: str, job_id: str, document: Mapping[str, Any]) -> None:
        if not is_listening():
            return
        try:
            uri, fingerprint = resolve_features(self._task, self._context, None)
        except MLBridgeError as error:
            # Never in place of what the task has to say itself.
            self._task.log.info("No lineage is told, since the features cannot be named: %s", error)
            return
        facts = {
            "mode": self._mode,
            "outcome": outcome,
            "jobId": job_id,
            "generation": document["generation"],
            "featuresUri": uri,
            "featuresFingerprint": fingerprint,
            "metrics": dict(document.get("metrics", {})),
            "modelUri": document.get("model_uri"),
            "mlflowRunId": document.get("mlflow_run_id"),
        }
        self.lineage = training_lineage(uri, facts, document.get("model_uri"))
