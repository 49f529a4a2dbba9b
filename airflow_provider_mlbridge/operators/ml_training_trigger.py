# SPDX-License-Identifier: Apache-2.0
"""Start a training elsewhere, exactly once, and wait for it without holding a worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_mlbridge.exceptions import (
    InvalidEventError,
    InvalidTrainingResultError,
    TrainingCancelledError,
)
from airflow_provider_mlbridge.hooks.training import MODES, BackendSpec, TrainingMode
from airflow_provider_mlbridge.operators._support import (
    add_to_outlets,
    check_choice,
    failing_fast,
    is_template,
)
from airflow_provider_mlbridge.operators._training import (
    build_job,
    failure_of,
    key_of,
    log_tail,
    owner_of,
    seconds,
    separate_params,
    stopper,
    submit_after_cancel,
    training_result,
)
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, Submission
from airflow_provider_mlbridge.training.wait import Waiting
from airflow_provider_mlbridge.triggers.training import TrainingCompletionTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_mlbridge.training.backend import TrainingBackend
    from airflow_provider_mlbridge.training.request import TrainingJob

T = TypeVar("T")


class MLTrainingTriggerOperator(BaseOperator):
    """
    Train on a host, a service or a DAG of the ML team, and bring the metrics back.

    A task instance stands for one training. A retry attaches to the training that an earlier try started, or
    returns its result when it has ended well meanwhile; only a failed, cancelled or lost training is started
    again. Clearing a task that has succeeded trains again.

    :param mode: ``ssh`` runs ``command`` on a host, ``api`` asks a training service, ``dag`` starts another
        DAG.
    :param conn_id: Airflow connection: ``mlbridge_ssh`` or ``ssh`` for ssh, ``mlbridge_api`` or ``http`` for
        api; none for dag. (templated)
    :param features: the output of :class:`FeatureBuildOperator`, or the URI it published to. (templated)
    :param experiment_name: experiment under which the training registers its run. (templated)
    :param model_type: the kind of model, a word that the training program knows. (templated)
    :param params: hyper-parameters, plain JSON. They are the training's own: neither parameters of the DAG
        nor ``dag_run.conf`` mix in; use ``"{{ params.x }}"`` as a value to pass one on. (templated)
    :param training_params: hyper-parameters from elsewhere: the output of a task, or what ``expand`` maps
        over, which Airflow does not allow in ``params``. They go over ``params`` of the same name.
        (templated)
    :param config_path: a configuration file on the training host. (templated)
    :param trigger_dag_id: for dag: the training DAG. (templated)
    :param command: for ssh: the command line, run by the training user's ``sh``. (templated)
    :param working_dir: for ssh: directory to start in. (templated)
    :param environment: for ssh: extra environment variables, for example
        ``{"TOKEN": "{{ conn.tracking.password }}"}``; they travel on stdin. (templated, but not shown among
        the rendered fields, since those are stored)
    :param endpoint: for api: path of the submission. (templated)
    :param adapter: for api: ``mlbridge``, ``seed`` or an adapter as a mapping. (templated)
    :param timeout: how long the training may run; it is stopped after that. (templated)
    :param deferrable: wait in the triggerer; with False the worker slot is held, all else is the same.
    :param durable: with False every try starts a training of its own.
    :param poll_interval: seconds between two questions for its state.
    :param unreachable_timeout: how long the backend may be silent before the task fails, the training left
        alone; None waits on.
    :param allow_duplicate_submit: for api, with an adapter whose service cannot recognise a repeated
        submission (``seed``): accept that a retry may train twice.
    :param aws_conn_id: Airflow connection to read the features' manifest with. (templated)
    :return: a :class:`~airflow_provider_mlbridge.results.TrainingResult` as JSON, under 2 kB. Before the
        wait, ``training_job`` (key, generation, job_id, url) is pushed.

    Failures are told with the exit code, the reason and the last lines of the training's log.
    ``execution_timeout`` cancels the training, a host that cannot be reached does not.

    .. seealso:: :doc:`/guides/training`
    """

    template_fields: Sequence[str] = (
        "mode",
        "conn_id",
        "features",
        "experiment_name",
        "model_type",
        "static_params",
        "training_params",
        "config_path",
        "trigger_dag_id",
        "command",
        "working_dir",
        "timeout",
        "endpoint",
        "adapter",
        "aws_conn_id",
    )
    template_fields_renderers = {"command": "bash", "static_params": "json", "training_params": "json"}
    ui_color = "#fdf0e0"

    def __init__(
        self,
        *,
        mode: TrainingMode,
        features: Any,
        experiment_name: str,
        model_type: str,
        conn_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        training_params: Any = None,
        config_path: str | None = None,
        trigger_dag_id: str | None = None,
        command: str | None = None,
        working_dir: str | None = None,
        environment: Mapping[str, str] | None = None,
        endpoint: str = "/api/v1/training/trigger",
        adapter: str | Mapping[str, Any] = "mlbridge",
        timeout: timedelta = timedelta(hours=2),
        deferrable: bool = True,
        durable: bool = True,
        poll_interval: float = 10,
        unreachable_timeout: timedelta | None = None,
        allow_duplicate_submit: bool = False,
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        # Airflow has a task argument of the same name and hands over the DAG's parameters mixed with ours.
        own_params, airflow_params = separate_params(params, kwargs.get("dag"))
        super().__init__(params=airflow_params, **kwargs)
        if not is_template(mode):
            check_choice("mode", mode, MODES)
        self.mode = mode
        self.conn_id = conn_id
        self.features = features
        self.experiment_name = experiment_name
        self.model_type = model_type
        self.static_params = own_params
        self.training_params = training_params
        self.config_path = config_path
        self.trigger_dag_id = trigger_dag_id
        self.command = command
        self.working_dir = working_dir
        self.environment = environment
        self.endpoint = endpoint
        self.adapter = adapter
        self.timeout = timeout
        self.deferrable = deferrable
        self.durable = durable
        self.poll_interval = poll_interval
        self.unreachable_timeout = unreachable_timeout
        self.allow_duplicate_submit = allow_duplicate_submit
        self.aws_conn_id = aws_conn_id
        self._stop: Callable[[], None] | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit or attach, then wait."""
        with failing_fast():
            spec = self._spec()
            spec.check()
            job = build_job(self, context)
            submission, status = self._submit(spec, job, context)
            # A training that is over already needs no triggerer, but its log is to be shown here as well.
            if self.deferrable and not status.state.is_terminal:
                self._wait_in_triggerer(spec, job, submission.ref)
            return self._wait_here(context, spec, job, submission.ref)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """The trigger's event: fetch the result, return it, acknowledge it, or raise what went wrong."""
        with failing_fast():
            told = CompletionEvent.from_dict(event)
            expected = key_of(self, context)
            if told.key != expected:
                raise InvalidEventError(f"the trigger's event is about training {told.key}, not {expected}")
            return self._complete(context, self._spec(), told)

    def on_kill(self) -> None:
        """
        The running task is killed, or its ``execution_timeout`` is over: stop this attempt's training.

        Airflow calls this from a signal handler or after ``execute`` has been left by an exception.
        """
        self._killed = True
        # Once only: a second signal must not use a backend that the first has closed.
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def _spec(self) -> BackendSpec:
        return BackendSpec(
            mode=self.mode,
            conn_id=self.conn_id or None,
            endpoint=self.endpoint,
            adapter=self.adapter,
            trigger_dag_id=self.trigger_dag_id,
            allow_duplicate_submit=self.allow_duplicate_submit,
        )

    def _submit(self, spec: BackendSpec, job: TrainingJob, context: Context) -> tuple[Submission, JobStatus]:
        async def submit(backend: TrainingBackend) -> tuple[Submission, JobStatus]:
            submission = await submit_after_cancel(backend, job, self.poll_interval, self.log)
            self._stop = stopper(spec.open(context["task_state_store"]), submission.ref, job.owner, self.log)
            if self._killed:
                # The kill came while the submission was under way, when there was nothing to stop yet.
                await asyncio.to_thread(self.on_kill)
                raise TrainingCancelledError(f"training {submission.ref.job_id}: the task was killed")
            context["ti"].xcom_push(
                key="training_job",
                value={
                    "mode": spec.mode,
                    "key": submission.ref.key,
                    "generation": submission.ref.generation,
                    "job_id": submission.ref.job_id,
                    "url": submission.url,
                },
            )
            return submission, (await backend.status([submission.ref]))[submission.ref]

        submission, status = self._with_backend(spec, context, submit)
        self.log.info(
            "Training %s (mode %s, generation %d) is %s; %s",
            submission.ref.job_id,
            spec.mode,
            submission.ref.generation,
            status.state.value,
            "attached to it, nothing was started" if submission.attached else "started",
        )
        return submission, status

    def _deadline(self) -> float | None:
        limits = [seconds(self.execution_timeout)]
        if self.mode == "dag":
            # Nobody else ends the wait: a DAG run has no time-out that its trigger could set.
            limits.append(seconds(self.timeout))
        given = [limit for limit in limits if limit is not None]
        return time.time() + min(given) if given else None

    def _wait_in_triggerer(self, spec: BackendSpec, job: TrainingJob, ref: JobRef) -> NoReturn:
        self.defer(
            trigger=TrainingCompletionTrigger(
                mode=spec.mode,
                conn_id=spec.conn_id,
                key=ref.key,
                generation=ref.generation,
                job_id=ref.job_id,
                owner=job.owner,
                endpoint=spec.endpoint,
                adapter=spec.adapter,
                trigger_dag_id=spec.trigger_dag_id,
                poll_interval=self.poll_interval,
                deadline=self._deadline(),
                unreachable_timeout=seconds(self.unreachable_timeout),
            ),
            method_name="execute_complete",
        )

    def _wait_here(
        self, context: Context, spec: BackendSpec, job: TrainingJob, ref: JobRef
    ) -> dict[str, Any]:
        async def wait(backend: TrainingBackend) -> CompletionEvent:
            return await Waiting(
                backend=backend,
                ref=ref,
                owner=job.owner,
                log=self.log,
                poll_interval=self.poll_interval,
                deadline=self._deadline(),
                unreachable_timeout=seconds(self.unreachable_timeout),
            ).until_over()

        event = self._with_backend(spec, context, wait)
        # Not when the wait was left by an exception: Airflow then calls on_kill.
        self._stop = None
        return self._complete(context, spec, event)

    def _complete(self, context: Context, spec: BackendSpec, event: CompletionEvent) -> dict[str, Any]:
        if event.state != JobState.SUCCEEDED.value:

            async def tail(backend: TrainingBackend) -> str:
                return await log_tail(backend, event)

            raise failure_of(spec.mode, event, self._with_backend(spec, context, tail))

        async def fetch(backend: TrainingBackend) -> dict[str, Any]:
            try:
                reported = await backend.result(event.ref)
                document = training_result(
                    self, context, spec.mode, event, reported, backend.log_uri(event.ref)
                ).to_dict()
            except InvalidTrainingResultError:
                # What was trained cannot be used, so clearing the task must train again.
                await backend.acknowledge(event.ref, owner_of(context))
                raise
            # Pushed before it is acknowledged: should the task die in between, a retry finds the training
            # succeeded and not acknowledged, and returns it again.
            context["ti"].xcom_push(key="return_value", value=document)
            await backend.acknowledge(event.ref, owner_of(context))
            return document

        document = self._with_backend(spec, context, fetch)
        self.log.info("Training %s succeeded: %s", event.job_id, document["metrics"])
        add_to_outlets(
            context,
            self.outlets,
            {"model_uri": document["model_uri"], "metrics": document["metrics"], "job_id": event.job_id},
        )
        return document

    def _with_backend(
        self, spec: BackendSpec, context: Context, work: Callable[[TrainingBackend], Awaitable[T]]
    ) -> T:
        async def run() -> T:
            backend = spec.open(context["task_state_store"])
            try:
                return await work(backend)
            finally:
                await backend.close()

        return asyncio.run(run())
