# SPDX-License-Identifier: Apache-2.0
"""From the training operator's arguments to a request, and from what was trained to the task's result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidTrainingResultError
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.operators._support import check_choice
from airflow_provider_mlbridge.operators._training_metrics import minimums_of
from airflow_provider_mlbridge.results import XCOM_LIMIT_BYTES, FeatureSet, TrainingResult
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingRequest
from airflow_provider_mlbridge.training.state import ReportedResult

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_mlbridge.operators.ml_training_trigger import MLTrainingTriggerOperator

FEATURES_RECORD = "mlbridge_features"
"""Name in the task's state store under which the resolved features are kept."""

FORGOTTEN = ("fail", "train")
"""What to do about a training that is not known any more where it was started."""


def seconds(argument: str, value: Any) -> float | None:
    """
    A duration in seconds; a number that was rendered to text is one of seconds.

    :raises ConfigurationError: naming the argument and what was given.
    """
    if value is None or value in ("", "None"):
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ConfigurationError(
            f"{argument}={value!r} is not valid; valid are a timedelta or a number of seconds"
        )
    return found


def flag(argument: str, value: Any) -> bool:
    """
    A switch that may have been rendered to text.

    :raises ConfigurationError: naming the argument and what was given.
    """
    word = str(value).strip().lower()
    if word not in ("true", "false"):
        raise ConfigurationError(f"{argument}={value!r} is not valid; valid are True and False")
    return word == "true"


@dataclass(frozen=True)
class Options:
    """
    How a task trains and waits, in plain values.

    :param durable: whether all tries stand for one training.
    :param skip_if_unchanged: whether to return the last success of the same.
    :param poll_interval: seconds.
    :param timeout: seconds.
    :param unreachable_timeout: seconds, None to wait on.
    :param execution_timeout: seconds, None for none.
    """

    durable: bool
    skip_if_unchanged: bool
    poll_interval: float
    timeout: float
    unreachable_timeout: float | None
    execution_timeout: float | None


def options_of(task: MLTrainingTriggerOperator) -> Options:
    """
    Read the options of a rendered task.

    :raises ConfigurationError: naming the one that is not valid.
    """
    poll_interval = seconds("poll_interval", task.poll_interval)
    if poll_interval is None or not poll_interval > 0:
        raise ConfigurationError(
            f"poll_interval={task.poll_interval!r} is not valid; valid are seconds above 0"
        )
    timeout = seconds("timeout", task.timeout)
    if timeout is None or timeout <= 0:
        raise ConfigurationError(f"timeout must be positive, got {task.timeout}")
    return Options(
        durable=flag("durable", task.durable),
        skip_if_unchanged=flag("skip_if_unchanged", task.skip_if_unchanged),
        poll_interval=poll_interval,
        timeout=timeout,
        unreachable_timeout=seconds("unreachable_timeout", task.unreachable_timeout),
        execution_timeout=seconds("execution_timeout", task.execution_timeout),
    )


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


@dataclass(frozen=True)
class Wanted:
    """
    What a task asks for, before it is known which training stands for it.

    :param request: what to train.
    :param launch: how, for mode ssh.
    """

    request: TrainingRequest
    launch: SSHLaunch | None


def wanted_of(task: MLTrainingTriggerOperator, context: Context, epoch: int) -> Wanted:
    """
    What this task instance asks for.

    :param epoch: of the attempt.
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
    for argument in ("experiment_name", "model_type"):
        value = getattr(task, argument)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{argument}={value!r} is not valid; valid is a text that is not empty")
    check_choice("forgotten", task.forgotten, FORGOTTEN)
    minimums_of(task.min_metrics)
    uri, fingerprint = resolve_features(task, context, epoch)
    request = TrainingRequest(
        features_uri=uri,
        features_fingerprint=fingerprint,
        experiment_name=task.experiment_name,
        model_type=task.model_type,
        params=_params(task),
        config_path=task.config_path,
        timeout_seconds=options_of(task).timeout,
    )
    request.to_json()  # refuses what is not plain JSON before anything is started
    return Wanted(request, launch)


def resolve_features(task: MLTrainingTriggerOperator, context: Context, epoch: int | None) -> tuple[str, str]:
    """
    URI and fingerprint of the feature-set version to train on.

    :param epoch: of the submission; None to ask what was submitted, after the training.

    A URI whose pointer moves on between two tries must not give the retry another training, so what the first
    try found is kept in the task's state store, until the task is cleared.
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
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

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
    store.set(FEATURES_RECORD, found, retention=NEVER_EXPIRE)
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
            duration_seconds=duration_of(event),
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


def duration_of(event: CompletionEvent) -> float | None:
    """Seconds from start to end, where both are known."""
    if event.started_at is None or event.finished_at is None:
        return None
    started, finished = (datetime.fromisoformat(text) for text in (event.started_at, event.finished_at))
    return (finished - started).total_seconds()
