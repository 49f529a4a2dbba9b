# SPDX-License-Identifier: Apache-2.0
"""What may happen to the trainings of one task instance, in any order, and what must hold whatever does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from airflow_provider_mlbridge.exceptions import TrainingConflictError
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.state import JobState
from tests.unit.training.training_sides import CrashError, Side


@dataclass(frozen=True)
class Attempt:
    """One try of the task."""

    owner: str
    epoch: int

    def job(self, model: str = "forest") -> TrainingJob:
        request = TrainingRequest("s3://features/v1", "f1", "exp", model)
        return TrainingJob("k", self.owner, self.epoch, request, SSHLaunch("true"))


@dataclass
class Expected:
    """What the world knows of a generation, whatever the side has written down."""

    epoch: int
    owner: str
    digest: str
    ended: JobState | None = None
    returned: bool = False
    cancelled: bool = False


@dataclass
class World:
    """
    A task with its tries on one side, a :class:`Side` on the other.

    Every method is something that happens; it checks what is answered.
    """

    side: Side
    attempts: list[Attempt] = field(default_factory=lambda: [Attempt("try-1", 0)])
    known: dict[int, Expected] = field(default_factory=dict)

    @property
    def latest(self) -> Attempt:
        return self.attempts[-1]

    def retry(self) -> None:
        self.attempts.append(Attempt(f"try-{len(self.attempts) + 1}", self.latest.epoch))

    def clear(self) -> None:
        self.attempts.append(Attempt(f"try-{len(self.attempts) + 1}", self.latest.epoch + 1))

    def attempt(self, back: int) -> Attempt:
        """The latest try, or one that many before it."""
        return self.attempts[max(0, len(self.attempts) - 1 - back)]

    def submit(
        self,
        back: int = 0,
        model: str = "forest",
        between: Callable[[], None] | None = None,
        crash_at: int = 0,
    ) -> None:
        job = self.attempt(back).job(model)
        # The side decided by what it saw: before the other thing happened, or after.
        seen = [self._copy()]

        def meanwhile() -> None:
            if between is not None:
                between()
            self._note()
            seen.append(self._copy())

        try:
            answer = self.side.submit(job, meanwhile, crash_at)
        except TrainingConflictError:
            self._note()
            assert self.known[max(self.known)].digest != job.digest, "a conflict with the same request"
            return
        except CrashError:
            # Nobody knows how far it came; what is written down says who owns what.
            self._note()
            return
        number = answer.ref.generation
        before = dict(self.known)
        self._note()
        assert number == max(self.known), "an older generation stands for the key"
        if not answer.attached:
            assert number not in before
            assert len(before) == number - 1
            losses = {self._loss(then, job) for then in seen}
            assert "" in losses, losses
            return
        assert number in before, "attached to what was not there"
        generation = before[number]
        assert generation.digest == job.digest, "attached to a training of another request"
        assert answer.state is JobState.SUCCEEDED or not answer.state.is_terminal or generation.cancelled
        if generation.ended is JobState.SUCCEEDED:
            assert answer.state is JobState.SUCCEEDED, "a finished training was not returned"
        if job.epoch >= generation.epoch:
            generation.owner, generation.epoch = job.owner, job.epoch
        self._check_owner(number)

    def _copy(self) -> dict[int, Expected]:
        return {number: replace(known) for number, known in self.known.items()}

    @staticmethod
    def _loss(known: dict[int, Expected], job: TrainingJob) -> str:
        """What would be lost by a training that is started now; empty when nothing would."""
        last = known[max(known)] if known else None
        if last is None or last.ended is not JobState.SUCCEEDED:
            return ""
        if job.epoch <= last.epoch:
            return "a retry trained what was finished"
        return "" if last.returned or last.digest != job.digest else "a finished training was lost"

    def _check_owner(self, number: int) -> None:
        """A later try holds the job, unless a try from after a clear had it before."""
        facts = self.side.facts()[number - 1]
        assert facts.owner == self.side.owner(self.known[number].owner), "taken over by a stale owner"
        assert facts.epoch == self.known[number].epoch

    def _note(self) -> None:
        """Take over what a caller that was not heard of again may have written."""
        owners = {self.side.owner(attempt.owner): attempt for attempt in self.attempts}
        for facts in self.side.facts():
            attempt = owners[facts.owner]
            known = self.known.setdefault(facts.number, Expected(facts.epoch, attempt.owner, facts.digest))
            assert facts.epoch >= known.epoch, "the epoch went back"
            if facts.epoch > known.epoch or attempt.epoch >= known.epoch:
                known.owner, known.epoch = attempt.owner, facts.epoch

    def look(self) -> None:
        if not self.known:
            return
        number = max(self.known)
        state = self.side.look(number)
        known = self.known[number]
        if known.ended is not None:
            assert state is known.ended, "an end was changed"
        if state.is_terminal:
            known.ended = state
        if state in (JobState.RUNNING, JobState.ORPHANED):
            assert number in [*self.side.trainings, *self.side.supervisors], (
                f"{state.value}, and nobody is there"
            )

    def cancel(self, back: int, generation_back: int = 0) -> None:
        """A cancel arrives: of the latest try or of one before it, for the newest generation or an older."""
        if not self.known:
            return
        number = max(1, max(self.known) - generation_back)
        attempt, known = self.attempt(back), self.known[number]
        alive = list(self.side.trainings)
        done = self.side.cancel(number, attempt.owner)
        if attempt.owner != known.owner:
            assert not done, "a stale owner was let cancel"
            assert self.side.trainings == alive
        else:
            assert done, "the owner was refused"
            known.cancelled = True

    def acknowledge(self, back: int = 0) -> None:
        """The try has returned the result; it says so only when it has seen the success."""
        if not self.known:
            return
        number = max(self.known)
        self.look()
        known = self.known[number]
        if known.ended is JobState.SUCCEEDED:
            self.side.acknowledge(number, self.attempt(back).owner)
            known.returned |= self.attempt(back).owner == known.owner

    def check(self) -> None:
        """What must hold at any time."""
        assert len(self.side.trainings) <= 1, f"live at the same time: {self.side.trainings}"
        assert all(count == 1 for count in self.side.starts.values()), f"started again: {self.side.starts}"
        for number in self.side.signalled:
            assert self.known[number].cancelled, f"generation {number} was killed, and nobody cancelled it"
        if self.side.trainings and self.known:
            newest = max(facts.number for facts in self.side.facts())
            assert self.side.trainings == [newest], "the next generation began beside a live one"


# What may come in between the question of a submission and its answer to it.
BETWEEN = ("nothing", "submit", "age", "supervisor", "end", "record", "kill", "judge", "cancel", "reboot")


class TrainingMachine(RuleBasedStateMachine):
    """All of :class:`World` in any order; a subclass names the side."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.make_side())

    def make_side(self) -> Side:
        raise NotImplementedError

    @rule(
        model=st.sampled_from(["forest", "forest", "forest", "linear"]),
        between=st.sampled_from(BETWEEN),
        crash_at=st.sampled_from([0, 0, 0, 1, 2, 3]),
    )
    def submit(self, model: str, between: str, crash_at: int) -> None:
        self.world.submit(model=model, between=lambda: self.happen(between), crash_at=crash_at)

    @rule(back=st.integers(1, 2))
    def submission_of_an_earlier_try_arrives_late(self, back: int) -> None:
        self.world.submit(back)

    def happen(self, what: str) -> None:
        side = self.world.side
        events: dict[str, Callable[[], None]] = {
            "nothing": lambda: None,
            "submit": lambda: self.world.submit(1),
            "age": side.grow_old,
            "supervisor": side.a_supervisor_comes_up,
            "end": lambda: side.a_training_ends(0),
            "record": side.a_supervisor_records_the_end,
            "kill": side.a_supervisor_is_killed,
            "judge": self.world.look,
            "cancel": lambda: self.world.cancel(0),
            "reboot": side.the_host_is_restarted,
        }
        events[what]()

    @rule()
    def retry(self) -> None:
        self.world.retry()

    @rule()
    def clear(self) -> None:
        self.world.clear()

    @rule(back=st.integers(0, 2), generation_back=st.integers(0, 1))
    def cancel_arrives(self, back: int, generation_back: int) -> None:
        self.world.cancel(back, generation_back)

    @rule(back=st.integers(0, 1))
    def acknowledge(self, back: int) -> None:
        self.world.acknowledge(back)

    @rule()
    def look(self) -> None:
        self.world.look()

    @precondition(lambda self: self.world.side.forks)
    @rule()
    def a_supervisor_comes_up(self) -> None:
        self.world.side.a_supervisor_comes_up()

    @precondition(lambda self: self.world.side.unborn)
    @rule()
    def a_training_begins(self) -> None:
        self.world.side.a_training_begins()

    @precondition(lambda self: self.world.side.trainings)
    @rule(code=st.sampled_from([0, 0, 3, 137]))
    def a_training_ends_or_is_killed(self, code: int) -> None:
        self.world.side.a_training_ends(code)

    @precondition(lambda self: self.world.side.exits)
    @rule()
    def a_supervisor_records_the_end(self) -> None:
        self.world.side.a_supervisor_records_the_end()

    @rule(code=st.sampled_from([0, 0, 3]))
    def a_training_runs_through(self, code: int) -> None:
        side = self.world.side
        side.a_supervisor_comes_up()
        side.a_training_begins()
        side.a_training_ends(code)
        side.a_supervisor_records_the_end()
        self.world.look()

    @precondition(lambda self: self.world.side.supervisors)
    @rule()
    def a_supervisor_is_killed(self) -> None:
        self.world.side.a_supervisor_is_killed()

    @precondition(lambda self: self.world.side.stoppers)
    @rule(killed=st.booleans())
    def a_stopper_works(self, killed: bool) -> None:
        if killed:
            self.world.side.a_stopper_is_killed()
        else:
            self.world.side.a_stopper_works()

    @precondition(lambda self: self.world.known)
    @rule(restarted=st.booleans())
    def time_passes(self, restarted: bool) -> None:
        if restarted:
            self.world.side.the_host_is_restarted()
        else:
            self.world.side.grow_old()

    @invariant()
    def whatever_happens(self) -> None:
        self.world.check()
