# SPDX-License-Identifier: Apache-2.0
"""What the reference service needs before it starts."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from demo.services.process import REPOSITORY, base_environment
from tests.integration.training_service_process import TOKEN, TOKEN_VARIABLE, TrainingService, running_service

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auth": None}, "token_env"),
        ({"auth": {"token_env": "NOT_SET_ANYWHERE"}}, "NOT_SET_ANYWHERE"),
        ({"auth": {"token_env": "A", "token_file": "b"}}, "exactly one"),
        ({"auth": {"token_file": "missing"}}, "missing"),
        ({"pipelines": {}}, "pipelines"),
        ({"pipelines": {"a": {"command": []}}}, "pipelines.a.command"),
        ({"pipelines": {"a": {"command": "rm -rf /"}}}, "pipelines.a.command"),
        ({"concurency": 3}, "concurency"),
        ({"pipelines": {n: {"command": ["true"], "model_types": ["m"]} for n in "ab"}}, "more than once"),
    ],
)
def test_configuration_faults_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    service = TrainingService(tmp_path, **changes)
    ended = subprocess.run(
        service.process.argv,
        env=base_environment(PYTHONPATH=str(REPOSITORY / "training_service")),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert said in ended.stderr


def test_data_directory_belongs_to_one_service(tmp_path: Path) -> None:
    environment = base_environment(PYTHONPATH=str(REPOSITORY / "training_service"), **{TOKEN_VARIABLE: TOKEN})
    with running_service(tmp_path) as service:
        ended = subprocess.run(
            service.process.argv, env=environment, capture_output=True, text=True, timeout=30
        )
    assert ended.returncode == 2
    assert "in use by another training service" in ended.stderr


def test_auth_none_must_be_written_and_then_needs_no_token(tmp_path: Path) -> None:
    with running_service(tmp_path, auth="none") as service:
        request = urllib.request.Request(f"{service.url}/api/v1/training/0a")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as error:
            assert error.code == 404
