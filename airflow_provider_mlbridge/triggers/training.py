# SPDX-License-Identifier: Apache-2.0
"""Wait for a training without holding a worker slot."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
    ConfigurationError,
    MLBridgeError,
)
from airflow_provider_mlbridge.hooks.training import BackendSpec
from airflow_provider_mlbridge.training.board import StatusBoard, shared_board
from airflow_provider_mlbridge.training.state import JobRef
from airflow_provider_mlbridge.training.wait import Waiting

if TYPE_CHECKING:
    from airflow_provider_mlbridge.training.backend import TrainingBackend

CANCEL_SHARE = 5 / 6
"""Of the time that Airflow gives to ``on_kill``; what is left lets the warning reach the log."""

CANCEL_PAUSE_SECONDS = 1.0
"""Between two attempts to cancel."""

SETTLING_SECONDS = 2.0
"""
The least time from a trigger's start to its event.

Airflow 3.3 fails a try whose trigger fires before the scheduler has handled the executor's word that the
worker is done with it: the task is queued again by then, and the two are taken for a contradiction.
"""

_CANCEL_FAULTS = 3


class TrainingCompletionTrigger(BaseTrigger):
    """
    Ask for the state of one training until it ends, and pass its log on.

    All triggers of a triggerer that wait at the same place share one backend and ask together. The arguments
    hold no secret: the credentials come from the Airflow connection while the trigger runs.

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
    :param seconds_left: how long it is until then, for a triggerer whose clock is another one; taken from
        the deadline, by the clock that it was set with, when left out.
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
        seconds_left: float | None = None,
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
        if seconds_left is None and deadline is not None:
            # The worker makes the trigger, and the triggerer makes it again from what is serialized here.
            seconds_left = max(0.0, deadline - time.time())
        self.seconds_left = seconds_left
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
                "seconds_left": self.seconds_left,
                "unreachable_timeout": self.unreachable_timeout,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the training ends; exactly one event."""
        clock = asyncio.get_running_loop().time
        settled = clock() + SETTLING_SECONDS
        async with self._board() as board:
            event = await Waiting(
                backend=board,
                ref=self.ref,
                owner=self.owner,
                log=self.log,
                poll_interval=self.poll_interval,
                log_offset=self.log_offset,
                deadline=self.deadline,
                seconds_left=self.seconds_left,
                unreachable_timeout=self.unreachable_timeout,
            ).until_over()
        await asyncio.sleep(max(0.0, settled - clock()))
        yield TriggerEvent(event.to_dict())  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """A person cleared or marked the task: stop the training, if it still is this attempt's."""
        from airflow.sdk.configuration import conf

        seconds = CANCEL_SHARE * conf.getint("triggerer", "on_kill_timeout", fallback=30)
        failures: list[MLBridgeError] = []
        try:
            async with asyncio.timeout(seconds), self._board() as board:
                cancelled = await self._cancel(board, failures)
        except (MLBridgeError, TimeoutError) as error:
            self.log.error(
                "Training %s may still be running: cancelling it failed: %s",
                self.ref.job_id,
                failures[-1] if failures else str(error) or f"no answer within {seconds:g} s",
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

    async def _cancel(self, board: StatusBoard, failures: list[MLBridgeError]) -> bool:
        """Cancel, for as long as the caller has patience: Airflow asks only once."""
        faults = 0
        while True:
            try:
                async with board.backend() as backend:
                    return await backend.cancel(self.ref, self.owner, "the task was stopped by a user")
            except BackendUnreachableError as error:
                failures.append(error)
            except MLBridgeError as error:
                failures.append(error)
                faults += 1
                if faults == _CANCEL_FAULTS:
                    raise
                # Refused: the connection may have been changed since it was read.
                await board.renew()
            await asyncio.sleep(CANCEL_PAUSE_SECONDS)

    def _board(self) -> AbstractAsyncContextManager[StatusBoard]:
        spec = self.spec
        identity = json.dumps(asdict(spec), sort_keys=True, default=str)
        return shared_board(identity, lambda: open_backend(spec))


async def open_backend(spec: BackendSpec) -> TrainingBackend:
    """
    Open a backend for all triggers that wait there.

    :raises ConfigurationError: when there is no such connection, or none to be had: Airflow does not tell the
        two apart.
    :raises BackendUnreachableError: when Airflow cannot be asked for it.
    """
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

    try:
        # A task of its own, since what Airflow adds to it stays with it and costs a little at every step.
        return await asyncio.create_task(_open_like_a_trigger(spec))
    except MLBridgeError:
        raise
    except AirflowException as error:
        raise ConfigurationError(f"connection {spec.conn_id!r} cannot be read: {error}") from error
    except (AirflowRuntimeError, OSError, RuntimeError) as error:
        raise BackendUnreachableError(
            f"connection {spec.conn_id!r} cannot be read now: {type(error).__name__}: {error}"
        ) from error


async def _open_like_a_trigger(spec: BackendSpec) -> TrainingBackend:
    """
    Open it as if a trigger's own task did.

    Reading a connection's extra tells Airflow's supervisor what to mask, by a synchronous call that Airflow
    makes possible in the tasks of triggers only.
    """
    try:
        import greenback
    except ImportError:
        # Only the triggerer has it, and needs it.
        return await spec.aopen()
    await greenback.ensure_portal()
    return await spec.aopen()
