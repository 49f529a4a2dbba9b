# SPDX-License-Identifier: Apache-2.0
"""
A training that does what the test asks for in ``params``: waits for a gate, ends with a code.

Its journal has a line when a training starts and one when it ends by itself, so a test can count both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

request = json.loads(os.environ["MLBRIDGE_REQUEST"])
params = request["params"]
journal = Path(params["journal"])


def note(word: str) -> None:
    """One line in one write, so that lines of several trainings do not mix."""
    with journal.open("ab", buffering=0) as file:
        file.write(f"{word} {os.getpid()} {os.environ['MLBRIDGE_JOB_KEY']}\n".encode())


note("start")
print("training on", os.environ["MLBRIDGE_FEATURES_URI"], flush=True)
if params["gate"]:
    give_up = time.monotonic() + 240
    while not Path(params["gate"]).exists():
        if time.monotonic() > give_up:
            sys.exit("the gate did not open")
        time.sleep(0.05)
print("last words of the training", flush=True)
if params["exit_code"] != "0":
    note("end")
    sys.exit(int(params["exit_code"]))
Path(os.environ["MLBRIDGE_RESULT_FILE"]).write_text(
    json.dumps({"metrics": {"auc": 0.75}, "model_uri": "file:///models/1", "extra": {"pid": os.getpid()}})
)
note("end")
