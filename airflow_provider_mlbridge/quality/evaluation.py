# SPDX-License-Identifier: Apache-2.0
"""One evaluation: the engines in their order, then what is shown of rows, the quarantine and the profile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import MLBridgeError, QualityError, StorageError
from airflow_provider_mlbridge.quality.compiled import compile_check
from airflow_provider_mlbridge.quality.engines import duckdb_runner, gx
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, Session, open_session
from airflow_provider_mlbridge.quality.engines.samples import Samples
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.failing_rows import FailingRows
from airflow_provider_mlbridge.quality.first_rows import View, add_rows
from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.planning import Plan
from airflow_provider_mlbridge.quality.profile import ColumnProfile, profile
from airflow_provider_mlbridge.quality.quarantine import Quarantined, write_quarantine
from airflow_provider_mlbridge.quality.result_formats import ResultFormat
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import local_files, pin_snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Settings:
    """
    What an evaluation is told besides the expectations.

    :param policy: what may be shown of which column.
    :param result_format: how much of a result is kept.
    :param limits: what DuckDB may use.
    :param now: the time that ages are measured against.
    :param history: earlier runs, for the expectations that compare with them.
    :param key_columns: columns that tell failing rows apart.
    :param failing_rows: the most rows shown for one expectation.
    :param quarantine_uri: where bad rows are published; nowhere when None.
    :param quarantine_severities: severities of the expectations whose rows are set aside.
    :param describe_columns: whether the columns are described.
    """

    policy: MaskingPolicy
    result_format: ResultFormat
    limits: Limits
    now: datetime
    history: History | None
    key_columns: Sequence[str]
    failing_rows: int
    quarantine_uri: str | None
    quarantine_severities: Collection[str]
    describe_columns: bool

    @property
    def gathered(self) -> ResultFormat:
        """The format while judging: verdicts alone are for the report, counts show and split rows."""
        if self.result_format.level != "BOOLEAN_ONLY":
            return self.result_format
        return replace(self.result_format, level="BASIC", partial_unexpected_count=0)


@dataclass(frozen=True)
class Evaluation:
    """
    What was found.

    :param outcomes: one per expectation, in their order.
    :param profile: the columns; none when that was not asked for.
    :param quarantined: the two parts of the datamart, when it was split.
    :param clean: the rows that were left over by that, pinned; None when there are none.
    :param quarantine_error: why the datamart was not split, although that was asked for.
    """

    outcomes: tuple[Outcome, ...]
    profile: tuple[ColumnProfile, ...]
    quarantined: Quarantined | None
    clean: Snapshot | None
    quarantine_error: MLBridgeError | None


def evaluate(
    expectations: Sequence[Expectation],
    table: Table,
    pinned: Snapshot,
    settings: Settings,
    *,
    s3_client: S3Client | None,
) -> Evaluation:
    """
    Judge every expectation.

    :param table: what the footers say of the files that are read.
    :param pinned: the snapshot that was pinned; the table's is one of files made of it where they had to be.
    """
    plan = Plan(expectations, table, pinned, settings.now, settings.history)
    built = gx.build(plan.handed_over)
    outcomes = dict(plan.outcomes)
    quarantined: Quarantined | None = None
    clean: Snapshot | None = None
    quarantine_error: MLBridgeError | None = None
    limits = settings.limits
    with ExitStack() as stack:
        paths: Sequence[Path] | None = None
        if _reads_data(plan, settings):
            paths = stack.enter_context(
                local_files(
                    table.snapshot,
                    s3_client=s3_client,
                    scratch_dir=limits.scratch_dir,
                    scratch_limit_bytes=limits.scratch_limit_bytes,
                )
            )
            with open_session(table, paths, limits) as session:
                by_position = dict(enumerate(expectations))
                outcomes |= _judge(plan, built, session, paths, settings)
                outcomes = _with_rows(by_position, outcomes, plan, session, settings, pinned)
                if settings.quarantine_uri is not None:
                    try:
                        quarantined = write_quarantine(
                            by_position,
                            outcomes,
                            session,
                            paths,
                            settings.quarantine_uri,
                            checks=plan.checks,
                            pinned=pinned,
                            severities=settings.quarantine_severities,
                            s3_client=s3_client,
                            scratch_dir=limits.scratch_dir,
                            scratch_limit_bytes=limits.scratch_limit_bytes,
                        )
                        if quarantined.clean_rows:
                            clean = pin_snapshot(quarantined.clean_uri, s3_client=s3_client)
                    except (QualityError, StorageError) as error:
                        # The report is stored first, as for any other verdict.
                        quarantined, quarantine_error = None, error
        columns = profile(table, settings.policy, paths=paths) if settings.describe_columns else ()
    ordered = tuple(outcomes[position] for position in range(len(expectations)))
    return Evaluation(ordered, columns, quarantined, clean, quarantine_error)


def _judge(
    plan: Plan, built: Mapping[int, Any], session: Session, paths: Sequence[Path], settings: Settings
) -> dict[int, Outcome]:
    """What DuckDB and Great Expectations find."""
    found = duckdb_runner.run_checks(session, plan.checks, settings.policy)
    return found | gx.run(
        plan.handed_over,
        built,
        session.table,
        paths,
        memory_bytes=settings.limits.memory_bytes,
        policy=settings.policy,
        result_format=settings.gathered,
        with_positions=settings.quarantine_uri is not None or settings.failing_rows > 0,
    )


def _with_rows(
    expectations: Mapping[int, Expectation],
    outcomes: Mapping[int, Outcome],
    plan: Plan,
    session: Session,
    settings: Settings,
    pinned: Snapshot,
) -> dict[int, Outcome]:
    """The outcomes with the first rows that are not as expected."""
    # What failed by the word of the footers, too, which cannot name the rows.
    checks = plan.checks | {
        key: compile_check(expectations[key], session.table, settings.now)
        for key, outcome in plan.outcomes.items()
        if _has_failing_rows(outcome)
    }
    views: list[View] = [Samples(session.table, checks, settings.policy, settings.gathered)]
    if settings.failing_rows:
        views.append(
            FailingRows(
                session.table,
                expectations,
                outcomes,
                settings.policy,
                key_columns=settings.key_columns,
                limit=settings.failing_rows,
                pinned=pinned,
            )
        )
    return add_rows(session, expectations, outcomes, views, checks=checks)


def _reads_data(plan: Plan, settings: Settings) -> bool:
    """Whether the footers are not enough: for a verdict, or to show the rows that failed by their word."""
    if plan.checks or plan.handed_over or settings.quarantine_uri is not None:
        return True
    shows_rows = settings.failing_rows > 0 or settings.gathered.limit > 0
    return shows_rows and any(map(_has_failing_rows, plan.outcomes.values()))


def _has_failing_rows(outcome: Outcome) -> bool:
    return outcome.success is False and bool(outcome.result.get("unexpected_count"))
