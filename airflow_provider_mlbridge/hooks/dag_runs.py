# SPDX-License-Identifier: Apache-2.0
"""
DAG runs of this Airflow, from inside a task or a trigger.

Airflow 3.3 has no public interface to create a run from a task with a run id of one's own and to attach to
one that exists, so this module alone speaks to the task supervisor; ``tests/unit/hooks/test_dag_runs.py``
holds the contract. State, XCom and the DAG's details come through public methods of the task instance.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    BackendUnreachableError,
    TrainingError,
)

log = logging.getLogger(__name__)

RESULT_KEY = "training_result"
"""XCom under which a task of the training DAG reports the result."""

RECORD_KEY = "mlbridge_training"
"""Name of the record in the task's state store."""


class SupervisorDagRuns:
    """Implements :class:`~airflow_provider_mlbridge.training.backends.dag.DagRunGateway`."""

    async def is_paused(self, dag_id: str) -> bool | None:
        """Whether the DAG is paused, None when there is no such DAG. In tasks only."""
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        try:
            return bool(RuntimeTaskInstance.get_dag(dag_id).is_paused)
        except AirflowRuntimeError as error:
            if _is_not_found(error):
                return None
            raise _refused(error, f"to tell about {dag_id!r}") from error

    async def conf(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """The run's ``conf``, None when there is no such run. In tasks only."""
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun

        try:
            answer = _supervisor().send(GetDagRun(dag_id=dag_id, run_id=run_id))
        except AirflowRuntimeError as error:
            if _is_not_found(error):
                return None
            raise _refused(error, f"to tell about {dag_id!r}") from error
        if not isinstance(answer, DagRunResult):
            raise BackendProtocolError(f"Airflow answered {type(answer).__name__} when asked for a DAG run")
        return answer.conf or {}

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        """Create the run; False when it exists already. In tasks only."""
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse, TriggerDagRun

        message = TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=dict(conf))
        try:
            answer = _supervisor().send(message)
        except AirflowRuntimeError as error:
            if error.error.error == ErrorType.DAGRUN_ALREADY_EXISTS:
                return False
            raise _refused(error, f"to create a run of {dag_id!r}") from error
        if isinstance(answer, ErrorResponse) and answer.error == ErrorType.DAGRUN_ALREADY_EXISTS:
            return False
        if not isinstance(answer, OKResponse):
            raise BackendProtocolError(
                f"Airflow answered {answer!r} when asked to create a run of {dag_id!r}"
            )
        return True

    async def state(self, dag_id: str, run_id: str) -> str | None:
        """State of the run, None when there is no such run."""
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        try:
            state = await sync_to_async(RuntimeTaskInstance.get_dagrun_state)(dag_id, run_id)
        except AirflowRuntimeError as error:
            if _is_not_found(error):
                return None
            raise _refused(error, f"to tell about {dag_id!r}") from error
        # An enumeration whose str() differs between Airflow's versions.
        return str(getattr(state, "value", state))

    async def reported(self, dag_id: str, run_id: str) -> Mapping[str, Any]:
        """
        By task, what the run's tasks offer as the training's result. In tasks only.

        An offer is a returned mapping with ``metrics``. When there is not exactly one, the XComs named
        ``training_result`` count instead.
        """
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ended = [
            (str(crumb["task_id"]), int(crumb.get("map_index", -1)))
            for crumb in RuntimeTaskInstance.get_task_breadcrumbs(dag_id, run_id)
        ]
        returned = _xcoms("return_value", dag_id, run_id, ended)
        offers = {
            task: value
            for task, value in returned.items()
            if isinstance(value, Mapping) and "metrics" in value
        }
        if len(offers) != 1:
            offers = _xcoms(RESULT_KEY, dag_id, run_id, ended) or offers
        return offers


def _xcoms(key: str, dag_id: str, run_id: str, tasks: list[tuple[str, int]]) -> dict[str, Any]:
    """By task, the values of one XCom; a value that cannot be read here is nobody's training result."""
    from airflow.sdk.execution_time.xcom import XCom

    found = {}
    for task_id, map_index in tasks:
        name = task_id if map_index < 0 else f"{task_id}[{map_index}]"
        try:
            value = XCom.get_one(key=key, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)
        except (ImportError, TypeError, ValueError, AttributeError) as error:
            # Another team's classes need not be importable, or allowed, in this task.
            log.info("The XCom %r of task %s cannot be read here: %s", key, name, error)
            continue
        if value is not None:
            found[name] = value
    return found


class TaskStateRecord:
    """
    The record in the task's state store.

    :param store: ``context["task_state_store"]``.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def load(self) -> Mapping[str, Any]:
        """What was saved last; empty when nothing was."""
        record = self._store.get(RECORD_KEY, {})
        return record if isinstance(record, Mapping) else {}

    def save(self, record: Mapping[str, Any]) -> None:
        """Replace it."""
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        # As long as the run: a clear after a month must not find a training that nobody has acknowledged.
        self._store.set(RECORD_KEY, dict(record), retention=NEVER_EXPIRE)


def _supervisor() -> Any:
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS


def _refused(error: Any, what: str) -> TrainingError:
    """Airflow's refusal as ours: what a retry cannot mend is told apart from a passing fault."""
    detail = error.error.detail or {}
    status = detail.get("status_code")
    message = f"Airflow refused {what}: {error}"
    if isinstance(status, int) and 400 <= status < 500:
        return BackendProtocolError(f"{message}. Does the DAG parse, and does its schema accept the conf?")
    return BackendUnreachableError(message)


def _is_not_found(error: Any) -> bool:
    detail = error.error.detail or {}
    return "not_found" in str(error.error.error).lower() or detail.get("status_code") == 404
