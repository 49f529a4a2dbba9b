# SPDX-License-Identifier: Apache-2.0
"""A chaos run from beginning to end, and its report."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.journal import Entry, carriers
from tests.chaos.plan import plan_of
from tests.chaos.scheduler import Story, Task
from tests.chaos.secrets import Secrets
from tests.chaos.verdict import Verdict, judge
from tests.chaos.world import World

SETTLE_SECONDS = 30.0
"""After the last task, for what was stopped to be gone: a training that ignores TERM has its grace."""

SAMPLE_INTERVAL = 0.5
_SHOWN = 20


@dataclass(frozen=True)
class Options:
    """
    How much of it.

    :param seed: what the faults are drawn from.
    :param count: trainings.
    :param parallel: of them at a time.
    :param every: seconds from one fault of the world to the next, on average.
    :param limit: seconds after which it is given up.
    """

    seed: int
    count: int
    parallel: int
    every: float
    limit: float


@dataclass
class Report:
    """What came of it."""

    options: Options
    seconds: float
    verdict: Verdict
    counts: dict[str, int]
    tries: int
    samples: int
    files: int
    leaks: dict[str, int] = field(default_factory=dict)
    stories: dict[str, list[str]] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All that should not be."""
        return [*self.verdict.faults, *(f"planted token in {place}" for place in self.leaks)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        verdict = {**vars(self.verdict), "starts": dict(self.verdict.starts)}
        return {**vars(self), "options": asdict(self.options), "verdict": verdict, "faults": self.faults}

    def table(self) -> str:
        """Markdown."""
        verdict = self.verdict
        starts = sum(number * keys for number, keys in verdict.starts.items())
        split = ", ".join(f"{keys} keys {number}x" for number, keys in sorted(verdict.starts.items()))
        rows = [
            ("seed", self.options.seed),
            ("trainings", self.options.count),
            ("duration", f"{self.seconds:.0f} s, {self.options.parallel} at a time"),
            ("tries", self.tries),
            ("starts", f"{starts} ({split})"),
            ("lost", len(verdict.lost)),
            ("duplicate", len(verdict.duplicate)),
            ("wrongly killed", len(verdict.wrongly_killed)),
            ("orphans left", len(verdict.orphans)),
            ("planted tokens found", f"{len(self.leaks)} ({self.samples} samples of ps, {self.files} files)"),
            *sorted(self.counts.items()),
        ]
        lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
        faults = self.faults
        lines += faults[:_SHOWN] + ([f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else [])
        return "\n".join(lines)


async def run(folder: Path, options: Options, *, tell: Callable[[str], object] = lambda _: None) -> Report:
    """
    Do it; everything that was started is ended.

    :param folder: empty; holds all that the run leaves behind.
    :param tell: progress, a line every half minute.
    """
    began = time.monotonic()
    planted = Secrets(options.seed)
    dice = random.Random(f"{options.seed}/world")
    world = World(folder, dice, planted)
    tasks = [Task(world, plan_of(options.seed, number)) for number in range(1, options.count + 1)]
    try:
        await world.start()
        watch = asyncio.create_task(planted.watch(SAMPLE_INTERVAL))
        misery = asyncio.create_task(_befall(world, dice, options.every))
        telling = asyncio.create_task(_tell(tasks, tell))
        try:
            async with asyncio.timeout(options.limit):
                await _live(tasks, options.parallel, misery)
        except TimeoutError:
            tell(f"given up after {options.limit:.0f} s")
        for work in (misery, watch, telling):
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        stories = [task.story for task in tasks]
        verdict = judge(world.journals, stories)
        verdict.orphans = await _orphans(world, stories)
    finally:
        await world.stop()
    (folder / "stories.json").write_text(json.dumps([_told(story) for story in stories], indent=1))
    files = await asyncio.to_thread(planted.search, folder)
    bad = [
        story for story in stories if any(f"training {story.plan.number} " in text for text in verdict.faults)
    ]
    return Report(
        options,
        time.monotonic() - began,
        verdict,
        dict(world.counts),
        sum(story.tries for story in stories),
        planted.samples,
        files,
        dict(planted.found),
        {str(story.plan.number): story.notes for story in bad[:_SHOWN]},
    )


async def _live(tasks: list[Task], parallel: int, misery: asyncio.Task[None]) -> None:
    places = asyncio.Semaphore(parallel)

    async def one(task: Task) -> None:
        async with places:
            await task.live()

    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(one(task)) for task in tasks]
        pending: set[asyncio.Task[None]] = set(lives)
        while pending:
            done, pending = await asyncio.wait({*pending, misery}, return_when=asyncio.FIRST_COMPLETED)
            pending.discard(misery)
            if misery in done:
                misery.result()  # it goes on for ever, unless it fails


async def _befall(world: World, dice: random.Random, every: float) -> None:
    while True:
        await asyncio.sleep(dice.uniform(0.5, 1.5) * every)
        await world.befall()


async def _tell(tasks: list[Task], tell: Callable[[str], object]) -> None:
    while True:
        await asyncio.sleep(30)
        over = sum(task.story.final != "not ended" for task in tasks)
        tell(f"{over} of {len(tasks)} tasks are over")


async def _orphans(world: World, stories: list[Story]) -> list[str]:
    """What is still there after a while: trainings, what they started, and who looks after them."""
    entries: list[Entry] = [entry for story in stories for entry in world.journals.read(story.plan.number)]
    keys = {entry.key for entry in entries}
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        left = [
            f"{entry.word} of {entry.key} generation {entry.generation}"
            for entry in entries
            if entry.word in ("start", "child") and entry.is_alive
        ]
        left += [
            f"process {pid} {command!r}" for pid, command in (await asyncio.to_thread(carriers, keys)).items()
        ]
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(0.5)


def _told(story: Story) -> dict[str, Any]:
    return {
        "number": story.plan.number,
        "plan": asdict(story.plan),
        "struck": sorted(story.struck),
        "stopped": sorted(story.stopped),
        "released": sorted(story.released),
        "returned": [value["generation"] for value in story.values],
        "final": story.final,
        "tries": story.tries,
        "notes": story.notes,
    }
