# SPDX-License-Identifier: Apache-2.0
"""Published data of which a part is gone or was overwritten: what its readers are told."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_provider_mlbridge.exceptions import (
    DatasetEmptyError,
    InvalidManifestError,
)
from airflow_provider_mlbridge.storage import (
    pin_snapshot,
    publish_version,
    read_manifest,
)
from airflow_provider_mlbridge.storage.uris import local_path
from tests.integration.storage.conftest import Place, parquet_bytes, publish

pytestmark = pytest.mark.integration


def test_a_prefix_without_manifest_is_refused(place: Place) -> None:
    place.put("plain/a.parquet", parquet_bytes())
    with pytest.raises(InvalidManifestError, match="is not a published version"):
        read_manifest(place.root + "plain/", s3_client=place.client)


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b"{}", b'{"schema_version": 99}', b'{"schema_version": 1, "fingerprint": "x"}'],
)
def test_a_damaged_manifest_is_refused(place: Place, body: bytes) -> None:
    place.put("out/manifest.json", body)
    with pytest.raises(InvalidManifestError):
        read_manifest(place.root + "out/", s3_client=place.client)


def test_a_published_file_that_was_overwritten_is_noticed(place: Place, tmp_path: Path) -> None:
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    place.store.put(published.version_uri + "features.parquet", parquet_bytes(4))
    with pytest.raises(InvalidManifestError, match="is not the file that was published"):
        pin_snapshot(place.root + "out/", s3_client=place.client)


@pytest.mark.parametrize("part", ["", "versions", "clean"])
def test_a_published_file_that_is_gone_is_noticed(place: Place, part: str) -> None:
    base = place.root + "out/"
    with publish_version(base, fingerprint="f", s3_client=place.client) as version:
        names = [f"clean/k=a b%/{number}.parquet" for number in range(3)]
        if place.root.startswith("file://"):
            names = [quote(name, safe="/=") for name in names]
        for name in names:
            version.add_bytes(name, parquet_bytes(3))
        version.add_bytes("quarantined/_NO_ROWS", b"no rows")
        version.commit({})
    uri = {"": base, "versions": version.uri, "clean": version.uri + "clean/"}[part]
    assert pin_snapshot(uri, s3_client=place.client).file_count == 3
    if place.client is None:
        # Whoever gives a path finds what was published by URI.
        assert pin_snapshot(str(local_path(uri)) + "/").file_count == 3
    with pytest.raises(DatasetEmptyError):
        pin_snapshot(version.uri + "quarantined/", s3_client=place.client)
    for gone in (names[1:2], names):
        place.store.delete([version.uri + name for name in gone])
        with pytest.raises(InvalidManifestError, match=rf"{len(gone)} files are missing: .*1\.parquet"):
            pin_snapshot(uri, s3_client=place.client)


def test_a_selected_partition_of_which_a_file_is_gone(place: Place) -> None:
    base = place.root + "out/"
    with publish_version(base, fingerprint="f", s3_client=place.client) as version:
        for month in (1, 2):
            version.add_bytes(f"month={month}/a.parquet", parquet_bytes(3))
        version.commit({})
    place.store.delete([version.uri + "month=1/a.parquet"])
    snapshot = pin_snapshot(base, partitions={"month": 2}, s3_client=place.client)
    assert [file.path for file in snapshot.files] == ["month=2/a.parquet"]
    assert dict(snapshot.partitions) == {"month": ("2",)}
    with pytest.raises(InvalidManifestError, match="1 files are missing: month=1/a.parquet"):
        pin_snapshot(base, partitions={"month": 1}, s3_client=place.client)
