# SPDX-License-Identifier: Apache-2.0
"""A host whose disk is full: nothing is started, and what runs can be stopped, taken over and recorded."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import BackendRefusedError
from airflow_provider_mlbridge.training.state import JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
FOREVER = "echo started >> journal; echo $$ > shell; sleep 300 & echo $! > sleeper; wait"


@pytest.fixture
def small_disk(host: Any) -> Iterator[Path]:
    """The root on a file system of its own with 128 kB."""
    host.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "none", str(host.root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield host.root
    subprocess.run(["umount", "-l", str(host.root)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return path
    raise AssertionError("unreachable")


def test_a_full_disk_is_refused_and_the_same_submit_works_later(
    any_host: Any, small_disk: Path, run: Run
) -> None:
    job = any_host.job("echo started >> journal; exit 0")

    async def scenario() -> None:
        async with any_host.backend() as backend:
            ballast = fill(small_disk)
            with pytest.raises(BackendRefusedError, match="cannot record the state of a training") as caught:
                await backend.submit(job)
            message = str(caught.value)
            assert any(words in message for words in ("I/O error", "No space left", "disk may be full"))
            assert "\n" not in message
            ballast.unlink()
            submission = await backend.submit(job)
            assert (submission.ref.generation, submission.attached) == (1, False)
            assert (await any_host.until(backend, submission.ref)).state is JobState.SUCCEEDED

    run(scenario())
    assert (any_host.folder / "journal").read_text() == "started\n"


def naps(supervisor: int) -> bool:
    """Whether the supervisor waits for its next attempt to write the end."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == supervisor and (path / "cmdline").read_bytes() == b"sleep\x005\x00":
                return True
        except OSError:
            continue
    return False


def test_a_training_that_fills_the_disk_is_recorded_although_it_is_full(
    any_host: Any, small_disk: Path, run: Run
) -> None:
    command = f"cat /dev/zero > '{small_disk}/ballast'; exit 7"

    async def scenario() -> None:
        async with any_host.backend() as backend:
            ref = (await backend.submit(any_host.job(command))).ref
            status = await any_host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, 7)
            with pytest.raises(OSError, match="No space left"):
                (small_disk / "more").write_text("x")

    run(scenario())


def test_a_full_disk_stops_no_cancel_and_no_new_owner(
    any_host: Any, small_disk: Path, run: Run, gone: Any
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            job = host.job(FOREVER)
            ref = (await backend.submit(job)).ref
            pids = await host.pids("shell", "sleeper")
            fill(small_disk)
            adopted = await backend.submit(replace(job, owner="try-2", epoch=1))
            assert (adopted.ref, adopted.attached) == (ref, True)
            assert not await backend.cancel(ref, "try-1", "late on_kill")
            assert await backend.cancel(ref, "try-2", "it filled the disk")
            status = await host.until(backend, ref)
            assert (status.state, status.reason) == (JobState.CANCELLED, "it filled the disk")
            await gone(*pids)

    run(scenario())


def test_a_full_disk_stops_no_timeout_and_no_acknowledgement(
    any_host: Any, small_disk: Path, run: Run
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend(grace_seconds=1) as backend:
            done = (await backend.submit(host.job("exit 0", key="done"))).ref
            await host.until(backend, done)
            late = (await backend.submit(host.job(FOREVER, timeout_seconds=1))).ref
            fill(small_disk)
            status = await host.until(backend, late)
            assert status.state is JobState.TIMED_OUT
            retry = await backend.submit(host.job("exit 0", key="done", owner="try-2"))
            assert (retry.ref, retry.state) == (done, JobState.SUCCEEDED)
            assert (await backend.status([done], {done: 5}))[done].log_shown == 5
            await backend.acknowledge(done, "try-2")
            assert host.file(done, "ack").read_text().split()

    run(scenario())


def test_without_a_spare_left_a_job_can_be_watched_but_not_taken_over(
    any_host: Any, small_disk: Path, run: Run
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            job = host.job("until [ -e go ]; do sleep 0.05; done; exit 0")
            ref = (await backend.submit(job)).ref
            for spare in Path(ref.job_id).glob(".spare.*"):
                spare.unlink()
            ballast = fill(small_disk)
            watching = await backend.submit(replace(job, owner="try-2", epoch=1))
            assert (watching.ref, watching.state) == (ref, JobState.RUNNING)
            assert not await backend.cancel(ref, "try-2", "not the owner")
            with pytest.raises(BackendRefusedError, match="cannot record the state of a training"):
                await backend.cancel(ref, "try-1", "cannot be recorded")
            ballast.unlink()
            again = await backend.submit(replace(job, owner="try-2", epoch=1))
            assert again.ref == ref
            assert not await backend.cancel(ref, "try-1", "late on_kill")
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def test_without_a_spare_left_the_end_is_recorded_once_there_is_space(
    host: Any, small_disk: Path, run: Run
) -> None:
    command = f"rm \"$MLBRIDGE_JOB_DIR\"/.spare.*; cat /dev/zero > '{small_disk}/ballast'; exit 7"

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(command))).ref
            supervisor, deadline = host.pid(ref, "supervisor"), time.monotonic() + 20
            while not naps(supervisor):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert (await backend.status([ref]))[ref].state is JobState.RUNNING
            (small_disk / "ballast").unlink()
            status = await host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, 7)

    run(scenario())
