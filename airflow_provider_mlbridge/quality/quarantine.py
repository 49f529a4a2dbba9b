# SPDX-License-Identifier: Apache-2.0
"""
Quarantine: the rows that break an expectation on one side, with the reasons, all others on the other.

Both sides are one published version, so that they become visible in one step; good and bad together are all
rows of the datamart, which is counted in what was written before it counts::

    <quarantine_uri>/_latest.json
    <quarantine_uri>/versions/<version>/clean/month=1/part-00000.parquet          the datamart without them
    <quarantine_uri>/versions/<version>/quarantined/month=1/part-00000.parquet    the rows, with the reasons
    <quarantine_uri>/versions/<version>/manifest.json                             what was split by what

Every file of the datamart has a file of the same number on each side on which it has rows, in the same hive
folder. A row is bad when it breaks any expectation about rows of the given severities, also when ``mostly``
tolerates it; of a key that repeats, every row is bad. Failures of the table or of an aggregate have no rows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote, unquote

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    PublishConflictError,
    QualityError,
    ScratchLimitError,
)
from airflow_provider_mlbridge.quality.bad_rows import (
    WORD_BITS,
    Broken,
    file_offsets,
    find_broken,
    origin_of,
    write_bad_rows,
)
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.expectation import Expectation, Severity
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.reporting.describe import label
from airflow_provider_mlbridge.quality.row_split import (
    FILE_COLUMN,
    REASONS_COLUMN,
    ROW_COLUMN,
    BadRows,
    split_file,
)
from airflow_provider_mlbridge.quality.split_identity import find_same_split, reasons_of, split_fingerprint
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import open_store
from airflow_provider_mlbridge.storage.disk import scratch_errors
from airflow_provider_mlbridge.storage.publish import Version, publish_version
from airflow_provider_mlbridge.storage.published import Published
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder
from airflow_provider_mlbridge.storage.uris import as_prefix, check_uri, local_path

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

DEFAULT_SEVERITIES: tuple[Severity, ...] = ("critical", "warning")
"""Severities of the expectations whose rows are set aside."""

KEPT_AT_LEAST = timedelta(days=7)
"""How long a version stays after it was current: the tasks of other runs may still read theirs."""

CLEAN_FOLDER = "clean/"
QUARANTINED_FOLDER = "quarantined/"
KIND = "mlbridge.quarantine"

_NO_ROWS_NAME = "_NO_ROWS"
_RESERVE = 0.9
"""Share of the free disk space that may be taken."""


@dataclass(frozen=True)
class Quarantined:
    """
    A datamart in two parts.

    :param uri: the prefix of this version; its files never change.
    :param clean_uri: the prefix of the rows as expected, a datamart of its own; it holds no Parquet file when
        there is no such row.
    :param quarantined_uri: the prefix of the others.
    :param clean_rows: number of rows there.
    :param quarantined_rows: number of rows there.
    :param manifest_uri: the manifest, which says what was split by what.
    :param reused: whether the version was there already, from the same datamart and expectations.
    """

    uri: str
    clean_uri: str
    quarantined_uri: str
    clean_rows: int
    quarantined_rows: int
    manifest_uri: str
    reused: bool = False


def check_quarantine(quarantine_uri: str, severities: Collection[str], snapshot: Snapshot) -> None:
    """
    Check the arguments, before anything is read.

    :raises ConfigurationError: when one is wrong, or the quarantine would lie inside of the datamart.
    """
    check_uri(quarantine_uri, argument="quarantine_uri")
    wrong = [item for item in severities if item not in get_args(Severity)]
    if isinstance(severities, str) or wrong or not severities:
        valid = ", ".join(map(repr, get_args(Severity)))
        raise ConfigurationError(
            f"quarantine_severities must be a list of at least one of {valid}, got {severities!r}"
        )
    place = _normal(quarantine_uri)
    for uri in (snapshot.uri, snapshot.root):
        if place.startswith(_normal(uri)):
            raise ConfigurationError(
                f"quarantine_uri {quarantine_uri} lies inside of the datamart {uri}: what is written there "
                f"would be part of it. Name a place beside it."
            )


def _normal(uri: str) -> str:
    return as_prefix(uri if uri.startswith("s3://") else str(local_path(uri)))


def write_quarantine(
    expectations: Mapping[int, Expectation],
    outcomes: Mapping[int, Outcome],
    session: Session,
    paths: Sequence[Path],
    quarantine_uri: str,
    *,
    pinned: Snapshot | None = None,
    checks: Mapping[int, Check] | None = None,
    severities: Collection[str] = DEFAULT_SEVERITIES,
    s3_client: S3Client | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
    keep_versions: int = 3,
    keep_at_least: timedelta = KEPT_AT_LEAST,
) -> Quarantined:
    """
    Publish the rows that break an expectation, and all others, as one new version.

    The same datamart split by the same expectations is not published twice: the current version is returned
    when it is that one, and says what was found now. Another split of another writer is no hindrance: this
    version goes on top of it.

    :param expectations: all expectations, by the same key as ``outcomes``.
    :param outcomes: the verdicts, with ``unexpected_count`` whatever the ``result_format`` of the report, and
        with ``unexpected_positions`` where Great Expectations judged rows.
    :param session: a DuckDB session over the datamart.
    :param paths: the snapshot's files, local, in its order.
    :param quarantine_uri: the prefix that all versions share; not inside of the datamart.
    :param pinned: the snapshot that was pinned, where the session's is one of files that were made of it.
    :param checks: the SQL of the compiled expectations, as it judged them.
    :param severities: severities of the expectations whose rows are set aside.
    :param scratch_dir: folder for temporary files: at most the bad rows' numbers, and one file of the
        datamart twice.
    :param scratch_limit_bytes: the most that may be written there.
    :param keep_versions: how many versions to keep, the new one included.
    :param keep_at_least: how long to keep a version after it was current, whatever the count says: other runs
        may still read theirs.
    :raises ConfigurationError: when an argument is wrong, or the datamart has columns of our names already.
    :raises ExpectationNotCheckedError: when an expectation about rows could not be evaluated: whether a row
        is as expected is then not known, and nothing is published.
    :raises ScratchLimitError: when the scratch space is too small.
    :raises PublishConflictError: when other writers kept publishing, or one published the same split with
        another verdict. A retry helps.
    :raises QualityError: when the split does not agree with the verdicts; nothing is published.
    """
    table = session.table
    pinned = pinned or table.snapshot
    check_quarantine(quarantine_uri, severities, pinned)
    for name in (REASONS_COLUMN, FILE_COLUMN, ROW_COLUMN):
        if name in table.by_name:
            raise ConfigurationError(
                f"{table.snapshot.uri} already has a column {name!r}, as rows in quarantine have. Leave it "
                f"out before the rows are judged anew."
            )
    broken = find_broken(expectations, outcomes, table, severities, checks=checks)
    fingerprint = split_fingerprint(table.snapshot, expectations, severities, broken, outcomes)
    earlier = find_same_split(quarantine_uri, fingerprint, table.rows, broken, s3_client)
    if earlier is not None:
        log.info("%s holds this split already", earlier.version_uri)
        return _quarantined(earlier, reused=True)
    with scratch_folder(scratch_dir, "quarantine") as folder:
        split = _Split(session, broken, paths, pinned, folder, quarantine_uri)
        split.check_scratch(scratch_limit_bytes)
        split.find_bad_rows()
        try:
            with publish_version(
                quarantine_uri,
                fingerprint=fingerprint,
                s3_client=s3_client,
                keep_versions=keep_versions,
                keep_at_least=keep_at_least,
                on_conflict="retry",
            ) as version:
                split.write(version)
                published = version.commit(split.details())
        except PublishConflictError:
            # Another writer was first. If it did the same, its version is as good as ours.
            earlier = find_same_split(quarantine_uri, fingerprint, table.rows, broken, s3_client)
            if earlier is None:
                raise
            return _quarantined(earlier, reused=True)
    result = _quarantined(published)
    log.info("%s: %d rows clean, %d in quarantine", result.uri, result.clean_rows, result.quarantined_rows)
    return result


def _quarantined(published: Published, *, reused: bool = False) -> Quarantined:
    details = published.manifest.details
    return Quarantined(
        uri=published.version_uri,
        clean_uri=published.version_uri + CLEAN_FOLDER,
        quarantined_uri=published.version_uri + QUARANTINED_FOLDER,
        clean_rows=int(details["clean_rows"]),
        quarantined_rows=int(details["quarantined_rows"]),
        manifest_uri=published.manifest_uri,
        reused=reused,
    )


class _Split:
    """One run over all files."""

    def __init__(
        self,
        session: Session,
        broken: Sequence[Broken],
        paths: Sequence[Path],
        pinned: Snapshot,
        folder: Path,
        quarantine_uri: str,
    ) -> None:
        self._session = session
        self._table: Table = session.table
        self._broken = broken
        self._paths = paths
        # Files that were made of an Iceberg table are not those that were pinned; others are, one by one.
        same = len(pinned.files) == len(paths)
        self._origins = [
            origin_of(pinned if same else self._table.snapshot, item) for item in range(len(paths))
        ]
        self._folder = folder
        self._quoted = quarantine_uri.startswith("file://")
        self._reasons = reasons_of(broken)
        self._offsets: list[int] = []
        self._bad_file: Path | None = None
        self._counts = [0] * len(broken)
        self.clean_rows = 0
        self.quarantined_rows = 0

    def check_scratch(self, limit: int | None) -> None:
        """
        Check that both parts of the largest file fit, and the list of bad rows.

        :raises ScratchLimitError: when they do not.
        """
        words = -(-len(self._broken) // WORD_BITS)
        rows = min(self._table.rows, sum(item.count for item in self._broken))
        largest = max((path.stat().st_size for path in self._paths), default=0)
        # The list exists twice while it is put in order.
        needed = 2 * largest + 2 * rows * 8 * (1 + words) if self._broken else 0
        free = int(shutil.disk_usage(self._folder).free * _RESERVE)
        allowed = free if limit is None else min(limit, free)
        if needed > allowed:
            raise ScratchLimitError(
                f"the quarantine of {self._table.snapshot.uri} takes up to {needed} bytes of scratch space, "
                f"but only {allowed} may be used below {self._folder.parent}. Set scratch_dir to a larger "
                f"disk, or raise the limit."
            )

    def find_bad_rows(self) -> None:
        """Let DuckDB list them."""
        try:
            self._offsets = file_offsets(self._session)
        except errors() as error:
            raise QualityError(
                f"the rows of {self._table.snapshot.uri} could not be counted: {self._session.explain(error)}"
            ) from None
        if self._broken:
            with scratch_errors(f"the bad rows of {self._table.snapshot.uri}", self._folder):
                self._bad_file = write_bad_rows(self._session, self._broken, self._offsets, self._folder)

    def write(self, version: Version) -> None:
        """
        Upload all files, each as soon as it is split.

        :raises QualityError: when what was written is not what was judged.
        """
        words = -(-len(self._broken) // WORD_BITS)
        with BadRows(self._bad_file, words) as bad_rows:
            for number, path in enumerate(self._paths):
                self._write_file(version, number, path, bad_rows)
        self._verify()
        for folder, rows in ((CLEAN_FOLDER, self.clean_rows), (QUARANTINED_FOLDER, self.quarantined_rows)):
            if not rows:
                # So that whoever reads there is told that it is empty, not that it does not exist.
                version.add_bytes(folder + _NO_ROWS_NAME, b"no rows\n", "text/plain")

    def _write_file(self, version: Version, number: int, path: Path, bad_rows: BadRows) -> None:
        name = f"{self._folders(number)}part-{number:05d}.parquet"
        start, stop = self._offsets[number], self._offsets[number + 1]
        if not bad_rows.any_before(stop):
            # Nothing to take out: the file itself. One without rows only counts when no file has any.
            if stop > start or not self._table.rows:
                self.clean_rows += _rows(path)
                version.add(path, CLEAN_FOLDER + name)
            return
        parts = split_file(path, start, bad_rows, self._reasons, self._origins[number], self._folder)
        for index, count in enumerate(parts.counts):
            self._counts[index] += int(count)
        if parts.clean is not None:
            self.clean_rows += _rows(parts.clean)
            version.add(parts.clean, CLEAN_FOLDER + name)
            parts.clean.unlink()
        if parts.bad is not None:
            self.quarantined_rows += _rows(parts.bad)
            version.add(parts.bad, QUARANTINED_FOLDER + name)
            parts.bad.unlink()

    def _folders(self, number: int) -> str:
        """The hive folders of a file, since a column stands in their names, in the form of the target."""
        snapshot = self._table.snapshot
        path = snapshot.files[number].path
        if snapshot.root.startswith("file://"):
            path = unquote(path)
        folders = "".join(f"{part}/" for part in path.split("/")[:-1] if "=" in part)
        return quote(folders, safe="/=") if self._quoted else folders

    def _verify(self) -> None:
        uri = self._table.snapshot.uri
        if self.clean_rows + self.quarantined_rows != self._table.rows:
            raise QualityError(
                f"{uri} has {self._table.rows} rows, but {self.clean_rows} clean rows and "
                f"{self.quarantined_rows} in quarantine were written. Nothing was published."
            )
        for item, count in zip(self._broken, self._counts, strict=True):
            if count != item.count:
                raise QualityError(
                    f"{uri}: {label(item.expectation)} found {item.count} unexpected rows, but {count} were "
                    f"set aside for it. Nothing was published. If the footers of its files state wrong "
                    f"statistics, trust_statistics=False reads the data instead."
                )
        if not self._table.snapshot.root.startswith("s3://"):
            # Local files are read in place: what was split must be what was judged.
            store = open_store(self._table.snapshot.root)
            for file in self._table.snapshot.files:
                store.read(self._table.snapshot.root + file.path, etag=file.etag, length=0)

    def details(self) -> dict[str, Any]:
        """What the manifest says."""
        return {
            "kind": KIND,
            "datamart": self._table.snapshot.uri,
            "datamart_fingerprint": self._table.snapshot.fingerprint,
            "rows": self._table.rows,
            "clean_rows": self.clean_rows,
            "quarantined_rows": self.quarantined_rows,
            "reasons": [
                {"reason": reason, "rows": count}
                for reason, count in zip(self._reasons, self._counts, strict=True)
            ],
        }


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)
