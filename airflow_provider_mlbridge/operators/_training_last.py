# SPDX-License-Identifier: Apache-2.0
"""
The last success of a task, over all runs of its DAG.

Kept in an Airflow variable of the task's own, written once its result was returned. XComs of the run before
would not do: which run that is, Airflow tells by logical dates, and runs triggered by an asset have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.results import TrainingResult
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest, canonical_json

if TYPE_CHECKING:
    from airflow_provider_mlbridge.hooks.training import BackendSpec

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LastSuccess:
    """
    A result that was returned.

    :param asked: :func:`asked_digest` of what was asked for.
    :param run_id: the run whose task trained.
    :param result: what it returned.
    """

    asked: str
    run_id: str
    result: TrainingResult


def asked_digest(request: TrainingRequest, launch: SSHLaunch | None, spec: BackendSpec) -> str:
    """
    sha256 (hex) of what is asked for: features by their fingerprint, request, command, program.

    Where the features are stored, on which host it is trained, for how long at most and with which
    environment variables makes no other model of them, or cannot be told.
    """
    job = TrainingJob(key="", owner="", epoch=0, request=replace(request, features_uri=""), launch=launch)
    program = [spec.mode, spec.trigger_dag_id, spec.endpoint, spec.adapter]
    return hashlib.sha256(canonical_json([job.digest, *program]).encode()).hexdigest()


def variable_of(ti: Any) -> str:
    """Name of the variable; a hash, since ids may be longer together than a name."""
    map_index = -1 if ti.map_index is None else ti.map_index
    names = canonical_json([ti.dag_id, ti.task_id, map_index])
    return f"mlbridge_last_success_{hashlib.sha256(names.encode()).hexdigest()[:32]}"


def last_success(ti: Any, log: Any) -> LastSuccess | None:
    """What was kept; None when nothing was, or what is there cannot be read."""
    from airflow.sdk import Variable
    from airflow.sdk.exceptions import AirflowRuntimeError

    name = variable_of(ti)
    try:
        kept = Variable.get(name, default=None, deserialize_json=True)
        if not isinstance(kept, Mapping) or kept.get("schema_version") != _SCHEMA_VERSION:
            return None
        return LastSuccess(str(kept["asked"]), str(kept["run_id"]), TrainingResult.from_dict(kept["result"]))
    except (AirflowRuntimeError, ConfigurationError, KeyError, ValueError) as error:
        log.warning("The last success in variable %s cannot be read, so it is trained: %s", name, error)
        return None


def keep_success(ti: Any, success: LastSuccess, log: Any) -> None:
    """Keep it in place of the one before; a task that has its result does not fail over this."""
    from airflow.sdk import Variable
    from airflow.sdk.exceptions import AirflowRuntimeError

    document = {
        "schema_version": _SCHEMA_VERSION,
        "asked": success.asked,
        "run_id": success.run_id,
        "result": success.result.to_dict(),
    }
    name = variable_of(ti)
    description = f"Last successful training of {ti.dag_id}.{ti.task_id} (skip_if_unchanged)"
    try:
        Variable.set(name, document, description=description, serialize_json=True)
    except AirflowRuntimeError as error:
        log.warning("The next run will train although nothing changed: variable %s: %s", name, error)
