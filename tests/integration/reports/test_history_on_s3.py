# SPDX-License-Identifier: Apache-2.0
"""The history in S3, where it is read and written by several runs at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import StorageError
from airflow_provider_mlbridge.quality.history import HistoryEntry, append, load

START = datetime(2024, 1, 1, tzinfo=UTC)


def entry(number: int) -> HistoryEntry:
    return HistoryEntry(
        checked_at=START + timedelta(days=number),
        datamart="s3://b/k",
        fingerprint=f"{number:064x}",
        rows=number,
        bytes=1,
        files=1,
        success=True,
        evaluated=1,
        passed=1,
        not_checked=0,
        null_ratios={"größe": 0.5},
    )


def test_runs_at_once_keep_the_newest_entries(s3_client: Any, bucket: str) -> None:
    uri = f"s3://{bucket}/reports/taxi"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append(uri, entry(number), keep=10, s3_client=s3_client), range(16)))
    append(uri, entry(16), keep=10, s3_client=s3_client)
    history = load(uri, s3_client=s3_client)
    assert [item.rows for item in history.entries] == list(range(7, 17))
    assert [item.rows for item in load(uri, limit=2, s3_client=s3_client).entries] == [15, 16]
    # A prefix that only begins the same is another history.
    assert load(f"s3://{bucket}/reports/tax", s3_client=s3_client).entries == ()


def test_broken_and_foreign_objects_are_passed_over(s3_client: Any, bucket: str) -> None:
    uri = f"s3://{bucket}/reports"
    first = append(uri, entry(1), s3_client=s3_client).removeprefix(f"s3://{bucket}/")
    s3_client.put_object(Bucket=bucket, Key=first, Body=b"")
    s3_client.put_object(Bucket=bucket, Key="reports/history/readme.txt", Body=b"x")
    append(uri, entry(2), s3_client=s3_client)
    history = load(uri, s3_client=s3_client)
    assert ([item.rows for item in history.entries], history.skipped) == ([2], 2)


def test_a_history_that_cannot_be_listed_is_an_error(s3_client: Any) -> None:
    with pytest.raises(StorageError):
        load("s3://there-is-no-such-bucket/reports", s3_client=s3_client)
