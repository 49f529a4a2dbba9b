# SPDX-License-Identifier: Apache-2.0
"""
Whether the kernel killed processes for lack of memory, as far as it tells everybody.

Its counters are compared: that of the own control group (version 2 or 1), and that of the whole host. Only
the standard library is used, because every supervisor imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_GROUP = "this service's control group"
_HOST = "the host"


def oom_kills(*, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """Processes killed for lack of memory so far, by where; without what the host does not tell."""
    counts = {_GROUP: _group_count(proc, cgroups), _HOST: _field(proc / "vmstat", "oom_kill")}
    return {place: count for place, count in counts.items() if count is not None}


def explain_oom(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """A clause about the kills since ``before``; empty when there were none, or none is known of."""
    for place in (_GROUP, _HOST):
        count = now.get(place, 0) - before.get(place, 0)
        if place in before and count > 0:
            many = "a process" if count == 1 else f"{count} processes"
            return f"the kernel killed {many} of {place} for lack of memory while it ran"
    return ""


def _group_count(proc: Path, cgroups: Path) -> int | None:
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            count = _field(cgroups / path.lstrip("/") / "memory.events", "oom_kill")
        elif "memory" in controllers.split(","):
            count = _field(cgroups / "memory" / path.lstrip("/") / "memory.oom_control", "oom_kill")
        else:
            continue
        if count is not None:
            return count
    return None


def _field(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return None
    return None
