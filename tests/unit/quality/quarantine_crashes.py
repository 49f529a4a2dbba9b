# SPDX-License-Identifier: Apache-2.0
"""
A program that sets rows aside again and again and is killed each time at a random moment.

``python -m tests.unit.quality.quarantine_crashes <folder> <seed> <times>`` prints the seed and one line per
attempt. A process is forked for each, so that the libraries are imported once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.storage import read_manifest
from airflow_provider_mlbridge.storage.manifest import read_pointer
from airflow_provider_mlbridge.storage.store import open_store
from tests.unit.quality.quarantine_support import expect, quarantine_of, rows_of

ROWS = 3000


def attempt(folder: Path, number: int, started: Callable[[], None]) -> None:
    """Set aside the rows beyond a bound; every attempt has its own, and so a version of its own."""
    report = validate(
        f"file://{folder}/mart",
        [
            expect("column_values_to_be_between", column="v", max_value=500 + number),
            expect("column_values_to_be_unique", column="id"),
        ],
    )
    started()
    quarantine_of(report, f"file://{folder}/q")


def forked(folder: Path, number: int) -> tuple[int, int]:
    """A process that makes an attempt, and where it says that it begins to write."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 1
    try:
        attempt(folder, number, lambda: os.close(writing))
        status = 0
    finally:
        os._exit(status)


def current(folder: Path) -> str:
    """The current version, once it was found to be complete."""
    base = f"file://{folder}/q/"
    pointer = read_pointer(base, open_store(base))
    if pointer is None:
        return "none"
    manifest = read_manifest(base)
    rows = {name: rows_of(manifest.version_uri + name) for name in ("clean", "quarantined")}
    details = manifest.details
    assert [len(rows["clean"]), len(rows["quarantined"])] == [
        details["clean_rows"],
        details["quarantined_rows"],
    ]
    ids = sorted(row["row"] for part in rows.values() for row in part)
    assert ids == list(range(ROWS)), "good and bad are not all rows"
    assert all(row["_mlbridge_reasons"] for row in rows["quarantined"])
    return pointer.version


def main(folder: Path, seed: int, times: int) -> None:
    """Kill ``times`` attempts."""
    print("seed", seed, flush=True)
    dice = random.Random(seed)
    child, begun = forked(folder, 0)
    os.read(begun, 1)
    start = time.monotonic()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the first attempt, which is left alone, failed"
    length = time.monotonic() - start
    versions = [current(folder)]
    outcomes = []
    for number in range(1, times + 1):
        child, begun = forked(folder, number)
        os.read(begun, 1)
        time.sleep(dice.uniform(0, 1.2 * length))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(begun)
        version = current(folder)
        outcomes.append((os.WIFSIGNALED(status), version != versions[-1]))
        versions.append(version)
    print(json.dumps({"outcomes": outcomes, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
