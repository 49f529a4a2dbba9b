# SPDX-License-Identifier: Apache-2.0
"""Planted tokens, and where they are looked for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path


class Secrets:
    """
    Tokens that must be in no argument list and in no file.

    ``training`` goes to the trainings of mode ssh, in their environment; ``api`` is what the service is
    called with, and no training may have it.

    :param seed: from which they are made.
    """

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"{seed}/secrets")
        self.training = f"planted-training-{dice.getrandbits(96):024x}"
        self.api = f"planted-api-{dice.getrandbits(96):024x}"
        self.samples = 0
        self.found: Counter[str] = Counter()

    async def watch(self, interval: float) -> None:
        """Look into the processes of the machine, until cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(interval)

    def sample(self) -> None:
        """Once: what ``ps`` shows to everybody, and what the trainings see."""
        self.samples += 1
        for path in Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            with suppress(OSError):
                arguments = (path / "cmdline").read_bytes()
                if self.training.encode() in arguments or self.api.encode() in arguments:
                    self.found[f"argument list {arguments[:200]!r}"] += 1
                environment = (path / "environ").read_bytes()
                if b"MLBRIDGE_JOB_KEY=" in environment and self.api.encode() in environment:
                    self.found["environment of a training"] += 1

    def search(self, folder: Path) -> int:
        """Look into all files below a folder; how many there were."""
        looked = 0
        for path in folder.rglob("*"):
            if path.is_file():
                looked += 1
                content = path.read_bytes()
                for token in (self.training, self.api):
                    if token.encode() in content:
                        self.found[f"file {path.relative_to(folder)}"] += 1
        return looked
