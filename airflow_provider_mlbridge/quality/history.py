# SPDX-License-Identifier: Apache-2.0
"""
What earlier runs found, kept beside the report.

Each run is one small JSON object below ``<report_uri>/history/``. Its name begins with the time of the check,
so that names sort by age, and ends with random letters, so that two runs at once never meet. It is stored
with a single write: after a crash it is there whole, or not at all.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, StorageError
from airflow_provider_mlbridge.storage import ObjectStore, open_store
from airflow_provider_mlbridge.storage.uris import as_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport

log = logging.getLogger(__name__)

FOLDER = "history/"
KEEP = 400
"""Entries that are kept; older ones are deleted."""
LOADED = 120
"""Entries that are read unless more are asked for: a window of anomaly checks, and some that do not count."""
COLUMNS = 500
"""Columns whose share of nulls one entry holds at most."""

_KIND = "mlbridge.quality_history"
_SCHEMA_VERSION = 1
_NAME = re.compile(r"(\d{8}T\d{12}Z)-[0-9a-f]{1,12}-[0-9a-f]{12}\.json")
_TIME = "%Y%m%dT%H%M%S%fZ"
_LIMIT_BYTES = 1_000_000
_NOT_NULL = "expect_column_values_to_not_be_null"


@dataclass(frozen=True)
class HistoryEntry:
    """
    One run.

    :param checked_at: when, in UTC.
    :param datamart: URI of what was checked.
    :param fingerprint: fingerprint of the snapshot.
    :param rows: rows of the datamart.
    :param bytes: bytes of its files.
    :param files: number of its files.
    :param success: the verdict.
    :param evaluated: number of expectations.
    :param passed: those that held.
    :param not_checked: those that could not be evaluated.
    :param null_ratios: share of rows without a value, 0 to 1, of the columns for which it is known; NaN is no
        value.
    :param columns_left_out: known columns that did not fit into :data:`COLUMNS`.
    :param duration_seconds: wall time of the check.
    :param run_id: the caller's name for the run, such as Airflow's.
    """

    checked_at: datetime
    datamart: str
    fingerprint: str
    rows: int
    bytes: int
    files: int
    success: bool
    evaluated: int
    passed: int
    not_checked: int
    null_ratios: Mapping[str, float] = field(default_factory=dict)
    columns_left_out: int = 0
    duration_seconds: float = 0.0
    run_id: str = ""

    @property
    def pass_ratio(self) -> float | None:
        """Share of the expectations that held; None when there were none."""
        return self.passed / self.evaluated if self.evaluated else None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {
            "kind": _KIND,
            "schema_version": _SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _TYPES},
            "checked_at": self.checked_at.astimezone(UTC).isoformat(),
            "null_ratios": dict(self.null_ratios),
            "pass_ratio": self.pass_ratio,
        }

    @classmethod
    def from_dict(cls, document: object) -> HistoryEntry:
        """
        Read what :meth:`to_dict` wrote.

        :raises ValueError: for anything else.
        """
        if not isinstance(document, Mapping) or document.get("kind") != _KIND:
            raise ValueError("it is no history entry")
        if document.get("schema_version") != _SCHEMA_VERSION:
            raise ValueError(
                f"its schema_version is {document.get('schema_version')!r}, not {_SCHEMA_VERSION}"
            )
        values = {}
        for name, type_ in _TYPES.items():
            value = document.get(name)
            if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
                raise ValueError(f"{name} is {value!r}")
            values[name] = value
        ratios = document.get("null_ratios")
        if not isinstance(ratios, Mapping) or not all(_is_ratio(value) for value in ratios.values()):
            raise ValueError("null_ratios are no shares from 0 to 1")
        checked_at = datetime.fromisoformat(str(document.get("checked_at")))
        if checked_at.tzinfo is None:
            raise ValueError("checked_at has no time zone")
        return cls(checked_at=checked_at.astimezone(UTC), null_ratios=dict(ratios), **values)


_TYPES: Mapping[str, Any] = {
    "datamart": str,
    "fingerprint": str,
    "rows": int,
    "bytes": int,
    "files": int,
    "success": bool,
    "evaluated": int,
    "passed": int,
    "not_checked": int,
    "columns_left_out": int,
    "duration_seconds": int | float,
    "run_id": str,
}


def _is_ratio(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


@dataclass(frozen=True)
class History:
    """
    Earlier runs.

    :param entries: the oldest first.
    :param skipped: objects in the history's folder that are no entries, or could not be read.
    """

    entries: tuple[HistoryEntry, ...] = ()
    skipped: int = 0

    def states(self, *, only: str = "all", without: str | None = None) -> tuple[HistoryEntry, ...]:
        """
        One entry per state of the datamart, the oldest first: the newest one of each fingerprint.

        A retry checks the same data again; counted twice, it would pass for an ordinary day.

        :param only: ``passed`` leaves out states whose newest verdict was a failure.
        :param without: a fingerprint to leave out, that of the datamart being judged.
        """
        newest = {entry.fingerprint: entry for entry in self.entries}
        chosen = (
            entry
            for fingerprint, entry in newest.items()
            if fingerprint != without and (only == "all" or entry.success)
        )
        return tuple(sorted(chosen, key=lambda entry: entry.checked_at))


def entry_of(report: QualityReport, *, run_id: str = "") -> HistoryEntry:
    """
    The entry for a run.

    Shares of nulls come from what the expectations counted, and from the footers. No footer counts NaN, so
    those of floating-point columns come from expectations alone.
    """
    ratios: dict[str, float] = {}
    for result in report.results:
        ratio = _counted(result)
        if ratio is not None:
            ratios.setdefault(result.expectation.columns[0], ratio)
    for column in report.table.columns if report.table else ():
        if report.rows and column.null_count is not None and column.family != "float":
            ratios.setdefault(column.name, column.null_count / report.rows)
    kept = dict(list(ratios.items())[:COLUMNS])
    return HistoryEntry(
        checked_at=report.checked_at,
        datamart=report.snapshot.uri,
        fingerprint=report.snapshot.fingerprint,
        rows=report.rows,
        bytes=report.snapshot.total_bytes,
        files=report.snapshot.file_count,
        success=report.success,
        evaluated=report.evaluated,
        passed=len(report.passed),
        not_checked=len(report.not_checked),
        null_ratios=kept,
        columns_left_out=len(ratios) - len(kept),
        duration_seconds=round(report.duration_seconds, 3),
        run_id=run_id,
    )


def _counted(result: ExpectationResult) -> float | None:
    """Share of the rows without a value in the one column of an expectation that looked at all rows."""
    from airflow_provider_mlbridge.quality.catalog import NULL_RATIO_ANOMALY

    if len(result.expectation.columns) != 1 or result.kwargs.get("row_condition") is not None:
        return None
    if result.type == NULL_RATIO_ANOMALY:
        return result.observed_value if _is_ratio(result.observed_value) else None
    missing = result.unexpected_count if result.type == _NOT_NULL else result.missing_count
    return missing / result.element_count if missing is not None and result.element_count else None


def append(
    report_uri: str, entry: HistoryEntry, *, keep: int = KEEP, s3_client: S3Client | None = None
) -> str:
    """
    Store an entry, then delete the oldest ones beyond ``keep`` as far as that is possible.

    :param report_uri: prefix of the reports of one datamart.
    :return: URI of the entry.
    :raises StorageError: when the entry could not be stored.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ConfigurationError(f"keep must be a whole number from 1, got {keep!r}")
    prefix = as_prefix(report_uri) + FOLDER
    store = open_store(prefix, s3_client=s3_client)
    body = json.dumps(entry.to_dict(), allow_nan=False, ensure_ascii=False)
    moment = entry.checked_at.astimezone(UTC).strftime(_TIME)
    state = re.sub(r"[^0-9a-f]", "", entry.fingerprint)[:12] or "0"
    uri = f"{prefix}{moment}-{state}-{secrets.token_hex(6)}.json"
    store.put(uri, body.encode(errors="backslashreplace"), content_type="application/json")
    try:
        found, _ = _list(store, prefix)
        store.delete([name for _, name in found[:-keep]])
    except (StorageError, OSError) as error:
        log.warning("Old entries of the history in %s could not be deleted: %s", prefix, error)
    return uri


def load(
    report_uri: str,
    *,
    limit: int = LOADED,
    before: datetime | None = None,
    s3_client: S3Client | None = None,
) -> History:
    """
    Read the newest entries. What is broken, or is no entry, is passed over with a warning and counted.

    :param report_uri: prefix of the reports of one datamart.
    :param limit: number of entries to read.
    :param before: only those of checks before this moment (with a time zone).
    :raises StorageError: when the folder cannot be listed.
    """
    from concurrent.futures import ThreadPoolExecutor

    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number from 1, got {limit!r}")
    prefix = as_prefix(report_uri) + FOLDER
    store = open_store(prefix, s3_client=s3_client)
    found, foreign = _list(store, prefix)
    for uri in foreign[:10]:
        log.warning("%s is no entry of the history and is passed over", uri)
    if before is not None:
        until = before.astimezone(UTC).strftime(_TIME)
        found = [item for item in found if item[0] < until]
    wanted = [uri for _, uri in found[-limit:]]
    with ThreadPoolExecutor(max_workers=8) as pool:
        entries = [entry for entry in pool.map(lambda uri: _read(store, uri), wanted) if entry is not None]
    return History(tuple(entries), len(foreign) + len(wanted) - len(entries))


def _list(store: ObjectStore, prefix: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Time and URI of every entry, the oldest first, and the URIs of what is none."""
    found, foreign = [], []
    for info in store.list(prefix):
        name = info.uri.removeprefix(prefix)
        match = _NAME.fullmatch(name)
        if match:
            found.append((match[1], info.uri))
        elif not name.startswith("._"):
            # Files that another run is writing begin so on a local disk.
            foreign.append(info.uri)
    return sorted(found), foreign


def _read(store: ObjectStore, uri: str) -> HistoryEntry | None:
    try:
        return HistoryEntry.from_dict(json.loads(store.read(uri, length=_LIMIT_BYTES)))
    except (StorageError, OSError, ValueError, RecursionError) as error:
        log.warning("%s is passed over: %s", uri, error)
        return None
