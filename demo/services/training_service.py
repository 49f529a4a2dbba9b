# SPDX-License-Identifier: Apache-2.0
"""The reference training service as a process, with a token and the pipelines that it is given."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from demo.services.process import (
    LOOPBACK,
    OwnedProcess,
    base_environment,
    free_port,
    port_answers,
    start_with_retry,
)


class TrainingService:
    """
    A running training service.

    :param url: base URL, ``http://127.0.0.1:<port>``.
    :param token: bearer token that it wants.
    :param folder: its database and the folders of its jobs (``data``), and its log.
    """

    def __init__(self, process: OwnedProcess, *, url: str, token: str) -> None:
        self._process = process
        self.url = url
        self.token = token
        self.folder = process.folder

    @property
    def log_path(self) -> Path:
        """What the service logs; each training has a log of its own."""
        return self._process.log_path

    def airflow_connection(self) -> dict[str, Any]:
        """The Airflow connection (type ``mlbridge_api``) of the service, as a JSON document."""
        return {
            "conn_type": "mlbridge_api",
            "host": self.url,
            "password": self.token,
            "extra": {"auth": "bearer"},
        }

    def stop(self) -> None:
        """End the service and the trainings that it still runs."""
        self._process.stop(grace=10)


def start_training_service(
    folder: Path,
    *,
    program: Path,
    pipelines: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainingService:
    """
    Start a training service and wait until it accepts connections.

    :param folder: for its configuration, token, data and log; what it knows is kept there.
    :param program: the installed ``mlbridge-training-service``.
    :param pipelines: section ``pipelines`` of ``service.yaml``.
    :param environment: further variables of the service, and so of its trainings.
    :param settings: further settings of ``service.yaml``.
    :raises ServiceError: when it does not start.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token = secrets.token_urlsafe(32)
    token_file.write_text(token)
    document = {
        "data_dir": str(folder / "data"),
        "auth": {"token_file": str(token_file)},
        "pipelines": pipelines,
        **(settings or {}),
    }
    # JSON is YAML too.
    (folder / "service.yaml").write_text(json.dumps(document, indent=2) + "\n")

    def start() -> TrainingService:
        port = free_port()
        process = OwnedProcess(
            "training-service",
            [
                *(str(program), "--config", str(folder / "service.yaml")),
                *("--host", LOOPBACK, "--port", str(port)),
            ],
            folder=folder,
            environment=base_environment(**(environment or {})),
        )
        try:
            process.start()
            process.wait_ready(partial(port_answers, port), timeout=60)
        except BaseException:
            process.stop()
            raise
        return TrainingService(process, url=f"http://{LOOPBACK}:{port}", token=token)

    return start_with_retry(start)
