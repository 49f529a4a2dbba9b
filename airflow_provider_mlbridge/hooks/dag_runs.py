# SPDX-License-Identifier: Apache-2.0
"""
DAG runs of this Airflow, from inside a task or a trigger.

Airflow 3.3 has no public interface to create a run from a task with a run id of one's own and to attach to
one that exists, so this module alone speaks to the task supervisor; ``tests/unit/hooks/test_dag_runs.py``
holds the contract. State, XCom and the DAG's details come through public methods of the task instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.exceptions import BackendProtocolError

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
            raise

    async def conf(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """The run's ``conf``, None when there is no such run. In tasks only."""
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun

        try:
            answer = _supervisor().send(GetDagRun(dag_id=dag_id, run_id=run_id))
        except AirflowRuntimeError as error:
            if _is_not_found(error):
                return None
            raise
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
            raise
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
            raise
        # An enumeration whose str() differs between Airflow's versions.
        return str(getattr(state, "value", state))

    async def reported(self, dag_id: str, run_id: str) -> Mapping[str, Any]:
        """
        By task id, what the run's tasks offer as the training's result. In tasks only.

        An offer is the XCom ``training_result``; when no task pushed one, a returned mapping with
        ``metrics``.
        """
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from airflow.sdk.execution_time.xcom import XCom

        states = RuntimeTaskInstance.get_task_states(dag_id, run_ids=[run_id]).get(run_id, {})
        explicit: dict[str, Any] = {}
        returned: dict[str, Any] = {}
        for task_id in states:
            value = XCom.get_one(key=RESULT_KEY, dag_id=dag_id, task_id=task_id, run_id=run_id)
            if value is not None:
                explicit[task_id] = value
                continue
            value = XCom.get_one(key="return_value", dag_id=dag_id, task_id=task_id, run_id=run_id)
            if isinstance(value, Mapping) and "metrics" in value:
                returned[task_id] = value
        return explicit or returned


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
        self._store.set(RECORD_KEY, dict(record))


def _supervisor() -> Any:
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS


def _is_not_found(error: Any) -> bool:
    detail = error.error.detail or {}
    return "not_found" in str(error.error.error).lower() or detail.get("status_code") == 404
