# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    InvalidManifestError,
    PublishConflictError,
    StorageAccessError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.storage import (
    find_published,
    open_store,
    pin_snapshot,
    publish_version,
    read_manifest,
)
from airflow_provider_mlbridge.storage import publish as publish_module
from airflow_provider_mlbridge.storage.s3 import S3Store
from tests.integration.storage.conftest import Place, parquet_bytes, publish, versions

pytestmark = pytest.mark.integration


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


def test_writers_of_different_things_all_get_their_turn(place: Place) -> None:
    base = place.root + "out/"
    barrier = threading.Barrier(6)
    outcomes: list[Any] = []

    def write(number: int) -> None:
        try:
            with publish_version(
                base,
                fingerprint=f"w{number}",
                s3_client=place.client,
                keep_versions=1,
                keep_at_least=timedelta(days=1),
                on_conflict="retry",
            ) as version:
                version.add_bytes("features.parquet", parquet_bytes(number + 1))
                barrier.wait(timeout=30)
                outcomes.append(version.commit({}).version_uri)
        except PublishConflictError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(uri.split("-")[-2] for uri in map(str, outcomes)) == [f"w{number}" for number in range(6)]
    # None was overwritten: each was current once, and all are there.
    assert versions(place) == {f"w{number}" for number in range(6)}
    pointer = json.loads(place.store.read(base + "_latest.json"))
    current = {pointer["version"], *(name for name, _ in pointer["history"])}
    assert {f"{base}versions/{name}/" for name in current} == set(outcomes)


def test_a_second_version_of_the_same_is_not_put_on_top(place: Place) -> None:
    base = place.root + "out/"
    with publish_version(base, fingerprint="f", s3_client=place.client, on_conflict="retry") as version:
        version.add_bytes("a.parquet", parquet_bytes(1))
        with publish_version(base, fingerprint="f", s3_client=place.client) as other:
            other.commit({})
        with pytest.raises(PublishConflictError):
            version.commit({})
    assert read_manifest(base, s3_client=place.client).version_uri == other.uri


def test_a_lost_answer_of_a_version_that_was_replaced_since(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_put = type(place.store).put

    def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        answer = real_put(self, uri, data, **options)
        if uri.endswith("_latest.json"):
            monkeypatch.undo()
            publish(place, "f2", parquet_bytes(2), tmp_path)
            raise PublishConflictError("a repeat of the request met the version that it had written")
        return answer

    monkeypatch.setattr(type(place.store), "put", put)
    published = publish(place, "f1", parquet_bytes(3), tmp_path)
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == "f2"
    assert place.store.head(published.version_uri + "features.parquet") is not None


def test_a_refused_pointer_leaves_nothing_behind(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, "f1", parquet_bytes(3), tmp_path)
    before = place.names()
    real_put = type(place.store).put

    def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        if uri.endswith("_latest.json"):
            raise StorageAccessError("no s3:PutObject")
        return real_put(self, uri, data, **options)

    monkeypatch.setattr(type(place.store), "put", put)
    with pytest.raises(StorageAccessError, match="no s3:PutObject"):
        publish(place, "f2", parquet_bytes(3), tmp_path)
    assert place.names() == before


def test_a_killed_writer_on_disk_leaves_no_folders_or_temporary_files_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "lake/out"
    place = Place(f"{tmp_path}/lake/", None, open_store(str(base)))
    abandoned = publish_version(str(base), fingerprint="dead").__enter__()
    abandoned.add_bytes("clean/month=1/a.parquet", b"half")
    with pytest.raises(RuntimeError), publish_version(str(base), fingerprint="f0") as version:
        version.add_bytes("clean/month=1/a.parquet", b"half")
        raise RuntimeError
    assert [path.name for path in base.glob("versions/*")] == [abandoned.name]
    temporary = base / "._latest.parquet.abc.tmp"
    temporary.write_bytes(b"half")
    publish(place, "f1", parquet_bytes(3), tmp_path)
    assert temporary.exists()
    monkeypatch.setattr(publish_module, "ABANDONED_AFTER", timedelta(seconds=-1))
    publish(place, "f2", parquet_bytes(3), tmp_path)
    assert not temporary.exists()
    assert len(list(base.glob("versions/*"))) == 2


@pytest.mark.parametrize("version", ["../../secret", "..", "", "20260131T060412Z-a/../../../secret"])
def test_a_pointer_that_leads_elsewhere_is_not_followed(place: Place, version: str) -> None:
    place.put("secret/x.parquet", parquet_bytes())
    manifest = {"schema_version": 1, "fingerprint": "x", "files": [], "details": {}}
    place.put("secret/manifest.json", json.dumps(manifest).encode())
    place.put("out/versions/keep", b"")
    place.put("out/_latest.json", json.dumps({"version": version, "fingerprint": "x"}).encode())
    for read in (pin_snapshot, read_manifest):
        with pytest.raises(InvalidManifestError, match="which is no version such as"):
            read(place.root + "out/", s3_client=place.client)


def test_a_damaged_history_is_named(place: Place, tmp_path: Path) -> None:
    publish(place, "f1", parquet_bytes(3), tmp_path)
    uri = place.root + "out/_latest.json"
    pointer = json.loads(place.store.read(uri))
    for history in (5, [["a"]], [["a", "b"]], [["a", "2026-01-01T00:00:00"]]):
        place.store.put(uri, json.dumps({**pointer, "history": history}).encode())
        with pytest.raises(InvalidManifestError, match="'history'"):
            read_manifest(place.root + "out/", s3_client=place.client)


@pytest.mark.parametrize("options", [{"on_conflict": "wait"}, {"keep_at_least": timedelta(-1)}])
def test_wrong_options(tmp_path: Path, options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        publish_version(str(tmp_path), fingerprint="f", **options).__enter__()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store = open_store(str(tmp_path))
    (tmp_path / "source").write_bytes(b"x")
    writes: list[Callable[[], Any]] = [
        lambda: store.put(f"{tmp_path}/out/a", b"x"),
        lambda: store.upload(tmp_path / "source", f"{tmp_path}/out/a"),
    ]
    for write in writes:
        with pytest.raises(StorageUnavailableError, match=r"/out: cannot write: No space .* Free some space"):
            write()
    assert list((tmp_path / "out").iterdir()) == []


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
