# SPDX-License-Identifier: Apache-2.0
"""Many waits on one board: one question for all, and nobody's fault is another's."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
)
from airflow_provider_mlbridge.training import board as boards
from airflow_provider_mlbridge.training.asking import HOPELESS_QUESTIONS
from airflow_provider_mlbridge.training.backend import Capability
from airflow_provider_mlbridge.training.board import StatusBoard, shared_board
from airflow_provider_mlbridge.training.event import CompletionEvent
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, LogChunk
from airflow_provider_mlbridge.training.wait import Waiting
from airflow_provider_mlbridge.training.watch import Watch
from tests.unit.training.waits import ENDED_AT, Lines


def ref(number: int) -> JobRef:
    return JobRef(f"{number:032x}", 1, f"job-{number}")


class Memory:
    """A backend whose jobs all run until the test ends them; it notes every question."""

    def __init__(self) -> None:
        self.capabilities: frozenset[Capability] = frozenset({"cancel", "logs"})
        self.questions: list[list[JobRef]] = []
        self.log_questions: list[tuple[dict[JobRef, int], int]] = []
        self.ended: set[JobRef] = set()
        self.log: bytes = b""
        self.spoiling: set[JobRef] = set()
        self.failing: Exception | None = None
        self.asked = asyncio.Event()
        self.closed = 0
        self.before: Callable[[], Any] | None = None

    async def status(
        self, refs: Sequence[JobRef], shown: Mapping[JobRef, int] | None = None
    ) -> Mapping[JobRef, JobStatus]:
        self.questions.append(list(refs))
        self.asked.set()
        if self.before is not None:
            await self.before()
        if self.failing is not None:
            raise self.failing
        if self.spoiling & set(refs):
            raise BackendProtocolError("the state is None, expected a word")
        return {one: self._status(one) for one in refs}

    def _status(self, one: JobRef) -> JobStatus:
        if one in self.ended:
            return JobStatus(one, JobState.SUCCEEDED, finished_at=ENDED_AT, log_size=len(self.log))
        return JobStatus(one, JobState.RUNNING, log_size=len(self.log))

    async def logs(self, one: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        part = self.log[offset : offset + limit]
        return LogChunk(part.decode(), offset + len(part))

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        self.log_questions.append((dict(offsets), limit))
        return {one: await self.logs(one, offset, limit) for one, offset in offsets.items()}

    async def cancel(self, one: JobRef, owner: str, reason: str) -> bool:
        return True

    async def close(self) -> None:
        self.closed += 1

    async def next_question(self) -> None:
        self.asked.clear()
        await self.asked.wait()


def run(scenario: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 30))


@pytest.fixture(autouse=True)
def unstretched(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, and however slow this machine is."""
    monkeypatch.setattr(boards, "SECONDS_PER_WATCH", 0.0)
    monkeypatch.setattr(boards, "SHARE_OF_TIME", 1e9)


def waiting(place: Any, number: int, log: Lines | None = None, **options: Any) -> Waiting:
    values: dict[str, Any] = {"poll_interval": 0.01, **options}
    return Waiting(backend=place, ref=ref(number), owner="me", log=log or Lines(), **values)


def opening(*backends: Any) -> tuple[Callable[[], Any], list[Any]]:
    """Opens one after the other, then the last one again; and what was opened."""
    left, opened = list(backends), []

    async def open_next() -> Any:
        found = left.pop(0) if len(left) > 1 else left[0]
        opened.append(found)
        if isinstance(found, Exception):
            raise found
        return found

    return open_next, opened


def test_a_thousand_waits_are_one_question_per_look() -> None:
    async def scenario() -> None:
        memory = Memory()
        memory.log = b"epoch 1\n"
        open_memory, opened = opening(memory)
        logs = [Lines() for _ in range(1000)]

        async def one(number: int) -> CompletionEvent:
            async with shared_board("host", open_memory) as board:
                return await waiting(board, number, logs[number], poll_interval=0.05).until_over()

        tasks = [asyncio.create_task(one(number)) for number in range(1000)]
        for _ in range(3):
            await memory.next_question()
        memory.ended = {ref(number) for number in range(1000)}
        events = await asyncio.gather(*tasks)
        assert {event.state for event in events} == {"succeeded"}
        assert all(log.info_lines == ["epoch 1"] for log in logs)
        assert len(opened) == memory.closed == 1
        assert len(memory.questions) <= 6
        assert all(len(question) == 1000 for question in memory.questions)
        # One for all that grew, and none when nothing did; no more than 8 MiB at once.
        assert [len(offsets) for offsets, _ in memory.log_questions] == [1000]
        assert memory.log_questions[0][1] * 1000 <= boards.LOG_BYTES_PER_LOOK

    run(scenario())


def test_the_board_is_gone_with_its_last_wait() -> None:
    async def scenario() -> None:
        memory = Memory()
        open_memory, opened = opening(memory)

        async def one(number: int) -> CompletionEvent:
            async with shared_board("host", open_memory) as board:
                return await waiting(board, number).until_over()

        first, second = asyncio.create_task(one(1)), asyncio.create_task(one(2))
        await memory.next_question()
        first.cancel()
        await asyncio.wait([first])
        await memory.next_question()
        assert memory.questions[-1] == [ref(2)]
        assert memory.closed == 0
        second.cancel()
        await asyncio.wait([second])
        assert memory.closed == 1
        assert boards._boards[asyncio.get_running_loop()] == {}
        assert "mlbridge-looks" not in {task.get_name() for task in asyncio.all_tasks()}
        third = asyncio.create_task(one(3))
        await memory.next_question()
        memory.ended = {ref(3)}
        assert (await third).state == "succeeded"
        assert len(opened) == memory.closed == 2

    run(scenario())


def test_the_shortest_interval_counts_and_a_newcomer_is_not_kept_waiting() -> None:
    async def scenario() -> None:
        memory = Memory()
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        patient = asyncio.create_task(waiting(board, 1, poll_interval=3600.0).until_over())
        await memory.next_question()
        hasty = asyncio.create_task(waiting(board, 2).until_over())
        await memory.next_question()
        memory.ended = {ref(1), ref(2)}
        assert [(await task).state for task in (patient, hasty)] == ["succeeded"] * 2

    run(scenario())


@pytest.mark.parametrize(
    ("count", "cost", "expected"),
    [(1, 0.0, 10.0), (5000, 0.0, 20.0), (1, 8.0, 40.0), (1, 600.0, boards.LONGEST_STRETCH_SECONDS)],
)
def test_many_waits_or_slow_looks_stretch_the_interval(
    count: int, cost: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "SECONDS_PER_WATCH", 0.004)
    monkeypatch.setattr(boards, "SHARE_OF_TIME", 0.2)
    board = StatusBoard(opening(Memory)[0])
    board._base, board._count, board._cost = 10.0, count, cost
    assert board._pause() == expected


def test_a_job_that_spoils_the_answer_harms_no_other() -> None:
    async def scenario() -> None:
        memory = Memory()
        memory.spoiling = {ref(3), ref(17)}
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        tasks = [
            asyncio.create_task(waiting(board, number, faults_in_a_row=3).until_over())
            for number in range(40)
        ]
        spoilt = [await tasks[number] for number in (3, 17)]
        assert {(event.state, event.error) for event in spoilt} == {("unreachable", "BackendProtocolError")}
        memory.ended = {ref(number) for number in range(40)}
        others = await asyncio.gather(*(task for number, task in enumerate(tasks) if number not in (3, 17)))
        assert {event.state for event in others} == {"succeeded"}
        # Once found, they are asked for by themselves.
        assert [ref(3)] in memory.questions
        assert 38 in {len(question) for question in memory.questions}
        first = next(index for index, question in enumerate(memory.questions) if len(question) == 38)
        assert not any(1 < len(question) < 30 for question in memory.questions[first:])

    run(scenario())


def test_a_backend_that_answers_nonsense_is_not_asked_for_each_job() -> None:
    async def scenario() -> None:
        memory = Memory()
        memory.failing = BackendProtocolError("HTML")
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        tasks = [
            asyncio.create_task(waiting(board, number, faults_in_a_row=1).until_over())
            for number in range(500)
        ]
        events = await asyncio.gather(*tasks)
        assert {event.error for event in events} == {"BackendProtocolError"}
        assert len(memory.questions) == HOPELESS_QUESTIONS

    run(scenario())


def test_a_failing_look_reaches_every_wait_and_ends_none() -> None:
    async def scenario() -> None:
        memory = Memory()
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        logs = [Lines() for _ in range(20)]
        tasks = [asyncio.create_task(waiting(board, n, logs[n]).until_over()) for n in range(20)]
        await memory.next_question()
        memory.failing = BackendUnreachableError("no route")
        for _ in range(3):
            await memory.next_question()
        memory.failing = None
        memory.ended = {ref(number) for number in range(20)}
        assert {event.state for event in await asyncio.gather(*tasks)} == {"succeeded"}
        assert {tuple(log.warnings) for log in logs} == {
            ("No answer, the training is left alone and asked for again: no route",)
        }
        assert all("answers again" in log.info_lines[0] for log in logs)

    run(scenario())


def test_a_look_that_hangs_counts_as_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LOOK_SECONDS", 0.02)

    async def scenario() -> None:
        memory = Memory()
        memory.before = asyncio.Event().wait
        lines = Lines()
        task = asyncio.create_task(waiting(StatusBoard.of(memory), 1, lines).until_over())  # type: ignore[arg-type]
        await memory.next_question()
        await memory.next_question()
        memory.before, memory.ended = None, {ref(1)}
        assert (await task).state == "succeeded"
        assert lines.warnings == [
            "No answer, the training is left alone and asked for again: no answer within 0.02 s"
        ]

    run(scenario())


def test_a_future_that_is_cancelled_under_a_look_does_not_end_the_looks() -> None:
    async def scenario() -> None:
        memory = Memory()

        async def broken_off() -> None:
            memory.before, memory.ended = None, {ref(1)}
            raise asyncio.CancelledError

        memory.before = broken_off
        assert (await waiting(StatusBoard.of(memory), 1).until_over()).state == "succeeded"  # type: ignore[arg-type]

    run(scenario())


@pytest.mark.parametrize(
    "refusal", [BackendAuthenticationError("token refused"), BackendProtocolError("HTML")]
)
def test_after_a_refusal_the_connection_is_read_again(refusal: Exception) -> None:
    async def scenario() -> None:
        old, new = Memory(), Memory()
        old.failing, new.ended = refusal, {ref(1)}
        open_next, opened = opening(old, new)
        async with shared_board("host", open_next) as board:
            assert (await waiting(board, 1).until_over()).state == "succeeded"
        assert opened == [old, new]
        assert (old.closed, new.closed) == (1, 1)

    run(scenario())


def test_a_backend_that_cannot_be_opened_for_a_moment_is_patience_too() -> None:
    async def scenario() -> None:
        memory = Memory()
        memory.ended = {ref(1), ref(2)}
        open_next, _ = opening(BackendUnreachableError("no API server"), OSError("supervisor"), memory)
        async with shared_board("host", open_next) as board:
            events = await asyncio.gather(*(waiting(board, n).until_over() for n in (1, 2)))
        assert {event.state for event in events} == {"succeeded"}

    run(scenario())


def test_a_backend_in_use_is_not_closed_under_the_call() -> None:
    async def scenario() -> None:
        memory, other = Memory(), Memory()
        board = StatusBoard(opening(memory, other)[0])
        async with board.backend() as backend:
            await board.renew()
            used: list[object] = [backend]
            assert memory.closed == 0
            async with board.backend() as newer:
                used.append(newer)
        assert used == [memory, other]
        assert (memory.closed, other.closed) == (1, 0)
        await board.close()
        assert other.closed == 1

    run(scenario())


@pytest.mark.parametrize(("asked", "granted"), [(86_400.0, 300.0), (100.0, 100.0)])
def test_the_pause_that_a_backend_may_ask_for_is_bounded(asked: float, granted: float) -> None:
    async def scenario() -> None:
        watch = Watch(ref(1), poll_interval=10.0)
        watch.accept(JobStatus(ref(1), JobState.RUNNING, retry_after=asked), now=1000.0)
        assert watch.not_before == 1000.0 + granted

    run(scenario())


def test_waits_for_the_same_training_both_get_the_whole_log() -> None:
    async def scenario() -> None:
        memory = Memory()
        memory.log = b"".join(b"line %d\n" % number for number in range(100))
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        first, second = Lines(), Lines()
        before = asyncio.create_task(waiting(board, 1, first).until_over())
        await memory.next_question()
        after = asyncio.create_task(waiting(board, 1, second).until_over())
        await memory.next_question()
        memory.ended = {ref(1)}
        await asyncio.gather(before, after)
        assert first.info_lines == second.info_lines == memory.log.decode().splitlines()

    run(scenario())


def test_more_logs_than_a_look_may_read_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LOG_BYTES_PER_LOOK", 40)
    monkeypatch.setattr(boards, "SMALLEST_CHUNK_BYTES", 10)

    async def scenario() -> None:
        memory = Memory()
        memory.log = b"123456789\n" * 3
        board = StatusBoard.of(memory)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(waiting(board, number).until_over()) for number in range(12)]
        while len(memory.log_questions) < 9:
            await memory.next_question()
        read = [one for offsets, limit in memory.log_questions for one in offsets]
        assert {len(offsets) for offsets, _ in memory.log_questions[:9]} == {4}
        assert {read.count(ref(number)) for number in range(12)} == {3}
        memory.ended = {ref(number) for number in range(12)}
        assert {event.log_offset for event in await asyncio.gather(*tasks)} == {30}

    run(scenario())


def test_looks_do_not_run_in_the_context_of_the_wait_that_came_first() -> None:
    """Airflow sends what is logged to the log of the task that is named in the context."""
    task_of = contextvars.ContextVar("task_of", default="nobody")

    async def scenario() -> None:
        memory, seen = Memory(), []
        memory.ended = {ref(1)}

        async def note() -> None:
            seen.append(task_of.get())

        memory.before = note
        task_of.set("task 1")
        await waiting(StatusBoard.of(memory), 1).until_over()  # type: ignore[arg-type]
        assert seen == ["nobody"]

    run(scenario())
