# SPDX-License-Identifier: Apache-2.0
"""Which versions stay when a new one is published."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.storage import (
    Version,
    publish_version,
)
from airflow_provider_mlbridge.storage import publish as publish_module
from tests.integration.storage.conftest import Place, parquet_bytes, publish, versions

pytestmark = pytest.mark.integration


def test_old_versions_are_removed_and_abandoned_ones_too(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = publish_version(place.root + "out/", fingerprint="dead", s3_client=place.client).__enter__()
    abandoned.add_bytes("half.parquet", b"half")
    for number in range(4):
        publish(place, f"f{number}", parquet_bytes(number + 1), tmp_path, keep_versions=2)
    versions = {name.split("/")[2].split("-")[1] for name in place.names() if "/versions/" in name}
    assert versions == {"dead", "f2", "f3"}

    monkeypatch.setattr(publish_module, "ABANDONED_AFTER", timedelta(seconds=-1))
    publish(place, "f4", parquet_bytes(1), tmp_path, keep_versions=2)
    versions = {name.split("/")[2].split("-")[1] for name in place.names() if "/versions/" in name}
    assert versions == {"f3", "f4"}


def test_versions_that_never_became_current_do_not_count(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Any, *arguments: Any) -> None:
        raise KeyboardInterrupt

    for number in range(2):
        publish(place, f"f{number}", parquet_bytes(number + 1), tmp_path, keep_versions=3)
    for number in range(3):
        dead = publish_version(place.root + "out/", fingerprint=f"dead{number}", s3_client=place.client)
        version = dead.__enter__()
        version.add_bytes("features.parquet", parquet_bytes(9))
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Version, "_move_pointer", die)
            version.commit({})
    publish(place, "f2", parquet_bytes(3), tmp_path, keep_versions=3)
    assert versions(place) == {"f0", "f1", "f2", "dead0", "dead1", "dead2"}
    monkeypatch.setattr(publish_module, "ABANDONED_AFTER", timedelta(seconds=-1))
    publish(place, "f3", parquet_bytes(4), tmp_path, keep_versions=3)
    assert versions(place) == {"f1", "f2", "f3"}


def test_a_version_is_kept_for_some_time_whatever_the_count(place: Place, tmp_path: Path) -> None:
    for number in range(4):
        publish(
            place, f"f{number}", parquet_bytes(1), tmp_path, keep_versions=1, keep_at_least=timedelta(days=7)
        )
    assert versions(place) == {"f0", "f1", "f2", "f3"}
    publish(place, "f4", parquet_bytes(1), tmp_path, keep_versions=1)
    assert versions(place) == {"f3", "f4"}


def test_the_time_counts_from_when_a_version_was_replaced(place: Place, tmp_path: Path) -> None:
    base = place.root + "out/"
    week = timedelta(days=7)
    for number in range(3):
        publish(place, f"f{number}", parquet_bytes(1), tmp_path, keep_versions=1, keep_at_least=week)
    # As if the first had been replaced eight days ago, and the second, just as old, six days ago.
    pointer = json.loads(place.store.read(base + "_latest.json"))
    assert [name.split("-")[1] for name, _ in pointer["history"]] == ["f1", "f0"]
    for entry, days in zip(pointer["history"], (6, 8), strict=True):
        entry[1] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    place.store.put(base + "_latest.json", json.dumps(pointer).encode())
    publish(place, "f3", parquet_bytes(1), tmp_path, keep_versions=1, keep_at_least=week)
    assert versions(place) == {"f1", "f2", "f3"}
