# SPDX-License-Identifier: Apache-2.0
"""Between the training operator and the core: request, identity, result and error of one task instance."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
    ConfigurationError,
    InvalidTrainingResultError,
    MLBridgeError,
    TrainingCancelledError,
    TrainingError,
    TrainingFailedError,
    TrainingLostError,
    TrainingTimedOutError,
)
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.results import XCOM_LIMIT_BYTES, FeatureSet, TrainingResult
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest, training_key
from airflow_provider_mlbridge.training.state import JobRef, JobState, ReportedResult, Submission

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_mlbridge.operators.ml_training_trigger import MLTrainingTriggerOperator
    from airflow_provider_mlbridge.training.backend import TrainingBackend

LOG_LINES = 50
"""How much of the training's log a failure shows."""

CANCEL_PATIENCE_SECONDS = 120.0
"""How long a submission waits for the training of an earlier attempt that is being cancelled."""

FEATURES_RECORD = "mlbridge_features"
"""Name in the task's state store under which the resolved features are kept."""

_FAILURES: Mapping[str, type[TrainingFailedError]] = {
    JobState.FAILED: TrainingFailedError,
    JobState.CANCELLED: TrainingCancelledError,
    JobState.TIMED_OUT: TrainingTimedOutError,
    JobState.LOST: TrainingLostError,
}


def seconds(value: timedelta | float | None) -> float | None:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def separate_params(params: Any, dag: Any) -> tuple[dict[str, Any], Any]:
    """
    Tell the training's hyper-parameters from the DAG's parameters.

    Airflow merges the DAG's ``params`` into the task argument of the same name before the operator sees it,
    and marks where each came from.

    :return: hyper-parameters as plain values; what Airflow itself is to get.
    """
    from airflow.sdk.definitions.param import ParamsDict

    if params is None:
        return {}, None
    if not isinstance(params, ParamsDict):
        return dict(params), None
    own = dict(ParamsDict.filter_params_by_source(params, source="task").dump())
    from_dag = ParamsDict.filter_params_by_source(params, source="dag")
    declared = {} if dag is None else dag.params.dump()
    # expand(params=...) over a parameter that the DAG has too keeps the DAG's mark, but not its value.
    mapped = {
        name: value for name, value in from_dag.dump().items() if name in declared and value != declared[name]
    }
    return {**own, **mapped}, from_dag


def owner_of(context: Context) -> str:
    """The task-instance attempt; Airflow gives every try an id of its own."""
    ti = context["ti"]
    return f"{ti.id}:{ti.try_number}"


def key_of(task: MLTrainingTriggerOperator, context: Context) -> str:
    """Identity of the training; not durable, every try has one of its own."""
    ti = context["ti"]
    task_id = ti.task_id if task.durable else f"{ti.task_id} try {ti.try_number}"
    return training_key(ti.dag_id, ti.run_id, task_id, -1 if ti.map_index is None else ti.map_index)


def epoch_of(context: Context) -> int:
    """
    Grows when a user clears the task, and not when Airflow retries it.

    Airflow counts the clears of a run (``clear_number``). A clear that leaves the run's state alone is not
    counted there, but sets ``max_tries`` to the tries so far plus ``retries``.
    """
    clears = int(getattr(context["dag_run"], "clear_number", None) or 0)
    return clears * 1000 + int(context["ti"].max_tries)


def _params(task: MLTrainingTriggerOperator) -> dict[str, Any]:
    more = task.training_params
    if more is None:
        more = {}
    if not isinstance(more, Mapping):
        raise ConfigurationError(f"training_params must be a mapping, got {type(more).__name__}")
    return {**task.static_params, **more}


def _environment(task: MLTrainingTriggerOperator, context: Context) -> dict[str, str]:
    rendered = task.render_template(task.environment or {}, context)
    if not isinstance(rendered, Mapping):
        raise ConfigurationError(f"environment must be a mapping, got {type(rendered).__name__}")
    for name, value in rendered.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(
                f"environment[{name!r}] is {type(value).__name__}; names and values are text: quote the value"
            )
    return dict(rendered)


def build_job(task: MLTrainingTriggerOperator, context: Context) -> TrainingJob:
    """
    The training of this task instance.

    :raises ConfigurationError: when an argument that the mode needs is missing.
    """
    launch = None
    if task.mode == "ssh":
        if not task.command or not task.command.strip():
            raise ConfigurationError("mode='ssh' needs command, the command line that trains")
        launch = SSHLaunch(task.command, task.working_dir, _environment(task, context))
    else:
        for argument in ("command", "working_dir", "environment"):
            if getattr(task, argument):
                raise ConfigurationError(
                    f"{argument} is for mode='ssh'; with mode={task.mode!r} the training's side decides what "
                    f"runs"
                )
    epoch = epoch_of(context)
    for argument in ("experiment_name", "model_type"):
        value = getattr(task, argument)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{argument}={value!r} is not valid; valid is a text that is not empty")
    if not task.poll_interval > 0:
        raise ConfigurationError(
            f"poll_interval={task.poll_interval!r} is not valid; valid are seconds above 0"
        )
    uri, fingerprint = resolve_features(task, context, epoch)
    request = TrainingRequest(
        features_uri=uri,
        features_fingerprint=fingerprint,
        experiment_name=task.experiment_name,
        model_type=task.model_type,
        params=_params(task),
        config_path=task.config_path,
        timeout_seconds=seconds(task.timeout) or 0.0,
    )
    request.to_json()  # refuses what is not plain JSON before anything is started
    if request.timeout_seconds <= 0:
        raise ConfigurationError(f"timeout must be positive, got {task.timeout}")
    return TrainingJob(
        key=key_of(task, context), owner=owner_of(context), epoch=epoch, request=request, launch=launch
    )


def resolve_features(task: MLTrainingTriggerOperator, context: Context, epoch: int | None) -> tuple[str, str]:
    """
    URI and fingerprint of the feature-set version to train on.

    :param epoch: of the submission; None to ask what was submitted, after the training.

    A URI whose pointer moves on between two tries must not give the retry another training, so what the first
    try found is kept in the task's state store for its epoch.
    """
    given = task.features
    if isinstance(given, Mapping):
        features = FeatureSet.from_dict(given)
        return features.uri, features.fingerprint
    if not isinstance(given, str):
        raise ConfigurationError(
            f"features must be the output of FeatureBuildOperator or a URI, got {type(given).__name__}"
        )
    store = context["task_state_store"]
    kept = store.get(FEATURES_RECORD, None)
    same_epoch = epoch is None or (isinstance(kept, dict) and kept.get("epoch") == epoch)
    if isinstance(kept, dict) and kept.get("given") == given and same_epoch:
        return str(kept["uri"]), str(kept["fingerprint"])
    from airflow_provider_mlbridge.storage import read_manifest
    from airflow_provider_mlbridge.storage.uris import check_uri

    check_uri(given, argument="features")
    manifest = read_manifest(given, s3_client=s3_client_for(task.aws_conn_id, given))
    found: dict[str, Any] = {
        "given": given,
        "epoch": epoch,
        "uri": manifest.version_uri,
        "fingerprint": manifest.fingerprint,
    }
    store.set(FEATURES_RECORD, found)
    return manifest.version_uri, manifest.fingerprint


def training_result(
    task: MLTrainingTriggerOperator,
    context: Context,
    mode: str,
    event: CompletionEvent,
    reported: ReportedResult,
    log_uri: str | None,
) -> TrainingResult:
    """
    The task's result; ``extra`` is left out when it would not fit into XCom.

    :raises InvalidTrainingResultError: when the metrics alone do not fit.
    """
    uri, fingerprint = resolve_features(task, context, None)
    for extra in (reported.extra, {}):
        result = TrainingResult(
            state=event.state,
            mode=mode,
            key=event.key,
            generation=event.generation,
            job_id=event.job_id,
            metrics=reported.metrics,
            model_uri=reported.model_uri,
            mlflow_run_id=reported.mlflow_run_id,
            features_uri=uri,
            features_fingerprint=fingerprint,
            started_at=event.started_at,
            finished_at=event.finished_at,
            duration_seconds=_duration(event),
            log_uri=log_uri,
            extra=extra,
        )
        size = len(result.to_json().encode())
        if size <= XCOM_LIMIT_BYTES:
            return result
    raise InvalidTrainingResultError(
        f"training {event.job_id} reported {len(reported.metrics)} metrics, {size} bytes of result; the "
        f"limit is {XCOM_LIMIT_BYTES}. Report the few that decisions are made on, and keep the rest with the "
        f"model."
    )


def _duration(event: CompletionEvent) -> float | None:
    if event.started_at is None or event.finished_at is None:
        return None
    started, finished = (datetime.fromisoformat(text) for text in (event.started_at, event.finished_at))
    return (finished - started).total_seconds()


def failure_of(mode: str, event: CompletionEvent, tail: str) -> TrainingError:
    """The error that tells how a training ended, with the last lines of its log."""
    what = f"training {event.job_id} (mode {mode}, generation {event.generation})"
    if event.state == JobState.UNREACHABLE:
        return BackendUnreachableError(
            f"{what}: {event.reason}. A retry of this task attaches to it, and does not start another."
        )
    facts = [f"{what} {event.state}"]
    if event.exit_code is not None and f"exit code {event.exit_code}" not in event.reason:
        facts.append(f"exit code {event.exit_code}")
    if event.reason:
        facts.append(event.reason)
    message = ", ".join(facts)
    if tail:
        message += f". Last lines of its log:\n{tail}"
    return _FAILURES[JobState(event.state)](message)


async def submit_after_cancel(
    backend: TrainingBackend, job: TrainingJob, poll_interval: float, log: Any
) -> Submission:
    """
    Submit; when an earlier attempt's training is being cancelled at this moment, wait for its end first.

    A clear cancels the old attempt's training and starts a new attempt, in no order. When the cancel was
    first, attaching would only bring back a cancelled training.
    """
    give_up = time.monotonic() + CANCEL_PATIENCE_SECONDS
    told = False
    while True:
        submission = await backend.submit(job)
        if submission.state is not JobState.CANCELLING or time.monotonic() > give_up:
            return submission
        if not told:
            log.info("Training %s is being cancelled; waiting for its end", submission.ref.job_id)
            told = True
        await asyncio.sleep(min(poll_interval, 1.0))


async def log_tail(backend: TrainingBackend, event: CompletionEvent) -> str:
    """The last lines of the training's log; a log that cannot be read must not hide the failure."""
    if event.state == JobState.UNREACHABLE:
        return ""
    try:
        chunk = await backend.logs(event.ref, max(0, event.log_offset - 16_384))
    except MLBridgeError as error:
        return f"(the log cannot be read: {error})"
    return "\n".join(chunk.text.splitlines()[-LOG_LINES:])


def stopper(backend: TrainingBackend, ref: JobRef, owner: str, log: Any) -> Callable[[], None]:
    """
    A function that cancels the training from a signal handler.

    The event loop of the wait may be running in the interrupted thread, so the cancelling has a thread and a
    loop of its own.
    """

    async def cancel() -> None:
        try:
            async with asyncio.timeout(25):
                stopped = await backend.cancel(ref, owner, "the task was killed")
            log.info("Training %s %s", ref.job_id, "is cancelled" if stopped else "goes on: not cancelled")
        except (MLBridgeError, TimeoutError) as error:
            log.error("Training %s may still be running: cancelling it failed: %s", ref.job_id, error)
        finally:
            await backend.close()

    def stop() -> None:
        thread = threading.Thread(target=asyncio.run, args=(cancel(),), name="mlbridge-cancel")
        thread.start()
        thread.join()

    return stop
