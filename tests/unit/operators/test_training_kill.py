# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_provider_mlbridge.exceptions import (
    BackendUnreachableError,
    TrainingFailedError,
)
from airflow_provider_mlbridge.training.state import JobState
from tests.unit.operators.conftest import MemoryBackend
from tests.unit.operators.training_task import deferred, operator


def test_a_killed_worker_cancels_even_inside_a_running_event_loop(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features, deferrable=False, poll_interval=0.01)

    async def status(refs: Any, shown: Any = None) -> Any:
        if task._run is not None and not backend.cancelled:
            # As Airflow's signal handler does, in the thread whose event loop is running.
            task.on_kill()
            backend.end(JobState.CANCELLED)
        return {ref: backend.jobs[ref] for ref in refs}

    mocker.patch.object(backend, "status", status)
    with pytest.raises(TrainingFailedError, match="cancelled"):
        task.execute(context)
    assert [owner for _, owner in backend.cancelled] == ["11111111-aaaa:1"]


def test_the_trigger_cancels_for_its_owner_when_a_person_stops_the_task(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    trigger = deferred(operator(features), context)
    asyncio.run(trigger.on_kill())
    assert backend.cancelled == [(trigger.ref, "11111111-aaaa:1")]


def test_a_time_out_of_the_task_cancels_although_airflow_tells_only_afterwards(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features, deferrable=False, poll_interval=0.01)
    real = backend.status

    async def status(refs: Any, shown: Any = None) -> Any:
        if context["ti"].xcoms.get("asked"):
            raise AirflowTaskTimeout
        context["ti"].xcoms["asked"] = True
        return await real(refs)

    mocker.patch.object(backend, "status", status)
    with pytest.raises(AirflowTaskTimeout):
        task.execute(context)
    task.on_kill()
    assert len(backend.cancelled) == 1


def test_a_kill_while_the_submission_is_under_way_stops_what_it_started(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    real = backend.submit

    async def submit(job: Any) -> Any:
        submission = await real(job)
        task.on_kill()
        return submission

    mocker.patch.object(backend, "submit", submit)
    with pytest.raises(TrainingFailedError, match="the task was killed"):
        task.execute(context)
    assert len(backend.cancelled) == 1


def test_a_kill_is_not_given_up_at_the_first_connection_that_fails(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    task = operator(features)
    deferred(task, context)
    real, errors = backend.cancel, [BackendUnreachableError("reset")]

    async def cancel(*arguments: Any) -> bool:
        if errors:
            raise errors.pop()
        return await real(*arguments)

    mocker.patch.object(backend, "cancel", cancel)
    mocker.patch("airflow_provider_mlbridge.operators._training_talk.random.uniform", return_value=0.01)
    task.on_kill()
    assert len(backend.cancelled) == 1


def test_a_second_signal_does_not_cancel_a_second_time(
    backend: MemoryBackend, context: Any, features: dict[str, Any]
) -> None:
    task = operator(features)
    deferred(task, context)
    task.on_kill()
    task.on_kill()
    assert len(backend.cancelled) == 1


def test_no_wait_ends_before_the_scheduler_knows_of_it(
    backend: MemoryBackend, context: Any, features: dict[str, Any], mocker: Any
) -> None:
    mocker.patch("airflow_provider_mlbridge.triggers.training.SETTLING_SECONDS", 0.4)
    trigger = deferred(operator(features, poll_interval=0.01), context)
    backend.jobs[trigger.ref] = replace(backend.jobs[trigger.ref], state=JobState.SUCCEEDED)

    async def events() -> tuple[list[Any], float]:
        begin = asyncio.get_running_loop().time()
        found = [event.payload async for event in trigger.run()]
        return found, asyncio.get_running_loop().time() - begin

    ([event], seconds) = asyncio.run(events())
    assert event["state"] == "succeeded"
    assert seconds >= 0.4
