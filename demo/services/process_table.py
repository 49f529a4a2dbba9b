# SPDX-License-Identifier: Apache-2.0
"""
Who is running, told without doubt: pid, start time and boot id, and the mark in a process's environment.

A pid alone is no identity, because pids are used again. Every process that a service starts carries an
environment variable, :data:`MARK`, and so do its descendants, also those that left its session on purpose
(a training that was started over SSH). That is how they are found again, after a crash of the launcher too.
Linux only: it reads ``/proc``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "MLBRIDGE_OWNED_BY"
"""Name of the environment variable; its value is ``<launcher>:<service>:<start>``."""

_PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """
    A process that cannot be mistaken for a later one with the same pid.

    :param pid: process id.
    :param start_time: clock ticks from boot to the start of the process.
    :param boot_id: the kernel's id of this boot.
    """

    pid: int
    start_time: int
    boot_id: str


def boot_id() -> str:
    """The kernel's id of this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State, parent and start time of a process, or None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the name in parentheses and may hold anything, so count from the last one.
    rest = text[text.rindex(")") + 2 :].split()
    return rest[0], int(rest[1]), int(rest[19])


def identify(pid: int) -> Identity | None:
    """The identity of a running process; None when there is none, or only its exit status is left."""
    stat = _stat(pid)
    if stat is None or stat[0] in "ZX":
        return None
    return Identity(pid, stat[2], boot_id())


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def descendants(roots: Iterable[int]) -> set[int]:
    """The pids in ``roots`` and of all their children, grandchildren and so on."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None:
            children.setdefault(stat[1], []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def carriers(mark: str) -> set[int]:
    """Pids of the processes whose mark is ``mark`` or starts with ``mark`` and a colon."""
    wanted = f"{MARK}={mark}".encode()
    found = set()
    for pid in _pids():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if any(item == wanted or item.startswith(wanted + b":") for item in environment.split(b"\0")):
            found.add(pid)
    return found


def _identities(pids: Iterable[int]) -> set[Identity]:
    own = os.getpid()
    return {found for pid in pids if pid != own and (found := identify(pid)) is not None}


def family(roots: Iterable[int]) -> set[Identity]:
    """The identities of :func:`descendants`, to be remembered before their parents end."""
    return _identities(descendants(roots))


def stop_processes(mark: str, roots: Iterable[int] = (), *, grace: float = 5.0) -> int:
    """
    End every process that carries ``mark``, and every descendant of ``roots``: TERM, a bounded wait, KILL.

    Looks again after each round, so that a process forked meanwhile does not escape.

    :param grace: seconds between TERM and KILL.
    :return: how many processes were signalled.
    """
    roots = tuple(roots)
    known = _identities(descendants(roots) | descendants(carriers(mark)))
    signalled = set(known)
    _signal_all(known, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while known and time.monotonic() < deadline:
        time.sleep(0.05)
        known = {identity for identity in known if is_alive(identity)}
    for _ in range(20):
        # A descendant whose parent has ended meanwhile is only known from the first round.
        known |= _identities(descendants(carriers(mark)))
        known = {identity for identity in known if is_alive(identity)}
        if not known:
            break
        signalled |= known
        _signal_all(known, signal.SIGKILL)
        time.sleep(0.1)
    return len(signalled)


def _signal_all(identities: Iterable[Identity], number: signal.Signals) -> None:
    for identity in identities:
        if is_alive(identity):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(identity.pid, number)
