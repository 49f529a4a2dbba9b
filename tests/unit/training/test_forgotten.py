# SPDX-License-Identifier: Apache-2.0
"""A training's side that has lost its memory, and what tells trainings of the same names apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_mlbridge.exceptions import TrainingForgottenError
from airflow_provider_mlbridge.training.request import TrainingJob, TrainingRequest, training_key
from airflow_provider_mlbridge.training.state import Generation, JobState, next_generation

JOB = TrainingJob("k" * 32, "try-2", 0, TrainingRequest("s3://features/v1", "f1", "exp", "forest"))


def newest(number: int, state: JobState = JobState.FAILED) -> Generation:
    return Generation(number, state, JOB.digest, 0)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("there", [0, 1])
def test_a_side_that_knows_less_than_the_task_starts_nothing(there: int, state: JobState) -> None:
    job = replace(JOB, known_generation=2)
    with pytest.raises(TrainingForgottenError, match="generation 2 was started before"):
        next_generation(job, newest(there, state) if there else None)


def test_a_side_that_knows_as_much_or_more_goes_on() -> None:
    assert next_generation(replace(JOB, known_generation=2), newest(2)) == 3
    assert next_generation(replace(JOB, known_generation=2), newest(3, JobState.RUNNING)) is None


def test_the_error_says_what_to_do_and_is_not_tried_again() -> None:
    with pytest.raises(TrainingForgottenError, match="forgotten='train'") as caught:
        next_generation(replace(JOB, known_generation=1), None)
    assert not caught.value.retryable
    assert JOB.key in str(caught.value)


def test_tasks_of_the_same_names_have_keys_of_their_own_by_incarnation() -> None:
    names = ("bridge", "scheduled__2026-01-01", "train", -1)
    keys = {training_key(*names), training_key(*names, "a"), training_key(*names, "b")}
    assert len(keys) == 3
    assert training_key(*names, "a") == training_key(*names, "a")
    # What belongs to which part matters.
    assert training_key("b", "r", "t", 1, "2") != training_key("b", "r", "t", 12)
