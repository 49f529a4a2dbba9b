# SPDX-License-Identifier: Apache-2.0
"""The short form of ``make chaos``; a failure names the seed that repeats its faults."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.chaos.run import Options, run

SEED = int(os.environ.get("CHAOS_SEED", "40"))


@pytest.mark.integration
def test_of_trainings_whose_world_is_killed_none_is_lost_doubled_or_wrongly_killed(tmp_path: Path) -> None:
    options = Options(SEED, count=40, parallel=20, every=1.2, limit=150)
    report = asyncio.run(run(tmp_path, options))
    assert not report.faults, report.table() + f"\n{report.stories}"
    # And it was not an idle walk.
    befallen = {"worker: kill", "triggerer killed", "training: child killed", "training: supervisor killed"}
    assert befallen <= report.counts.keys()
    assert sum(report.verdict.starts.values()) == 40
    assert report.tries > 60
    assert report.samples > 10
    assert json.loads(json.dumps(report.to_dict()))["faults"] == []
