# SPDX-License-Identifier: Apache-2.0
"""
The jobs, in a database.

Every method is one transaction. On SQLite a transaction that writes takes the write lock when it begins, so
that what it reads still holds when it writes; one that only reads waits for nobody.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
    update,
)

from mlbridge_training_service.generations import (
    TERMINAL,
    Newest,
    RequestChangedError,
    Status,
    generation_to_start,
)
from mlbridge_training_service.payload import canonical_json

_BUSY_TIMEOUT_SECONDS = 30
_READS = "mlbridge_reads"

_METADATA = MetaData()
_JOBS = Table(
    "jobs",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(64), nullable=False, unique=True),
    Column("key", String(200), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("owner", String(500), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("digest", String(200), nullable=False),
    Column("payload_digest", String(64), nullable=False),
    Column("pipeline", String(200), nullable=False),
    Column("payload", Text, nullable=False),
    Column("status", String(20), nullable=False, index=True),
    Column("exit_code", Integer),
    Column("reason", Text, nullable=False),
    Column("cancel_reason", Text),
    Column("created_at", String(40), nullable=False),
    Column("started_at", String(40)),
    Column("finished_at", String(40)),
    Column("acknowledged_at", String(40)),
    UniqueConstraint("key", "generation"),
    sqlite_autoincrement=True,
)
_SUBMISSIONS = Table(
    "submissions",
    _METADATA,
    Column("submission_id", String(200), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
)


class ConflictError(Exception):
    """The key stands for a training of another request."""


class UnknownJobError(Exception):
    """There is no such job."""


class NotOwnerError(Exception):
    """Another attempt owns the job now."""


class NotSucceededError(Exception):
    """Only a succeeded job can be acknowledged."""


@dataclass(frozen=True)
class Submission:
    """
    What a caller wants.

    :param key: identity of the training.
    :param owner: who may cancel; empty when everybody may.
    :param epoch: see :func:`generation_to_start`; 0 when the caller has none.
    :param digest: the caller's own digest of the request; empty when it has none.
    :param payload_digest: ours.
    :param submission_id: one call of the caller, however often it is repeated; empty when it has none.
    :param replay_only: answer with the newest generation, whatever became of it.
    :param pipeline: what to run.
    :param payload: the request.
    :param at: now.
    """

    key: str
    owner: str
    epoch: int
    digest: str
    payload_digest: str
    submission_id: str
    replay_only: bool
    pipeline: str
    payload: Mapping[str, Any]
    at: str


@dataclass(frozen=True)
class Job:
    """One generation of a training, as it is stored."""

    job_id: str
    key: str
    generation: int
    owner: str
    epoch: int
    digest: str
    payload_digest: str
    pipeline: str
    payload: Mapping[str, Any]
    status: Status
    exit_code: int | None
    reason: str
    cancel_reason: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    acknowledged_at: str | None


def _job(row: RowMapping) -> Job:
    values = {name: value for name, value in row.items() if name != "sequence"}
    return Job(**{**values, "payload": json.loads(row["payload"]), "status": Status(row["status"])})


def open_engine(url: str) -> Engine:
    """Engine for the URL; SQLite is set to WAL, durable commits and write transactions."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are begun below, not by the driver
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_SECONDS * 1000}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a 202 holds through a power cut
            connection.execute("PRAGMA foreign_keys = ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            reads = connection.get_execution_options().get(_READS, False)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


class JobStore:
    """All jobs of one service; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._reader = self._engine.execution_options(**{_READS: True})
        _METADATA.create_all(self._engine)

    def close(self) -> None:
        """Release connections."""
        self._engine.dispose()

    def submit(self, submission: Submission) -> tuple[Job, bool]:
        """
        The job that now stands for the key, and whether it was there before.

        :raises ConflictError: when the key stands for another request.
        """
        with self._engine.begin() as connection:
            repeated = self._repeated(connection, submission)
            if repeated is not None:
                return repeated, True
            query = select(_JOBS).where(_JOBS.c.key == submission.key)
            newest_first = query.order_by(_JOBS.c.generation.desc()).limit(1)
            found = connection.execute(newest_first).mappings().one_or_none()
            newest = _job(found) if found is not None else None
            try:
                generation = self._generation_to_start(submission, newest)
            except RequestChangedError:
                raise ConflictError(_describe_conflict(submission, newest)) from None
            if generation is not None or newest is None:
                job = self._insert(connection, submission, generation or 1)
                return job, False
            if submission.epoch >= newest.epoch:
                # The latest attempt takes the job over; one from before a clear does not.
                changes = {"owner": submission.owner, "epoch": submission.epoch}
                connection.execute(update(_JOBS).where(_JOBS.c.job_id == newest.job_id).values(changes))
            self._remember(connection, submission, newest.job_id)
            return newest, True

    @staticmethod
    def _generation_to_start(submission: Submission, newest: Job | None) -> int | None:
        same = newest is not None and (
            newest.payload_digest == submission.payload_digest
            # A digest that the caller did not give says nothing.
            and (not newest.digest or not submission.digest or newest.digest == submission.digest)
        )
        if submission.replay_only and newest is not None:
            if not same:
                raise RequestChangedError
            return None
        if newest is None:
            return 1
        return generation_to_start(
            Newest(newest.generation, newest.status, newest.epoch, newest.acknowledged_at is not None),
            epoch=submission.epoch,
            same_request=same,
        )

    @staticmethod
    def _repeated(connection: Connection, submission: Submission) -> Job | None:
        """The job of an earlier copy of the same call: it may have failed since, and is still the answer."""
        if not submission.submission_id:
            return None
        row = connection.execute(
            select(_JOBS)
            .join(_SUBMISSIONS, _SUBMISSIONS.c.job_id == _JOBS.c.job_id)
            .where(_SUBMISSIONS.c.submission_id == submission.submission_id, _JOBS.c.key == submission.key)
        ).mappings()
        found = row.one_or_none()
        if found is None:
            return None
        job = _job(found)
        if job.payload_digest != submission.payload_digest:
            raise ConflictError(_describe_conflict(submission, job))
        return job

    def _insert(self, connection: Connection, submission: Submission, generation: int) -> Job:
        job_id = secrets.token_hex(16)
        connection.execute(
            insert(_JOBS).values(
                job_id=job_id,
                key=submission.key,
                generation=generation,
                owner=submission.owner,
                epoch=submission.epoch,
                digest=submission.digest,
                payload_digest=submission.payload_digest,
                pipeline=submission.pipeline,
                payload=canonical_json(submission.payload),
                status=Status.QUEUED.value,
                reason="",
                created_at=submission.at,
            )
        )
        self._remember(connection, submission, job_id)
        return self._get(connection, job_id)

    @staticmethod
    def _remember(connection: Connection, submission: Submission, job_id: str) -> None:
        if submission.submission_id:
            values = {"submission_id": submission.submission_id, "job_id": job_id}
            connection.execute(insert(_SUBMISSIONS).values(values))

    def get(self, job_id: str) -> Job:
        """
        One job.

        :raises UnknownJobError: when there is none.
        """
        with self._reader.begin() as connection:
            return self._get(connection, job_id)

    def get_many(self, job_ids: Collection[str]) -> list[Job]:
        """Those of the jobs that exist."""
        with self._reader.begin() as connection:
            rows = connection.execute(select(_JOBS).where(_JOBS.c.job_id.in_(job_ids))).mappings()
            return [_job(row) for row in rows]

    @staticmethod
    def _get(connection: Connection, job_id: str) -> Job:
        row = connection.execute(select(_JOBS).where(_JOBS.c.job_id == job_id)).mappings().one_or_none()
        if row is None:
            raise UnknownJobError(job_id)
        return _job(row)

    def active(self) -> list[Job]:
        """Jobs that were taken from the queue and are not over."""
        idle = [status.value for status in TERMINAL | {Status.QUEUED}]
        with self._reader.begin() as connection:
            query = select(_JOBS).where(_JOBS.c.status.not_in(idle)).order_by(_JOBS.c.sequence)
            return [_job(row) for row in connection.execute(query).mappings()]

    def take_queued(self, room: int) -> list[Job]:
        """Take up to ``room`` jobs from the queue, oldest first; they are ``starting`` now."""
        with self._engine.begin() as connection:
            query = select(_JOBS.c.job_id).where(_JOBS.c.status == Status.QUEUED.value)
            job_ids = connection.execute(query.order_by(_JOBS.c.sequence).limit(room)).scalars().all()
            connection.execute(
                update(_JOBS).where(_JOBS.c.job_id.in_(job_ids)).values(status=Status.STARTING.value)
            )
            return [self._get(connection, job_id) for job_id in job_ids]

    def record(self, job_id: str, status: Status, *, was: Status | None = None, **changes: Any) -> None:
        """
        Record how a job is; what has ended stays as it ended.

        :param was: do nothing when the job's status is another one by now.
        """
        ended = [item.value for item in TERMINAL]
        query = update(_JOBS).where(_JOBS.c.job_id == job_id, _JOBS.c.status.not_in(ended))
        if was is not None:
            query = query.where(_JOBS.c.status == was.value)
        with self._engine.begin() as connection:
            connection.execute(query.values(status=status.value, **changes))

    def cancel(self, job_id: str, owner: str, reason: str, at: str) -> Job:
        """
        Let a job end: at once in the queue, else as ``cancelling``. A job that is over stays as it is.

        :raises UnknownJobError: when there is none.
        :raises NotOwnerError: when another attempt has taken it over.
        """
        with self._engine.begin() as connection:
            job = self._get(connection, job_id)
            _check_owner(job, owner)
            changes: dict[str, Any] = {}
            if job.status is Status.QUEUED:
                changes = {"status": Status.CANCELLED.value, "reason": reason, "finished_at": at}
            elif not job.status.is_terminal and job.cancel_reason is None:
                changes = {"status": Status.CANCELLING.value, "cancel_reason": reason}
            if changes:
                connection.execute(update(_JOBS).where(_JOBS.c.job_id == job_id).values(changes))
            return self._get(connection, job_id)

    def acknowledge(self, job_id: str, owner: str, at: str) -> Job:
        """
        Record that the result was returned; repeating it changes nothing.

        :raises UnknownJobError: when there is none.
        :raises NotOwnerError: when another attempt has taken it over.
        :raises NotSucceededError: when there is no result.
        """
        with self._engine.begin() as connection:
            job = self._get(connection, job_id)
            _check_owner(job, owner)
            if job.status is not Status.SUCCEEDED:
                raise NotSucceededError(f"job {job_id} is {job.status.value}")
            if job.acknowledged_at is None:
                values = {"acknowledged_at": at}
                connection.execute(update(_JOBS).where(_JOBS.c.job_id == job_id).values(values))
            return self._get(connection, job_id)


def _check_owner(job: Job, owner: str) -> None:
    if job.owner and job.owner != owner:
        raise NotOwnerError(
            f"job {job.job_id} was taken over by another attempt; {owner!r} may not change it any more"
        )


def _describe_conflict(submission: Submission, job: Job | None) -> str:
    if job is None:
        return f"key {submission.key!r} is in use"
    theirs, ours = job.digest, submission.digest
    if not theirs or not ours or theirs == ours:
        theirs, ours = job.payload_digest, submission.payload_digest
    return (
        f"key {job.key!r} generation {job.generation} is {job.status.value} with request digest "
        f"{theirs[:12]}, but this submission has {ours[:12]}: one key must not stand for two requests"
    )
