# SPDX-License-Identifier: Apache-2.0
"""Tables of the jobs, and the engine for SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
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
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.schema import CreateColumn

from mlbridge_training_service.config import ConfigError
from mlbridge_training_service.generations import Status
from mlbridge_training_service.payload import canonical_json

READS = {"mlbridge_reads": True}
"""Execution option of a connection whose transactions only read."""

_BUSY_TIMEOUT_SECONDS = 30
_SCHEMA_LOCK = 0x6D6C6272  # any number that only this program uses

# SQLite numbers rows by itself only in a column of type INTEGER.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

METADATA = MetaData()
JOBS = Table(
    "jobs",
    METADATA,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("job_id", String(64), nullable=False, unique=True),
    Column("key", String(200), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("instance", String(64), nullable=False, server_default=""),
    Column("owner", String(500), nullable=False),
    Column("epoch", BigInteger, nullable=False),
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
    Column("log_shown", BigInteger),
    UniqueConstraint("key", "generation"),
    sqlite_autoincrement=True,
)
SUBMISSIONS = Table(
    "submissions",
    METADATA,
    Column("submission_id", String(200), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False, index=True),
)
# What is left of keys whose jobs were removed: without it their next training would be called the first.
RETIRED = Table(
    "retired",
    METADATA,
    Column("key", String(200), primary_key=True),
    Column("generation", Integer, nullable=False),
)


@dataclass(frozen=True)
class Submission:
    """
    What a caller wants.

    :param key: identity of the training.
    :param owner: who may cancel; empty when everybody may.
    :param epoch: see :func:`generation_to_start`; 0 when the caller has none.
    :param known_generation: the latest generation that the caller was ever told of; 0 for none.
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
    known_generation: int = 0


@dataclass(frozen=True)
class Job:
    """
    One generation of a training, as it is stored.

    :param instance: the service that runs it, where several share the database.
    :param log_shown: bytes of log that a caller said it had passed on.
    """

    job_id: str
    key: str
    generation: int
    instance: str
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
    log_shown: int | None


def to_job(row: RowMapping) -> Job:
    """A row of :data:`JOBS`."""
    values = {name: value for name, value in row.items() if name != "sequence"}
    return Job(**{**values, "payload": json.loads(row["payload"]), "status": Status(row["status"])})


def new_row(submission: Submission, *, job_id: str, generation: int, instance: str) -> dict[str, Any]:
    """The row of a job that waits for its turn."""
    return {
        "job_id": job_id,
        "key": submission.key,
        "generation": generation,
        "instance": instance,
        "owner": submission.owner,
        "epoch": submission.epoch,
        "digest": submission.digest,
        "payload_digest": submission.payload_digest,
        "pipeline": submission.pipeline,
        "payload": canonical_json(submission.payload),
        "status": Status.QUEUED.value,
        "reason": "",
        "created_at": submission.at,
    }


def open_engine(url: str) -> Engine:
    """
    Engine for the URL, with its tables.

    :raises ConfigError: when the URL is none, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        # READ COMMITTED, whatever the server's default: the store locks the rows that it decides about, and
        # needs to see them as they are when it has them.
        level = {} if parsed.get_backend_name() == "sqlite" else {"isolation_level": "READ COMMITTED"}
        engine = create_engine(parsed, pool_pre_ping=True, **level)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"database_url is no SQLAlchemy URL of a known database: {error}") from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"database_url needs the Python module {error.name!r}; for PostgreSQL: "
            f"pip install 'mlbridge-training-service[postgresql]'"
        ) from error
    if engine.dialect.name == "sqlite":
        _configure_sqlite(engine)
    _make_tables(engine)
    return engine


def _configure_sqlite(engine: Engine) -> None:
    """WAL, durable commits, and a write lock at the beginning of every transaction that writes."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a 202 holds through a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = READS.items() <= connection.get_execution_options().items()
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _make_tables(engine: Engine) -> None:
    """Make what is missing: tables, and the columns that an earlier version did not have."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Two services that start on an empty database must not both make the tables.
            connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        METADATA.create_all(connection)
        present = {column["name"] for column in inspect(connection).get_columns(JOBS.name)}
        for column in JOBS.columns:
            if column.name not in present:
                definition = CreateColumn(column).compile(dialect=engine.dialect)
                connection.execute(text(f"ALTER TABLE {JOBS.name} ADD COLUMN {definition}"))
