# SPDX-License-Identifier: Apache-2.0
"""One training per key: what a submission does, in every mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import TrainingConflictError, TrainingForgottenError
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import JobRef, JobState
from tests.contract.places import Place

pytestmark = pytest.mark.integration

Run = Callable[[Any], None]
RESULT = ["result", {"metrics": {"auc": 0.75}}]
FAIL = ["exit", 3]


async def finished(place: Place, backend: TrainingBackend, job: TrainingJob) -> JobRef:
    """Submit, and wait until it succeeded."""
    ref = (await backend.submit(job)).ref
    assert (await place.until(backend, ref)).state is JobState.SUCCEEDED
    return ref


def test_repeated_submissions_attach_to_one_training(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")], RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        first = await backend.submit(job)
        assert (first.attached, first.ref.generation) == (False, 1)
        for owner in ("try-1", "try-2"):
            again = await backend.submit(replace(job, owner=owner))
            assert (again.attached, again.ref) == (True, first.ref)
            assert not again.state.is_terminal
        (tmp_path / "go").touch()
        await place.until(backend, first.ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1]


def test_twenty_submissions_at_once_start_one_training(place: Place, key: str, run: Run) -> None:
    job = place.job(key, RESULT)

    async def scenario() -> None:
        backends = [place.open(key) for _ in range(4)]
        answers = await asyncio.gather(*(backend.submit(job) for backend in backends * 5))
        assert len({answer.ref for answer in answers}) == 1
        await place.until(backends[0], answers[0].ref, JobState.SUCCEEDED)
        for backend in backends:
            await backend.close()

    run(scenario())
    assert place.starts(key) == [1]


@pytest.mark.parametrize("returned", [False, True])
def test_finished_training_is_returned_to_a_retry(place: Place, key: str, run: Run, returned: bool) -> None:
    job = place.job(key, RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        ref = await finished(place, backend, job)
        if returned:
            await backend.acknowledge(ref, job.owner)
        again = await backend.submit(replace(job, owner="try-2"))
        assert (again.ref, again.state, again.attached) == (ref, JobState.SUCCEEDED, True)
        assert (await backend.result(again.ref)).metrics == {"auc": 0.75}
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1]


@pytest.mark.parametrize("changed", [False, True])
def test_failed_training_is_followed_by_the_next(place: Place, key: str, run: Run, changed: bool) -> None:
    async def scenario() -> None:
        backend = place.open(key)
        first = (await backend.submit(place.job(key, FAIL))).ref
        await place.until(backend, first, JobState.FAILED)
        steps = [["print", "anew"], FAIL] if changed else [FAIL]
        second = await backend.submit(place.job(key, *steps, owner="try-2"))
        assert (second.attached, second.ref.generation) == (False, 2)
        await place.until(backend, second.ref, JobState.FAILED)
        # The one before stays as it was.
        assert (await backend.status([first]))[first].state is JobState.FAILED
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1, 2]


def test_clear_trains_anew_what_was_returned(place: Place, key: str, run: Run) -> None:
    job = place.job(key, RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        await backend.acknowledge(await finished(place, backend, job), job.owner)
        anew = await backend.submit(replace(job, owner="try-2", epoch=2))
        assert (anew.attached, anew.ref.generation) == (False, 2)
        await place.until(backend, anew.ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1, 2]


def test_clear_returns_what_was_not_returned_yet(place: Place, key: str, run: Run) -> None:
    job = place.job(key, RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        ref = await finished(place, backend, job)
        cleared = await backend.submit(replace(job, owner="try-2", epoch=2))
        assert (cleared.ref, cleared.attached, cleared.state) == (ref, True, JobState.SUCCEEDED)
        other = await backend.submit(place.job(key, ["print", "another"], RESULT, owner="try-3", epoch=3))
        assert (other.attached, other.ref.generation) == (False, 2)
        await place.until(backend, other.ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())


def test_clear_while_it_runs_attaches_and_counts_as_that_clears_training(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")], RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        later = replace(job, owner="try-2", epoch=2)
        assert (await backend.submit(later)).attached
        # One from before the clear, which was long on its way, changes nothing.
        assert (await backend.submit(replace(job, owner="try-1"))).attached
        (tmp_path / "go").touch()
        await place.until(backend, ref, JobState.SUCCEEDED)
        await backend.acknowledge(ref, "try-2")
        retried = await backend.submit(replace(later, owner="try-3"))
        assert (retried.ref, retried.attached) == (ref, True)
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1]


def test_other_request_is_a_conflict_that_shows_both_digests(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")])
    other = place.job(key, ["wait_for", str(tmp_path / "other")])

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        with pytest.raises(TrainingConflictError) as caught:
            await backend.submit(other)
        assert job.digest[:12] in str(caught.value)
        assert other.digest[:12] in str(caught.value)
        # How long one waits does not make it another training.
        longer = replace(job, request=replace(job.request, timeout_seconds=9000.0))
        assert (await backend.submit(longer)).ref == ref
        (tmp_path / "go").touch()
        await place.until(backend, ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1]


def test_side_that_forgot_a_training_starts_none(place: Place, key: str, run: Run) -> None:
    job = place.job(key, FAIL)

    async def scenario() -> None:
        backend = place.open(key)
        with pytest.raises(TrainingForgottenError) as caught:
            await backend.submit(replace(job, known_generation=1))
        assert key in str(caught.value)
        assert "forgotten='train'" in str(caught.value)
        first = (await backend.submit(job)).ref
        await place.until(backend, first, JobState.FAILED)
        with pytest.raises(TrainingForgottenError):
            await backend.submit(replace(job, owner="try-2", known_generation=2))
        assert (await backend.submit(replace(job, owner="try-2", known_generation=1))).ref.generation == 2
        await backend.close()

    run(scenario())
    assert place.starts(key)[:1] == [1]


def test_lost_training_is_told_within_two_looks_and_trained_again(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")])

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        await place.begun(key)
        await place.until(backend, ref, JobState.RUNNING)
        place.lose(ref)
        lost = await place.until(backend, ref)
        assert lost.state in (JobState.LOST, JobState.FAILED)
        assert lost.reason
        again = await backend.submit(replace(job, owner="try-2", known_generation=1))
        assert (again.attached, again.ref.generation) == (False, 2)
        (tmp_path / "go").touch()
        await place.until(backend, again.ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())
    assert place.starts(key) == [1, 2]


def test_job_that_never_was_is_told_without_an_error(place: Place, key: str, run: Run) -> None:
    async def scenario() -> None:
        backend = place.open(key)
        first = (await backend.submit(place.job(key, FAIL))).ref
        await place.until(backend, first, JobState.FAILED)
        # As a task would know it that was told of a training before its side lost its memory.
        job_id = first.job_id.replace(key, "0" * 32) if key in first.job_id else "0" * 32
        unknown = JobRef("0" * 32, 1, job_id)
        assert await backend.status([]) == {}
        found = await backend.status([first, unknown])
        assert list(found) == [first, unknown]
        assert found[first].state is JobState.FAILED
        assert found[unknown].state in (JobState.LOST, JobState.UNREACHABLE)
        assert found[unknown].reason
        assert await backend.cancel(unknown, "try-1", "told so") is False
        await backend.acknowledge(unknown, "try-1")
        with suppress(KeyError):
            assert (await backend.logs_many({unknown: 0}))[unknown].text == ""
        await backend.close()

    run(scenario())
