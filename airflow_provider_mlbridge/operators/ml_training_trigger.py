# SPDX-License-Identifier: Apache-2.0
"""Start a training elsewhere, exactly once, and wait for it without holding a worker slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator

from airflow_provider_mlbridge.hooks.training import MODES, BackendSpec, TrainingMode
from airflow_provider_mlbridge.links import TrainingRunLink
from airflow_provider_mlbridge.operators._support import check_choice, failing_fast, is_template
from airflow_provider_mlbridge.operators._training import FORGOTTEN, separate_params
from airflow_provider_mlbridge.operators._training_run import TrainingRun
from airflow_provider_mlbridge.training.event import CompletionEvent

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context


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
    :param timeout: how long the training may run; it is stopped after that; a template
        gives seconds. (templated)
    :param deferrable: wait in the triggerer; with False the worker slot is held, all else is the same.
    :param durable: with False every try starts a training of its own. (templated)
    :param poll_interval: seconds between two questions for its state. (templated)
    :param unreachable_timeout: how long the backend may be silent before the task fails, the training left
        alone; None waits on, but not while it is submitted or its result fetched, which have two minutes.
        (templated)
    :param allow_duplicate_submit: for api, with an adapter whose service cannot recognise a repeated
        submission (``seed``): accept that a retry may train twice.
    :param min_metrics: the least that the reported metrics may be, for example ``{"accuracy": 0.8}``. Below
        it, or without that metric, the task fails with the figures and is not retried; the result is pushed
        as ``training_result``. (templated)
    :param skip_if_unchanged: with True return the last success of this task, of any run of the DAG, when the
        features have the same fingerprint and the same is asked for: parameters, experiment, command and so
        on, but not ``timeout``, ``environment`` and host. It is kept in an Airflow variable. A task that is
        cleared trains. (templated)
    :param forgotten: what to do when a training was started, but host or service do not know of it any more
        (a disk that is not mounted, a database that was restored), and it may still run: ``fail``, or
        ``train`` anew once you have seen that nothing runs. (templated)
    :param aws_conn_id: Airflow connection to read the features' manifest with. (templated)
    :return: a :class:`~airflow_provider_mlbridge.results.TrainingResult` as JSON, under 2 kB. Before the
        wait, ``training_job`` (key, generation, job_id, url) is pushed; after it ``training_progress``, the
        last that the training said of its progress, where it says any.

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
        "durable",
        "poll_interval",
        "unreachable_timeout",
        "skip_if_unchanged",
        "endpoint",
        "adapter",
        "min_metrics",
        "forgotten",
        "aws_conn_id",
    )
    template_fields_renderers = {"command": "bash", "static_params": "json", "training_params": "json"}
    operator_extra_links = (TrainingRunLink(),)
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
        timeout: timedelta | float | str = timedelta(hours=2),
        deferrable: bool = True,
        durable: bool | str = True,
        poll_interval: float | str = 10,
        unreachable_timeout: timedelta | float | str | None = None,
        allow_duplicate_submit: bool = False,
        min_metrics: Mapping[str, float] | None = None,
        skip_if_unchanged: bool | str = False,
        forgotten: Literal["fail", "train"] = "fail",
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        # Airflow has a task argument of the same name and hands over the DAG's parameters mixed with ours.
        own_params, airflow_params = separate_params(params, kwargs.get("dag"))
        super().__init__(params=airflow_params, **kwargs)
        if not is_template(mode):
            check_choice("mode", mode, MODES)
        if not is_template(forgotten):
            check_choice("forgotten", forgotten, FORGOTTEN)
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
        self.min_metrics = min_metrics
        self.skip_if_unchanged = skip_if_unchanged
        self.forgotten = forgotten
        self.aws_conn_id = aws_conn_id
        self._run: TrainingRun | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit or attach, then wait."""
        with failing_fast():
            run = self._run = TrainingRun(self, context)
            unchanged = run.unchanged()
            if unchanged is not None:
                return unchanged
            ref, status = run.submit()
            # A training that is over already needs no triggerer, but its log is to be shown here as well.
            if self.deferrable and not status.state.is_terminal:
                self.defer(trigger=run.trigger(ref), method_name="execute_complete")
            return run.complete(run.wait(ref))

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """The trigger's event: fetch the result, return it, acknowledge it, or raise what went wrong."""
        with failing_fast():
            told = CompletionEvent.from_dict(event)
            run = self._run = TrainingRun(self, context)
            run.check(told)
            return run.complete(told)

    def on_kill(self) -> None:
        """
        The running task is killed, or its ``execution_timeout`` is over: stop this attempt's training.

        Airflow calls this from a signal handler or after ``execute`` has been left by an exception.
        """
        if self._run is not None:
            self._run.kill()

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage | None:
        """What OpenLineage is told, of a failed training too."""
        return None if self._run is None else self._run.lineage

    def backend_spec(self) -> BackendSpec:
        """Where to train."""
        return BackendSpec(
            mode=self.mode,
            conn_id=self.conn_id or None,
            endpoint=self.endpoint,
            adapter=self.adapter,
            trigger_dag_id=self.trigger_dag_id,
            allow_duplicate_submit=self.allow_duplicate_submit,
        )
