# SPDX-License-Identifier: Apache-2.0
"""Wait for a training without holding a worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.hooks.training import BackendSpec
from airflow_provider_mlbridge.training.state import JobRef
from airflow_provider_mlbridge.training.wait import Waiting

CANCEL_SECONDS = 25
"""Airflow gives ``on_kill`` thirty seconds; what is left lets the warning reach the log."""


class TrainingCompletionTrigger(BaseTrigger):
    """
    Ask for the state of one training until it ends, and pass its log on.

    The arguments hold no secret: the credentials come from the Airflow connection while the trigger runs.

    :param mode: ``dag``, ``ssh`` or ``api``.
    :param conn_id: Airflow connection, for ssh and api.
    :param key: identity of the training.
    :param generation: which start of it.
    :param job_id: the backend's name of it.
    :param owner: the task-instance attempt, which alone may cancel.
    :param endpoint: path of the submission, for api.
    :param adapter: adapter, for api.
    :param trigger_dag_id: the training DAG, for dag.
    :param poll_interval: seconds between two questions.
    :param log_offset: bytes of log that were already shown.
    :param deadline: Unix time at which the wait ends and the training is cancelled, or None.
    :param unreachable_timeout: seconds after which a backend that does not answer ends the wait, the job left
        alone; None to ask for ever.
    """

    def __init__(
        self,
        *,
        mode: str,
        conn_id: str | None,
        key: str,
        generation: int,
        job_id: str,
        owner: str,
        endpoint: str = "/api/v1/training/trigger",
        adapter: str | Mapping[str, Any] = "mlbridge",
        trigger_dag_id: str | None = None,
        poll_interval: float = 10.0,
        log_offset: int = 0,
        deadline: float | None = None,
        unreachable_timeout: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A trigger never submits, so there is nothing left to refuse.
        self.spec = BackendSpec(mode, conn_id, endpoint, adapter, trigger_dag_id, allow_duplicate_submit=True)
        self.ref = JobRef(key, generation, job_id)
        self.owner = owner
        self.poll_interval = poll_interval
        self.log_offset = log_offset
        self.deadline = deadline
        self.unreachable_timeout = unreachable_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, plain JSON."""
        return (
            "airflow_provider_mlbridge.triggers.training.TrainingCompletionTrigger",
            {
                "mode": self.spec.mode,
                "conn_id": self.spec.conn_id,
                "key": self.ref.key,
                "generation": self.ref.generation,
                "job_id": self.ref.job_id,
                "owner": self.owner,
                "endpoint": self.spec.endpoint,
                "adapter": self.spec.adapter,
                "trigger_dag_id": self.spec.trigger_dag_id,
                "poll_interval": self.poll_interval,
                "log_offset": self.log_offset,
                "deadline": self.deadline,
                "unreachable_timeout": self.unreachable_timeout,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the training ends; exactly one event."""
        backend = await self.spec.aopen()
        try:
            event = await Waiting(
                backend=backend,
                ref=self.ref,
                owner=self.owner,
                log=self.log,
                poll_interval=self.poll_interval,
                log_offset=self.log_offset,
                deadline=self.deadline,
                unreachable_timeout=self.unreachable_timeout,
            ).until_over()
        finally:
            await backend.close()
        yield TriggerEvent(event.to_dict())  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """A person cleared or marked the task: stop the training, if it still is this attempt's."""
        backend = await self.spec.aopen()
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                cancelled = await backend.cancel(self.ref, self.owner, "the task was stopped by a user")
        except (MLBridgeError, TimeoutError) as error:
            self.log.error(
                "Training %s may still be running: cancelling it failed: %s", self.ref.job_id, error
            )
        else:
            if cancelled:
                self.log.info("Training %s is cancelled", self.ref.job_id)
            else:
                self.log.warning(
                    "Training %s goes on: this attempt is not its owner, or mode %r cannot cancel",
                    self.ref.job_id,
                    self.spec.mode,
                )
        finally:
            await backend.close()
