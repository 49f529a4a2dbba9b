# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_mlbridge.exceptions import TrainingConflictError
from airflow_provider_mlbridge.training.request import TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.state import Generation, JobState, next_generation

UNSUCCESSFUL = [JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.LOST]
GOING = [state for state in JobState if not state.is_terminal]


def a_job(model: str = "forest", epoch: int = 0, owner: str = "try-1") -> TrainingJob:
    return TrainingJob("k", owner, epoch, TrainingRequest("s3://features/v1", "f1", "exp", model))


def a_generation(job: TrainingJob, state: JobState, *, acknowledged: bool = False) -> Generation:
    return Generation(4, state, job.digest, job.epoch, acknowledged)


def test_a_new_key_starts_with_generation_one() -> None:
    assert next_generation(a_job(), None) == 1


@pytest.mark.parametrize("state", UNSUCCESSFUL)
@pytest.mark.parametrize("model", ["forest", "linear"])
def test_what_ended_without_success_is_started_again_whatever_the_request(
    state: JobState, model: str
) -> None:
    assert next_generation(a_job(model), a_generation(a_job("forest"), state)) == 5


@pytest.mark.parametrize("state", GOING)
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_going_training_is_attached_to_even_after_a_clear(state: JobState, epoch: int) -> None:
    assert next_generation(a_job(epoch=epoch), a_generation(a_job(), state)) is None


@pytest.mark.parametrize(
    ("acknowledged", "epoch", "expected"), [(False, 0, None), (True, 0, None), (False, 1, None), (True, 1, 5)]
)
def test_a_success_is_trained_again_only_when_cleared_after_its_result_was_returned(
    acknowledged: bool, epoch: int, expected: int | None
) -> None:
    newest = a_generation(a_job(), JobState.SUCCEEDED, acknowledged=acknowledged)
    assert next_generation(a_job(epoch=epoch), newest) == expected


def test_a_cleared_task_with_another_request_does_not_get_the_old_result() -> None:
    assert next_generation(a_job("linear", epoch=1), a_generation(a_job("forest"), JobState.SUCCEEDED)) == 5


@pytest.mark.parametrize("state", [*GOING, JobState.SUCCEEDED])
def test_another_request_is_a_conflict_that_shows_both_digests(state: JobState) -> None:
    running, asked = a_job("forest"), a_job("linear")
    with pytest.raises(TrainingConflictError) as caught:
        next_generation(asked, a_generation(running, state))
    assert running.digest[:12] in str(caught.value)
    assert asked.digest[:12] in str(caught.value)


def test_timeout_and_owner_do_not_make_it_another_training() -> None:
    job = a_job()
    assert replace(job, owner="try-2", request=replace(job.request, timeout_seconds=1.0)).digest == job.digest
    assert replace(job, request=replace(job.request, features_fingerprint="f2")).digest != job.digest


class OneTraining(RuleBasedStateMachine):
    """A host that follows next_generation, under any order of submits, ends, acknowledgements and clears."""

    @initialize()
    def begin(self) -> None:
        self.generations: list[Generation] = []
        self.epoch = 0
        self.returned: set[int] = set()

    @rule(model=st.sampled_from(["forest", "linear"]), stale=st.booleans())
    def submit(self, model: str, stale: bool) -> None:
        job = a_job(model, max(0, self.epoch - 1) if stale else self.epoch)
        newest = self.generations[-1] if self.generations else None
        try:
            number = next_generation(job, newest)
        except TrainingConflictError:
            assert newest is not None
            assert newest.digest != job.digest
            return
        if number is None:
            assert newest is not None
            assert newest.digest == job.digest
            assert newest.state is JobState.SUCCEEDED or not newest.state.is_terminal
            self.generations[-1] = replace(newest, epoch=max(newest.epoch, job.epoch))
            return
        if newest is not None and newest.state is JobState.SUCCEEDED and newest.digest == job.digest:
            assert newest.number in self.returned, "a finished training would be lost"
        self.generations.append(Generation(number, JobState.RUNNING, job.digest, job.epoch))

    @precondition(lambda self: self.generations and not self.generations[-1].state.is_terminal)
    @rule(state=st.sampled_from([JobState.SUCCEEDED, *UNSUCCESSFUL, JobState.ORPHANED, JobState.CANCELLING]))
    def move(self, state: JobState) -> None:
        self.generations[-1] = replace(self.generations[-1], state=state)

    @precondition(lambda self: self.generations and self.generations[-1].state is JobState.SUCCEEDED)
    @rule()
    def acknowledge(self) -> None:
        self.generations[-1] = replace(self.generations[-1], acknowledged=True)
        self.returned.add(self.generations[-1].number)

    @rule()
    def clear(self) -> None:
        self.epoch += 1

    @invariant()
    def at_most_one_lives_and_it_is_the_newest(self) -> None:
        assert [entry.number for entry in self.generations] == list(range(1, len(self.generations) + 1))
        assert all(entry.state.is_terminal for entry in self.generations[:-1])


TestOneTraining = OneTraining.TestCase
TestOneTraining.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
