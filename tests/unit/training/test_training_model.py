# SPDX-License-Identifier: Apache-2.0
"""
One training per key, whatever happens: the same rules over the pure protocol, the host scripts and the store.

Never two live trainings of a key, never a finished one lost, never one killed by an owner that it no longer
has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import Generation, Submission
from tests.unit.training.training_machine import TrainingMachine, World
from tests.unit.training.training_real_sides import ShellSide, StoreSide
from tests.unit.training.training_sides import ReferenceSide, Side

MANY = settings(max_examples=200, stateful_step_count=50, deadline=None)


class ReferenceMachine(TrainingMachine):
    def make_side(self) -> Side:
        return ReferenceSide()


def test_the_protocol_itself() -> None:
    run_state_machine_as_test(ReferenceMachine, settings=MANY)


class RealMachine(TrainingMachine):
    """A side that keeps files, in a folder that goes with the example."""

    def teardown(self) -> None:
        if isinstance(self.world.side, StoreSide):
            self.world.side.close()
        self.folder.cleanup()

    def new_folder(self) -> Path:
        self.folder = tempfile.TemporaryDirectory(prefix="mlbridge-model-")
        return Path(self.folder.name)


class StoreMachine(RealMachine):
    def make_side(self) -> Side:
        return StoreSide(self.new_folder())


class ShellMachine(RealMachine):
    def make_side(self) -> Side:
        return ShellSide(self.new_folder())


@pytest.mark.parametrize(("machine", "examples", "steps"), [(StoreMachine, 60, 40), (ShellMachine, 40, 40)])
def test_what_really_keeps_trainings(machine: type[TrainingMachine], examples: int, steps: int) -> None:
    # A step takes 10 ms in a shell: the example that fails is shown as it is.
    few = settings(
        MANY,
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=few)


@pytest.fixture(params=["shell", "store", "protocol"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "protocol":
        yield World(ReferenceSide())
    elif request.param == "shell":
        yield World(ShellSide(tmp_path))
    else:
        side = StoreSide(tmp_path)
        yield World(side)
        side.close()


def test_submission_from_before_a_clear_that_comes_late_takes_nothing_over(world: World) -> None:
    world.submit()
    world.side.a_supervisor_comes_up()
    world.side.a_training_begins()
    world.clear()
    world.submit()
    world.submit(back=1)
    world.cancel(back=1)
    assert world.side.stoppers == []
    world.cancel(back=0)
    world.side.a_stopper_works()
    assert world.side.trainings == []
    world.check()


def test_training_that_was_forked_before_it_was_judged_lost_does_not_run(world: World) -> None:
    world.submit()
    world.side.a_supervisor_comes_up()
    world.side.a_supervisor_is_killed()
    world.look()
    world.submit()
    world.side.a_supervisor_comes_up()
    for _ in range(2):
        world.side.a_training_begins()
        world.check()
    assert world.side.starts == {2: 1}


def test_stranger_with_the_number_of_a_training_after_a_restart_is_none(world: World) -> None:
    world.submit()
    world.side.a_supervisor_comes_up()
    world.side.a_training_begins()
    world.side.the_host_is_restarted()
    world.look()
    world.cancel(back=0)
    world.side.a_stopper_works()
    world.retry()
    world.submit()
    assert max(world.known) == 2
    world.check()


class JudgesWithoutTakingTheName(ReferenceSide):
    def void(self, kept: Any) -> None:
        """Leave the name to a training that may still come."""


class LetsAnybodyCancel(ReferenceSide):
    def may_cancel(self, kept: Any, owner: str) -> bool:
        return True


class ForgetsWhatWasAcknowledged(ReferenceSide):
    """Any success counts as returned, so that a clear trains anew what nobody has seen."""

    def _newest(self) -> Generation | None:
        newest = super()._newest()
        return newest and replace(newest, acknowledged=True)


class LetsAnEarlierTryTakeOver(ReferenceSide):
    def _adopt(self, number: int, job: TrainingJob, crash_at: int) -> Submission | None:
        return super()._adopt(
            number, replace(job, epoch=max(job.epoch, self.facts()[number - 1].epoch)), crash_at
        )


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (JudgesWithoutTakingTheName, "live at the same time|began beside a live one|an end was changed"),
        (LetsAnybodyCancel, "a stale owner was let cancel"),
        (ForgetsWhatWasAcknowledged, "a finished training was lost"),
        (LetsAnEarlierTryTakeOver, "taken over by a stale owner"),
    ],
)
def test_a_protocol_that_is_broken_is_found(broken: type[ReferenceSide], found: str) -> None:
    class Machine(TrainingMachine):
        def make_side(self) -> Side:
            return broken()

    quick = settings(MANY, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError, match=found):
        run_state_machine_as_test(Machine, settings=quick)
