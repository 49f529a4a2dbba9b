# SPDX-License-Identifier: Apache-2.0
"""
The training program of a chaos run; its journal is the witness.

Every line is one ``write`` to a file opened with ``O_APPEND``: word, key, generation, pid, start time of the
process, seconds since boot, place of the job. Words: ``start``, ``child`` (a process that it leaves in a
session of its own), ``beside`` (an earlier generation was still alive at the start), ``fail`` and ``end``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def ticks(pid: int) -> str:
    """Start time of a process, "-" when it is not there or only its exit code is."""
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123 - one import less per training
            words = stream.read().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if words[0] in "ZX" else words[19]


request = json.loads(os.environ["MLBRIDGE_REQUEST"])
params = request["params"]
journal = params["journal"]
key = os.environ["MLBRIDGE_JOB_KEY"]
generation = int(os.environ["MLBRIDGE_JOB_GENERATION"])
place = os.environ.get("MLBRIDGE_JOB_DIR") or os.environ.get("MLBRIDGE_JOB_ID") or "-"
stream = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(word: str, pid: int) -> None:
    """One line."""
    line = f"{word} {key} {generation} {pid} {ticks(pid)} {time.monotonic():.3f} {place}\n"
    os.write(stream, line.encode())


note("start", os.getpid())
with open(journal) as lines:  # noqa: PTH123
    for words in map(str.split, lines):
        if (
            words[0] in ("start", "child")
            and words[2] != str(generation)
            and ticks(int(words[3])) == words[4]
        ):
            note("beside", int(words[3]))
if "deaf" in params["kinds"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in params["kinds"]:
    note("child", subprocess.Popen(["sleep", "900"], start_new_session=True).pid)
until = time.monotonic() + params["seconds"]
while (left := until - time.monotonic()) > 0:
    print(f"{left:.2f} s to go", flush=True)
    time.sleep(min(left, 0.25))
if generation <= params["failures"]:
    note("fail", os.getpid())
    sys.exit(3)
with open(os.environ["MLBRIDGE_RESULT_FILE"], "w") as result:  # noqa: PTH123
    json.dump({"metrics": {"task": params["task"], "generation": generation}}, result)
note("end", os.getpid())
