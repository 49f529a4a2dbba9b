# SPDX-License-Identifier: Apache-2.0
"""What :func:`~airflow_provider_mlbridge.quality.validate` returns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, cast, get_args

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DataQualityFailedError,
    ExpectationNotCheckedError,
    MLBridgeError,
)
from airflow_provider_mlbridge.quality.expectation import Expectation, Severity
from airflow_provider_mlbridge.quality.outcome import Engine, Outcome
from airflow_provider_mlbridge.quality.profile import ColumnProfile
from airflow_provider_mlbridge.quality.quarantine import Quarantined
from airflow_provider_mlbridge.quality.reporting.describe import expected_text, label, observed_text
from airflow_provider_mlbridge.quality.reporting.gx_document import expectation_config, profile_document
from airflow_provider_mlbridge.quality.result_formats import ResultFormat, shape
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.quality.values import json_value
from airflow_provider_mlbridge.results import XCOM_LIMIT_BYTES, QualitySummary, Snapshot

FailOn = Literal["error", "warn", "never"]

_FATAL: Mapping[str, frozenset[Severity]] = {
    "error": frozenset({"critical"}),
    "warn": frozenset({"critical", "warning"}),
    "never": frozenset(),
}
_SHOWN = 10


def check_fail_on(fail_on: str) -> FailOn:
    """
    The value, when it is one.

    :raises ConfigurationError: when it is none, naming those that are.
    """
    if fail_on not in get_args(FailOn):
        raise ConfigurationError(f"fail_on must be 'error', 'warn' or 'never', got {fail_on!r}")
    return cast(FailOn, fail_on)


@dataclass(frozen=True)
class ExpectationResult:
    """
    The verdict on one expectation.

    :param expectation: what was expected.
    :param outcome: what was found.
    """

    expectation: Expectation
    outcome: Outcome

    @property
    def type(self) -> str:
        """Type of the expectation."""
        return self.expectation.type

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Arguments of the expectation."""
        return self.expectation.kwargs

    @property
    def severity(self) -> Severity:
        """What a failure means: what the expectation says, or less where the outcome says so."""
        return self.outcome.severity or self.expectation.severity

    @property
    def success(self) -> bool | None:
        """Whether it held; None when it could not be evaluated, which is never a pass."""
        return self.outcome.success

    @property
    def engine(self) -> Engine:
        """What judged it: ``footer``, ``duckdb`` or ``gx``."""
        return self.outcome.engine

    @property
    def result(self) -> Mapping[str, Any]:
        """The details with Great Expectations' keys, as strict JSON."""
        return self.outcome.result

    @property
    def exception_message(self) -> str | None:
        """Why it could not be evaluated."""
        return self.outcome.error

    @property
    def observed_value(self) -> Any:
        """The observed value, for expectations about one value; else None."""
        return self.result.get("observed_value")

    @property
    def element_count(self) -> int | None:
        """Rows of the table, for expectations about each row; else None."""
        return self.result.get("element_count")

    @property
    def unexpected_count(self) -> int | None:
        """Rows that are not as expected, for expectations about each row; else None."""
        return self.result.get("unexpected_count")

    @property
    def unexpected_percent(self) -> float | None:
        """Their share of the rows that have a value, in percent; None when there are none."""
        return self.result.get("unexpected_percent")

    @property
    def missing_count(self) -> int | None:
        """Rows without a value, where they are counted; else None."""
        return self.result.get("missing_count")

    @property
    def expected(self) -> str:
        """What was expected, in a few words."""
        return expected_text(self.expectation)

    @property
    def observed(self) -> str:
        """What was found, in a few words."""
        return observed_text(self.outcome, self.type)

    @property
    def description(self) -> str:
        """One line for messages and summaries."""
        return f"{label(self.expectation)} [{self.severity}]: {self.observed}; expected {self.expected}"

    def to_gx_json(self, result_format: ResultFormat | None = None) -> dict[str, Any]:
        """
        The result as Great Expectations writes it (``ExpectationValidationResult``).

        :param result_format: how much of it; all that is known when None.
        """
        failed = self.success is None
        return {
            "success": bool(self.success),
            "expectation_config": expectation_config(self.expectation),
            "result": json_value(shape(self.result, result_format) if result_format else self.result),
            "meta": {"mlbridge": {"type": self.type, "engine": self.engine, "severity": self.severity}},
            "exception_info": {
                "raised_exception": failed,
                # Data Docs want text here; a real one might quote values of rows.
                "exception_traceback": "" if failed else None,
                "exception_message": self.exception_message if failed else None,
            },
        }


@dataclass(frozen=True)
class QualityReport:
    """
    The verdict on one snapshot.

    :param snapshot: what was judged.
    :param results: one per expectation, in the order given: shorthands, ``expectations``, ``suite``.
    :param rows: rows of the datamart.
    :param fail_on: which failures count: ``error`` those of severity critical, ``warn`` also warnings,
        ``never`` none. An expectation that could not be evaluated always counts.
    :param suite_name: name of the suite, or of the datamart's URI when there is none.
    :param checked_at: when, in UTC.
    :param duration_seconds: wall time.
    :param profile: what is known about the columns, where it was asked for.
    :param unsupported: constraints of an imported contract that no expectation stands for.
    :param quarantined: the two parts of the datamart, where it was split.
    :param clean: the part without bad rows, pinned; None when there is none.
    :param quarantine_error: why the datamart was not split, although that was asked for.
    :param result_format: how much of each result goes into the JSON.
    :param table: what the footers say.
    """

    snapshot: Snapshot
    results: tuple[ExpectationResult, ...]
    rows: int
    fail_on: FailOn
    suite_name: str
    checked_at: datetime
    duration_seconds: float
    profile: tuple[ColumnProfile, ...] = ()
    unsupported: tuple[str, ...] = ()
    quarantined: Quarantined | None = None
    clean: Snapshot | None = None
    quarantine_error: MLBridgeError | None = None
    result_format: ResultFormat = field(default_factory=ResultFormat)
    table: Table | None = field(default=None, repr=False, compare=False)

    @property
    def success(self) -> bool:
        """
        Whether every expectation that counts for ``fail_on`` held, all could be evaluated, and the datamart
        was split where that was asked for.
        """
        return not self.fatal and not self.not_checked and self.quarantine_error is None

    @property
    def evaluated(self) -> int:
        """Number of expectations."""
        return len(self.results)

    @property
    def passed(self) -> tuple[ExpectationResult, ...]:
        """Those that held."""
        return tuple(result for result in self.results if result.success)

    @property
    def failed(self) -> tuple[ExpectationResult, ...]:
        """Those that did not hold, whatever their severity; the most severe first."""
        order = get_args(Severity)
        failed = (result for result in self.results if result.success is False)
        return tuple(sorted(failed, key=lambda result: order.index(result.severity)))

    @property
    def fatal(self) -> tuple[ExpectationResult, ...]:
        """Those that did not hold and count for ``fail_on``."""
        return tuple(result for result in self.failed if result.severity in _FATAL[self.fail_on])

    @property
    def not_checked(self) -> tuple[ExpectationResult, ...]:
        """Those that could not be evaluated."""
        return tuple(result for result in self.results if result.success is None)

    def to_gx_json(self) -> dict[str, Any]:
        """
        The report as Great Expectations writes it (``ExpectationSuiteValidationResult``), in strict JSON.

        ``success`` there has Great Expectations' meaning: every expectation held. Our verdict, which knows
        ``fail_on``, is in ``meta.mlbridge``.
        """
        evaluated, passed = self.evaluated, len(self.passed)
        return {
            "success": passed == evaluated,
            "results": [result.to_gx_json(self.result_format) for result in self.results],
            "suite_name": self.suite_name,
            "suite_parameters": {},
            "statistics": {
                "evaluated_expectations": evaluated,
                "successful_expectations": passed,
                "unsuccessful_expectations": evaluated - passed,
                "success_percent": passed / evaluated * 100 if evaluated else None,
            },
            "meta": {
                # Data Docs take name and time of the page from here.
                "run_id": {
                    "run_name": self.snapshot.fingerprint[:12],
                    "run_time": self.checked_at.isoformat(timespec="seconds"),
                },
                "mlbridge": {
                    "success": self.success,
                    "fail_on": self.fail_on,
                    "datamart": self.snapshot.uri,
                    "fingerprint": self.snapshot.fingerprint,
                    "modified_at": self.snapshot.modified_at,
                    "files": self.snapshot.file_count,
                    "bytes": self.snapshot.total_bytes,
                    "rows": self.rows,
                    "passed": passed,
                    "failed": len(self.failed),
                    "not_checked": len(self.not_checked),
                    "unsupported": list(self.unsupported),
                    "quarantine": asdict(self.quarantined) if self.quarantined else None,
                    "quarantine_error": str(self.quarantine_error) if self.quarantine_error else None,
                    "engines": dict(Counter(result.engine for result in self.results)),
                    "checked_at": self.checked_at.isoformat(timespec="seconds"),
                    "duration_seconds": round(self.duration_seconds, 3),
                    **profile_document(self.profile),
                },
            },
            "id": None,
        }

    def summary(self, report_uri: str | None = None) -> QualitySummary:
        """
        The result for the next task: small enough for XCom, whatever failed.

        :param report_uri: where the full report was written.
        """
        lines = [_cut(result.description) for result in (*self.not_checked, *self.failed)]
        summary = QualitySummary(
            snapshot=self.snapshot,
            success=self.success,
            rows=self.rows,
            evaluated=self.evaluated,
            passed=len(self.passed),
            failed=len(self.failed),
            not_checked=len(self.not_checked),
            failed_expectations=(),
            report_uri=report_uri,
            duration_seconds=round(self.duration_seconds, 3),
            unsupported=len(self.unsupported),
            clean_uri=self.quarantined.clean_uri if self.quarantined else None,
            clean_fingerprint=self.clean.fingerprint if self.clean else None,
            quarantined_rows=self.quarantined.quarantined_rows if self.quarantined else None,
        )
        for shown in range(min(_SHOWN, len(lines)), -1, -1):
            more = [f"and {len(lines) - shown} more"] if shown < len(lines) else []
            candidate = replace(summary, failed_expectations=(*lines[:shown], *more))
            if _size(candidate) < XCOM_LIMIT_BYTES:
                return candidate
        # Long URIs: the files are listed anew when the snapshot is read.
        return replace(candidate, snapshot=replace(self.snapshot, files=()))

    def raise_for_verdict(self, report_uri: str | None = None) -> None:
        """
        Raise when the datamart is not fit for use.

        :param report_uri: where the full report is, for the message.
        :raises DataQualityFailedError: when an expectation that counts did not hold.
        :raises ExpectationNotCheckedError: when all that counts held, but something could not be evaluated.
        :raises MLBridgeError: when all that counts held, but the datamart could not be split: the cause.
        """
        if self.success:
            return
        counts = f"{len(self.failed)} of {self.evaluated} expectations failed"
        if self.not_checked:
            counts += f", {len(self.not_checked)} could not be checked"
        lines = [result.description for result in (*self.fatal, *self.not_checked)]
        shown = "".join(f"\n  - {line}" for line in lines[:_SHOWN])
        more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        lenient = len(self.failed) - len(self.fatal)
        if lenient:
            more += f"\n  ({lenient} more failed with a severity that fail_on={self.fail_on!r} lets pass)"
        if self.quarantine_error:
            more += f"\n  Nothing was put into quarantine: {self.quarantine_error}"
        where = f"\nFull report: {report_uri}" if report_uri else ""
        verdict = f"{self.snapshot.uri} ({self.rows} rows): {counts} (fail_on={self.fail_on!r})."
        if self.quarantine_error is not None and not self.fatal and not self.not_checked:
            # Whether a retry helps is for the cause to say.
            raise self.quarantine_error
        raise (DataQualityFailedError if self.fatal else ExpectationNotCheckedError)(
            f"{verdict}{shown}{more}{where}"
        )


def _cut(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _size(summary: QualitySummary) -> int:
    # Escaped, with spaces: the longest form in which a backend may store it.
    return len(json.dumps(summary.to_dict()))
