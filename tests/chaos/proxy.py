# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on loopback that cuts, stalls and refuses."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

LOOPBACK = "127.0.0.1"


class Proxy:
    """
    Passes bytes on to a port.

    :param name: of what is behind it.
    :param upstream: its port.
    :param dice: from which it is drawn which connections are cut, and after how many bytes.
    :param cut_share: how many of the connections are.
    :param counts: where cuts are counted.
    """

    def __init__(
        self, name: str, upstream: int, dice: random.Random, *, cut_share: float, counts: Counter[str]
    ) -> None:
        self.port = 0
        self._name = name
        self._upstream = upstream
        self._dice = dice
        self._cut_share = cut_share
        self._counts = counts
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._closed = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def stall(self, seconds: float) -> None:
        """Pass nothing on for a while; connections stay."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    async def refuse(self, seconds: float) -> None:
        """Reset every connection and each new one for a while."""
        self._closed = True
        self.cut()
        await asyncio.sleep(seconds)
        self._closed = False

    async def stop(self) -> None:
        """Close everything."""
        self._cut_share, self._closed = 0.0, True
        self._flowing.set()
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Drawn for every connection, so that those that are refused change nothing for the others.
        doomed, logarithm, upwards = self._dice.random(), self._dice.uniform(0, 14), self._dice.random() < 0.5
        limit = int(2**logarithm) if doomed < self._cut_share else None
        if self._closed:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._upstream)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        try:
            ways = [
                asyncio.ensure_future(self._pass_on(reader, far_writer, limit if upwards else None)),
                asyncio.ensure_future(self._pass_on(far_reader, writer, None if upwards else limit)),
            ]
            done, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if pending and not any(way.result() for way in done):
                await asyncio.wait(pending, timeout=5)
            for way in pending:
                way.cancel()
        finally:
            self._open -= both
            for end in both:
                end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> bool:
        """Until the end; whether the connection was cut."""
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if limit is not None and len(data) >= limit:
                    writer.write(data[:limit])
                    await writer.drain()
                    self._counts[f"{self._name} stream cut"] += 1
                    return True
                limit = None if limit is None else limit - len(data)
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            return False
        return True
