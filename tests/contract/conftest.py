# SPDX-License-Identifier: Apache-2.0
"""Every test runs once per mode."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.services.sshd import Sshd, start_sshd
from tests.contract.places import APIPlace, DagPlace, Place, SSHPlace
from tests.integration.training_service_process import TrainingService


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = start_sshd(tmp_path_factory.mktemp("sshd"), environment={"SHLVL": "2"})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    running = TrainingService(tmp_path_factory.mktemp("service"), concurrency=64)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(params=["ssh", "api", "dag"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "ssh":
        yield SSHPlace(tmp_path, request.getfixturevalue("sshd"))
    elif request.param == "api":
        yield APIPlace(tmp_path, request.getfixturevalue("service"))
    else:
        place = DagPlace(tmp_path)
        try:
            yield place
        finally:
            place.stop()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a scenario in a loop of its own, for two minutes at most."""
    return lambda scenario: asyncio.run(asyncio.wait_for(scenario, 120))
