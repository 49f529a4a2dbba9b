# SPDX-License-Identifier: Apache-2.0
"""How trainings end, what they leave, and who may end them, in every mode."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import InvalidTrainingResultError
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.state import JobRef, JobState, ReportedResult
from tests.contract.places import DEADLINE, Place

pytestmark = pytest.mark.integration

Run = Callable[[Any], None]
RESULT = ["result", {"metrics": {"auc": 0.75}}]


@pytest.mark.parametrize(("code", "told"), [(0, ""), (3, "exit code 3"), (127, "exit code 127")])
def test_exit_code_decides(place: Place, key: str, run: Run, code: int, told: str) -> None:
    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(place.job(key, RESULT, ["exit", code]))).ref
        ended = await place.until(backend, ref)
        assert ended.state is (JobState.FAILED if code else JobState.SUCCEEDED)
        assert bool(ended.reason) == bool(code)
        if place.tells_exit_codes:
            assert ended.exit_code == code
            assert told in ended.reason
            assert ended.started_at is not None
            assert ended.finished_at is not None
        if code:
            # What a failed training wrote is no result.
            with pytest.raises(InvalidTrainingResultError):
                await backend.result(ref)
        await backend.close()

    run(scenario())


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            {
                "metrics": {"auc": 0.75, "rows": 3},
                "model_uri": "s3://m/1",
                "mlflow_run_id": "r",
                "extra": {"ü": [1]},
            },
            ReportedResult({"auc": 0.75, "rows": 3.0}, "s3://m/1", "r", {"ü": [1]}),
        ),
        ({"metrics": {}}, ReportedResult()),
        (None, ReportedResult()),
        ({"metrics": {"auc": "high"}}, "auc"),
        ('{"metrics": {"auc": NaN}}', "NaN|auc"),
        ({"metrics": [1]}, "metrics"),
        ({"metrics": {}, "modle_uri": "s3://m/1"}, "modle_uri"),
    ],
    ids=["full", "empty", "none", "text", "nan", "list", "misspelt"],
)
def test_result_is_what_was_reported_or_an_error_that_says_why(
    place: Place, key: str, run: Run, report: Any, expected: Any
) -> None:
    steps = [] if report is None else [["result", report]]

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(place.job(key, *steps))).ref
        await place.until(backend, ref, JobState.SUCCEEDED)
        if isinstance(expected, ReportedResult) and (report is not None or place.may_report_nothing):
            assert await backend.result(ref) == expected
        else:
            match = expected if isinstance(expected, str) else "no task reports one"
            with pytest.raises(InvalidTrainingResultError, match=match):
                await backend.result(ref)
        await backend.close()

    run(scenario())


def test_result_that_is_no_json_is_an_error(place: Place, key: str, run: Run) -> None:
    if not place.may_report_nothing:
        pytest.skip("an XCom is always JSON")

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(place.job(key, ["result", "metrics: 1"]))).ref
        await place.until(backend, ref, JobState.SUCCEEDED)
        with pytest.raises(InvalidTrainingResultError, match="JSON"):
            await backend.result(ref)
        await backend.close()

    run(scenario())


@pytest.mark.parametrize("limit", [5, 65536])
def test_log_comes_piece_by_piece_and_whole(place: Place, key: str, run: Run, limit: int) -> None:
    raw = "first\nü€😀\n".encode() + b"\xff\xfe end\n"

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(place.job(key, ["bytes", raw.hex()], RESULT))).ref
        ended = await place.until(backend, ref, JobState.SUCCEEDED)
        if "logs" not in backend.capabilities:
            chunk = await backend.logs(ref, 7)
            assert (chunk.text, chunk.next_offset) == ("", 7)
            assert backend.log_uri(ref) is None
            return
        assert ended.log_size == len(raw)
        assert backend.log_uri(ref)
        text, offset = "", 0
        while (chunk := (await backend.logs_many({ref: offset}, limit))[ref]).next_offset > offset:
            text, offset = text + chunk.text, chunk.next_offset
        assert (text, offset) == (raw.decode("utf-8", "replace"), len(raw))
        assert (await backend.logs(ref, offset, limit)).text == ""
        await backend.close()

    run(scenario())


def test_only_the_owner_cancels(place: Place, key: str, run: Run, tmp_path: Path) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")], RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        await backend.submit(replace(job, owner="try-2"))
        await place.begun(key)
        assert await backend.cancel(ref, "try-1", "delayed") is False
        assert not (await backend.status([ref]))[ref].state.is_terminal
        if "cancel" in backend.capabilities:
            # A clear; and the submission of the try before it arrives only now.
            await backend.submit(replace(job, owner="try-3", epoch=2))
            await backend.submit(replace(job, owner="try-2"))
            assert await backend.cancel(ref, "try-2", "delayed") is False
            assert not (await backend.status([ref]))[ref].state.is_terminal
            assert await backend.cancel(ref, "try-3", "told so") is True
            ended = await place.until(backend, ref)
            assert (ended.state, ended.reason) == (JobState.CANCELLED, "told so")
            # Again, and late: nothing is left to stop.
            assert await backend.cancel(ref, "try-3", "again") is True
            assert (await backend.status([ref]))[ref].reason == "told so"
            retry = await backend.submit(replace(job, owner="try-4", epoch=2))
            assert (retry.attached, retry.ref.generation) == (False, 2)
            assert await backend.cancel(ref, "try-3", "of the one before") in (True, False)
            assert not (await backend.status([retry.ref]))[retry.ref].state.is_terminal
            ref = retry.ref
        (tmp_path / "go").touch()
        await place.until(backend, ref, JobState.SUCCEEDED)
        assert await backend.cancel(ref, "try-1", "late") is False
        assert (await backend.status([ref]))[ref].state is JobState.SUCCEEDED
        await backend.close()

    run(scenario())


def test_submission_of_an_earlier_try_that_comes_late_takes_nothing_over(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")], RESULT, owner="a:9")

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        await backend.submit(replace(job, owner="b:10"))
        # The worker of the ninth try was cut off from Airflow, not from the training.
        late = await backend.submit(job)
        assert (late.attached, late.ref) == (True, ref)
        assert await backend.cancel(ref, "a:9", "its worker is killed") is False
        (tmp_path / "go").touch()
        await place.until(backend, ref, JobState.SUCCEEDED)
        await backend.close()

    run(scenario())


def test_cancel_ends_children_in_sessions_of_their_own_and_what_ignores_term(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    facts = tmp_path / "facts"
    job = place.job(
        key,
        ["ignore_term", None],
        ["detached_child", None],
        ["detached_child_without_environment", None],
        ["write", str(facts)],
        ["wait_for", str(tmp_path / "never")],
    )

    async def scenario() -> None:
        backend = place.open(key)
        if "cancel" not in backend.capabilities:
            pytest.skip("a run of another DAG is not stopped from a task; capabilities say so")
        ref = (await backend.submit(job)).ref
        await place.until(backend, ref, JobState.RUNNING)
        end = time.monotonic() + DEADLINE
        while not facts.exists():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        leader = int(json.loads(facts.read_text())["pid"])
        family = [leader, *children(leader)]
        assert len(family) == 3
        assert await backend.cancel(ref, "try-1", "told so") is True
        await place.until(backend, ref, JobState.CANCELLED)
        # Nothing runs beside the next generation.
        assert not [pid for pid in family if alive(pid)]
        await backend.close()

    run(scenario())


def test_success_is_acknowledged_by_its_owner_once_it_is_one(
    place: Place, key: str, run: Run, tmp_path: Path
) -> None:
    job = place.job(key, ["wait_for", str(tmp_path / "go")], RESULT)

    async def scenario() -> None:
        backend = place.open(key)
        ref = (await backend.submit(job)).ref
        await backend.acknowledge(ref, "try-1")  # too early: there is no result yet
        (tmp_path / "go").touch()
        await place.until(backend, ref, JobState.SUCCEEDED)
        epoch = 1
        epoch, submission = await clear(backend, job, epoch)
        assert (submission.ref, submission.attached) == (ref, True)
        await backend.acknowledge(ref, "try-1")  # of the attempt before the clear
        epoch, submission = await clear(backend, job, epoch)
        assert (submission.ref, submission.attached) == (ref, True)
        for _ in range(2):
            await backend.acknowledge(ref, f"try-{epoch}")
        epoch, submission = await clear(backend, job, epoch)
        assert (submission.ref.generation, submission.attached) == (2, False)
        await place.until(backend, submission.ref, JobState.SUCCEEDED)
        # What is acknowledged again late says nothing about the next generation.
        await backend.acknowledge(ref, f"try-{epoch}")
        epoch, again = await clear(backend, job, epoch)
        assert (again.ref, again.attached) == (submission.ref, True)
        await backend.close()

    async def clear(backend: TrainingBackend, job: Any, epoch: int) -> tuple[int, Any]:
        return epoch + 1, await backend.submit(replace(job, owner=f"try-{epoch + 1}", epoch=epoch + 1))

    run(scenario())
    assert place.starts(key) == [1, 2]


def test_many_are_asked_for_at_once(place: Place, key: str, run: Run) -> None:
    async def scenario() -> None:
        refs: dict[JobRef, JobState] = {}
        steps: list[list[Any]] = [["exit", 3], RESULT, ["exit", 0]]
        for number, step in enumerate(steps):
            name = f"{key[:-1]}{number}"
            backend = place.open(name)
            ref = (await backend.submit(place.job(name, step))).ref
            refs[ref] = (await place.until(backend, ref)).state
            await backend.close()
        backend = place.open(key)
        found = await backend.status(list(refs))
        assert {ref: status.state for ref, status in found.items()} == refs
        assert sorted(refs.values()) == [JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]
        await backend.close()

    run(scenario())


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(
                parent
            ):
                found.append(int(entry.name))
    return found
