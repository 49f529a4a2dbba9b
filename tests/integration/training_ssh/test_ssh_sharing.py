# SPDX-License-Identifier: Apache-2.0
"""Many exchanges over one connection, and many clients at one sshd."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import BackendUnreachableError
from airflow_provider_mlbridge.training.ssh import registry
from airflow_provider_mlbridge.training.state import JobRef, JobState
from demo.services.process_table import descendants

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
FOREVER = "sleep 600"


@pytest.fixture
def slow_shell(tmp_path: Path) -> Path:
    """A shell that says that it is there, and nothing more."""
    shell = tmp_path / "slow"
    shell.write_text(f"#!/bin/sh\n: > {tmp_path}/begun.$$\nexec sleep 60\n")
    shell.chmod(0o755)
    return shell


@asynccontextmanager
async def slow_exchanges(host: Any, shell: Path, count: int, **options: Any) -> AsyncIterator[Any]:
    """Exchanges that take long, all of them begun."""
    async with host.backend(shell=str(shell), **options) as backend:
        tasks = [asyncio.create_task(backend.status([])) for _ in range(count)]
        while len(list(shell.parent.glob("begun.*"))) < count:
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0.02)
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("settings", [(), ("MaxSessions 1",)])
def test_a_cancel_does_not_wait_behind_slow_exchanges(
    own_sshd: Any, slow_shell: Path, run: Run, settings: tuple[str, ...]
) -> None:
    host = own_sshd(*settings)

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            count = 1 if settings else registry.PARALLEL_CHANNELS
            async with slow_exchanges(host, slow_shell, count) as slow:
                waiting = [asyncio.create_task(backend.status([ref])) for _ in range(20)]
                await asyncio.sleep(0)
                assert await backend.cancel(ref, "try-1", "enough")
                assert not any(task.done() for task in slow)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            assert (await host.until(backend, ref)).state is JobState.CANCELLED

    run(scenario())


def test_an_exchange_that_takes_too_long_ends_alone(host: Any, slow_shell: Path, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            shared = registry.acquire(host.target())
            async with slow_exchanges(host, slow_shell, 4):
                async with host.backend(shell=str(slow_shell), command_timeout=0.3) as hasty:
                    with pytest.raises(BackendUnreachableError, match="no answer within 0.3 s"):
                        await hasty.status([])
                assert (await backend.status([ref]))[ref].state is JobState.RUNNING
            assert shared.connects == 1
            await registry.release(shared)
            await backend.cancel(ref, "try-1", "the test is over")
            await host.until(backend, ref)

    run(scenario())


def test_sessions_that_hang_on_the_host_do_not_use_up_the_connection(
    own_sshd: Any, slow_shell: Path, run: Run, mocker: Any
) -> None:
    # sshd counts a session until its program ends, also when its channel was closed long ago.
    host = own_sshd("MaxSessions 2")
    mocker.patch.object(registry, "_CHANNEL_ATTEMPTS", 2)

    async def scenario() -> None:
        async with host.backend() as backend:
            await backend.status([])
            async with host.backend(shell=str(slow_shell), command_timeout=0.3) as hasty:
                for _ in range(2):
                    with pytest.raises(BackendUnreachableError, match="no answer within 0.3 s"):
                        await hasty.status([])
            assert await backend.status([]) == {}

    run(scenario())


def test_a_connection_that_shows_no_sign_of_life_is_replaced(
    own_sshd: Any, slow_shell: Path, run: Run
) -> None:
    host = own_sshd()

    async def scenario() -> None:
        target = host.target(keepalive_interval=0.2)
        async with host.backend(target) as backend:
            await backend.status([])
            stopped = descendants([host.server.pid]) - {host.server.pid}
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            # It was open before, so the exchange is made again on a new connection.
            assert await backend.status([]) == {}
            assert backend._host is not None
            assert backend._host.connects == 2
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    run(scenario())


CLIENTS = """
import asyncio, json, sys
from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.ssh import SSHTarget

settings, options, first, count = json.loads(sys.argv[1])

async def client(number):
    # One more millisecond each: a target of its own, and with it a connection of its own.
    backend = SSHBackend(SSHTarget(**settings, keepalive_interval=30 + number / 1000), **options)
    launch = SSHLaunch("echo started >> journal", options["root"] + "/../work", {})
    job = TrainingJob(f"key{number}", "try-1", 0, TrainingRequest("s3://f/v1", "f1", "exp", "forest"), launch)
    try:
        ref = (await backend.submit(job)).ref
    finally:
        await backend.close()
    return ref.generation

async def main():
    clients = (client(number) for number in range(first, first + count))
    print(json.dumps(await asyncio.gather(*clients)))

asyncio.run(main())
"""


def test_no_refusal_of_a_default_sshd_reaches_any_of_120_clients_at_once(own_sshd: Any, run: Run) -> None:
    host = own_sshd()  # MaxStartups 10:30:100, MaxSessions 10
    settings = {
        "host": host.server.host,
        "username": host.server.user,
        "port": host.server.port,
        "key_file": str(host.server.client_key_path),
        "host_key": host.server.host_key,
    }
    options = {
        "root": str(host.root),
        "shell": host.shell,
        "keep_seconds": None,
        "busy_patience_seconds": 60.0,
    }
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENTS, json.dumps([settings, options, first, 30])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(0, 120, 30)
    ]
    try:
        for process in clients:
            out, problems = process.communicate(timeout=100)
            assert process.returncode == 0, problems[-2000:]
            assert json.loads(out) == [1] * 30
    finally:
        for process in clients:
            process.kill()
    assert "drop connection" in host.server.log_path.read_text()

    async def ends() -> None:
        async with host.backend() as backend:
            for number in range(120):
                ref = JobRef(f"key{number}", 1, f"{host.root}/jobs/key{number}/1")
                assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(ends())
    assert (host.folder / "journal").read_text() == "started\n" * 120
