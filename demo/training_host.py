# SPDX-License-Identifier: Apache-2.0
"""The ML team's machine in the demo: a home folder, the training program, an SSH server, the service."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.services.process import ServiceGroup
from demo.services.s3 import S3Server
from demo.services.sshd import Sshd, start_sshd
from demo.services.training_service import TrainingService, start_training_service

_PROGRAM = Path(__file__).parent / "training_program" / "train.py"
_MODEL_TYPES = ("hist_gradient_boosting", "logistic_regression")


@dataclass(frozen=True)
class TrainingHost:
    """
    What Airflow needs to know of the host.

    :param command: runs the training program, for ``mode="ssh"`` and ``mode="dag"``.
    :param models: folder of the models.
    :param sshd: for ``mode="ssh"``.
    :param service: for ``mode="api"``.
    """

    command: str
    models: Path
    sshd: Sshd
    service: TrainingService

    def airflow_connections(self) -> dict[str, dict[str, Any]]:
        """Connection id to its JSON document."""
        return {
            "training_ssh": {
                "conn_type": "mlbridge_ssh",
                "host": self.sshd.host,
                "port": self.sshd.port,
                "login": self.sshd.user,
                "extra": {"key_file": str(self.sshd.client_key_path), "host_key": self.sshd.host_key},
            },
            "training_api": self.service.airflow_connection(),
        }


def start_training_host(folder: Path, *, python: Path, s3: S3Server, services: ServiceGroup) -> TrainingHost:
    """
    Set the host up and start its servers.

    :param folder: everything of the host; its home folder is ``home`` in it.
    :param python: interpreter of the environment of the training program and the service.
    :param s3: what the host is given credentials of its own for.
    :param services: takes charge of the servers.
    """
    home = folder / "home"
    models = folder / "models"
    (home / ".aws").mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_private(
        home / ".aws" / "credentials",
        f"[default]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n",
    )
    _write_private(
        home / ".aws" / "config",
        f"[default]\nregion = {s3.region}\nendpoint_url = {s3.endpoint_url}\n"
        "s3 =\n  addressing_style = path\n",
    )
    program = folder / "train.sh"
    program.write_text(_wrapper(home, python, models))
    program.chmod(0o700)
    sshd = services.add(start_sshd(folder / "sshd", environment={"HOME": str(home)}))
    service = services.add(
        start_training_service(
            folder / "service",
            program=python.with_name("mlbridge-training-service"),
            pipelines={"flights": {"command": [str(program)], "model_types": list(_MODEL_TYPES)}},
            environment={"HOME": str(home)},
        )
    )
    return TrainingHost(command=shlex.quote(str(program)), models=models, sshd=sshd, service=service)


def _wrapper(home: Path, python: Path, models: Path) -> str:
    """The training program with the host's own credentials, whoever starts it."""
    lines = [
        "#!/bin/sh",
        "# One thread: the three trainings of the demo may run at the same time.",
        "export OMP_NUM_THREADS=1 AWS_EC2_METADATA_DISABLED=true",
        f"export AWS_CONFIG_FILE={shlex.quote(str(home / '.aws' / 'config'))}",
        f"export AWS_SHARED_CREDENTIALS_FILE={shlex.quote(str(home / '.aws' / 'credentials'))}",
        f"exec {shlex.join([str(python), str(_PROGRAM), '--models', str(models)])}",
    ]
    return "\n".join(lines) + "\n"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
