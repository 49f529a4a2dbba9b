# SPDX-License-Identifier: Apache-2.0
"""One attempt of a training task: submit or attach, wait, fetch the result, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mlbridge.exceptions import (
    InvalidEventError,
    InvalidTrainingResultError,
    MLBridgeError,
    TrainingCancelledError,
    TrainingForgottenError,
)
from airflow_provider_mlbridge.operators._support import add_to_outlets
from airflow_provider_mlbridge.operators._training import Wanted, seconds, training_result, wanted_of
from airflow_provider_mlbridge.operators._training_identity import Identity
from airflow_provider_mlbridge.operators._training_talk import (
    failure_of,
    log_tail,
    patiently,
    stopper,
    submit_after_cancel,
    submit_once,
)
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, Submission
from airflow_provider_mlbridge.training.wait import Waiting
from airflow_provider_mlbridge.triggers.training import TrainingCompletionTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_mlbridge.operators.ml_training_trigger import MLTrainingTriggerOperator
    from airflow_provider_mlbridge.training.backend import TrainingBackend

T = TypeVar("T")

_SURELY_OVER = frozenset({JobState.FAILED.value, JobState.CANCELLED.value})
"""Ends after which nothing runs on. A lost one may be there again when its host's disk is; one whose time was
over may not have been cancelled."""


class TrainingRun:
    """
    What a try of the operator, or its resumption, does.

    :param task: the operator, rendered.
    :param context: of the task.
    :raises ConfigurationError: when the mode lacks what it needs.
    """

    def __init__(self, task: MLTrainingTriggerOperator, context: Context) -> None:
        self._task = task
        self._context = context
        self._spec = task.backend_spec()
        self._spec.check()
        self._identity = Identity(
            context,
            retries=task.retries,
            durable=task.durable,
            place=f"mode {self._spec.mode}, {self._spec.conn_id or self._spec.trigger_dag_id}",
        )
        self._stop: Callable[[], None] | None = None
        self._killed = False

    def submit(self) -> tuple[JobRef, JobStatus]:
        """Start the training or attach to it; tell where it is."""
        wanted = wanted_of(self._task, self._context, self._identity.next_epoch)

        async def submit(backend: TrainingBackend) -> tuple[Submission, JobStatus]:
            submission, job = await self._submit(backend, wanted)
            ref = submission.ref
            self._identity.submitted(submission)
            store = self._context["task_state_store"]
            self._stop = stopper(self._spec.open(store), ref, job.owner, self._task.log)
            if self._killed:
                # The kill came while the submission was under way, when there was nothing to stop yet.
                await asyncio.to_thread(self.kill)
                raise TrainingCancelledError(f"training {ref.job_id}: the task was killed")
            self._push("training_job", self._told(submission))
            try:
                return submission, (await backend.status([ref]))[ref]
            except MLBridgeError as error:
                # It is there; whoever waits for it has more patience.
                self._task.log.warning("The state of training %s is not known yet: %s", ref.job_id, error)
                return submission, JobStatus(ref, submission.state)

        submission, status = self._with_backend(submit)
        self._task.log.info(
            "Training %s (mode %s, generation %d) is %s; %s",
            submission.ref.job_id,
            self._spec.mode,
            submission.ref.generation,
            status.state.value,
            "attached to it, nothing was started" if submission.attached else "started",
        )
        return submission.ref, status

    async def _submit(self, backend: TrainingBackend, wanted: Wanted) -> tuple[Submission, TrainingJob]:
        identity, task = self._identity, self._task
        if identity.to_acknowledge is not None:
            ref, owner = identity.to_acknowledge
            try:
                await backend.acknowledge(ref, owner)
            except MLBridgeError as error:
                task.log.info("Training %s is not acknowledged again: %s", ref.job_id, error)
        try:
            identity.begin()
            return await self._submit_as(backend, wanted)
        except TrainingForgottenError as error:
            if task.forgotten != "train":
                raise
            task.log.warning("forgotten='train': what is submitted now is another training. %s", error)
        identity.begin(anew=True)
        return await self._submit_as(backend, wanted)

    async def _submit_as(self, backend: TrainingBackend, wanted: Wanted) -> tuple[Submission, TrainingJob]:
        identity, task = self._identity, self._task
        job = TrainingJob(
            key=identity.key,
            owner=identity.owner,
            epoch=identity.next_epoch,
            request=wanted.request,
            launch=wanted.launch,
            known_generation=identity.known_generation,
        )
        repeatable = not self._spec.allow_duplicate_submit
        submission = await submit_after_cancel(
            lambda: submit_once(backend, job, task.log, repeatable=repeatable, stopped=lambda: self._killed),
            task.poll_interval,
            task.log,
        )
        return submission, job

    def _told(self, submission: Submission) -> dict[str, Any]:
        return {
            "mode": self._spec.mode,
            "key": submission.ref.key,
            "generation": submission.ref.generation,
            "job_id": submission.ref.job_id,
            "url": submission.url,
        }

    def trigger(self, ref: JobRef) -> TrainingCompletionTrigger:
        """What waits in the triggerer."""
        return TrainingCompletionTrigger(
            mode=self._spec.mode,
            conn_id=self._spec.conn_id,
            key=ref.key,
            generation=ref.generation,
            job_id=ref.job_id,
            owner=self._identity.owner,
            endpoint=self._spec.endpoint,
            adapter=self._spec.adapter,
            trigger_dag_id=self._spec.trigger_dag_id,
            poll_interval=self._task.poll_interval,
            deadline=self._deadline(),
            unreachable_timeout=seconds(self._task.unreachable_timeout),
        )

    def wait(self, ref: JobRef) -> CompletionEvent:
        """Wait here; also for a training that is over, so that its log is shown."""

        async def wait(backend: TrainingBackend) -> CompletionEvent:
            return await Waiting(
                backend=backend,
                ref=ref,
                owner=self._identity.owner,
                log=self._task.log,
                poll_interval=self._task.poll_interval,
                deadline=self._deadline(),
                unreachable_timeout=seconds(self._task.unreachable_timeout),
            ).until_over()

        event = self._with_backend(wait)
        # Not when the wait was left by an exception: Airflow then calls on_kill.
        self._stop = None
        return event

    def _deadline(self) -> float | None:
        limits = [seconds(self._task.execution_timeout)]
        if self._spec.mode == "dag":
            # Nobody else ends the wait: a DAG run has no time-out that its trigger could set.
            limits.append(seconds(self._task.timeout))
        given = [limit for limit in limits if limit is not None]
        return time.time() + min(given) if given else None

    def check(self, event: CompletionEvent) -> None:
        """
        Check that the trigger tells of this task's training.

        :raises InvalidEventError: when it does not.
        """
        expected = self._identity.key
        if event.key != expected:
            raise InvalidEventError(f"the trigger's event is about training {event.key}, not {expected}")

    def complete(self, event: CompletionEvent) -> dict[str, Any]:
        """Fetch the result, return it, acknowledge it; or raise what went wrong."""
        if event.state != JobState.SUCCEEDED.value:
            if event.state in _SURELY_OVER:
                self._identity.ended(acknowledged=False)
            tail = self._with_backend(lambda backend: log_tail(backend, event))
            raise failure_of(self._spec.mode, event, tail)

        async def fetch(backend: TrainingBackend) -> dict[str, Any]:
            try:
                reported = await patiently(
                    lambda: backend.result(event.ref), log=self._task.log, stopped=lambda: self._killed
                )
                document = training_result(
                    self._task, self._context, self._spec.mode, event, reported, backend.log_uri(event.ref)
                ).to_dict()
            except InvalidTrainingResultError:
                # What was trained cannot be used, so clearing the task must train again.
                await self._acknowledge(backend, event.ref)
                raise
            # Pushed before it is acknowledged: should the task die in between, a retry finds the training
            # succeeded and not acknowledged, and returns it again.
            self._push("return_value", document)
            await self._acknowledge(backend, event.ref)
            return document

        document = self._with_backend(fetch)
        self._task.log.info("Training %s succeeded: %s", event.job_id, document["metrics"])
        add_to_outlets(
            self._context,
            self._task.outlets,
            {"model_uri": document["model_uri"], "metrics": document["metrics"], "job_id": event.job_id},
        )
        return document

    async def _acknowledge(self, backend: TrainingBackend, ref: JobRef) -> None:
        """
        Have it known that the training is done with.

        The task's state store is the witness that counts: a host with a full disk must not fail a task that
        has its result, and the attempt after a clear tells the host again.
        """
        self._identity.ended(acknowledged=True)
        try:
            await patiently(
                lambda: backend.acknowledge(ref, self._identity.owner), log=self._task.log, patience=10
            )
        except MLBridgeError as error:
            self._task.log.warning(
                "Training %s has succeeded, but could not be acknowledged: %s", ref.job_id, error
            )

    def kill(self) -> None:
        """Stop this attempt's training; called from a signal handler, or after an exception."""
        self._killed = True
        # Once only: a second signal must not use a backend that the first has closed.
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def _push(self, key: str, value: Any) -> None:
        self._context["ti"].xcom_push(key=key, value=value)

    def _with_backend(self, work: Callable[[TrainingBackend], Awaitable[T]]) -> T:
        async def run() -> T:
            backend = self._spec.open(self._context["task_state_store"])
            try:
                return await work(backend)
            finally:
                await backend.close()

        return asyncio.run(run())
