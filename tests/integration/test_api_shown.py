# SPDX-License-Identifier: Apache-2.0
"""What the training service tells whoever takes a wait over: progress, and how much of the log was shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlbridge.training.api import APITarget
from airflow_provider_mlbridge.training.backends.api import APIBackend
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState
from airflow_provider_mlbridge.training.wait import Waiting
from tests.integration.test_api_backend import job, using
from tests.integration.training_service_process import TOKEN, TrainingService
from tests.unit.training.waits import Lines

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APITarget]:
    running = TrainingService(tmp_path_factory.mktemp("service"))
    try:
        yield APITarget(running.start().url, auth="bearer", secret=TOKEN, name="trainer")
    finally:
        running.stop()


def test_a_second_triggerer_goes_on_where_the_first_one_was(target: APITarget, tmp_path: Path) -> None:
    go = tmp_path / "go"
    training = job(
        "taken-over", ["print", "one"], ["print", "two"], ["wait_for", str(go)], ["print", "three"]
    )
    lines = Lines()

    async def told(backend: APIBackend) -> JobRef:
        ref = (await backend.submit(training)).ref
        status = (await backend.status([ref]))[ref]
        while status.log_size != 8:
            status = (await backend.status([ref]))[ref]
        assert not status.log_shown
        # With one job as well: only the batch can be told what was shown.
        assert (await backend.status([ref], {ref: 8}))[ref].log_shown == 8
        return ref

    ref = using(target, told)
    go.touch()

    async def later(backend: APIBackend) -> CompletionEvent:
        return await Waiting(backend, ref, "try-1", lines, poll_interval=0.05).until_over()

    assert using(target, later).state == JobState.SUCCEEDED
    assert lines.info_lines == ["The first 8 bytes of the training's log were shown before", "three"]


def test_progress_is_passed_on(target: APITarget, tmp_path: Path) -> None:
    go = tmp_path / "go"
    training = job("progress", ["progress", "epoch 1 of 2"], ["wait_for", str(go)])
    lines = Lines()

    async def work(backend: APIBackend) -> CompletionEvent:
        assert "progress" in backend.capabilities
        ref = (await backend.submit(training)).ref
        while (await backend.status([ref]))[ref].progress != "epoch 1 of 2":
            pass
        waiting = Waiting(backend, ref, "try-1", lines, poll_interval=0.05)
        event = asyncio.create_task(waiting.until_over())
        while not lines.info_lines:
            await asyncio.sleep(0.01)
        go.touch()
        return await event

    assert using(target, work).progress == "epoch 1 of 2"
    assert "Progress: epoch 1 of 2" in lines.info_lines
