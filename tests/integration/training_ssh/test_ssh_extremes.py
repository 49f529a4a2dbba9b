# SPDX-License-Identifier: Apache-2.0
"""Streams that are cut off, the longest command, a clock that is hours off, many lost trainings at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import BackendUnreachableError
from airflow_provider_mlbridge.training.ssh import protocol
from airflow_provider_mlbridge.training.ssh.connection import open_connection
from airflow_provider_mlbridge.training.ssh.registry import HostConnection
from airflow_provider_mlbridge.training.state import JobRef, JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]


async def claiming_script(host: Any, job: Any, mocker: Any) -> bytes:
    """What goes to the host to start a training, caught on its way."""
    real, caught = HostConnection.run, []

    async def run(self: HostConnection, command: str, script: bytes, **options: Any) -> Any:
        if b"\nmlb_claim " not in script:
            return await real(self, command, script, **options)
        caught.append(script)
        raise BackendUnreachableError("cut off")

    with pytest.raises(BackendUnreachableError, match="cut off"):
        async with host.backend() as backend:
            mocker.patch.object(HostConnection, "run", run)
            await backend.submit(job)
    mocker.stopall()
    return caught[0]


def test_a_stream_that_is_cut_off_starts_nothing(any_host: Any, run: Run, mocker: Any) -> None:
    host = any_host

    async def scenario() -> None:
        script = await claiming_script(host, host.job("echo started >> journal"), mocker)
        places = random.Random(5).sample(range(1, len(script)), 24)
        # Without its newline the last line is complete as well.
        places += [len(script) - number for number in range(2, 14)]
        connection = await open_connection(host.target())
        try:
            for place in places:
                process = await connection.create_process(f"exec {host.shell} -s", encoding=None)
                process.stdin.write(script[:place])
                process.stdin.write_eof()
                answer = (await process.wait()).stdout
                assert b" end\n" not in answer, place
                assert not list(host.root.glob("jobs/*")), place
            # Not closed in order, but broken off.
            process = await connection.create_process(f"exec {host.shell} -s", encoding=None)
            process.stdin.write(script[:-2])
            await process.stdin.drain()
        finally:
            connection.abort()
        connection = await open_connection(host.target())
        try:
            process = await connection.create_process(f"exec {host.shell} -s", encoding=None)
            await process.communicate(b"exit\n")
            assert not list(host.root.glob("jobs/*"))
            process = await connection.create_process(f"exec {host.shell} -s", encoding=None)
            await process.communicate(script)
        finally:
            connection.abort()
        async with host.backend() as backend:
            ref = JobRef("key1", 1, f"{host.root}/jobs/key1/1")
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())
    assert (host.folder / "journal").read_text() == "started\n"


def test_a_command_may_have_many_lines_and_a_mebibyte(any_host: Any, run: Run) -> None:
    host = any_host
    first = "cat <<'END' | wc -c\n"
    last = '\nEND\nif true\nthen\n  echo "it\'s `echo done`"\nfi\n(exit 7)'
    text = "x$y'\"\\ \n" * 200_000
    room = protocol.COMMAND_LIMIT_BYTES - len(first) - len(last)
    command = first + text[:room] + last
    assert len(command) == protocol.COMMAND_LIMIT_BYTES

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(command))).ref
            status = await host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, 7)
            assert (await host.log(backend, ref)).split() == [str(room + 1), "it's", "done"]

    run(scenario())


@pytest.mark.parametrize("hours", [2, -2])
def test_a_host_whose_clock_is_two_hours_off_trains_and_stops_all_the_same(
    poor_host: Any, run: Run, hours: int
) -> None:
    host, date = poor_host, Path("/bin/date")
    (host.tools / "date").unlink()
    (host.tools / "date").write_text(f'#!/bin/sh\nexec {date} -d "{hours} hours" "$@"\n')
    (host.tools / "date").chmod(0o755)

    async def scenario() -> None:
        async with host.backend() as backend:
            job = host.job("until [ -e go ]; do sleep 0.05; done")
            ref = (await backend.submit(job)).ref
            again = await backend.submit(job)
            assert (again.ref, again.state, again.attached) == (ref, JobState.RUNNING, True)
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            assert await backend.reap(3600) == 0
            await backend.acknowledge(ref, "try-1")
            assert await backend.reap(3600) == 0
            stopped = (await backend.submit(host.job("sleep 600", key="key2"))).ref
            assert await backend.cancel(stopped, "try-1", "enough")
            assert (await host.until(backend, stopped)).state is JobState.CANCELLED
            short = (await backend.submit(host.job("sleep 600", key="key3", timeout_seconds=1))).ref
            assert (await host.until(backend, short)).state is JobState.TIMED_OUT

    run(scenario())


def test_many_lost_trainings_are_judged_a_part_at_a_time(any_host: Any, run: Run) -> None:
    host, refs = any_host, []
    for number in range(25):
        folder = host.root / f"jobs/key{number}/1"
        folder.mkdir(parents=True)
        # Claimed in 1970, and never gone on with.
        (folder / "claim").write_text("d1 0 try-1 0 -\n")
        refs.append(JobRef(f"key{number}", 1, str(folder)))

    async def once() -> list[JobState]:
        async with host.backend() as backend:
            found = await backend.status(refs)
            return [found[ref].state for ref in refs]

    assert run(once()) == [JobState.LOST] * 20 + [JobState.STARTING] * 5
    assert run(once()) == [JobState.LOST] * 25
