# SPDX-License-Identifier: Apache-2.0
"""A real sshd on loopback, and training jobs on it whose processes the tests may kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.ssh import SSHTarget
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus
from demo.services.sshd import Sshd, start_sshd

T = TypeVar("T")
DEADLINE = 30.0


@dataclass
class Host:
    """
    A training host and what a test does with it.

    :param server: its sshd.
    :param root: folder of the jobs.
    :param folder: where trainings of the test may write.
    :param shell: the shell that runs protocol and command.
    :param cgroups: where control groups are mounted; nowhere, so that tests do not depend on what the machine
        allows.
    """

    server: Sshd
    root: Path
    folder: Path
    shell: str = "/bin/sh"
    cgroups: str = "/nowhere"
    options: dict[str, Any] = field(default_factory=dict)

    def target(self, **changes: Any) -> SSHTarget:
        values: dict[str, Any] = {
            "host": self.server.host,
            "username": self.server.user,
            "port": self.server.port,
            "key_file": str(self.server.client_key_path),
            "host_key": self.server.host_key,
            **changes,
        }
        return SSHTarget(**values)

    @asynccontextmanager
    async def backend(self, target: SSHTarget | None = None, **options: Any) -> AsyncIterator[SSHBackend]:
        values = {"root": str(self.root), "shell": self.shell, "grace_seconds": 2, **self.options, **options}
        backend = SSHBackend(target or self.target(), **values)
        backend._settings["cgroups"] = self.cgroups
        try:
            yield backend
        finally:
            await backend.close()

    def job(
        self,
        command: str,
        *,
        key: str = "key1",
        owner: str = "try-1",
        epoch: int = 0,
        working_dir: str | None = None,
        environment: dict[str, str] | None = None,
        timeout_seconds: float = 600.0,
    ) -> TrainingJob:
        request = TrainingRequest("s3://f/v1", "f1", "exp", "forest", timeout_seconds=timeout_seconds)
        launch = SSHLaunch(command, working_dir or str(self.folder), environment or {})
        return TrainingJob(key, owner, epoch, request, launch)

    def file(self, ref: JobRef, name: str) -> Path:
        return Path(ref.job_id) / name

    def pid(self, ref: JobRef, name: str) -> int:
        """Process id of the ``supervisor`` or the ``child``."""
        return int(self.file(ref, name).read_text().split()[0])

    def kill(self, ref: JobRef, name: str) -> None:
        os.kill(self.pid(ref, name), signal.SIGKILL)

    def pretend(self, ref: JobRef, position: int, value: str) -> None:
        """Change one word of the identities of supervisor and child, as a reboot or a reused pid would."""
        for name in ("supervisor", "child"):
            words = self.file(ref, name).read_text().split()
            words[position] = value
            self.file(ref, name).write_text(" ".join(words) + "\n")

    async def until(self, backend: SSHBackend, ref: JobRef, *states: JobState) -> JobStatus:
        """Ask until the job is in one of the states, any terminal one by default."""
        end = time.monotonic() + DEADLINE
        while True:
            status = (await backend.status([ref]))[ref]
            if status.state in states if states else status.state.is_terminal:
                return status
            assert time.monotonic() < end, f"still {status} after {DEADLINE} s, expected {states}"
            assert not status.state.is_terminal, f"ended as {status}, expected {states}"
            await asyncio.sleep(0.05)

    async def log(self, backend: SSHBackend, ref: JobRef) -> str:
        return (await backend.logs(ref, 0)).text

    async def pids(self, *names: str) -> list[int]:
        """The process ids that a training writes into files, each with a newline."""
        found, end = [], time.monotonic() + DEADLINE
        for name in names:
            path = await self.appears(name)
            while not path.read_text().endswith("\n"):
                assert time.monotonic() < end, f"{path} is not complete"
                await asyncio.sleep(0.01)
            found.append(int(path.read_text()))
        return found

    async def appears(self, name: str) -> Path:
        """Wait for a file that a training writes."""
        path, end = self.folder / name, time.monotonic() + DEADLINE
        while not path.exists():
            assert time.monotonic() < end, f"{path} did not appear"
            await asyncio.sleep(0.02)
        return path


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def gone(*pids: int) -> None:
    end = time.monotonic() + DEADLINE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, f"still there: {[pid for pid in pids if alive(pid)]}"
        await asyncio.sleep(0.02)


@pytest.fixture(name="gone")
def gone_fixture() -> Callable[..., Coroutine[Any, Any, None]]:
    """Wait until processes are gone."""
    return gone


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    # bash runs ~/.bashrc at every command that comes over SSH, unless it is told that it is a nested shell:
    # the developer's own start-up files are not part of these tests.
    server = start_sshd(tmp_path_factory.mktemp("sshd"), environment={"SHLVL": "2"})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def busybox_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A host that has busybox and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    tools = tmp_path_factory.mktemp("busybox")
    for applet in subprocess.run(
        [busybox, "--list"], check=True, capture_output=True, text=True
    ).stdout.split():
        (tools / applet).symlink_to(busybox)
    server = start_sshd(
        tmp_path_factory.mktemp("sshd-busybox"), environment={"PATH": str(tools), "SHLVL": "2"}
    )
    server.tools = tools  # type: ignore[attr-defined]
    yield server
    server.stop()


@pytest.fixture
def host(sshd: Sshd, tmp_path: Path) -> Host:
    """The host with the machine's own /bin/sh."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Host(sshd, tmp_path / "root with blank", folder)


@pytest.fixture(params=["dash", "bash", "busybox"])
def any_host(request: pytest.FixtureRequest, host: Host) -> Host:
    """The host once for each shell."""
    if request.param == "busybox":
        host.server = request.getfixturevalue("busybox_sshd")
        host.shell = str(host.server.tools / "ash")  # type: ignore[attr-defined]
        return host
    host.shell = shutil.which(request.param) or ""
    if not host.shell:
        pytest.skip(f"{request.param} is not installed")
    return host


@pytest.fixture
def poor_host(host: Host, busybox_sshd: Any, tmp_path: Path) -> Iterator[Host]:
    """A host whose tools a test may take away or replace."""
    tools = tmp_path / "tools"
    shutil.copytree(busybox_sshd.tools, tools, symlinks=True)
    host.server = start_sshd(tmp_path / "sshd", environment={"PATH": str(tools), "SHLVL": "2"})
    host.tools = tools  # type: ignore[attr-defined]
    yield host
    host.server.stop()


@pytest.fixture
def own_sshd(host: Host, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Start a server of the test's own with further settings, and make it the host's."""
    started: list[Sshd] = []

    def start(*settings: str) -> Host:
        host.server = start_sshd(tmp_path / "sshd", environment={"SHLVL": "2"}, extra_config=settings)
        started.append(host.server)
        return host

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a scenario in a loop of its own, for two minutes at most."""

    def runner(scenario: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asyncio.wait_for(scenario, 120))

    return runner


@pytest.fixture
def new_key() -> str:
    return uuid.uuid4().hex
