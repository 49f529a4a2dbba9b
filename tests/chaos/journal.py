# SPDX-License-Identifier: Apache-2.0
"""What the trainings wrote down themselves."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line; see :mod:`tests.chaos.trainer`."""

    word: str
    key: str
    generation: int
    pid: int
    ticks: str
    moment: float
    place: str

    @property
    def is_alive(self) -> bool:
        """Whether that very process runs."""
        return ticks(self.pid) == self.ticks


class Journals:
    """
    One file per training.

    :param folder: of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, number: int) -> Path:
        """The file of a training."""
        return self._folder / str(number)

    def read(self, number: int) -> list[Entry]:
        """Its lines, in their order."""
        with suppress(FileNotFoundError):
            lines = self.path(number).read_text().splitlines()
            return [_entry(*line.split()) for line in lines]
        return []

    def start_of(self, number: int, generation: int) -> Entry | None:
        """The line of a start, None before it."""
        found = (item for item in self.read(number) if (item.word, item.generation) == ("start", generation))
        return next(found, None)


def _entry(word: str, key: str, generation: str, pid: str, started: str, moment: str, place: str) -> Entry:
    return Entry(word, key, int(generation), int(pid), started, float(moment), place)


def ticks(pid: int) -> str:
    """Start time of a process, "-" when it is not there or only its exit code is."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if words[0] in "ZX" else words[19]


def carriers(keys: set[str]) -> dict[int, str]:
    """Processes in whose environment one of the keys is, and their command lines."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with suppress(OSError):
                for item in (path / "environ").read_bytes().split(b"\0"):
                    name, _, value = item.decode(errors="replace").partition("=")
                    job = name == "MLBRIDGE_JOB_DIR" and value.split("/")[-2:-1]
                    if (name == "MLBRIDGE_JOB_KEY" and value in keys) or (job and job[0] in keys):
                        command = (
                            (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        )
                        found[int(path.name)] = command.strip()
    return {pid: command for pid, command in found.items() if ticks(pid) != "-"}
