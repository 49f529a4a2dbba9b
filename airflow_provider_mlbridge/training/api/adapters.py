# SPDX-License-Identifier: Apache-2.0
"""
How a training service is asked and how its answers read: plain data, so that another service needs no code.

A path is a template with ``{dir}`` (the endpoint without its last part), ``{endpoint}`` and ``{job_id}``. An
expression is JMESPath, applied to the JSON of an answer.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.training.state import JobState

DedupKind = Literal["header", "none"]

_PLACEHOLDERS = {"dir", "endpoint", "job_id"}

_COMMON_STATES: Mapping[str, str] = {
    "triggered": "claimed",
    "accepted": "claimed",
    "pending": "claimed",
    "queued": "claimed",
    "starting": "starting",
    "running": "running",
    "succeeded": "succeeded",
    "success": "succeeded",
    "completed": "succeeded",
    "failed": "failed",
    "error": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


@dataclass(frozen=True)
class Adapter:
    """
    One kind of training service. What it does not offer is None.

    :param name: for messages.
    :param dedup: how the service recognises a submission that it has had: ``header`` (``Idempotency-Key``),
        or ``none``. With ``none`` a lost answer may mean a second training.
    :param sends_identity: whether the body carries ``key``, ``owner``, ``epoch``, ``digest`` and
        ``submission_id`` beside the request, and the service decides about generations. Otherwise the service
        replays its first answer for a key for ever: a failed training is not started again by a retry.
    :param job_id: expression for the job id, in the answer to a submission and in a status.
    :param state: expression for the state, in a status.
    :param states: the service's state (in lower case) to :class:`JobState`; any other means "still going".
    :param generation: expression for the generation, in the answer to a submission.
    :param url: expression for a link to the job, in the answer to a submission.
    :param replayed_header: response header that says ``true`` when the job was there before.
    :param conflict_statuses: HTTP statuses that say that the key stands for another request.
    :param exit_code: expression, in a status.
    :param reason: expression, in a status.
    :param started_at: expression, in a status.
    :param finished_at: expression, in a status.
    :param log_size: expression for the bytes of log, in a status.
    :param log_shown: expression for the bytes of log that the service was told of as shown, in a status.
    :param progress: expression for one line on how far the training is, in a status.
    :param status_path: GET.
    :param unknown_job_problem: last part of the problem type that a 404 must have to say that the job is
        gone, and not that something in between is wrong; when None, a second 404 in a row says it.
    :param batch_path: POST of ``{"job_ids": [...]}``.
    :param batch_shown: field of that body in which job ids and the bytes of their logs that were shown are
        told, for a service that keeps these numbers.
    :param batch_items: expression for the list of statuses.
    :param batch_size: the most jobs in one batch.
    :param logs_path: GET with ``offset`` and ``limit``.
    :param log_text: expression, in a piece of log.
    :param log_next_offset: expression, in a piece of log.
    :param cancel_path: POST of ``{"owner": ..., "reason": ...}``; 409 says that the owner is another one.
    :param acknowledge_path: POST of ``{"owner": ...}``.
    :param result_path: GET; the status is read instead when None.
    :param result: expression for metrics, model_uri, mlflow_run_id and extra, in the answer to it.
    """

    name: str
    dedup: DedupKind = "none"
    sends_identity: bool = False
    job_id: str = "job_id"
    state: str = "status"
    states: Mapping[str, str] = field(default_factory=lambda: _COMMON_STATES)
    generation: str | None = None
    url: str | None = None
    replayed_header: str | None = None
    conflict_statuses: tuple[int, ...] = (409,)
    exit_code: str | None = None
    reason: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    log_size: str | None = None
    log_shown: str | None = None
    progress: str | None = None
    status_path: str = "{dir}/{job_id}"
    unknown_job_problem: str | None = None
    batch_path: str | None = None
    batch_shown: str | None = None
    batch_items: str = "jobs"
    batch_size: int = 500
    logs_path: str | None = None
    log_text: str = "text"
    log_next_offset: str = "next_offset"
    cancel_path: str | None = None
    acknowledge_path: str | None = None
    result_path: str | None = None
    result: str = "@"

    def path(self, template: str, endpoint: str, job_id: str = "") -> str:
        """
        A path for a job; the job id is quoted.

        :raises ConfigurationError: when the job id cannot be part of a path.
        """
        from urllib.parse import quote

        if job_id in (".", ".."):
            raise ConfigurationError(f"job id {job_id!r} cannot be part of a path")
        parent = endpoint.rstrip("/").rpartition("/")[0]
        return template.format(dir=parent, endpoint=endpoint, job_id=quote(job_id, safe=""))


ADAPTERS: Mapping[str, Adapter] = {
    "mlbridge": Adapter(
        name="mlbridge",
        dedup="header",
        sends_identity=True,
        states={
            "triggered": "claimed",
            "queued": "claimed",
            **{state.value: state.value for state in JobState if state is not JobState.UNREACHABLE},
        },
        generation="generation",
        url="links.self",
        replayed_header="Idempotent-Replayed",
        conflict_statuses=(422,),
        exit_code="exit_code",
        reason="reason",
        started_at="started_at",
        finished_at="finished_at",
        log_size="log_size",
        log_shown="log_shown",
        progress="progress",
        unknown_job_problem="unknown-job",
        batch_path="{dir}/status:batch",
        batch_shown="shown",
        logs_path="{dir}/{job_id}/logs",
        cancel_path="{dir}/{job_id}/cancel",
        acknowledge_path="{dir}/{job_id}/acknowledge",
        result_path="{dir}/{job_id}/result",
    ),
    # Nothing but {"status": ..., "job_id": ...} is known. What a status says beside it is taken when there.
    "seed": Adapter(
        name="seed",
        reason="reason || error",
        result="{metrics: metrics, model_uri: model_uri, mlflow_run_id: mlflow_run_id, extra: extra}",
    ),
}


def resolve_adapter(adapter: str | Mapping[str, Any]) -> Adapter:
    """
    An adapter by name, or from a mapping of :class:`Adapter`'s fields.

    A mapping may name under ``extends`` the adapter that it changes; otherwise the fields' defaults hold.

    :raises ConfigurationError: naming what is not valid, and what is.
    """
    if isinstance(adapter, str):
        return _named(adapter)
    if not isinstance(adapter, Mapping):
        raise ConfigurationError(
            f"adapter must be one of {_names()} or a mapping, found {type(adapter).__name__}"
        )
    given = dict(adapter)
    base = _named(given.pop("extends")) if "extends" in given else Adapter(name="custom")
    known = {item.name for item in fields(Adapter)}
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise ConfigurationError(
            f"adapter has unknown fields {unknown}; valid are {sorted(known)} and 'extends'"
        )
    if "conflict_statuses" in given:
        given["conflict_statuses"] = tuple(given["conflict_statuses"])
    if isinstance(given.get("states"), Mapping):
        given["states"] = {str(name).lower(): str(state) for name, state in given["states"].items()}
    resolved = replace(base, **given)
    _check(resolved)
    return resolved


def _named(name: Any) -> Adapter:
    if not isinstance(name, str) or name not in ADAPTERS:
        raise ConfigurationError(f"unknown adapter {name!r}; valid are {_names()}, or a mapping")
    return ADAPTERS[name]


def _names() -> str:
    return ", ".join(repr(name) for name in ADAPTERS)


def _check(adapter: Adapter) -> None:
    if adapter.dedup not in get_args(DedupKind):
        raise ConfigurationError(
            f"adapter dedup={adapter.dedup!r} is not one of {', '.join(get_args(DedupKind))}"
        )
    if not isinstance(adapter.states, Mapping):
        raise ConfigurationError("adapter states must map the service's states to this package's")
    valid = [state.value for state in JobState if state is not JobState.UNREACHABLE]
    wrong = sorted(set(adapter.states.values()) - set(valid))
    if wrong:
        raise ConfigurationError(f"adapter states map to {wrong}; valid are {valid}")
    if not isinstance(adapter.batch_size, int) or adapter.batch_size < 1:
        raise ConfigurationError(f"adapter batch_size={adapter.batch_size!r} must be a positive integer")
    if adapter.batch_shown is not None and not (isinstance(adapter.batch_shown, str) and adapter.batch_shown):
        raise ConfigurationError(f"adapter batch_shown={adapter.batch_shown!r} must be the name of a field")
    for item in fields(Adapter):
        value = getattr(adapter, item.name)
        if item.name.endswith("_path"):
            _check_path(item.name, value)
        elif item.name in _EXPRESSIONS:
            _check_expression(item.name, value)


_EXPRESSIONS = frozenset(
    {
        "job_id", "state", "generation", "url", "exit_code", "reason", "started_at", "finished_at",
        "log_size", "log_shown", "progress", "batch_items", "log_text", "log_next_offset", "result",
    }
)  # fmt: skip
_REQUIRED = frozenset(
    {"job_id", "state", "status_path", "batch_items", "log_text", "log_next_offset", "result"}
)


def _check_path(name: str, template: Any) -> None:
    if template is None and name not in _REQUIRED:
        return
    try:
        placeholders = {place for _, place, _, _ in string.Formatter().parse(template) if place is not None}
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"adapter {name}={template!r} is not a path template: {error}") from error
    if placeholders - _PLACEHOLDERS or not template.startswith(("/", "{dir}", "{endpoint}")):
        raise ConfigurationError(
            f"adapter {name}={template!r} must begin with '/' or a placeholder, and hold only the "
            f"placeholders {', '.join('{' + place + '}' for place in sorted(_PLACEHOLDERS))}"
        )


def _check_expression(name: str, expression: Any) -> None:
    import jmespath
    from jmespath.exceptions import JMESPathError

    if expression is None and name not in _REQUIRED:
        return
    try:
        jmespath.compile(expression)
    except (JMESPathError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"adapter {name}={expression!r} is not JMESPath: {error}") from error
