# SPDX-License-Identifier: Apache-2.0
"""
The jobs, in a database.

Every method is one transaction. What it reads still holds when it writes: on SQLite a transaction that writes
takes the write lock when it begins; elsewhere it locks the rows that it decides about, or repeats its
condition in the statement that writes. One that only reads waits for nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from mlbridge_training_service.generations import (
    TERMINAL,
    ForgottenError,
    Newest,
    RequestChangedError,
    Status,
    generation_to_start,
    takes_over,
)
from mlbridge_training_service.tables import (
    JOBS,
    READS,
    RETIRED,
    SUBMISSIONS,
    Job,
    Submission,
    new_row,
    open_engine,
    to_job,
)

_ENDED = [status.value for status in TERMINAL]
_SUBMIT_TRIES = 5


class ConflictError(Exception):
    """The key stands for a training of another request."""


class UnknownJobError(Exception):
    """There is no such job."""


class NotOwnerError(Exception):
    """Another attempt has taken the job over."""


class NotSucceededError(Exception):
    """Only a succeeded job can be acknowledged."""


class JobStore:
    """
    All jobs of one service; safe to use from several threads.

    :param url: SQLAlchemy URL.
    :param instance: which service this is, where several share the database. They share keys, so that none
        starts a second training of one; each runs, queues and judges its own jobs only.
    :raises ConfigError: when the URL cannot be used.
    """

    def __init__(self, url: str, *, instance: str = "") -> None:
        self.instance = instance
        self._engine = open_engine(url)
        self._reader = self._engine.execution_options(**READS)

    def close(self) -> None:
        """Release connections."""
        self._engine.dispose()

    def submit(self, submission: Submission) -> tuple[Job, bool]:
        """
        The job that now stands for the key, and whether it was there before.

        :raises ConflictError: when the key stands for another request.
        :raises ForgottenError: when the caller knows of a later generation than there is.
        """
        for _ in range(_SUBMIT_TRIES - 1):
            try:
                return self._submit(submission)
            except IntegrityError:
                # Another submission of the key was first; nothing could be locked, for there was no row.
                continue
        return self._submit(submission)

    def _submit(self, submission: Submission) -> tuple[Job, bool]:
        with self._engine.begin() as connection:
            repeated = self._repeated(connection, submission)
            if repeated is not None:
                return repeated, True
            of_key = select(JOBS).where(JOBS.c.key == submission.key)
            newest_first = of_key.order_by(JOBS.c.generation.desc()).limit(1).with_for_update()
            found = connection.execute(newest_first).mappings().one_or_none()
            newest = to_job(found) if found is not None else None
            # Read after the row was locked: a row that was removed while this waited for it has left a trace.
            retired = select(RETIRED.c.generation).where(RETIRED.c.key == submission.key)
            generation = self._decide(submission, newest, connection.execute(retired).scalar() or 0)
            if generation is not None or newest is None:
                job_id = secrets.token_hex(16)
                row = new_row(submission, job_id=job_id, generation=generation or 1, instance=self.instance)
                connection.execute(insert(JOBS).values(row))
                self._remember(connection, submission, job_id)
                return self._get(connection, job_id), False
            if takes_over(submission.owner, submission.epoch, owner_now=newest.owner, epoch_now=newest.epoch):
                changes = {"owner": submission.owner, "epoch": submission.epoch}
                connection.execute(update(JOBS).where(JOBS.c.job_id == newest.job_id).values(changes))
            self._remember(connection, submission, newest.job_id)
            return newest, True

    @staticmethod
    def _decide(submission: Submission, newest: Job | None, retired: int) -> int | None:
        same = newest is not None and (
            newest.payload_digest == submission.payload_digest
            # A digest that the caller did not give says nothing.
            and (not newest.digest or not submission.digest or newest.digest == submission.digest)
        )
        replays = submission.replay_only and newest is not None and newest.generation >= retired
        try:
            if replays:
                if not same:
                    raise RequestChangedError
                return None
            known = None
            if newest is not None:
                returned = newest.acknowledged_at is not None
                known = Newest(newest.generation, newest.status, newest.epoch, returned)
            return generation_to_start(
                known,
                epoch=submission.epoch,
                same_request=same,
                known_generation=submission.known_generation,
                retired=retired,
            )
        except RequestChangedError:
            raise ConflictError(_describe_conflict(submission, newest)) from None
        except ForgottenError:
            raise ForgottenError(_describe_forgotten(submission, newest, retired)) from None

    @staticmethod
    def _repeated(connection: Connection, submission: Submission) -> Job | None:
        """The job of an earlier copy of the same call: it may have failed since, and is still the answer."""
        if not submission.submission_id:
            return None
        row = connection.execute(
            select(JOBS)
            .join(SUBMISSIONS, SUBMISSIONS.c.job_id == JOBS.c.job_id)
            .where(SUBMISSIONS.c.submission_id == submission.submission_id)
        ).mappings()
        found = row.one_or_none()
        if found is None:
            return None
        job = to_job(found)
        if job.key != submission.key:
            raise ConflictError(
                f"submission_id {submission.submission_id!r} was used for key {job.key!r}; send a new one "
                f"with every call that is not a repetition"
            )
        if job.payload_digest != submission.payload_digest:
            raise ConflictError(_describe_conflict(submission, job))
        return job

    @staticmethod
    def _remember(connection: Connection, submission: Submission, job_id: str) -> None:
        if submission.submission_id:
            values = {"submission_id": submission.submission_id, "job_id": job_id}
            connection.execute(insert(SUBMISSIONS).values(values))

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
            rows = connection.execute(select(JOBS).where(JOBS.c.job_id.in_(job_ids))).mappings()
            return [to_job(row) for row in rows]

    @staticmethod
    def _get(connection: Connection, job_id: str, *, lock: bool = False) -> Job:
        query: Select[Any] = select(JOBS).where(JOBS.c.job_id == job_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is None:
            raise UnknownJobError(job_id)
        return to_job(row)

    def active(self) -> list[Job]:
        """Jobs of this service that were taken from the queue and are not over."""
        idle = [*_ENDED, Status.QUEUED.value]
        query = select(JOBS).where(JOBS.c.instance == self.instance, JOBS.c.status.not_in(idle))
        with self._reader.begin() as connection:
            return [to_job(row) for row in connection.execute(query.order_by(JOBS.c.sequence)).mappings()]

    def take_queued(self, room: int) -> list[Job]:
        """Take up to ``room`` of this service's jobs from the queue, oldest first, as ``starting`` now."""
        queued = (JOBS.c.instance == self.instance, JOBS.c.status == Status.QUEUED.value)
        with self._engine.begin() as connection:
            query = select(JOBS.c.job_id).where(*queued).order_by(JOBS.c.sequence).limit(room)
            job_ids = connection.execute(query).scalars().all()
            if not job_ids:
                return []
            # The condition stands here again, because a job may be cancelled between the two statements.
            taken = update(JOBS).where(JOBS.c.job_id.in_(job_ids), *queued)
            connection.execute(taken.values(status=Status.STARTING.value))
            jobs = [self._get(connection, job_id) for job_id in job_ids]
            return [job for job in jobs if job.status is Status.STARTING]

    def record(self, job_id: str, status: Status, *, was: Status | None = None, **changes: Any) -> bool:
        """
        Record how a job is; what has ended stays as it ended.

        :param was: do nothing when the job's status is another one by now.
        :return: whether it was recorded.
        """
        query = update(JOBS).where(JOBS.c.job_id == job_id, JOBS.c.status.not_in(_ENDED))
        if was is not None:
            query = query.where(JOBS.c.status == was.value)
        with self._engine.begin() as connection:
            return connection.execute(query.values(status=status.value, **changes)).rowcount > 0

    def show(self, shown: Mapping[str, int]) -> None:
        """Keep how many bytes of their logs callers have passed on; a number never becomes smaller."""
        if not shown:
            return
        with self._engine.begin() as connection:
            # In one order, so that two calls with the same jobs cannot wait for each other.
            for job_id, size in sorted(shown.items()):
                grown = or_(JOBS.c.log_shown.is_(None), JOBS.c.log_shown < size)
                connection.execute(update(JOBS).where(JOBS.c.job_id == job_id, grown).values(log_shown=size))

    def cancel(self, job_id: str, owner: str, reason: str, at: str) -> Job:
        """
        Let a job end: at once in the queue, else as ``cancelling``. A job that is over stays as it is.

        :raises UnknownJobError: when there is none.
        :raises NotOwnerError: when another attempt has taken it over.
        """
        with self._engine.begin() as connection:
            job = self._get(connection, job_id, lock=True)
            _check_owner(job, owner)
            changes: dict[str, Any] = {}
            if job.status is Status.QUEUED:
                changes = {"status": Status.CANCELLED.value, "reason": reason, "finished_at": at}
            elif not job.status.is_terminal and job.cancel_reason is None:
                changes = {"status": Status.CANCELLING.value, "cancel_reason": reason}
            if changes:
                connection.execute(update(JOBS).where(JOBS.c.job_id == job_id).values(changes))
            return self._get(connection, job_id)

    def acknowledge(self, job_id: str, owner: str, at: str) -> Job:
        """
        Record that the result was returned; repeating it changes nothing.

        :raises UnknownJobError: when there is none.
        :raises NotOwnerError: when another attempt has taken it over.
        :raises NotSucceededError: when there is no result.
        """
        with self._engine.begin() as connection:
            job = self._get(connection, job_id, lock=True)
            _check_owner(job, owner)
            if job.status is not Status.SUCCEEDED:
                raise NotSucceededError(f"job {job_id} is {job.status.value}")
            if job.acknowledged_at is None:
                values = {"acknowledged_at": at}
                connection.execute(update(JOBS).where(JOBS.c.job_id == job_id).values(values))
            return self._get(connection, job_id)

    def over_before(self, before: str, *, limit: int) -> list[str]:
        """
        Jobs of this service that ended before a moment and whose result is owed to nobody, oldest first.

        The result of a success is owed until it is acknowledged, except to callers without identity, who
        are not asked to.
        """
        owed = (JOBS.c.status == Status.SUCCEEDED.value) & JOBS.c.acknowledged_at.is_(None)
        over = (JOBS.c.instance == self.instance, JOBS.c.status.in_(_ENDED), JOBS.c.finished_at < before)
        query = select(JOBS.c.job_id).where(*over, ~(owed & (JOBS.c.owner != "")))
        with self._reader.begin() as connection:
            return list(connection.execute(query.order_by(JOBS.c.sequence).limit(limit)).scalars())

    def remove(self, job_id: str, before_commit: Callable[[], None]) -> None:
        """
        Remove a job that is over. Which generation it was is remembered.

        :param before_commit: called when nobody can attach to the job any more; an error of it keeps the job.
        """
        with self._engine.begin() as connection:
            try:
                job = self._get(connection, job_id, lock=True)
            except UnknownJobError:
                return
            if job.status is Status.SUCCEEDED and job.acknowledged_at is None and job.owner:
                return  # somebody has taken it over since it was found
            grown = update(RETIRED).where(RETIRED.c.key == job.key, RETIRED.c.generation < job.generation)
            connection.execute(grown.values(generation=job.generation))
            if connection.execute(select(RETIRED.c.key).where(RETIRED.c.key == job.key)).first() is None:
                connection.execute(insert(RETIRED).values(key=job.key, generation=job.generation))
            connection.execute(delete(JOBS).where(JOBS.c.job_id == job_id))
            before_commit()

    def give_up(self, instance: str, at: str) -> int:
        """
        Call the unfinished jobs of a service that will not come back lost; returns how many there were.

        :param instance: of the other service; its trainings must have ended with its host.
        """
        reason = f"service {instance} was given up by an administrator"
        unfinished = update(JOBS).where(JOBS.c.instance == instance, JOBS.c.status.not_in(_ENDED))
        with self._engine.begin() as connection:
            values = {"status": Status.LOST.value, "reason": reason, "finished_at": at}
            return connection.execute(unfinished.values(values)).rowcount

    def counts(self) -> dict[Status, int]:
        """How many jobs of this service there are, by status."""
        query = select(JOBS.c.status, func.count()).where(JOBS.c.instance == self.instance)
        with self._reader.begin() as connection:
            found = {Status(name): count for name, count in connection.execute(query.group_by(JOBS.c.status))}
        return {status: found.get(status, 0) for status in Status}


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


def _describe_forgotten(submission: Submission, newest: Job | None, retired: int) -> str:
    last = max(newest.generation if newest else 0, retired)
    there = f"{last} is the newest here" if last else "nothing is known of it here"
    return (
        f"key {submission.key!r}: the caller was told of generation {submission.known_generation}, but "
        f"{there}. The service lost its memory, or has another database than it had, and that training may "
        f"still run. Bring the database back; or see that nothing runs, and submit with known_generation "
        f"{last}"
    )
