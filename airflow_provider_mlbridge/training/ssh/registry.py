# SPDX-License-Identifier: Apache-2.0
"""One connection per account and event loop, shared by everybody who waits for a training there."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from typing import Any

from airflow_provider_mlbridge.exceptions import BackendUnreachableError, TrainingError
from airflow_provider_mlbridge.training.ssh.connection import exchange, open_connection
from airflow_provider_mlbridge.training.ssh.target import SSHTarget

PARALLEL_CHANNELS = 8
"""An sshd with default settings allows ten sessions per connection (MaxSessions)."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0
_CLOSE_TIMEOUT = 5.0
_CHANNEL_ATTEMPTS = 6


class HostConnection:
    """
    The connection to one account; connects when it is first needed and again after it was lost.

    After a failed attempt the next one waits (0.5 s, doubling up to 60 s, with jitter). Whoever asks in the
    meantime gets the error of the last attempt at once, so that a thousand waiting jobs cost a dead host
    one attempt per interval.
    """

    def __init__(self, target: SSHTarget) -> None:
        self.target = target
        self.users = 0
        self.connects = 0
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._channels = asyncio.Semaphore(PARALLEL_CHANNELS)
        self._failures = 0
        self._next_attempt = 0.0
        self._last_error: TrainingError | None = None

    async def run(self, command: str, script: bytes, *, limit_seconds: float) -> tuple[bytes, bytes]:
        """
        Run ``command`` with ``script`` on stdin; the script must be safe to repeat.

        :param limit_seconds: seconds for one attempt, without connecting.
        :raises BackendUnreachableError: and the other errors of
            :func:`~airflow_provider_mlbridge.training.ssh.connection.open_connection`.
        """
        async with self._channels:
            connects = self.connects
            connection = await self._connected()
            was_open = self.connects == connects
            try:
                return await self._attempt(connection, command, script, limit_seconds)
            except BackendUnreachableError:
                # A connection that was idle may have died unnoticed: that says nothing about the host.
                if not was_open:
                    raise
            return await self._attempt(await self._connected(), command, script, limit_seconds)

    async def close(self) -> None:
        """Close the connection; the next :meth:`run` opens a new one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.close()
        try:
            await asyncio.wait_for(connection.wait_closed(), _CLOSE_TIMEOUT)
        except (OSError, TimeoutError):
            connection.abort()

    async def _attempt(
        self, connection: Any, command: str, script: bytes, limit_seconds: float
    ) -> tuple[bytes, bytes]:
        import asyncssh

        try:
            async with asyncio.timeout(limit_seconds):
                for attempt in range(_CHANNEL_ATTEMPTS):
                    try:
                        return await exchange(connection, command, script)
                    except asyncssh.ChannelOpenError:
                        # MaxSessions may be lower than ours; a place is free as soon as a session ends.
                        if connection.is_closed() or attempt == _CHANNEL_ATTEMPTS - 1:
                            raise
                        await asyncio.sleep(0.1 * 2**attempt)
        except (OSError, asyncssh.Error) as error:
            self._drop(connection)
            what = f"no answer within {limit_seconds:g} s" if isinstance(error, TimeoutError) else str(error)
            raise BackendUnreachableError(
                f"the SSH connection to {self.target.address} was lost: {what or type(error).__name__}. "
                f"A training that runs there is not affected."
            ) from error
        raise AssertionError("unreachable")

    def _drop(self, connection: Any) -> None:
        connection.abort()
        if self._connection is connection:
            self._connection = None

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            self._connection = None
            now = asyncio.get_running_loop().time()
            if self._last_error is not None and now < self._next_attempt:
                raise type(self._last_error)(str(self._last_error))
            try:
                self._connection = await open_connection(self.target)
            except TrainingError as error:
                self._note_failure(error)
                raise
            self.connects += 1
            self._failures = 0
            self._last_error = None
            return self._connection

    def _note_failure(self, error: TrainingError) -> None:
        wait = min(_FIRST_BACKOFF * 2.0**self._failures, _LONGEST_BACKOFF)
        # Jitter: triggerers that lost the host at the same moment should not come back at the same moment.
        wait *= 0.75 + secrets.randbelow(500) / 1000
        self._failures = min(self._failures + 1, 16)
        self._last_error = error
        self._next_attempt = asyncio.get_running_loop().time() + wait


_connections: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SSHTarget, HostConnection]] = (
    weakref.WeakKeyDictionary()
)


def acquire(target: SSHTarget) -> HostConnection:
    """The running loop's connection to ``target``; give it back with :func:`release`."""
    of_loop = _connections.setdefault(asyncio.get_running_loop(), {})
    connection = of_loop.setdefault(target, HostConnection(target))
    connection.users += 1
    return connection


async def release(connection: HostConnection) -> None:
    """Give a connection back; the last user closes it."""
    connection.users -= 1
    if connection.users > 0:
        return
    of_loop = _connections.get(asyncio.get_running_loop(), {})
    if of_loop.get(connection.target) is connection:
        del of_loop[connection.target]
    await connection.close()
