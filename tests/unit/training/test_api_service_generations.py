# SPDX-License-Identifier: Apache-2.0
"""The service decides about generations by itself; its rules must be those of the package."""

from __future__ import annotations

import itertools

import pytest

from airflow_provider_mlbridge.exceptions import TrainingConflictError, TrainingForgottenError
from airflow_provider_mlbridge.training.request import TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.state import Generation, JobState, next_generation
from mlbridge_training_service.generations import (
    ForgottenError,
    Newest,
    RequestChangedError,
    Status,
    generation_to_start,
)

ENDED_BADLY = [Status.FAILED, Status.CANCELLED, Status.TIMED_OUT, Status.LOST]
GOING_ON = [Status.QUEUED, Status.STARTING, Status.RUNNING, Status.ORPHANED, Status.CANCELLING]


def newest(status: Status, *, epoch: int = 1, acknowledged: bool = False) -> Newest:
    return Newest(generation=4, status=status, epoch=epoch, acknowledged=acknowledged)


def test_unknown_key_starts_the_first_generation() -> None:
    assert generation_to_start(None, epoch=7, same_request=False) == 1


@pytest.mark.parametrize("status", ENDED_BADLY)
@pytest.mark.parametrize("same_request", [True, False])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_what_ended_badly_is_started_again(status: Status, same_request: bool, epoch: int) -> None:
    assert generation_to_start(newest(status), epoch=epoch, same_request=same_request) == 5


@pytest.mark.parametrize("status", GOING_ON)
@pytest.mark.parametrize("epoch", [1, 2])
def test_what_goes_on_is_attached_to_and_never_replaced(status: Status, epoch: int) -> None:
    assert generation_to_start(newest(status), epoch=epoch, same_request=True) is None
    with pytest.raises(RequestChangedError):
        generation_to_start(newest(status), epoch=epoch, same_request=False)


def test_result_that_is_owed_is_not_trained_again() -> None:
    done = newest(Status.SUCCEEDED)
    assert generation_to_start(done, epoch=1, same_request=True) is None
    assert generation_to_start(done, epoch=2, same_request=True) is None
    assert generation_to_start(done, epoch=2, same_request=False) == 5
    with pytest.raises(RequestChangedError):
        generation_to_start(done, epoch=1, same_request=False)


def test_returned_result_is_trained_again_in_a_later_epoch_only() -> None:
    done = newest(Status.SUCCEEDED, acknowledged=True)
    assert generation_to_start(done, epoch=1, same_request=True) is None
    assert generation_to_start(done, epoch=2, same_request=True) == 5


def test_generation_that_only_the_caller_knows_of_is_not_started_beside() -> None:
    for there, known in [(None, 1), (newest(Status.FAILED), 5), (newest(Status.RUNNING), 5)]:
        with pytest.raises(ForgottenError):
            generation_to_start(there, epoch=1, same_request=True, known_generation=known)
    assert generation_to_start(newest(Status.FAILED), epoch=1, same_request=True, known_generation=4) == 5


def test_generations_that_were_removed_are_counted_and_not_forgotten() -> None:
    assert generation_to_start(None, epoch=1, same_request=False, known_generation=3, retired=3) == 4
    with pytest.raises(ForgottenError):
        generation_to_start(None, epoch=1, same_request=False, known_generation=4, retired=3)
    # An older one whose result nobody fetched is still kept: it is not the newest.
    kept = newest(Status.SUCCEEDED)
    assert generation_to_start(kept, epoch=1, same_request=True, retired=6) == 7
    assert generation_to_start(kept, epoch=1, same_request=True, retired=3) is None


def test_service_and_package_decide_alike() -> None:
    job_request = TrainingRequest("s3://b/f/", "f00d", "e", "m")
    for status, theirs, ours, acknowledged, same, known in itertools.product(
        (None, *Status), (1, 2), (1, 2, 3), (False, True), (False, True), (0, 3, 4, 5)
    ):
        job = TrainingJob(key="k", owner="o", epoch=ours, request=job_request, known_generation=known)
        there, found = None, None
        if status is not None:
            state = JobState("claimed" if status is Status.QUEUED else status.value)
            there = Generation(4, state, job.digest if same else "other", theirs, acknowledged)
            found = newest(status, epoch=theirs, acknowledged=acknowledged)
        package: int | str | None
        service: int | str | None
        try:
            package = next_generation(job, there)
        except TrainingConflictError:
            package = "conflict"
        except TrainingForgottenError:
            package = "forgotten"
        try:
            service = generation_to_start(found, epoch=ours, same_request=same, known_generation=known)
        except RequestChangedError:
            service = "conflict"
        except ForgottenError:
            service = "forgotten"
        assert service == package, (status, theirs, ours, acknowledged, same, known)
