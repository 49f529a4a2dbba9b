# SPDX-License-Identifier: Apache-2.0
"""From a mode and a connection to a training backend."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mlbridge.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_mlbridge.training.backend import TrainingBackend

TrainingMode = Literal["dag", "ssh", "api"]
MODES = ("dag", "ssh", "api")


@dataclass(frozen=True)
class BackendSpec:
    """
    Where a training runs; plain data, so that a trigger can carry it. Holds no secret.

    :param mode: ``dag``, ``ssh`` or ``api``.
    :param conn_id: Airflow connection, for ssh and api.
    :param endpoint: path of the submission, for api.
    :param adapter: name of the adapter, or the adapter as a mapping, for api.
    :param trigger_dag_id: the training DAG, for dag.
    :param allow_duplicate_submit: accept an adapter that cannot recognise a repeated submission, for api.
    """

    mode: str
    conn_id: str | None = None
    endpoint: str = "/api/v1/training/trigger"
    adapter: str | Mapping[str, Any] = "mlbridge"
    trigger_dag_id: str | None = None
    allow_duplicate_submit: bool = False

    def check(self) -> None:
        """
        Check that the mode has what it needs.

        :raises ConfigurationError: naming the argument that is wrong or missing.
        """
        if self.mode not in MODES:
            raise ConfigurationError(
                f"mode={self.mode!r} is not valid; valid are {', '.join(map(repr, MODES))}"
            )
        if self.mode == "dag":
            if not self.trigger_dag_id:
                raise ConfigurationError("mode='dag' needs trigger_dag_id, the id of the training DAG")
            if self.conn_id:
                raise ConfigurationError(
                    f"mode='dag' with conn_id={self.conn_id!r}: another Airflow cannot be reached in this "
                    f"version; leave conn_id out to run {self.trigger_dag_id!r} in this one"
                )
        elif not self.conn_id:
            raise ConfigurationError(f"mode={self.mode!r} needs conn_id, the connection to train with")

    def open(self, state_store: Any) -> TrainingBackend:
        """
        A backend for use in a task.

        :param state_store: ``context["task_state_store"]``, where mode dag keeps its record.
        """
        self.check()
        if self.mode == "dag":
            from airflow_provider_mlbridge.hooks.dag_runs import SupervisorDagRuns, TaskStateRecord
            from airflow_provider_mlbridge.training.backends.dag import DagBackend

            return DagBackend(SupervisorDagRuns(), str(self.trigger_dag_id), TaskStateRecord(state_store))
        from airflow.sdk import BaseHook

        return self._remote(BaseHook.get_connection(str(self.conn_id)))

    async def aopen(self) -> TrainingBackend:
        """A backend for use in a trigger."""
        self.check()
        if self.mode == "dag":
            from airflow_provider_mlbridge.hooks.dag_runs import SupervisorDagRuns
            from airflow_provider_mlbridge.training.backends.dag import DagBackend

            return DagBackend(SupervisorDagRuns(), str(self.trigger_dag_id))
        from airflow.sdk import BaseHook

        # The first import of these takes most of a second, in which no other trigger would get its turn.
        await asyncio.to_thread(importlib.import_module, "asyncssh" if self.mode == "ssh" else "aiohttp")
        return self._remote(await BaseHook.aget_connection(str(self.conn_id)))

    def _remote(self, connection: Connection) -> TrainingBackend:
        if self.mode == "ssh":
            from airflow_provider_mlbridge.hooks.ssh import ssh_backend

            return ssh_backend(connection)
        from airflow_provider_mlbridge.hooks.api import api_target
        from airflow_provider_mlbridge.training.backends.api import APIBackend

        return APIBackend(
            api_target(connection),
            endpoint=self.endpoint,
            adapter=self.adapter,
            allow_duplicate_submit=self.allow_duplicate_submit,
        )
