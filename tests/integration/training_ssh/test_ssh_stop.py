# SPDX-License-Identifier: Apache-2.0
"""To stop a training: also when its stopper is killed, clocks are set, or the root has another name."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.training.state import JobRef, JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
DEAF = "trap '' TERM; echo $$ > shell; touch deaf; while :; do sleep 0.1; done"


async def vanishes(path: Path) -> None:
    """Wait until the supervisor, which has written the end by now, has cleaned up."""
    end = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < end, f"{path} is still there"
        await asyncio.sleep(0.02)


async def kill_stopper(host: Any, ref: JobRef, number: int, gone: Any) -> None:
    path, end = host.file(ref, f"stopper.{number}"), time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        await asyncio.sleep(0.02)
    host.kill(ref, path.name)
    await gone(host.pid(ref, path.name))


def test_a_cancel_whose_process_was_killed_is_taken_up_by_the_next_look(
    any_host: Any, run: Run, gone: Any
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend(grace_seconds=600) as patient:
            ref = (await patient.submit(host.job(DEAF))).ref
            await host.appears("deaf")
            assert await patient.cancel(ref, "try-1", "enough")
            await kill_stopper(host, ref, 1, gone)
            status = (await patient.status([ref]))[ref]
            assert status.state is JobState.CANCELLING
            await kill_stopper(host, ref, 2, gone)
            # Two were killed while they waited: the third one does not wait.
            status = await host.until(patient, ref)
            assert (status.state, status.reason) == (JobState.CANCELLED, "enough")
            await gone((await host.pids("shell"))[0])
            assert not host.file(ref, "stopper.4").exists()

    run(scenario())


def test_a_timeout_whose_process_was_killed_is_taken_up_by_the_next_look(
    any_host: Any, run: Run, gone: Any
) -> None:
    host = any_host

    async def scenario() -> None:
        async with host.backend(grace_seconds=600) as patient, host.backend(grace_seconds=1) as backend:
            ref = (await patient.submit(host.job(DEAF, timeout_seconds=1))).ref
            await kill_stopper(host, ref, 1, gone)
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.RUNNING
            end = time.monotonic() + 20
            while not host.file(ref, "stopper.2").exists():
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            await gone((await host.pids("shell"))[0])

    run(scenario())


def test_one_process_stops_a_job_however_often_it_is_looked_at(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend(grace_seconds=3) as backend:
            ref = (await backend.submit(host.job(DEAF))).ref
            await host.appears("deaf")
            assert await backend.cancel(ref, "try-1", "enough")
            await asyncio.gather(*(backend.status([ref]) for _ in range(20)))
            assert await backend.cancel(ref, "try-1", "enough")
            await host.until(backend, ref)
            assert not host.file(ref, "stopper.2").exists()

    run(scenario())


def test_a_clock_that_is_set_neither_ends_a_stop_early_nor_delays_it(
    poor_host: Any, run: Run, gone: Any
) -> None:
    # Every question for the time finds it a quarter of an hour later.
    clock = poor_host.tools / "date"
    clock.unlink()
    clock.write_text(
        f"""#!/bin/sh
        [ "$1" = +%s ] || exec {poor_host.tools}/busybox date "$@"
        now=$(($(cat {poor_host.folder}/now 2>/dev/null || echo 1700000000) + 900))
        echo $now > {poor_host.folder}/now; echo $now
        """
    )
    clock.chmod(0o755)

    async def scenario() -> None:
        async with poor_host.backend(grace_seconds=2) as backend:
            ref = (await backend.submit(poor_host.job(DEAF))).ref
            await poor_host.appears("deaf")
            started = time.monotonic()
            assert await backend.cancel(ref, "try-1", "enough")
            assert (await poor_host.until(backend, ref)).state is JobState.CANCELLED
            assert 1 < time.monotonic() - started < 20
            await asyncio.wait_for(gone(*await poor_host.pids("shell")), 0.5)

    run(scenario())


@pytest.mark.parametrize(
    ("since", "clock", "state"),
    [
        (lambda uptime: uptime - 5, None, JobState.CLAIMED),
        (lambda uptime: uptime - 100, None, JobState.LOST),
        (lambda uptime: uptime - 5, "another-boot", JobState.LOST),
        (lambda uptime: int(time.time()) + 7200, "-", JobState.LOST),
    ],
    ids=["young", "old", "before a restart", "clock set back"],
)
def test_the_age_of_a_claim_is_told_by_a_clock_that_nobody_sets(
    host: Any, run: Run, since: Any, clock: str | None, state: JobState
) -> None:
    uptime = int(Path("/proc/uptime").read_text().partition(".")[0])
    boot = clock or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ref = JobRef("key1", 1, str(host.root / "jobs/key1/1"))
    Path(ref.job_id).mkdir(parents=True)
    host.file(ref, "claim").write_text(f"digest 0 someone {since(uptime)} {boot}\n")

    async def scenario() -> None:
        async with host.backend(claim_patience_seconds=60) as backend:
            assert (await backend.status([ref]))[ref].state is state

    run(scenario())


def test_a_root_may_be_spelt_in_another_way_by_who_cancels(any_host: Any, run: Run, gone: Any) -> None:
    host = any_host
    (host.folder / "link").symlink_to(host.root)

    async def scenario() -> None:
        async with host.backend() as backend, host.backend(root=f"{host.folder}/link//") as other:
            ref = (await backend.submit(host.job("(setsid sleep 300 & echo $! > far); sleep 300"))).ref
            pids = await host.pids("far")
            host.kill(ref, "supervisor")
            assert await other.cancel(ref, "try-1", "enough")
            assert (await host.until(other, ref)).state is JobState.CANCELLED
            await asyncio.wait_for(gone(*pids), 0.5)

    run(scenario())


@pytest.fixture
def grouped_host(any_host: Any) -> Any:
    """A host on which a user may make control groups, as in many containers."""
    probe = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").is_dir() else "/sys/fs/cgroup")
    try:
        (probe / "mlbridge-probe").mkdir()
        (probe / "mlbridge-probe").rmdir()
    except OSError:
        pytest.skip("control groups (version 2) cannot be made here")
    any_host.cgroups = "/sys/fs/cgroup"
    return any_host


HIDDEN = "(env -i setsid sh -c 'trap \"\" TERM; echo $$ > hidden; while :; do sleep 0.1; done' &)\nsleep 300"


def test_nothing_hides_from_a_control_group(grouped_host: Any, run: Run, gone: Any) -> None:
    host = grouped_host

    async def scenario() -> None:
        async with host.backend(grace_seconds=1) as backend:
            ref = (await backend.submit(host.job(HIDDEN))).ref
            # No environment, a session of its own, and its parent is gone.
            (hidden,) = await host.pids("hidden")
            group = Path(host.file(ref, "group").read_text().strip())
            assert str(hidden) in (group / "cgroup.procs").read_text().split()
            assert await backend.cancel(ref, "try-1", "enough")
            assert (await host.until(backend, ref)).state is JobState.CANCELLED
            await asyncio.wait_for(gone(hidden), 0.5)
            await vanishes(group)

    run(scenario())


def test_a_users_systemd_is_asked_for_a_scope_where_it_lingers(poor_host: Any, run: Run, gone: Any) -> None:
    """Without a systemd: a stand-in for ``busctl`` makes the group that systemd would have made."""
    top = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").is_dir() else "/sys/fs/cgroup")
    if not os.access(top, os.W_OK):
        pytest.skip("control groups (version 2) cannot be made here")
    (poor_host.folder / poor_host.server.user).touch()
    busctl = poor_host.tools / "busctl"
    busctl.write_text(
        f"""#!/bin/sh
        echo "$XDG_RUNTIME_DIR $*" > '{poor_host.folder}/asked'
        while [ "$1" != 'ssa(sv)a(sa(sv))' ]; do shift; done
        mkdir {top}/$2 && echo $8 > {top}/$2/cgroup.procs
        """
    )
    busctl.chmod(0o755)
    poor_host.cgroups = "/sys/fs/cgroup"

    async def scenario() -> None:
        async with poor_host.backend(grace_seconds=1) as backend:
            backend._settings["lingering"] = str(poor_host.folder)
            ref = (await backend.submit(poor_host.job(HIDDEN))).ref
            (hidden,) = await poor_host.pids("hidden")
            group = Path(poor_host.file(ref, "group").read_text().strip())
            asked = (poor_host.folder / "asked").read_text()
            assert group.name.endswith(".scope")
            assert f"StartTransientUnit ssa(sv)a(sa(sv)) {group.name} fail 1 PIDs au 1 " in asked
            assert asked.startswith("/run/user/")
            assert await backend.cancel(ref, "try-1", "enough")
            await poor_host.until(backend, ref)
            await asyncio.wait_for(gone(hidden), 0.5)
            await vanishes(group)

    run(scenario())


def test_without_busctl_to_answer_the_training_runs_in_no_scope(poor_host: Any, run: Run) -> None:
    (poor_host.folder / poor_host.server.user).touch()
    (poor_host.tools / "busctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    (poor_host.tools / "busctl").chmod(0o755)
    groups = poor_host.folder / "groups"
    groups.mkdir()
    (groups / "cgroup.procs").touch()
    poor_host.cgroups = str(groups)

    async def scenario() -> None:
        async with poor_host.backend() as backend:
            backend._settings["lingering"] = str(poor_host.folder)
            ref = (await backend.submit(poor_host.job("echo fine"))).ref
            assert (await poor_host.until(backend, ref)).state is JobState.SUCCEEDED
            assert await poor_host.log(backend, ref) == "fine\n"

    run(scenario())
