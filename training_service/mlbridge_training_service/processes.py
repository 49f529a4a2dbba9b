# SPDX-License-Identifier: Apache-2.0
"""
Processes that cannot be mistaken for others, and whole trees of them.

A pid alone is no identity: it is given out again. Pid, start time and boot id together are one for as long
as the machine exists. Linux only, because all of it is read from ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_SCAN_INTERVAL = 0.05
_UNKILLABLE_AFTER = 30.0


def boot_id() -> str:
    """Identity of the running kernel; another one after every boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@dataclass(frozen=True)
class ProcessIdentity:
    """
    One process, for ever.

    :param pid: process id.
    :param start_ticks: start time in clock ticks since boot.
    :param boot: see :func:`boot_id`.
    """

    pid: int
    start_ticks: int
    boot: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ProcessIdentity:
        """Read what :meth:`to_dict` wrote."""
        return cls(int(document["pid"]), int(document["start_ticks"]), str(document["boot"]))


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int


def _read_stat(pid: int) -> _Stat | None:
    """One line of ``/proc/PID/stat``; None when the process is gone or a zombie, which runs nothing."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field is the program's name in brackets and may hold spaces and brackets itself.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZXx":
        return None
    return _Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> ProcessIdentity | None:
    """Identity of a running process, or None."""
    stat = _read_stat(pid)
    return ProcessIdentity(pid, stat.start_ticks, boot_id()) if stat else None


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs."""
    return identify(identity.pid) == identity


def seconds_running(identity: ProcessIdentity) -> float:
    """How long ago a process of this boot was started; no step of the clock changes it."""
    up = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
    return up - identity.start_ticks / os.sysconf("SC_CLK_TCK")


def send_signal(identity: ProcessIdentity, number: signal.Signals) -> bool:
    """
    Signal exactly this process; False when it is gone.

    The pidfd is opened before the identity is compared, so that a pid given out again in between is not hit.
    """
    try:
        descriptor: int | None = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    except OSError:
        descriptor = None  # a kernel before 5.3
    try:
        if not is_alive(identity):
            return False
        if descriptor is None:
            os.kill(identity.pid, number)
        else:
            signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def find_tree(marker: str, *, root: ProcessIdentity | None = None) -> list[ProcessIdentity]:
    """
    Every live process of a training, except the caller.

    A process belongs to it when its environment holds the marker (which finds children that made a session
    of their own and lost their parent), when it is in the session that ``root`` leads, or when an ancestor
    belongs to it (which finds children that cleaned their environment).

    :param marker: ``NAME=value`` as in the environment of the training.
    :param root: process whose descendants and session belong to the training. It may have ended: as long as
        its session has members, the kernel does not give its pid away.
    """
    stats: dict[int, _Stat] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _read_stat(int(entry.name))) is not None:
            stats[stat.pid] = stat
    boot = boot_id()
    members: set[int] = set()
    if root is not None and root.boot == boot:
        now = stats.get(root.pid)
        if now is None or now.start_ticks == root.start_ticks:
            members = {stat.pid for stat in stats.values() if root.pid in (stat.pid, stat.session)}
    members.update(pid for pid in stats if _has_marker(pid, marker.encode()))
    grew = True
    while grew:
        children = {stat.pid for stat in stats.values() if stat.parent in members}
        grew = not children <= members
        members |= children
    members.discard(os.getpid())
    return [ProcessIdentity(pid, stats[pid].start_ticks, boot) for pid in sorted(members) if pid in stats]


def _has_marker(pid: int, marker: bytes) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return marker in environment.split(b"\0")


def stop_tree(
    find: Callable[[], list[ProcessIdentity]],
    *,
    grace_seconds: float,
    between: Callable[[], None] = lambda: None,
) -> bool:
    """
    TERM to every process that ``find`` returns, KILL to those left after the grace, until none is left.

    :param between: called between two looks; a parent reaps its children here.
    :return: False when processes are left that even KILL does not end (stuck in the kernel).
    """
    begin = time.monotonic()
    asked: set[ProcessIdentity] = set()
    while True:
        between()
        left = find()
        if not left:
            return True
        waited = time.monotonic() - begin
        if waited > grace_seconds + _UNKILLABLE_AFTER:
            return False
        for process in left:
            if waited >= grace_seconds:
                send_signal(process, signal.SIGKILL)
            elif process not in asked:
                asked.add(process)
                send_signal(process, signal.SIGTERM)
                send_signal(process, signal.SIGCONT)  # a stopped process cannot act on TERM
        time.sleep(_SCAN_INTERVAL)


def reap() -> dict[int, int]:
    """Collect ended children without waiting: pid to wait status."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = status
    return ended
