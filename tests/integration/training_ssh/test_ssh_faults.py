# SPDX-License-Identifier: Apache-2.0
"""Processes are killed, hosts restart, disks fill up, attempts overtake each other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.training.ssh import protocol
from airflow_provider_mlbridge.training.state import JobRef, JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
FOREVER = "echo started >> journal; echo $$ > shell; sleep 300 & echo $! > sleeper; wait"


def test_a_killed_training_fails_with_the_signal_in_the_reason(any_host: Any, run: Run, gone: Any) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            (sleeper,) = await host.pids("sleeper")
            host.kill(ref, "child")
            status = await host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, 137)
            assert "killed by signal 9 (SIGKILL)" in status.reason
            await gone(sleeper)

    run(scenario())


def test_supervisor_and_training_killed_is_lost_at_the_next_question(
    any_host: Any, run: Run, gone: Any
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            (sleeper,) = await host.pids("sleeper")
            host.kill(ref, "supervisor")
            host.kill(ref, "child")
            await gone(host.pid(ref, "child"))
            status = (await backend.status([ref]))[ref]
            assert (status.state, status.exit_code) == (JobState.LOST, None)
            assert "training and its supervisor are gone" in status.reason
            # What was left of it must not run beside the next generation.
            await gone(sleeper)
            retry = await backend.submit(host.job(FOREVER))
            assert (retry.ref.generation, retry.state) == (2, JobState.RUNNING)
            assert await backend.cancel(retry.ref, "try-1", "the test is over")
            await host.until(backend, retry.ref)

    run(scenario())


def test_a_training_outlives_its_supervisor_as_an_orphan_and_then_is_lost(any_host: Any, run: Run) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            job = host.job("until [ -e go ]; do sleep 0.05; done")
            ref = (await backend.submit(job)).ref
            host.kill(ref, "supervisor")
            await host.until(backend, ref, JobState.ORPHANED)
            attached = await backend.submit(job)
            assert (attached.ref, attached.state, attached.attached) == (ref, JobState.ORPHANED, True)
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.LOST

    run(scenario())


def test_an_orphan_can_be_cancelled(any_host: Any, run: Run, gone: Any) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            pids = await host.pids("shell", "sleeper")
            host.kill(ref, "supervisor")
            assert await backend.cancel(ref, "try-1", "enough")
            status = await host.until(backend, ref)
            assert (status.state, status.reason) == (JobState.CANCELLED, "enough")
            await gone(*pids)

    run(scenario())


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [(2, "another-boot", "the host was restarted"), (1, "12345", "training and its supervisor are gone")],
    ids=["reboot", "reused pid"],
)
def test_a_process_with_the_right_number_is_not_taken_for_the_training(
    any_host: Any, run: Run, position: int, value: str, reason: str
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER))).ref
            (shell,) = await host.pids("shell")
            host.pretend(ref, position, value)
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.LOST
            assert reason in status.reason
            if position == 2:
                os.kill(shell, 9)
                os.kill((await host.pids("sleeper"))[0], 9)

    run(scenario())


def test_the_timeout_is_kept_on_the_host_without_anybody_asking(any_host: Any, run: Run, gone: Any) -> None:
    host = any_host
    command = "trap 'echo TERM came' TERM; setsid sleep 300 & echo $! > far; while :; do sleep 0.1; done"

    async def scenario() -> None:
        async with host.backend(grace_seconds=1) as backend:
            ref = (await backend.submit(host.job(command, timeout_seconds=0.5))).ref
        await host.appears("far")
        end = host.file(ref, "end")
        deadline = time.monotonic() + 20
        while not end.exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        async with host.backend() as backend:
            status = (await backend.status([ref]))[ref]
            assert (status.state, status.exit_code) == (JobState.TIMED_OUT, 137)
            assert status.reason == "it ran longer than its timeout of 1 seconds"
            assert "TERM came" in await host.log(backend, ref)
        await gone((await host.pids("far"))[0], host.pid(ref, "supervisor"))

    run(scenario())


def test_the_timeout_holds_for_an_orphan_too(host: Any, run: Run, gone: Any) -> None:
    async def scenario() -> None:
        async with host.backend(grace_seconds=1) as backend:
            ref = (await backend.submit(host.job(FOREVER, timeout_seconds=1))).ref
            pids = await host.pids("shell", "sleeper")
            host.kill(ref, "supervisor")
            assert (await host.until(backend, ref)).state is JobState.TIMED_OUT
            await gone(*pids)

    run(scenario())


def test_cancel_ends_the_whole_tree_also_what_left_it_and_what_ignores_it(
    any_host: Any, run: Run, gone: Any
) -> None:
    host = any_host
    (host.folder / "stubborn").write_text("trap '' TERM; echo $$ > $1; while :; do sleep 0.1; done\n")
    command = """
        setsid sh stubborn far &
        sh stubborn near &
        env -i setsid sleep 300 & echo $! > bare
        (sleep 300 & echo $! > adopted)
        (env -i sleep 300 & echo $! > bare_adopted)
        setsid sh -c 'setsid sleep 300 & echo $! > grandchild'
        wait
    """
    names = ("far", "near", "bare", "adopted", "bare_adopted", "grandchild")

    async def scenario() -> None:
        async with host.backend(grace_seconds=1) as backend:
            ref = (await backend.submit(host.job(command))).ref
            pids = await host.pids(*names)
            assert await backend.cancel(ref, "try-1", "the task was\ncleared")
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.CANCELLING
            status = await host.until(backend, ref)
            assert (status.state, status.reason) == (JobState.CANCELLED, "the task was cleared")
            # The end is only written when nothing is left.
            await asyncio.wait_for(gone(*pids), 0.5)
            assert await backend.cancel(ref, "try-1", "again")
            assert (await backend.status([ref]))[ref] == status
            assert (await backend.submit(host.job("true"))).ref.generation == 2

    run(scenario())


def test_a_stale_attempt_cannot_cancel_what_the_new_one_adopted(any_host: Any, run: Run) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(FOREVER, owner="try-1"))).ref
            assert (await backend.submit(host.job(FOREVER, owner="try-2", epoch=1))).ref == ref
            assert not await backend.cancel(ref, "try-1", "late on_kill")
            assert not await backend.cancel(JobRef("key1", 7, "x"), "try-2", "not there")
            assert (await backend.status([ref]))[ref].state is JobState.RUNNING
            assert await backend.cancel(ref, "try-2", "by its owner")
            assert (await host.until(backend, ref)).state is JobState.CANCELLED

    run(scenario())


def test_cancel_and_adoption_at_the_same_moment_have_one_winner(any_host: Any, run: Run) -> None:
    host = any_host

    async def race(number: int) -> None:
        job = host.job("sleep 300", key=f"key{number}")
        async with host.backend() as old, host.backend(host.target(keepalive_interval=29.0)) as new:
            ref = (await old.submit(job)).ref
            await new.status([])
            cancelled, adopted = await asyncio.gather(
                old.cancel(ref, "try-1", "late on_kill"), new.submit(replace(job, owner="try-2", epoch=1))
            )
            if not cancelled:
                assert adopted.state is JobState.RUNNING
                assert (await new.status([ref]))[ref].state is JobState.RUNNING
                assert await new.cancel(ref, "try-2", "by its owner")
            elif adopted.ref.generation != 1:
                assert await new.cancel(adopted.ref, "try-2", "by its owner")
                await host.until(new, adopted.ref)
            else:
                assert adopted.state in (JobState.CANCELLING, JobState.CANCELLED)
            status = await host.until(new, ref)
            assert status.state is JobState.CANCELLED
            assert status.reason == ("late on_kill" if cancelled else "by its owner")

    async def scenario() -> None:
        await asyncio.gather(*(race(number) for number in range(6)))

    run(scenario())


def test_a_cancel_that_overtook_the_adoption_shows_at_once(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job("trap '' TERM; sleep 300"))).ref
            assert await backend.cancel(ref, "try-1", "cleared")
            adopted = await backend.submit(host.job("trap '' TERM; sleep 300", owner="try-2", epoch=1))
            assert (adopted.ref, adopted.state, adopted.attached) == (ref, JobState.CANCELLING, True)
            assert (await host.until(backend, ref)).state is JobState.CANCELLED

    run(scenario())


def leave_a_claim(host: Any, job: Any, age: int) -> JobRef:
    """What a worker leaves that died between the claim and the start."""
    folder = host.root / "jobs" / job.key / "1"
    folder.mkdir(parents=True)
    (folder / "claim").write_text(f"{job.digest} 0 someone {int(time.time()) - age}\n")
    return JobRef(job.key, 1, str(folder))


def test_a_claim_that_nobody_went_on_with_is_started_by_the_retry(any_host: Any, run: Run) -> None:
    host = any_host
    job = host.job("echo started >> journal; exit 0")

    async def scenario() -> None:
        ref = leave_a_claim(host, job, age=5)
        async with host.backend() as backend:
            assert (await backend.status([ref]))[ref].state is JobState.CLAIMED
            submission = await backend.submit(job)
            assert (submission.ref, submission.attached) == (ref, True)
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())
    assert (host.folder / "journal").read_text() == "started\n"


def test_an_old_claim_is_lost_and_a_late_starter_of_it_does_not_run(any_host: Any, run: Run) -> None:
    host = any_host
    job = host.job("echo started >> journal; exit 0")
    ref = leave_a_claim(host, job, age=100)
    functions = protocol.launch_functions(job, {})
    settings = {"key": job.key, "brought": "1", "timeout": "60", "working_dir": str(host.folder)}
    late = [f"mlb_dir='{ref.job_id}'", "mlb_stage", "mlb_begin"]

    async def scenario() -> None:
        async with host.backend(claim_patience_seconds=60) as backend:
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.LOST
            assert status.reason == "it was claimed, but not started within 60 seconds"
            _, script = protocol.script(
                late,
                root=str(host.root),
                settings={**settings, "shell": host.shell, "grace": "1", "patience": "60"},
                parts=["common", "tree", "group", "serve", "launch", functions],
            )
            environment = {"PATH": str(Path(host.shell).parent)} if host.shell.endswith("/ash") else None
            await asyncio.to_thread(
                subprocess.run, [host.shell, "-s"], input=script, check=True, timeout=30, env=environment
            )
            assert (await backend.status([ref]))[ref].state is JobState.LOST
            assert not (host.folder / "journal").exists()
            retry = await backend.submit(job)
            assert (retry.ref.generation, retry.attached) == (2, False)
            await host.until(backend, retry.ref)

    run(scenario())
    assert (host.folder / "journal").read_text() == "started\n"


def test_a_supervisor_that_died_before_the_start_is_lost_at_once(host: Any, run: Run) -> None:
    job = host.job("true")
    ref = leave_a_claim(host, job, age=0)
    Path(ref.job_id, "supervisor").write_text("1 1 another-boot\n")

    async def scenario() -> None:
        async with host.backend() as backend:
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.LOST
            assert "the training was not started" in status.reason
            assert (await backend.submit(job)).ref.generation == 2

    run(scenario())
