# SPDX-License-Identifier: Apache-2.0
"""
The training's side of the model: who keeps the generations of one key, and the processes that it starts.

:class:`ReferenceSide` is the protocol of mode ssh as a dictionary of names that can be created only once.
What really keeps generations, the host scripts and the service's database, is in ``training_real_sides.py``.
The processes are nothing but names in all of them, so that a machine can kill them between any two steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import (
    Generation,
    JobRef,
    JobState,
    Submission,
    next_generation,
)

Between = Callable[[], None]


class CrashError(Exception):
    """Whoever asked died on the way."""


@dataclass(frozen=True)
class Facts:
    """What is written down of a generation."""

    number: int
    digest: str
    epoch: int
    owner: str
    cancelled: bool = False


@dataclass
class Side:
    """
    One key, and the processes of its trainings.

    :param forks: supervisors on their way, by generation; they have not taken their name yet.
    :param supervisors: those that live.
    :param unborn: trainings that were forked, but have not taken their name yet.
    :param trainings: those that live.
    :param exits: exit codes that a living supervisor is to record.
    :param stoppers: processes on their way that are to stop a training.
    :param starts: how often each generation ran.
    :param signalled: generations that ran when they were told to stop.
    """

    forks: list[int] = field(default_factory=list)
    supervisors: list[int] = field(default_factory=list)
    unborn: list[int] = field(default_factory=list)
    trainings: list[int] = field(default_factory=list)
    exits: dict[int, int] = field(default_factory=dict)
    stoppers: list[int] = field(default_factory=list)
    starts: Counter[int] = field(default_factory=Counter)
    signalled: list[int] = field(default_factory=list)

    # --- what a task asks, and what is written down: one class per side -------------------------------------

    def submit(self, job: TrainingJob, between: Between | None = None, crash_at: int = 0) -> Submission:
        """
        :param between: happens after the side was asked and before it is told.
        :param crash_at: the caller dies right after this name was created; 0: it does not.
        """
        raise NotImplementedError

    def cancel(self, number: int, owner: str) -> bool:
        raise NotImplementedError

    def acknowledge(self, number: int, owner: str) -> None:
        raise NotImplementedError

    def look(self, number: int) -> JobState:
        """The state, judged where nobody is there to tell."""
        raise NotImplementedError

    def facts(self) -> list[Facts]:
        raise NotImplementedError

    def owner(self, name: str) -> str:
        """A task's owner as it is written down."""
        return name

    def publish_supervisor(self, number: int) -> bool:
        raise NotImplementedError

    def publish_training(self, number: int) -> bool:
        raise NotImplementedError

    def conclude(self, number: int, code: int) -> None:
        raise NotImplementedError

    def stop(self, number: int) -> None:
        raise NotImplementedError

    def forget_processes(self) -> None:
        """A process was killed, or all of them by a reboot; :attr:`trainings` and so on say which live."""

    def boot(self) -> None:
        """The host was restarted."""

    def grow_old(self) -> None:
        """So much time passes that nobody waits for a claimer any more."""

    # --- what happens to processes --------------------------------------------------------------------------

    def a_supervisor_comes_up(self) -> None:
        if not self.forks:
            return
        number = self.forks.pop(0)
        if self.publish_supervisor(number):
            self.supervisors.append(number)
            self.unborn.append(number)

    def a_training_begins(self) -> None:
        if not self.unborn:
            return
        number = self.unborn.pop(0)
        if self.publish_training(number):
            self.trainings.append(number)
            self.starts[number] += 1
        elif number in self.supervisors:
            self.exits[number] = 125

    def a_training_ends(self, code: int) -> None:
        if not self.trainings:
            return
        number = self.trainings.pop(0)
        if number in self.supervisors:
            self.exits[number] = code
        self.forget_processes()

    def a_supervisor_records_the_end(self) -> None:
        for number, code in list(self.exits.items()):
            del self.exits[number]
            self.conclude(number, code)
            self.supervisors.remove(number)
            self.forget_processes()

    def a_supervisor_is_killed(self) -> None:
        if not self.supervisors:
            return
        self.exits.pop(self.supervisors.pop(0), None)
        self.forget_processes()

    def the_host_is_restarted(self) -> None:
        for processes in (self.forks, self.supervisors, self.unborn, self.trainings, self.stoppers):
            processes.clear()
        self.exits.clear()
        self.forget_processes()
        self.boot()

    def a_stopper_works(self) -> None:
        if self.stoppers:
            self.stop(self.stoppers.pop(0))

    def a_stopper_is_killed(self) -> None:
        if self.stoppers:
            self.stoppers.pop(0)

    def was_told_to_stop(self, number: int) -> None:
        """The training got a signal, and goes."""
        if number in self.trainings:
            self.signalled.append(number)
            self.trainings.remove(number)
            if number in self.supervisors:
                self.exits[number] = 143
            self.forget_processes()


@dataclass
class _Kept:
    """The names of one generation; of each, the first that is written stays."""

    claim: Facts
    turns: list[tuple[str, int, str]] = field(default_factory=list)
    supervisor: int | None = None
    training: int | str | None = None
    end: JobState | None = None
    acknowledged: bool = False
    old: bool = False

    @property
    def facts(self) -> Facts:
        epoch, owner, cancelled = self.claim.epoch, self.claim.owner, False
        for kind, turn_epoch, turn_owner in self.turns:
            if kind == "own":
                epoch, owner = turn_epoch, turn_owner
            else:
                cancelled = True
        return Facts(self.claim.number, self.claim.digest, epoch, owner, cancelled)


class ReferenceSide(Side):
    """The protocol itself."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[_Kept] = []
        self.boots = 0

    def facts(self) -> list[Facts]:
        return [kept.facts for kept in self.kept]

    def submit(self, job: TrainingJob, between: Between | None = None, crash_at: int = 0) -> Submission:
        while True:
            newest = self._newest()
            number = next_generation(job, newest)
            if between is not None:
                between()
                between = None
            if number is None:
                assert newest is not None
                done = self._adopt(newest.number, job, crash_at)
            else:
                done = self._claim(number, job, crash_at)
            if done is not None:
                return done

    def _newest(self) -> Generation | None:
        if not self.kept:
            return None
        kept = self.kept[-1]
        state = self.look(kept.claim.number)
        facts = kept.facts
        return Generation(facts.number, state, facts.digest, facts.epoch, kept.acknowledged)

    def _claim(self, number: int, job: TrainingJob, crash_at: int) -> Submission | None:
        if number <= len(self.kept):
            return None
        self.kept.append(_Kept(Facts(number, job.digest, job.epoch, job.owner)))
        if crash_at:
            raise CrashError
        self.forks.append(number)
        return Submission(_ref(number), self.look(number), attached=False)

    def _adopt(self, number: int, job: TrainingJob, crash_at: int) -> Submission | None:
        state = self.look(number)
        kept = self.kept[number - 1]
        if state.is_terminal and state is not JobState.SUCCEEDED:
            return None
        if job.epoch >= kept.facts.epoch:
            self.take_over(kept, job)
        if crash_at:
            raise CrashError
        if state is JobState.CLAIMED:
            self.forks.append(number)
        return Submission(_ref(number), self.look(number), attached=True)

    def take_over(self, kept: _Kept, job: TrainingJob) -> None:
        kept.turns.append(("own", job.epoch, job.owner))

    def may_cancel(self, kept: _Kept, owner: str) -> bool:
        return kept.facts.owner == owner

    def cancel(self, number: int, owner: str) -> bool:
        state = self.look(number)
        kept = self.kept[number - 1]
        if not self.may_cancel(kept, owner):
            return False
        if not state.is_terminal:
            if not kept.facts.cancelled:
                kept.turns.append(("cancel", 0, owner))
            self.stoppers.append(number)
        return True

    def acknowledge(self, number: int, owner: str) -> None:
        kept = self.kept[number - 1]
        if self.look(number) is JobState.SUCCEEDED and kept.facts.owner == owner:
            kept.acknowledged = True

    def void(self, kept: _Kept) -> None:
        """Take the name of the training, so that nothing becomes it any more."""
        if kept.training is None:
            kept.training = "void"

    def look(self, number: int) -> JobState:
        kept = self.kept[number - 1]
        if kept.end is not None:
            return kept.end
        watched = kept.supervisor == self.boots and number in self.supervisors
        cancelled = kept.facts.cancelled
        if kept.training is None:
            if watched:
                return JobState.CANCELLING if cancelled else JobState.STARTING
            if kept.supervisor is None and not kept.old:
                return JobState.CANCELLING if cancelled else JobState.CLAIMED
            self.void(kept)
        if kept.training == self.boots and number in self.trainings:
            if cancelled:
                return JobState.CANCELLING
            return JobState.RUNNING if watched else JobState.ORPHANED
        if watched and kept.training != "void":
            return JobState.CANCELLING if cancelled else JobState.RUNNING
        return self._settle(kept, None)

    def _settle(self, kept: _Kept, code: int | None) -> JobState:
        if kept.end is not None:
            return kept.end
        if kept.facts.cancelled:
            kept.end = JobState.CANCELLED
        elif code is None:
            kept.end = JobState.LOST
        else:
            kept.end = JobState.FAILED if code else JobState.SUCCEEDED
        return kept.end

    def publish_supervisor(self, number: int) -> bool:
        kept = self.kept[number - 1]
        if kept.supervisor is not None:
            return False
        kept.supervisor = self.boots
        return True

    def publish_training(self, number: int) -> bool:
        kept = self.kept[number - 1]
        if kept.training is not None:
            return False
        kept.training = self.boots
        return True

    def conclude(self, number: int, code: int) -> None:
        kept = self.kept[number - 1]
        self._settle(kept, None if kept.training == "void" else code)

    def stop(self, number: int) -> None:
        self.void(self.kept[number - 1])
        self.was_told_to_stop(number)
        self.look(number)

    def boot(self) -> None:
        self.boots += 1

    def grow_old(self) -> None:
        for kept in self.kept:
            kept.old = True


def _ref(number: int) -> JobRef:
    return JobRef("k", number, str(number))
