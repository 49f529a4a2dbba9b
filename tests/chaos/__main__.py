# SPDX-License-Identifier: Apache-2.0
"""``make chaos``: many trainings, and everything that they need is killed at random."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from demo.services.interrupts import interrupts_raise
from tests.chaos.run import Options, run


def main() -> int:
    """Run it; the exit code is 0 when all counts are zero."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="choose the faults of an earlier run")
    parser.add_argument("--count", type=int, default=1000, help="trainings, 1000 at most")
    parser.add_argument("--parallel", type=int, default=24, help="trainings at a time")
    parser.add_argument(
        "--every", type=float, default=2.5, help="seconds from one fault of the world to the next"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest that it may take")
    parser.add_argument("--report", type=Path, help="write the report here as JSON")
    given = parser.parse_args()
    if not 1 <= given.count <= 1000:
        parser.error("--count must be between 1 and 1000")
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    print(f"seed {seed}, {given.count} trainings", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="mlbridge-chaos-"))
    options = Options(seed, given.count, given.parallel, given.every, given.minutes * 60)
    with interrupts_raise():
        report = asyncio.run(run(folder, options, tell=lambda text: print(text, flush=True)))
    print(report.table())
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    if report.faults:
        print(f"Everything is kept in {folder}; the same faults again: make chaos SEED={seed}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
