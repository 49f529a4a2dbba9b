# SPDX-License-Identifier: Apache-2.0
"""What to train, and who asks: the same for every mode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidTrainingRequestError

REQUEST_SCHEMA_VERSION = 1


def canonical_json(document: Any) -> str:
    """
    JSON with one spelling per value: sorted keys, no white space, no NaN.

    :raises InvalidTrainingRequestError: when the document is not JSON.
    """
    try:
        return json.dumps(
            document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
        )
    except (TypeError, ValueError) as error:
        raise InvalidTrainingRequestError(f"the training request is not plain JSON: {error}") from error


def training_key(dag_id: str, run_id: str, task_id: str, map_index: int, incarnation: str = "") -> str:
    """
    Identity of the training of one task instance: 32 hex digits, the same for all its tries.

    The parts are hashed as a JSON list, so that no two different lists of names give the same text.

    :param incarnation: what tells apart task instances of the same names: those of two Airflows, or of a run
        that was deleted and made again.
    """
    parts = [dag_id, run_id, task_id, map_index, *([incarnation] if incarnation else [])]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class TrainingRequest:
    """
    What to train.

    :param features_uri: prefix of one feature-set version.
    :param features_fingerprint: its fingerprint.
    :param experiment_name: experiment under which the training registers its run.
    :param model_type: the kind of model, a word that the training program knows.
    :param params: hyper-parameters, plain JSON.
    :param config_path: a configuration file on the training host.
    :param timeout_seconds: the longest that the training itself may run.
    """

    features_uri: str
    features_fingerprint: str
    experiment_name: str
    model_type: str
    params: Mapping[str, Any] = field(default_factory=dict)
    config_path: str | None = None
    timeout_seconds: float = 7200.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON body of mode api, the ``conf`` of mode dag and the request file of mode ssh."""
        return {
            "schema_version": REQUEST_SCHEMA_VERSION,
            "features_uri": self.features_uri,
            "features_fingerprint": self.features_fingerprint,
            "experiment_name": self.experiment_name,
            "model_type": self.model_type,
            "params": dict(self.params),
            "config_path": self.config_path,
            "timeout_seconds": self.timeout_seconds,
        }

    def to_json(self) -> str:
        """Canonical JSON of :meth:`to_dict`."""
        return canonical_json(self.to_dict())


@dataclass(frozen=True)
class SSHLaunch:
    """
    How mode ssh starts the training program.

    :param command: one shell command line, run by the login user's POSIX ``sh``.
    :param working_dir: directory to start in; the home directory when None.
    :param environment: extra variables; they travel on stdin, never in argv or in a file that others read.
    """

    command: str
    working_dir: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """
    A request with the identity under which it is submitted.

    :param key: see :func:`training_key`.
    :param owner: the task-instance attempt that submits; only the latest owner may cancel.
    :param epoch: grows when a user clears the task, and not when Airflow retries it. A finished training is
        returned again within its epoch and trained again in a later one.
    :param request: what to train.
    :param launch: how, for mode ssh.
    :param known_generation: the latest generation that an earlier submission was told of, 0 for none. A
        backend that does not know it has lost its memory, and must not start another.
    """

    key: str
    owner: str
    epoch: int
    request: TrainingRequest
    launch: SSHLaunch | None = None
    known_generation: int = 0

    @property
    def digest(self) -> str:
        """
        sha256 (hex) of what is trained: request and command, without ``timeout_seconds`` and environment.

        The time-out changes how long one waits, the environment may hold secrets; neither makes it another
        training.
        """
        document = self.request.to_dict()
        del document["timeout_seconds"]
        if self.launch is not None:
            document["command"] = self.launch.command
            document["working_dir"] = self.launch.working_dir
        return hashlib.sha256(canonical_json(document).encode()).hexdigest()
