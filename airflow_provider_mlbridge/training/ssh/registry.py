# SPDX-License-Identifier: Apache-2.0
"""One connection per account and event loop, shared by everybody who waits for a training there."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import BackendUnreachableError, TrainingError
from airflow_provider_mlbridge.training.ssh.connection import exchange, open_connection, was_dropped
from airflow_provider_mlbridge.training.ssh.places import Places
from airflow_provider_mlbridge.training.ssh.target import SSHTarget

PARALLEL_CHANNELS = 8
"""Ordinary exchanges at a time. An sshd with default settings allows ten sessions per connection
(MaxSessions)."""

URGENT_CHANNELS = 2
"""The rest of them is for what must not wait behind slow exchanges."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0
_LONGEST_BUSY_BACKOFF = 3.0
_CLOSE_TIMEOUT = 5.0
_CHANNEL_ATTEMPTS = 6
_URGENT_ATTEMPTS = 2
_SUSPICIOUS_KEEPALIVE = 5.0


@dataclass
class _Link:
    """One open connection, and how many exchanges run over it."""

    connection: Any
    exchanges: int = 0
    retired: bool = False
    lost: bool = False
    suspicious: bool = False


class _NoSessionError(Exception):
    """The host opens no further session on this connection."""


class HostConnection:
    """
    The connection to one account; connects when it is first needed and again after it was lost.

    After a failed attempt the next one waits (0.5 s, doubling up to 60 s, with jitter). Whoever asks in the
    meantime gets the error of the last attempt at once, so that a thousand waiting jobs cost a dead host
    one attempt per interval.

    An exchange that takes too long closes its own channel and nothing else. The connection goes when it
    misses its signs of life, which are asked for more often after such an exchange; it is replaced, and left
    to those who use it, when the host opens no more sessions on it.
    """

    def __init__(self, target: SSHTarget) -> None:
        self.target = target
        self.users = 0
        self.connects = 0
        self._link: _Link | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._places = Places(PARALLEL_CHANNELS, URGENT_CHANNELS)
        self._failures = 0
        self._next_attempt = 0.0
        self._next_busy_attempt = 0.0
        self._last_error: TrainingError | None = None

    async def run(
        self,
        command: str,
        script: bytes,
        *,
        limit_seconds: float,
        urgent: bool = False,
        patience_seconds: float = 0.0,
    ) -> tuple[bytes, bytes]:
        """
        Run ``command`` with ``script`` on stdin; the script must be safe to repeat.

        :param limit_seconds: seconds for one attempt, without connecting.
        :param urgent: does not wait in line behind others, and connects on its own when the shared
            connection has no session left.
        :param patience_seconds: how long to try again while the host is there, but too busy to let anybody
            in (``MaxStartups``).
        :raises BackendUnreachableError: and the other errors of
            :func:`~airflow_provider_mlbridge.training.ssh.connection.open_connection`.
        """
        async with self._places.one(urgent=urgent):
            give_up = asyncio.get_running_loop().time() + patience_seconds
            connects = self.connects
            link = await self._connected(give_up)
            was_open = self.connects == connects
            try:
                return await self._attempt(link, command, script, limit_seconds, urgent=urgent)
            except BackendUnreachableError:
                # A connection that was idle may have died unnoticed: that says nothing about the host. Nor
                # does one whose sessions are all taken, which was just put aside.
                if not (link.lost and was_open) and not link.retired:
                    raise
            link = await self._connected(give_up)
            return await self._attempt(link, command, script, limit_seconds, urgent=urgent)

    async def close(self) -> None:
        """Close the connection; the next :meth:`run` opens a new one."""
        link, self._link = self._link, None
        if link is not None:
            await _close(link.connection)
        await asyncio.gather(*self._retired)

    async def _attempt(
        self, link: _Link, command: str, script: bytes, limit_seconds: float, *, urgent: bool
    ) -> tuple[bytes, bytes]:
        import asyncssh

        link.exchanges += 1
        try:
            async with asyncio.timeout(limit_seconds):
                try:
                    return await self._in_a_session(link, command, script, urgent=urgent)
                except _NoSessionError:
                    self._retire(link)
                    if not urgent:
                        raise
                return await self._alone(command, script)
        except _NoSessionError as error:
            raise BackendUnreachableError(
                f"{self.target.address} opens no further session on its SSH connection ({error}). A training "
                f"that runs there is not affected."
            ) from error
        except TimeoutError as error:
            # Slow, or gone? The next signs of life tell, and sooner than usual.
            self._suspect(link, True)
            raise BackendUnreachableError(
                f"{self.target.address} gave no answer within {limit_seconds:g} s by SSH. A training that "
                f"runs there is not affected."
            ) from error
        except TrainingError:
            raise
        except (OSError, asyncssh.Error) as error:
            self._drop(link)
            raise BackendUnreachableError(
                f"the SSH connection to {self.target.address} was lost: "
                f"{str(error) or type(error).__name__}. A training that runs there is not affected."
            ) from error
        finally:
            link.exchanges -= 1
            if link.retired and not link.exchanges:
                task = asyncio.create_task(_close(link.connection))
                self._retired.add(task)
                task.add_done_callback(self._retired.discard)

    async def _in_a_session(
        self, link: _Link, command: str, script: bytes, *, urgent: bool
    ) -> tuple[bytes, bytes]:
        import asyncssh

        for attempt in range(_URGENT_ATTEMPTS if urgent else _CHANNEL_ATTEMPTS):
            # MaxSessions may be lower than ours; a place is free as soon as a session ends.
            await asyncio.sleep(0.1 * 2 ** (attempt - 1) if attempt else 0)
            try:
                answer = await exchange(link.connection, command, script)
            except asyncssh.ChannelOpenError as error:
                if link.connection.is_closed():
                    raise
                refused = error
            else:
                self._suspect(link, False)
                return answer
        raise _NoSessionError(str(refused)) from refused

    async def _alone(self, command: str, script: bytes) -> tuple[bytes, bytes]:
        connection = await open_connection(self.target)
        try:
            return await exchange(connection, command, script)
        finally:
            connection.abort()

    def _suspect(self, link: _Link, suspicious: bool) -> None:
        """Ask for signs of life more often, or as usual again."""
        if link.suspicious is suspicious or link.connection.is_closed():
            return
        link.suspicious = suspicious
        usual = self.target.keepalive_interval
        link.connection.set_keepalive(min(_SUSPICIOUS_KEEPALIVE, usual) if suspicious else usual)

    def _retire(self, link: _Link) -> None:
        link.retired = True
        if self._link is link:
            self._link = None

    def _drop(self, link: _Link) -> None:
        link.lost = True
        link.connection.abort()
        if self._link is link:
            self._link = None

    async def _connected(self, give_up: float) -> _Link:
        """:param give_up: until when a host that is too busy is asked again."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with self._connecting:
                    return await self._connect(patient=loop.time() < give_up)
            except BackendUnreachableError as error:
                again = self._next_busy_attempt
                if not was_dropped(self._last_error or error) or again >= give_up:
                    raise
            await asyncio.sleep(max(0.0, again - loop.time()))

    async def _connect(self, *, patient: bool) -> _Link:
        if self._link is not None and not self._link.connection.is_closed():
            return self._link
        self._link = None
        if self._last_error is not None:
            busy = patient and was_dropped(self._last_error)
            allowed_at = self._next_busy_attempt if busy else self._next_attempt
            if asyncio.get_running_loop().time() < allowed_at:
                raise type(self._last_error)(str(self._last_error))
        try:
            connection = await open_connection(self.target)
        except TrainingError as error:
            self._note_failure(error)
            raise
        self._link = _Link(connection)
        self.connects += 1
        self._failures = 0
        self._last_error = None
        return self._link

    def _note_failure(self, error: TrainingError) -> None:
        wait = min(_FIRST_BACKOFF * 2.0**self._failures, _LONGEST_BACKOFF)
        # Jitter: triggerers that lost the host at the same moment should not come back at the same moment.
        jitter = 0.75 + secrets.randbelow(500) / 1000
        now = asyncio.get_running_loop().time()
        self._failures = min(self._failures + 1, 16)
        self._last_error = error
        self._next_attempt = now + wait * jitter
        # Here the others are those who were turned away with us.
        spread = 0.25 + secrets.randbelow(1500) / 1000
        self._next_busy_attempt = now + min(wait, _LONGEST_BUSY_BACKOFF) * spread


async def _close(connection: Any) -> None:
    connection.close()
    try:
        await asyncio.wait_for(connection.wait_closed(), _CLOSE_TIMEOUT)
    except (OSError, TimeoutError):
        connection.abort()


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
