# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP contract; what OpenAPI shows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# These go into environment variables as they are.
Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Line = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]

# Larger numbers do not fit into every database.
Count = Annotated[int, Field(ge=0, le=2**62)]
# Databases do not take NUL in a text.
_Text = r"^[^\x00]*$"

IDENTITY_FIELDS = frozenset({"key", "owner", "epoch", "digest", "submission_id", "known_generation"})


class TriggerRequest(BaseModel):
    """
    What to train. Fields that are not named here are handed to the training as they are.

    The last six fields say who asks and are no part of the request. A caller that retries by itself leaves
    them out: `Idempotency-Key` then always stands for the one training that it started first.
    """

    model_config = ConfigDict(extra="allow")

    model_type: Word | None = Field(None, description="Chooses the pipeline, unless `pipeline` does.")
    pipeline: Word | None = Field(None, description="Name of a pipeline that is configured on the host.")
    features_uri: Line | None = Field(None, description="Prefix of one feature-set version.")
    features_fingerprint: Line | None = None
    experiment_name: Line | None = None
    params: dict[str, Any] | None = Field(None, description="Hyper-parameters.")
    config_path: Line | None = Field(None, description="A configuration file on the host.")
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="The longest that the training may run, not counting the queue."
    )
    key: Word | None = Field(
        None,
        description="Identity of the training; the same as `Idempotency-Key`. Needs `owner` and `epoch`.",
    )
    owner: Word | None = Field(
        None,
        description="Who may cancel; the latest submission of the key decides. When owners end in a colon "
        "and the number of their try, an earlier try of the same epoch takes nothing over from a later one.",
    )
    epoch: Count | None = Field(
        None,
        description="Grows when a person asks for the training anew. A failed training is started again by "
        "the next submission, a succeeded and acknowledged one by a submission of a later epoch.",
    )
    digest: Annotated[str, StringConstraints(max_length=200, pattern=_Text)] | None = Field(
        None, description="The caller's digest of the request, for error messages and comparison."
    )
    submission_id: Word | None = Field(
        None,
        description="Names one call. A repeated call gets its first answer, even when the job failed since.",
    )
    known_generation: Count | None = Field(
        None,
        description="The latest generation that the caller was told of. If the service does not know it, it "
        "has lost its memory, starts nothing and answers 410.",
    )


class Links(BaseModel):
    """Paths on this service."""

    self: str
    logs: str
    result: str
    cancel: str
    acknowledge: str


class Triggered(BaseModel):
    """
    The job that stands for the key.

    The header `Idempotent-Replayed` says `true` when it was there before.
    """

    status: str = Field("triggered", description="Always `triggered`; see `links.self` for the job's status.")
    job_id: str
    key: str
    generation: int = Field(description="How many times the key was really started.")
    links: Links


class JobStatus(BaseModel):
    """A job. `Retry-After` says how long to wait until asking again; it is missing when the job is over."""

    job_id: str
    key: str
    generation: int
    status: str = Field(
        description="queued, starting, running, orphaned (runs without its supervisor), cancelling, "
        "succeeded, failed, cancelled, timed_out or lost (gone without having reported an end)"
    )
    exit_code: int | None = Field(description="Of the training; 128 + n when signal n killed it.")
    reason: str = Field(description="A sentence about a failure.")
    pipeline: str
    instance: str = Field(description="The service that runs it, when several share a database; else empty.")
    created_at: str
    started_at: str | None
    finished_at: str | None
    acknowledged: bool
    log_size: int | None = Field(description="Bytes of log so far; null for a job of another service.")
    log_shown: int | None = Field(description="Bytes of log that `status:batch` was told of as `shown`.")
    progress: str | None = Field(
        description="Last line that the training wrote to `MLBRIDGE_PROGRESS_FILE`; at most 200 characters."
    )
    links: Links


class BatchRequest(BaseModel):
    """Jobs to look up."""

    job_ids: Annotated[list[Word], Field(max_length=1000)]
    shown: Annotated[dict[Word, Count], Field(max_length=1000)] = Field(
        default_factory=dict,
        description="Job id to the bytes of its log that the caller has passed on. Kept, and given back as "
        "`log_shown` to whoever asks next; a number never becomes smaller.",
    )


class BatchAnswer(BaseModel):
    """The jobs that exist, in no order, and the ids of those that do not."""

    jobs: list[JobStatus]
    missing: list[str]


class LogAnswer(BaseModel):
    """A piece of the log."""

    text: str = Field(description="Bytes that are no UTF-8 are replaced by U+FFFD.")
    offset: int
    next_offset: int = Field(description="Byte to go on from.")
    size: int = Field(description="Bytes of log so far.")
    complete: bool = Field(description="Nothing will follow `next_offset`.")


class CancelRequest(BaseModel):
    """Who cancels, and why."""

    owner: Annotated[str, StringConstraints(max_length=200)] = ""
    reason: Annotated[str, StringConstraints(max_length=1000, pattern=_Text)] = "cancelled by its owner"


class AcknowledgeRequest(BaseModel):
    """Who has returned the result."""

    owner: Annotated[str, StringConstraints(max_length=200)] = ""


class Health(BaseModel):
    """The service answers and its database can be read."""

    status: str
    version: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    invalid_params: dict[str, str] | None = Field(
        None, description="Of problem `invalid-parameter`: parameter to what is wrong, with the valid values."
    )
