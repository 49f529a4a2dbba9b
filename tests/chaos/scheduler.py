# SPDX-License-Identifier: Apache-2.0
"""One task of a chaos run, as Airflow's scheduler moves it along, and what befalls it."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.plan import RETRIES, Plan, Strike, WorkerFault
from tests.chaos.task import read_json
from tests.chaos.world import TRAINER, World, kill_exactly

LOOK_INTERVAL = 0.05
WORKER_SECONDS = 200.0
WAIT_SECONDS = 120.0
FREEZE_SECONDS = 2.0
THAWED_SECONDS = 1.5

AT_SUBMISSION = 0.25
"""A worker that is to be frozen before this moment is so right before, or while, it submits."""


@dataclass
class Story:
    """
    What happened to a training, for the verdict.

    :param plan: that was followed.
    :param struck: generations whose processes were killed.
    :param stopped: generations that a user had stopped.
    :param released: generations whose result the task had returned when it was cleared.
    :param values: results that the task returned.
    :param final: how the task ended: ``success`` or why not.
    :param tries: how many there were.
    :param notes: what befell it, in order.
    """

    plan: Plan
    struck: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    released: set[int] = field(default_factory=set)
    values: list[dict[str, Any]] = field(default_factory=list)
    final: str = "not ended"
    tries: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line to what befell it."""
        self.notes.append(f"{time.monotonic():.3f} try {self.tries}: {text}")


class Task:
    """
    A task instance through its tries.

    :param world: where it runs.
    :param plan: what it trains and what befalls it.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.story = Story(plan)
        self._world = world
        self._plan = plan
        self._folder = world.folder / "tasks" / str(plan.number)
        self._faults = list(plan.workers)
        self._waits = [plan.wait] if plan.wait else []
        self._max_tries = RETRIES
        self._clears = 0
        self._ti_id = ""
        self._beside: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        """Until the task has succeeded and nobody clears it any more, or has failed for good."""
        self._folder.mkdir()
        for strike in self._plan.strikes:
            self._spawn(self._strike(strike))
        again = self._plan.again
        while True:
            end = await self._try()
            if end == "success" and again:
                again = False
                self.story.released.add(self.story.values[-1]["generation"])
                self.story.note("cleared after its success")
                self._clear()
            elif end in ("success", "failed"):
                if end == "success":
                    self.story.final = "success"
                break
            elif self.story.tries > self._max_tries:
                self.story.final = "no tries left"
                break
            await asyncio.sleep(0.1)
        await asyncio.gather(*self._beside)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _clear(self) -> None:
        self._max_tries = self.story.tries + RETRIES
        self._clears += 1

    async def _try(self) -> str:
        self.story.tries += 1
        self._ti_id = str(uuid.uuid4())
        (self._folder / "current").write_text(self._ti_id)
        told = await self._worker()
        while told["outcome"] == "deferred":
            event = await self._deferred(told["trigger"])
            if event is None:
                return "again"
            told = await self._worker(event)
        if told["outcome"] == "success":
            self.story.values.append(told["value"])
            return "success"
        self.story.note(f"{told['outcome']}: {told.get('error', '')[:300]}")
        if told["outcome"] == "failed":
            self.story.final = told["error"]
            return "failed"
        return "again"

    async def _worker(self, event: Any = None) -> dict[str, Any]:
        plan, world = self._plan, self._world
        order = {
            "folder": str(self._folder),
            "log": str(self._folder / f"log.{self.story.tries}"),
            "number": plan.number,
            "mode": plan.mode,
            "trainer": str(TRAINER),
            "ti_id": self._ti_id,
            "try_number": self.story.tries,
            "max_tries": self._max_tries,
            "clear_number": self._clears,
            "params": {
                "task": plan.number,
                "journal": str(world.journals.path(plan.number)),
                "seconds": round(plan.seconds, 3),
                "kinds": list(plan.kinds),
                "failures": plan.failures,
            },
        }
        if event is not None:
            order["event"] = event
        name, ended = world.order(order)
        fault = self._faults.pop(0) if self._faults else None
        if fault is not None and await self._comes_to(fault, ended):
            return await self._befall_worker(fault, name, ended)
        if await _lasts(ended, WORKER_SECONDS):
            world.signal_worker(name, signal.SIGKILL)
            return {"outcome": "retry", "error": f"the worker was at it for {WORKER_SECONDS:g} s"}
        return self._told(name)

    async def _comes_to(self, fault: WorkerFault, ended: asyncio.Future[int]) -> bool:
        """Wait for the moment of a fault; False when the worker was faster."""
        if fault.kind != "freeze" or fault.after >= AT_SUBMISSION:
            return await _lasts(ended, fault.after)
        end = time.monotonic() + WORKER_SECONDS
        while time.monotonic() < end and not ended.done():
            known = read_json(self._folder / "state.mlbridge_identity")
            if known is not None and known["try_number"] == self.story.tries:
                # It may submit from now on.
                return await _lasts(ended, fault.after)
            await asyncio.sleep(0.005)
        return False

    def _told(self, name: str) -> dict[str, Any]:
        return self._world.outcome(name) or {"outcome": "retry", "error": "the worker died"}

    async def _befall_worker(
        self, fault: WorkerFault, name: str, ended: asyncio.Future[int]
    ) -> dict[str, Any]:
        world = self._world
        world.counts[f"worker: {fault.kind}"] += 1
        self.story.note(f"worker {fault.kind} after {fault.after:.3f} s")
        if fault.kind == "kill":
            world.signal_worker(name, signal.SIGKILL)
            await ended
            # It may have told the server just before.
            return self._told(name)
        if fault.kind == "freeze":
            world.signal_worker(name, signal.SIGSTOP)
            self._spawn(self._thaw(name, ended))
            await asyncio.sleep(0.2)
            return self._told(name)
        # A user clears the running task: Airflow ends the worker, and max_tries stays.
        self._stopped()
        self._clears += 1
        world.signal_worker(name, signal.SIGTERM)
        if await _lasts(ended, 5.0):
            world.signal_worker(name, signal.SIGKILL)
            await ended
        self._stopped()
        return {"outcome": "retry", "error": "cleared while it ran"}

    async def _thaw(self, name: str, ended: asyncio.Future[int]) -> None:
        """A worker that was taken for dead goes on; the server refuses it, and its supervisor ends it."""
        await asyncio.sleep(FREEZE_SECONDS)
        self._world.signal_worker(name, signal.SIGCONT)
        if await _lasts(ended, THAWED_SECONDS):
            self._world.signal_worker(name, signal.SIGTERM)
            if await _lasts(ended, 5.0):
                self._world.signal_worker(name, signal.SIGKILL)
                await ended

    def _stopped(self) -> None:
        """A user stops whatever generation is there now."""
        entries = self._world.journals.read(self._plan.number)
        newest = max((entry.generation for entry in entries), default=0)
        told = read_json(self._folder / "xcom.training_job")
        self.story.stopped.add(max(newest, told["value"]["generation"] if told else 0))

    async def _deferred(self, trigger: dict[str, Any]) -> Any:
        """The event, or None when there is to be another try."""
        world = self._world
        name = f"{self._plan.number}.{self.story.tries}.{uuid.uuid4().hex[:6]}"
        world.wait_in_triggerer(name, trigger)
        end = time.monotonic() + WAIT_SECONDS
        wait = self._waits.pop(0) if self._waits else None
        disturbed = time.monotonic() + (wait.after if wait else WAIT_SECONDS)
        try:
            while (told := world.event(name)) is None:
                if wait is not None and time.monotonic() > disturbed:
                    world.counts[f"deferred task: {wait.kind}, on_kill {wait.order}"] += 1
                    self.story.note(f"{wait.kind} while deferred, on_kill {wait.order}")
                    world.forget_trigger(name)
                    await self._call_on_kill(name, trigger, wait.order)
                    self._clear()
                    return None
                if time.monotonic() > end:
                    self.story.note(f"no event within {WAIT_SECONDS:g} s")
                    return None
                await asyncio.sleep(LOOK_INTERVAL)
        finally:
            world.forget_trigger(name)
        if "error" in told:
            self.story.note(f"the trigger failed: {told['error'][:300]}")
            return None
        return told["event"]

    async def _call_on_kill(self, name: str, trigger: dict[str, Any], order: str) -> None:
        if order == "late":
            self._spawn(self._late(name, trigger))
        elif order != "never":
            self.story.stopped.add(trigger["generation"])
            self._world.call_on_kill(name, trigger)
            if order == "first":
                await self._world.called(name, 8.0)
            else:
                self._spawn(self._world.called(name, 60.0))

    async def _late(self, name: str, trigger: dict[str, Any]) -> None:
        """``on_kill`` of the old try, once the next one was told that the training is its own."""
        old, end = self._ti_id, time.monotonic() + 30.0
        while time.monotonic() < end:
            told = read_json(self._folder / "xcom.training_job")
            if told is not None and told["ti_id"] != old:
                self.story.note("the old try's on_kill comes now")
                self._world.call_on_kill(name, trigger)
                await self._world.called(name, 20.0)
                return
            await asyncio.sleep(LOOK_INTERVAL)

    async def _strike(self, strike: Strike) -> None:
        """Kill processes of a generation, if it starts within a while and lasts so long."""
        end = time.monotonic() + 60.0
        while (start := self._world.journals.start_of(self._plan.number, strike.generation)) is None:
            if time.monotonic() > end or self.story.final != "not ended":
                return
            await asyncio.sleep(LOOK_INTERVAL)
        await asyncio.sleep(strike.after)
        for target in strike.targets:
            if target == "child":
                pid, started = start.pid, start.ticks
            else:
                from tests.chaos.journal import ticks

                pid = self._world.supervisor_of(start.place) or 0
                started = ticks(pid) if pid else "-"
            if started != "-" and kill_exactly(pid, started):
                self._world.counts[f"training: {target} killed"] += 1
                self.story.struck.add(strike.generation)
                self.story.note(f"{target} of generation {strike.generation} killed")


async def _lasts(ended: asyncio.Future[int], seconds: float) -> bool:
    """Whether it is not over after that time."""
    done, _ = await asyncio.wait([ended], timeout=seconds)
    return not done
