# SPDX-License-Identifier: Apache-2.0
"""One attempt of a training task: submit or attach, wait, fetch the result, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_mlbridge.exceptions import (
    InvalidEventError,
    InvalidTrainingResultError,
    MLBridgeError,
    TrainingCancelledError,
    TrainingError,
    TrainingForgottenError,
    TrainingMetricsError,
)
from airflow_provider_mlbridge.links import JOB_XCOM
from airflow_provider_mlbridge.operators._training import (
    Wanted,
    options_of,
    training_result,
    wanted_of,
)
from airflow_provider_mlbridge.operators._training_identity import Identity
from airflow_provider_mlbridge.operators._training_last import (
    LastSuccess,
    asked_digest,
    keep_success,
    last_success,
)
from airflow_provider_mlbridge.operators._training_metrics import minimums_of, shortfall
from airflow_provider_mlbridge.operators._training_signals import Signals
from airflow_provider_mlbridge.operators._training_talk import (
    PATIENCE_SECONDS,
    failure_of,
    log_tail,
    patiently,
    stopper,
    submit_after_cancel,
)
from airflow_provider_mlbridge.results import TrainingResult
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, Submission
from airflow_provider_mlbridge.training.wait import Waiting
from airflow_provider_mlbridge.triggers.training import TrainingCompletionTrigger

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
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
        self._options = options_of(task)
        self._identity = Identity(
            context,
            retries=task.retries,
            durable=self._options.durable,
            place=f"mode {self._spec.mode}, {self._spec.conn_id or self._spec.trigger_dag_id}",
        )
        self._stop: Callable[[], None] | None = None
        self._killed = False
        self._signals = Signals(task, context, self._spec.mode)

    @cached_property
    def _wanted(self) -> Wanted:
        return wanted_of(self._task, self._context, self._identity.next_epoch)

    @property
    def lineage(self) -> OperatorLineage | None:
        """What OpenLineage is told, once there is something."""
        return self._signals.lineage

    def unchanged(self) -> dict[str, Any] | None:
        """
        The result of the last success, when the very same is asked for again and nobody has cleared the task.

        What falls short of ``min_metrics`` by now is no reason to skip the training.
        """
        task, ti = self._task, self._context["ti"]
        wanted = self._wanted
        if not self._options.skip_if_unchanged or not self._identity.is_new:
            return None
        last = last_success(ti, task.log)
        if last is None or last.asked != asked_digest(wanted.request, wanted.launch, self._spec):
            return None
        if shortfall(last.result.metrics, minimums_of(task.min_metrics)):
            return None
        document = last.result.to_dict()
        task.log.info(
            "Features and request are those of run %s, whose training %s succeeded: its result is returned "
            "again, nothing is trained (skip_if_unchanged)",
            last.run_id,
            last.result.job_id,
        )
        same = {"mode": last.result.mode, "key": last.result.key, "generation": last.result.generation}
        self._push(
            JOB_XCOM, {**same, "job_id": last.result.job_id, "url": None, "unchanged_since": last.run_id}
        )
        self._signals.reused(document)
        return document

    def submit(self) -> tuple[JobRef, JobStatus]:
        """Start the training or attach to it; tell where it is."""
        wanted = self._wanted

        async def submit(backend: TrainingBackend) -> tuple[Submission, JobStatus]:
            submission, job = await self._submit(backend, wanted)
            ref = submission.ref
            self._identity.submitted(submission, asked_digest(wanted.request, wanted.launch, self._spec))
            store = self._context["task_state_store"]
            self._stop = stopper(self._spec.open(store), ref, job.owner, self._task.log)
            if self._killed:
                # The kill came while the submission was under way, when there was nothing to stop yet.
                await asyncio.to_thread(self.kill)
                raise TrainingCancelledError(f"training {ref.job_id}: the task was killed")
            self._push(JOB_XCOM, self._told(submission))
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
        self._signals.submitted(attached=submission.attached)
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
        # A service that cannot tell a repetition from a new request may have acted on the first.
        patience = 0.0 if self._spec.allow_duplicate_submit else self._patience
        submission = await submit_after_cancel(
            lambda: patiently(
                lambda: backend.submit(job), log=task.log, patience=patience, stopped=lambda: self._killed
            ),
            self._options.poll_interval,
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
            poll_interval=self._options.poll_interval,
            deadline=self._deadline(),
            unreachable_timeout=self._options.unreachable_timeout,
        )

    def wait(self, ref: JobRef) -> CompletionEvent:
        """Wait here; also for a training that is over, so that its log is shown."""

        async def wait(backend: TrainingBackend) -> CompletionEvent:
            return await Waiting(
                backend=backend,
                ref=ref,
                owner=self._identity.owner,
                log=self._task.log,
                poll_interval=self._options.poll_interval,
                deadline=self._deadline(),
                unreachable_timeout=self._options.unreachable_timeout,
            ).until_over()

        event = self._with_backend(wait)
        # Not when the wait was left by an exception: Airflow then calls on_kill.
        self._stop = None
        return event

    @property
    def _patience(self) -> float:
        given = self._options.unreachable_timeout
        return PATIENCE_SECONDS if given is None else min(given, PATIENCE_SECONDS)

    def _deadline(self) -> float | None:
        limits = [self._options.execution_timeout]
        if self._spec.mode == "dag":
            # Nobody else ends the wait: a DAG run has no time-out that its trigger could set.
            limits.append(self._options.timeout)
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
        if event.progress is not None:
            self._push("training_progress", event.progress)
        if event.state != JobState.SUCCEEDED.value:
            raise self._failure(event)
        document = self._with_backend(lambda backend: self._fetch(backend, event))
        self._task.log.info("Training %s succeeded: %s", event.job_id, document["metrics"])
        self._signals.ended("succeeded", event, document)
        self._signals.outlets(document)
        if self._options.skip_if_unchanged:
            result = TrainingResult.from_dict(document)
            ti = self._context["ti"]
            keep_success(ti, LastSuccess(self._identity.memory.asked, ti.run_id, result), self._task.log)
        return document

    def _failure(self, event: CompletionEvent) -> TrainingError:
        if event.state in _SURELY_OVER:
            self._identity.ended(acknowledged=False)
        tail = self._with_backend(lambda backend: log_tail(backend, event))
        self._signals.ended(event.state, event)
        return failure_of(self._spec.mode, event, tail)

    async def _fetch(self, backend: TrainingBackend, event: CompletionEvent) -> dict[str, Any]:
        task = self._task
        try:
            reported = await patiently(
                lambda: backend.result(event.ref),
                log=task.log,
                patience=self._patience,
                stopped=lambda: self._killed,
            )
            log_uri = backend.log_uri(event.ref)
            document = training_result(
                task, self._context, self._spec.mode, event, reported, log_uri
            ).to_dict()
        except InvalidTrainingResultError:
            # What was trained cannot be used, so clearing the task must train again.
            await self._acknowledge(backend, event.ref)
            self._signals.ended("unusable_result", event)
            raise
        short = shortfall(document["metrics"], minimums_of(task.min_metrics))
        if short:
            await self._acknowledge(backend, event.ref)
            self._push("training_result", document)
            self._signals.ended("below_minimum", event, document)
            raise TrainingMetricsError(
                f"training {event.job_id} succeeded, but {short}. A retry would return the same result; "
                f"clear the task to train again."
            )
        # Pushed before it is acknowledged: should the task die in between, a retry finds the training
        # succeeded and not acknowledged, and returns it again.
        self._push("return_value", document)
        await self._acknowledge(backend, event.ref)
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
