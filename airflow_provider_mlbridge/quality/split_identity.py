# SPDX-License-Identifier: Apache-2.0
"""When two splits of a datamart into good and bad rows are the same one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from airflow_provider_mlbridge import __version__
from airflow_provider_mlbridge.quality.bad_rows import Broken, concerns_rows
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.reporting.describe import label
from airflow_provider_mlbridge.quality.values import json_value
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage.published import Published, find_published

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_FORMAT = 1
"""Part of the fingerprint: raised when the same input is to be split or written in another way."""


def split_fingerprint(
    snapshot: Snapshot,
    expectations: Mapping[int, Expectation],
    severities: Collection[str],
    broken: Sequence[Broken],
    outcomes: Mapping[int, Outcome],
) -> str:
    """Identity of a split: the datamart, the expectations that judged its rows, and what evaluated them."""
    # Which rows Great Expectations meant is part of it, since the code of an expectation may change.
    positions = {
        item.key: hashlib.sha256(item.positions.tobytes()).hexdigest()
        for item in broken
        if item.positions is not None
    }
    judged = {
        key: [item.type, json_value(item.kwargs), item.severity, positions.get(key)]
        for key, item in expectations.items()
        if concerns_rows(item) and item.severity in severities
    }
    versions = [__version__]
    if any(outcomes[key].engine == "gx" for key in judged):
        versions.append(metadata.version("great_expectations"))
    texts = sorted(json.dumps(item, sort_keys=True) for item in judged.values())
    parts = [_FORMAT, versions, snapshot.fingerprint, texts]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def find_same_split(
    quarantine_uri: str, fingerprint: str, rows: int, broken: Sequence[Broken], s3_client: S3Client | None
) -> Published | None:
    """
    The current version of a quarantine, when it is the same split and came to the same verdict.

    :param fingerprint: see :func:`split_fingerprint`.
    :param rows: number of rows of the datamart.
    """
    earlier = find_published(quarantine_uri, fingerprint=fingerprint, s3_client=s3_client)
    if earlier is None:
        return None
    # What judges may have changed without a sign of it in the expectations.
    found = _tally(rows, zip(reasons_of(broken), (item.count for item in broken), strict=True))
    details = earlier.manifest.details
    then = _tally(details["rows"], ((item["reason"], item["rows"]) for item in details["reasons"]))
    if found == then:
        return earlier
    log.warning("%s came to another verdict on the same; publishing anew", earlier.version_uri)
    return None


def _tally(rows: int, reasons: Iterable[tuple[str, int]]) -> tuple[int, list[tuple[str, int]]]:
    return int(rows), sorted(reasons)


def reasons_of(broken: Sequence[Broken]) -> list[str]:
    """One short text per expectation; those that would read the same are numbered."""
    texts = [f"{label(item.expectation)}, {item.expectation.severity}" for item in broken]
    total, seen = Counter(texts), Counter[str]()
    reasons = []
    for text in texts:
        seen[text] += 1
        reasons.append(f"{text} #{seen[text]}" if total[text] > 1 else text)
    return reasons
