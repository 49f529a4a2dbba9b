# SPDX-License-Identifier: Apache-2.0
"""States of a training job, and what a new submission of its key does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_mlbridge.exceptions import TrainingConflictError, TrainingForgottenError
from airflow_provider_mlbridge.training.request import TrainingJob


class JobState(StrEnum):
    """
    State of one generation of a training.

    ``UNREACHABLE`` says that the backend cannot be asked; it is never terminal. ``ORPHANED`` is a training
    that runs on while its supervisor is dead.
    """

    CLAIMED = "claimed"
    STARTING = "starting"
    RUNNING = "running"
    ORPHANED = "orphaned"
    CANCELLING = "cancelling"
    UNREACHABLE = "unreachable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """Whether the generation is over."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.LOST}
)


@dataclass(frozen=True)
class JobRef:
    """
    One generation of one training at its backend.

    :param key: identity of the training.
    :param generation: 1, 2, ...
    :param job_id: the backend's name of it.
    """

    key: str
    generation: int
    job_id: str


@dataclass(frozen=True)
class JobStatus:
    """
    What the backend says of a job.

    :param ref: the job.
    :param state: its state.
    :param exit_code: of the training process, where there is one.
    :param reason: a sentence about a failure, else empty.
    :param started_at: UTC, ISO 8601, on the backend's clock.
    :param finished_at: the same for the end.
    :param log_size: bytes of log written so far, where known.
    :param retry_after: seconds that the backend asks to wait before the next question.
    :param progress: what the training last said of its progress, one line, where it says any.
    :param log_shown: bytes of log that were passed on before, as far as the backend was told.
    """

    ref: JobRef
    state: JobState
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    log_size: int | None = None
    retry_after: float | None = None
    progress: str | None = None
    log_shown: int | None = None


@dataclass(frozen=True)
class Generation:
    """
    The newest generation of a key, as a backend finds it when the key is submitted.

    :param number: 1, 2, ...
    :param state: its state.
    :param digest: digest of the request it was started with.
    :param epoch: epoch of its newest submission.
    :param acknowledged: whether the task has returned its result.
    """

    number: int
    state: JobState
    digest: str
    epoch: int
    acknowledged: bool = False


@dataclass(frozen=True)
class Submission:
    """
    Answer to a submission.

    :param ref: the job that now stands for the key.
    :param state: its state.
    :param attached: True when nothing was started.
    :param url: where a person can look, when the backend has such a page.
    """

    ref: JobRef
    state: JobState
    attached: bool
    url: str | None = None


@dataclass(frozen=True)
class LogChunk:
    """Bytes of log as text, and the offset (bytes) to go on from."""

    text: str
    next_offset: int


@dataclass(frozen=True)
class ReportedResult:
    """What the training itself reported: metrics (finite numbers), model, MLflow run, free extra."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    model_uri: str | None = None
    mlflow_run_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def next_generation(job: TrainingJob, newest: Generation | None) -> int | None:
    """
    The generation that a submission of ``job`` starts, or None when it attaches to ``newest``.

    * nothing there, and nothing was there before: 1;
    * failed, cancelled, timed out or lost: the next one, for whatever request;
    * succeeded in an earlier epoch (the task was cleared since), and its result was returned or another
      request is made now: the next one;
    * still going, or succeeded: attach, if the request is the same.

    :raises TrainingConflictError: when it would attach to a training of another request.
    :raises TrainingForgottenError: when the task remembers a later generation than there is.
    """
    if job.known_generation > (newest.number if newest else 0):
        there = f"knows generation {newest.number} as the newest" if newest else "knows nothing of it"
        raise TrainingForgottenError(
            f"training {job.key}: generation {job.known_generation} was started before, but the training's "
            f"side {there}. Its memory was lost or is not there (a disk that is not mounted, another "
            f"database, a folder that was removed), and the training may still run. Bring it back; or see "
            f"that nothing runs, and clear the task with forgotten='train'."
        )
    if newest is None:
        return 1
    if newest.state.is_terminal and newest.state is not JobState.SUCCEEDED:
        return newest.number + 1
    same_request = newest.digest == job.digest
    cleared_since = job.epoch > newest.epoch
    if newest.state is JobState.SUCCEEDED and cleared_since and (newest.acknowledged or not same_request):
        return newest.number + 1
    if not same_request:
        raise TrainingConflictError(
            f"training {job.key} generation {newest.number} is {newest.state.value} with request digest "
            f"{newest.digest[:12]}, but this submission has {job.digest[:12]}: what is to be trained was "
            f"changed under way. Let the running training end or mark the task failed, then clear it."
        )
    return None
