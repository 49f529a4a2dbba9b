# SPDX-License-Identifier: Apache-2.0
"""What the verdict on a chaos run must notice, from journals written by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.journal import Journals, carriers
from tests.chaos.plan import Plan, plan_of
from tests.chaos.scheduler import Story
from tests.chaos.secrets import Secrets
from tests.chaos.verdict import Verdict, judge

PLAN = Plan(number=1, mode="ssh", seconds=1.0, kinds=(), failures=0)
AGAIN = Plan(number=1, mode="ssh", seconds=1.0, kinds=(), failures=0, again=True)


def value(generation: int) -> dict[str, object]:
    return {"key": "k", "generation": generation, "metrics": {"task": 1, "generation": generation}}


def story(*returned: int, plan: Plan = PLAN, final: str = "success", **causes: Any) -> Story:
    return Story(plan, values=[value(number) for number in returned], final=final, **causes)


def verdict_on(folder: Path, lines: str, told: Story) -> Verdict:
    written = [line.split() for line in lines.split(",")]
    text = "".join(f"{word} {key} {number} 999999 1 0.0 -\n" for word, key, number in written)
    (folder / "1").write_text(text)
    return judge(Journals(folder), [told])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("start k 1,end k 1", story(1)),
        ("start k 1,fail k 1,start k 2,end k 2", story(2)),
        ("start k 1,start k 2,end k 2", story(2, struck={1})),
        ("start k 1,start k 2,end k 2", story(2, stopped={1})),
        # Its supervisor was killed, so nobody learned that it had succeeded.
        ("start k 1,end k 1,start k 2,end k 2", story(2, struck={1})),
        ("start k 1,end k 1,start k 2,end k 2", story(1, 2, plan=AGAIN, released={1})),
        # The first generation was claimed and never started.
        ("start k 2,end k 2", story(2)),
    ],
)
def test_what_has_a_reason_is_no_fault(tmp_path: Path, lines: str, told: Story) -> None:
    assert verdict_on(tmp_path, lines, told).faults == []


@pytest.mark.parametrize(
    ("lines", "told", "kind"),
    [
        ("start k 1,start k 1,end k 1", story(1), "duplicate"),
        ("start k 1,end k 1,start k 2,end k 2", story(1, 2), "duplicate"),
        ("start k 1,start j 1,end k 1", story(1, stopped={1}), "duplicate"),
        ("start k 1,start k 2,beside k 2,end k 2", story(2, struck={1}), "duplicate"),
        ("start k 1,start k 2,end k 2", story(2), "wrongly_killed"),
        ("start k 1,end k 1", story(final="no tries left"), "lost"),
        ("start k 1,end k 1", story(2), "lost"),
        ("start k 1,end k 1", story(1, plan=AGAIN, released={1}), "lost"),
        ("start k 1,end k 1", story(1, final="the trigger's event is of no use"), "lost"),
    ],
)
def test_what_has_none_is_one(tmp_path: Path, lines: str, told: Story, kind: str) -> None:
    assert {fault.partition(":")[0] for fault in verdict_on(tmp_path, lines, told).faults} >= {kind}


def test_a_process_of_a_training_is_found_by_its_environment() -> None:
    environment = {**os.environ, "MLBRIDGE_JOB_KEY": "key-of-this-test"}
    sleeper = subprocess.Popen(["sleep", "60"], env=environment)
    try:
        assert carriers({"key-of-this-test", "another"}) == {sleeper.pid: "sleep 60"}
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_token_in_an_argument_list_and_one_in_a_file_are_found(tmp_path: Path) -> None:
    planted = Secrets(1)
    planted.sample()
    assert not planted.found
    (tmp_path / "log").write_text(f"the token is {planted.api}")
    command = [sys.executable, "-c", "input()", planted.training]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as shown:
        planted.sample()
        shown.kill()
    assert planted.search(tmp_path) == 1
    places = "\n".join(planted.found)
    assert "argument list" in places
    assert "file log" in places


def test_a_seed_stands_for_the_same_faults() -> None:
    assert [plan_of(5, number) for number in range(20)] == [plan_of(5, number) for number in range(20)]
    assert plan_of(5, 1) != plan_of(6, 1)
