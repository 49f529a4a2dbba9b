# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobState
from airflow_provider_mlbridge.triggers import TrainingCompletionTrigger
from tests.unit.operators.conftest import MemoryBackend


def operator(features: Any, **changes: Any) -> MLTrainingTriggerOperator:
    arguments: dict[str, Any] = {
        "task_id": "train",
        "mode": "ssh",
        "conn_id": "host",
        "command": "python train.py",
        "features": features,
        "experiment_name": "flights",
        "model_type": "gbm",
        "params": {"depth": 3},
        "retries": 2,
        **changes,
    }
    return MLTrainingTriggerOperator(**arguments)


def deferred(task: MLTrainingTriggerOperator, context: Any) -> TrainingCompletionTrigger:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    trigger = caught.value.trigger
    assert isinstance(trigger, TrainingCompletionTrigger)
    return trigger


def event_of(backend: MemoryBackend, state: JobState, **details: Any) -> dict[str, Any]:
    return CompletionEvent.of(backend.end(state, **details), log_offset=len(backend.text)).to_dict()


def next_try(context: Any) -> None:
    context["ti"].try_number += 1
    context["ti"].id = f"22222222-{context['ti'].try_number}"
    context["ti"].xcoms.clear()


def clear(context: Any, *, retries: int = 2) -> None:
    """A user clears the task, as Airflow does it."""
    context["ti"].max_tries = context["ti"].try_number + retries
    context["dag_run"].clear_number += 1
    next_try(context)


def clear_a_sibling(context: Any) -> None:
    """A user clears another task of the run; ours goes on or is retried."""
    context["dag_run"].clear_number += 1
