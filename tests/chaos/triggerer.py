# SPDX-License-Identifier: Apache-2.0
"""
Airflow's triggerer: runs the real trigger for every file in ``triggers``, writes its event to ``events``.

A file that is taken away cancels its trigger; one in ``kills`` is a trigger whose ``on_kill`` is to be
called.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from pathlib import Path

from airflow_provider_mlbridge.triggers.training import TrainingCompletionTrigger
from tests.chaos.task import write_json

LOOK_INTERVAL = 0.1


class Triggerer:
    """
    One life of the triggerer.

    :param folder: with ``triggers``, ``events``, ``kills`` and ``killed``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, asyncio.Task[None]] = {}
        self._killing: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            wanted = {path.name: path for path in (self._folder / "triggers").glob("[!.]*")}
            for name in [name for name in self._running if name not in wanted]:
                self._running.pop(name).cancel()
            for name, path in wanted.items():
                if name not in self._running:
                    self._running[name] = asyncio.create_task(self._wait(name, path))
            for path in (self._folder / "kills").glob("[!.]*"):
                if path.name not in self._killing:
                    self._killing[path.name] = asyncio.create_task(self._kill(path.name, path))
            await asyncio.sleep(LOOK_INTERVAL)

    async def _wait(self, name: str, path: Path) -> None:
        try:
            trigger = TrainingCompletionTrigger(**json.loads(path.read_text()))
            async for event in trigger.run():
                write_json(self._folder / "events" / name, {"event": event.payload})
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - Airflow fails the task then
            traceback.print_exc()
            write_json(self._folder / "events" / name, {"error": f"{type(error).__name__}: {error}"})

    async def _kill(self, name: str, path: Path) -> None:
        try:
            await TrainingCompletionTrigger(**json.loads(path.read_text())).on_kill()
        finally:
            write_json(self._folder / "killed" / name, {})


if __name__ == "__main__":
    asyncio.run(Triggerer(Path(sys.argv[1])).run())
