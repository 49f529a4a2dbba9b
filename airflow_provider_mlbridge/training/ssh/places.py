# SPDX-License-Identifier: Apache-2.0
"""Places on a connection: so many at a time, and some of them only for what is urgent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """
    A semaphore with two lines.

    :param ordinary: how many may be taken by anybody.
    :param kept: how many more there are for the urgent, who also go first.
    """

    def __init__(self, ordinary: int, kept: int) -> None:
        self._ordinary = ordinary
        self._all = ordinary + kept
        self._taken = 0
        self._lines: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    @asynccontextmanager
    async def one(self, *, urgent: bool) -> AsyncIterator[None]:
        """Hold one place; waits for it."""
        await self._take(urgent)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, urgent: bool) -> None:
        if self._taken < self._limit(urgent):
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines[urgent].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._lines[urgent].remove(turn)
            else:  # the turn came at the same moment
                self._give_back()
            raise

    def _limit(self, urgent: bool) -> int:
        return self._all if urgent else self._ordinary

    def _give_back(self) -> None:
        self._taken -= 1
        for urgent, line in self._lines.items():
            for turn in list(line)[: max(0, self._limit(urgent) - self._taken)]:
                line.remove(turn)
                if not turn.done():
                    self._taken += 1
                    turn.set_result(None)
