# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    InvalidManifestError,
    PublishConflictError,
    StorageAccessError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.storage import (
    Published,
    find_published,
    open_store,
    pin_snapshot,
    publish_version,
    read_manifest,
)
from airflow_provider_mlbridge.storage import publish as publish_module
from airflow_provider_mlbridge.storage.s3 import S3Store
from tests.integration.storage.conftest import Place, parquet_bytes

pytestmark = pytest.mark.integration


def publish(place: Place, fingerprint: str, data: bytes, tmp_path: Path, **options: Any) -> Published:
    path = tmp_path / f"{fingerprint}.parquet"
    path.write_bytes(data)
    with publish_version(
        place.root + "out/", fingerprint=fingerprint, s3_client=place.client, **options
    ) as version:
        version.add(path, "features.parquet")
        version.add_bytes("recipe.json", b"{}")
        return version.commit({"rows": 3}, latest_parquet="features.parquet")


def test_a_published_version_is_what_readers_find(place: Place, tmp_path: Path) -> None:
    data = parquet_bytes(3)
    published = publish(place, "f1", data, tmp_path)

    manifest = read_manifest(place.root + "out/", s3_client=place.client)
    assert manifest.fingerprint == "f1"
    assert manifest.details == {"rows": 3}
    assert [file["name"] for file in manifest.document["files"]] == ["features.parquet", "recipe.json"]
    assert manifest.version_uri == published.version_uri
    assert published.latest_uri == place.root + "out/latest.parquet"
    assert place.store.read(published.latest_uri) == data
    snapshot = pin_snapshot(place.root + "out/", s3_client=place.client)
    assert snapshot.root == published.version_uri
    assert [file.path for file in snapshot.files] == ["features.parquet"]


def test_a_version_and_its_manifest_can_be_named_directly(place: Place, tmp_path: Path) -> None:
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    for uri in (published.version_uri, published.manifest_uri):
        assert read_manifest(uri, s3_client=place.client).fingerprint == "f1"


def test_leaving_the_block_without_commit_changes_nothing(place: Place, tmp_path: Path) -> None:
    publish(place, "f1", parquet_bytes(3), tmp_path)
    before = place.names()
    with (
        pytest.raises(RuntimeError, match="stop"),
        publish_version(place.root + "out/", fingerprint="f2", s3_client=place.client) as version,
    ):
        version.add_bytes("half.parquet", b"half")
        raise RuntimeError("stop")
    assert place.names() == before
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == "f1"


@pytest.mark.parametrize("dies_at", ["add", "manifest", "pointer"])
def test_dying_before_the_pointer_leaves_the_previous_version(
    place: Place, tmp_path: Path, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, "f1", parquet_bytes(3), tmp_path)
    version_context = publish_version(place.root + "out/", fingerprint="f2", s3_client=place.client)
    version = version_context.__enter__()
    version.add_bytes("features.parquet", parquet_bytes(9))
    if dies_at != "add":
        real_put = type(place.store).put

        def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
            if uri.endswith("manifest.json" if dies_at == "manifest" else "_latest.json"):
                raise KeyboardInterrupt
            return real_put(self, uri, data, **options)

        monkeypatch.setattr(type(place.store), "put", put)
        with pytest.raises(KeyboardInterrupt):
            version.commit({})
        monkeypatch.undo()
    # The process is gone: nobody leaves the block, nothing is discarded.
    manifest = read_manifest(place.root + "out/", s3_client=place.client)
    assert manifest.fingerprint == "f1"
    assert place.store.read(place.root + "out/latest.parquet") == parquet_bytes(3)
    # And the next publication goes through.
    publish(place, "f3", parquet_bytes(4), tmp_path)
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == "f3"


def test_of_two_writers_one_wins_and_the_other_is_told(place: Place, tmp_path: Path) -> None:
    publish(place, "f0", parquet_bytes(1), tmp_path)
    barrier = threading.Barrier(4)
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            with publish_version(
                place.root + "out/", fingerprint=f"w{number}", s3_client=place.client
            ) as version:
                version.add_bytes("features.parquet", parquet_bytes(number + 1))
                barrier.wait(timeout=30)
                version.commit({})
                outcomes.append(f"w{number}")
        except PublishConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    winners = [outcome for outcome in outcomes if outcome != "conflict"]
    assert len(outcomes) == 4
    assert len(winners) == 1
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == winners[0]
    # The losers removed their files.
    versions = {name.split("/")[2] for name in place.names() if "/versions/" in name}
    assert len(versions) == 2


def test_two_first_writers_do_not_overwrite_each_other(place: Place) -> None:
    base = place.root + "out/"
    first = publish_version(base, fingerprint="a", s3_client=place.client)
    second = publish_version(base, fingerprint="b", s3_client=place.client)
    one, two = first.__enter__(), second.__enter__()
    one.add_bytes("x.parquet", parquet_bytes(1))
    two.add_bytes("x.parquet", parquet_bytes(2))
    one.commit({})
    with pytest.raises(PublishConflictError):
        two.commit({})
    assert read_manifest(base, s3_client=place.client).fingerprint == "a"


def test_a_lost_answer_of_the_pointer_write_is_not_a_failure(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_put = type(place.store).put

    def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        answer = real_put(self, uri, data, **options)
        if uri.endswith("_latest.json"):
            raise StorageUnavailableError("the answer was lost")
        return answer

    monkeypatch.setattr(type(place.store), "put", put)
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    monkeypatch.undo()
    assert read_manifest(place.root + "out/", s3_client=place.client).version_uri == published.version_uri


def test_a_repeat_finds_what_is_published_and_repairs_the_copy(place: Place, tmp_path: Path) -> None:
    base = place.root + "out/"
    assert find_published(base, fingerprint="f1", s3_client=place.client) is None
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    # As if the writer had died between pointer and copy.
    place.put("out/latest.parquet", b"of an older version")
    found = find_published(base, fingerprint="f1", s3_client=place.client, latest_parquet="features.parquet")
    assert found is not None
    assert found.version_uri == published.version_uri
    assert place.store.read(base + "latest.parquet") == parquet_bytes(3)
    assert find_published(base, fingerprint="other", s3_client=place.client) is None


@pytest.mark.parametrize("damage", ["deleted", "overwritten"])
def test_a_damaged_version_is_not_found_so_that_it_is_published_anew(
    place: Place, tmp_path: Path, damage: str
) -> None:
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    uri = published.version_uri + "features.parquet"
    if damage == "deleted":
        place.store.delete([uri])
    else:
        place.store.put(uri, parquet_bytes(4))
    assert find_published(place.root + "out/", fingerprint="f1", s3_client=place.client) is None
    again = publish(place, "f1", parquet_bytes(3), tmp_path)
    assert again.version_uri != published.version_uri


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


def test_a_role_that_may_not_delete_still_publishes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Any, uris: Any) -> None:
        if list(uris):
            raise StorageAccessError("no s3:DeleteObject")

    for number in range(3):
        if number == 2:
            monkeypatch.setattr(type(place.store), "delete", refuse)
        publish(place, f"f{number}", parquet_bytes(number + 1), tmp_path, keep_versions=1)
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == "f2"
    assert "were not removed" in caplog.text


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


def test_a_store_that_ignores_conditions_is_found_out_and_named(
    bucket: str,
    s3_client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real_put = S3Store.put

    def ignoring(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        options.pop("if_absent", None)
        options.pop("if_match", None)
        return real_put(self, uri, data, **options)

    root = f"s3://{bucket}/lake/"
    place = Place(root, s3_client, open_store(root, s3_client=s3_client))
    monkeypatch.setattr(S3Store, "put", ignoring)
    with caplog.at_level(logging.WARNING):
        publish(place, "f1", parquet_bytes(3), tmp_path)
    assert "does not honour conditional writes" in caplog.text
    assert read_manifest(root + "out/", s3_client=s3_client).fingerprint == "f1"
