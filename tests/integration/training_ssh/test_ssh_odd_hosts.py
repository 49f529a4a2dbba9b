# SPDX-License-Identifier: Apache-2.0
"""Hosts without hard links, setsid or /proc, or with a folder that is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import BackendRefusedError
from airflow_provider_mlbridge.training.state import JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
FOREVER = "echo started >> journal; echo $$ > shell; sleep 300 & echo $! > sleeper; wait"


def test_a_file_system_without_hard_links_is_refused(poor_host: Any, run: Run) -> None:
    (poor_host.tools / "ln").unlink()
    (poor_host.tools / "ln").write_text('#!/bin/sh\necho "ln: $2: Operation not permitted" >&2\nexit 1\n')
    (poor_host.tools / "ln").chmod(0o755)

    async def scenario() -> None:
        async with poor_host.backend() as backend:
            with pytest.raises(BackendRefusedError, match=r"Operation not permitted.*with hard links"):
                await backend.submit(poor_host.job("touch never"))

    run(scenario())
    assert not (poor_host.folder / "never").exists()
    assert not [path for path in poor_host.root.rglob("*") if path.is_file()]


def test_a_host_without_setsid_runs_and_cancels_all_the_same(poor_host: Any, run: Run, gone: Any) -> None:
    (poor_host.tools / "setsid").unlink()

    async def scenario() -> None:
        async with poor_host.backend() as backend:
            ref = (await backend.submit(poor_host.job(FOREVER))).ref
            pids = await poor_host.pids("shell", "sleeper")
            assert await backend.cancel(ref, "try-1", "enough")
            assert (await poor_host.until(backend, ref)).state is JobState.CANCELLED
            await gone(*pids)

    run(scenario())


def test_a_host_without_proc_uses_ps(host: Any, run: Run, gone: Any, mocker: Any) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            mocker.patch.dict(backend._settings, {"proc": "/nowhere"})
            ref = (await backend.submit(host.job(FOREVER))).ref
            assert (await backend.status([ref]))[ref].state is JobState.RUNNING
            assert "_" in host.file(ref, "child").read_text().split()[1]
            pids = await host.pids("shell", "sleeper")
            assert await backend.cancel(ref, "try-1", "enough")
            assert (await host.until(backend, ref)).state is JobState.CANCELLED
            await gone(*pids)
            second = (await backend.submit(host.job(FOREVER))).ref
            host.kill(second, "supervisor")
            host.kill(second, "child")
            assert (await host.until(backend, second)).state is JobState.LOST

    run(scenario())


def test_a_root_that_vanished_is_not_taken_for_a_lost_training(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job("exit 0"))).ref
            await host.until(backend, ref)
            shutil.rmtree(host.root)
            status = (await backend.status([ref]))[ref]
            assert status.state is JobState.UNREACHABLE
            assert f"{host.root}/jobs does not exist" in status.reason

    run(scenario())
