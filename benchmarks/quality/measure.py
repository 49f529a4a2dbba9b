# SPDX-License-Identifier: Apache-2.0
"""One contestant, once, in a process of its own, measured from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MESSAGE = 800
"""Characters kept of what a contestant printed before it failed."""


@dataclass(frozen=True)
class Run:
    """
    One run.

    :param status: ``ok``, ``failed`` or ``timed out``.
    :param wall_seconds: from the start of the interpreter to its end, imports included.
    :param cpu_seconds: user and system time of the process and of its children.
    :param peak_bytes: the greatest resident set that the kernel saw.
    :param answer: the verdicts and versions that the contestant wrote down.
    :param message: the end of what it printed, when it failed.
    """

    status: str
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    answer: Mapping[str, Any]
    message: str = ""


def run(python: Path, program: Path, job: Mapping[str, Any], *, work: Path, timeout_seconds: float) -> Run:
    """
    Run a program on a job.

    :param python: its interpreter.
    :param job: what it is to do; it is handed over as JSON, with the place for the answer.
    :param work: a folder for the job, the answer and temporary files, which must exist.
    """
    answer, written, log = work / "answer.json", work / "job.json", work / "output.txt"
    answer.unlink(missing_ok=True)
    written.write_text(json.dumps({**job, "answer": str(answer)}))
    timed_out = threading.Event()
    with log.open("wb") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [python, program, written],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=work,
            env=_environment(work),
            start_new_session=True,
        )

        def stop() -> None:
            timed_out.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout_seconds, stop)
        timer.start()
        # wait4 tells what the kernel counted for this very process; no sampling misses a peak.
        _, state, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(state)
    status = "timed out" if timed_out.is_set() else "failed" if process.returncode else "ok"
    return Run(
        status,
        wall,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss * 1024,
        json.loads(answer.read_text()) if status == "ok" else {},
        "" if status == "ok" else log.read_text(errors="replace")[-_MESSAGE:],
    )


def _environment(work: Path) -> dict[str, str]:
    # Bytecode is kept from one run to the next, as in any installation.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TMPDIR": str(work), "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def warm(folder: Path) -> None:
    """Read the files once, so that no run pays for the disk, and none is favoured by another that did."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
