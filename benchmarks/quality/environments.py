# SPDX-License-Identifier: Apache-2.0
"""Interpreters for the contestants, and facts about where they run."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_TIMEOUT_SECONDS = 900


def python_for(requirements: str | None, data: Path) -> Path:
    """
    The interpreter of a contestant; its environment is built from PyPI when it is not there yet.

    :param requirements: a file that pins its packages, below this one's folder unless its path is
        absolute; None for the packages of this very process.
    :param data: the folder below which environments are kept.
    """
    if requirements is None:
        return Path(sys.executable)
    pins = Path(__file__).parent / requirements
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    home = data / "environments" / f"{pins.stem.removeprefix('requirements-')}-{digest}"
    python, ready = home / "bin" / "python", home / ".ready"
    if not ready.exists():
        print(f"Setting up {pins.stem} ...", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        uv = [sys.executable, "-m", "uv"]
        for command in (
            [*uv, "venv", "--quiet", "--python", sys.executable, str(home)],
            [*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(pins)],
        ):
            subprocess.run(command, check=True, timeout=_TIMEOUT_SECONDS)
        ready.touch()
    return python


def facts() -> dict[str, str | int]:
    """What the figures depend on, without anything that names the machine."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
