# SPDX-License-Identifier: Apache-2.0
"""What becomes of a publication when another one comes in between, also where a store has no conditions."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, PublishConflictError
from airflow_provider_mlbridge.storage import find_published, publish_version, read_manifest
from airflow_provider_mlbridge.storage.manifest import read_pointer
from airflow_provider_mlbridge.storage.publish import Content
from airflow_provider_mlbridge.storage.store import ConditionalWriteUnsupportedError
from tests.integration.storage.conftest import Place, parquet_bytes, publish, versions

pytestmark = pytest.mark.integration


def without_conditions(place: Place, monkeypatch: pytest.MonkeyPatch, refusing: bool) -> list[str]:
    """Have the store ignore conditions, or refuse requests that have some; the pointers it was sent."""
    real_put = type(place.store).put
    pointers: list[str] = []

    def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        conditions = [options.pop(name, None) for name in ("if_absent", "if_match")]
        if refusing and any(conditions):
            raise ConditionalWriteUnsupportedError("501 Not Implemented")
        if uri.endswith("_latest.json"):
            pointers.append(uri)
        return real_put(self, uri, data, **options)

    monkeypatch.setattr(type(place.store), "put", put)
    return pointers


@pytest.mark.parametrize("refusing", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_without_conditions_a_writer_that_came_before_is_still_seen(
    place: Place,
    tmp_path: Path,
    refusing: bool,
    first: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pointers = without_conditions(place, monkeypatch, refusing)
    if not first:
        publish(place, "f0", parquet_bytes(1), tmp_path)
    with publish_version(place.root + "out/", fingerprint="slow", s3_client=place.client) as version:
        version.add_bytes("features.parquet", parquet_bytes(9))
        publish(place, "fast", parquet_bytes(2), tmp_path)
        with pytest.raises(PublishConflictError, match=r"_latest\.json was replaced by another writer"):
            version.commit({})
    assert read_manifest(place.root + "out/", s3_client=place.client).fingerprint == "fast"
    assert versions(place) == ({"fast"} if first else {"f0", "fast"})
    assert len(pointers) == (1 if first else 2)
    assert "Let only one task publish to this prefix" in caplog.text


def test_a_store_is_asked_once_whether_it_knows_conditions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never with the pointer, which the probe would overwrite."""
    real_put = type(place.store).put
    probes: list[str] = []

    def put(self: Any, uri: str, data: bytes, **options: Any) -> Any:
        if options.get("if_absent"):
            probes.append(uri.rsplit("/", 1)[-1])
        return real_put(self, uri, data, **options)

    base = place.root + "out/"
    with publish_version(base, fingerprint="a", s3_client=place.client, on_conflict="retry") as version:
        with publish_version(base, fingerprint="b", s3_client=place.client) as other:
            other.commit({})
        monkeypatch.setattr(type(place.store), "put", put)
        version.commit({})
    assert probes == ["manifest.json", "_latest.json"]
    assert read_manifest(base, s3_client=place.client).fingerprint == "a"


def test_the_copy_is_of_what_is_current_when_it_is_made(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_copy = type(place.store).copy
    copied: list[str] = []

    def copy(self: Any, source: str, target: str) -> Any:
        result = real_copy(self, source, target)
        copied.append(source)
        if len(copied) == 1:
            # The other one is killed between the pointer and its copy.
            with publish_version(
                place.root + "out/", fingerprint="other", s3_client=place.client, keep_versions=5
            ) as version:
                version.add_bytes("features.parquet", parquet_bytes(7))
                version.commit({})
        return result

    monkeypatch.setattr(type(place.store), "copy", copy)
    publish(place, "mine", parquet_bytes(3), tmp_path)
    assert [uri.split("-")[-2] for uri in copied] == ["mine", "other"]
    assert place.store.read(place.root + "out/latest.parquet") == parquet_bytes(7)


def test_a_copy_that_is_overtaken_for_ever_gives_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def copy(self: Any, source: str, target: str) -> None:
        copied.append(source)
        with publish_version(
            place.root + "out/", fingerprint=f"w{len(copied)}", s3_client=place.client
        ) as version:
            version.add_bytes("features.parquet", parquet_bytes(1))
            version.commit({})

    monkeypatch.setattr(type(place.store), "copy", copy)
    with pytest.raises(PublishConflictError, match=r"latest\.parquet: other writers kept publishing"):
        publish(place, "mine", parquet_bytes(3), tmp_path)
    assert len(copied) == 5


@pytest.mark.parametrize("keep", [1, 2])
def test_the_version_that_was_current_until_now_stays(place: Place, tmp_path: Path, keep: int) -> None:
    """Somebody may be reading it."""
    published = [
        publish(place, f"f{number}", parquet_bytes(number + 1), tmp_path, keep_versions=keep)
        for number in range(3)
    ]
    assert versions(place) == {"f1", "f2"}
    assert place.store.read(published[1].version_uri + "features.parquet") == parquet_bytes(2)
    pointer = json.loads(place.store.read(place.root + "out/_latest.json"))
    assert [name for name, _ in pointer["history"]] == [published[1].version_uri.split("/")[-2]]


def test_a_predecessor_is_the_only_one_that_is_replaced(place: Place, tmp_path: Path) -> None:
    base = place.root + "out/"
    options: dict[str, Any] = {"s3_client": place.client}
    nothing = read_pointer(base, place.store)
    publish(place, "f0", parquet_bytes(1), tmp_path)
    seen = read_pointer(base, place.store)
    assert nothing is None
    assert seen is not None
    with (
        pytest.raises(PublishConflictError, match=f"another writer has published {seen.version} in the"),
        publish_version(base, fingerprint="late", predecessor=nothing, **options),
    ):
        pytest.fail("it was opened")
    with publish_version(base, fingerprint="f1", predecessor=seen, **options) as version:
        version.commit({})
    before = place.names()
    with (
        pytest.raises(PublishConflictError, match="another writer has published"),
        publish_version(base, fingerprint="late", predecessor=seen, **options),
    ):
        pytest.fail("it was opened")
    assert place.names() == before
    place.store.delete([base + "_latest.json"])
    with (
        pytest.raises(PublishConflictError, match=r"another writer has removed _latest\.json"),
        publish_version(base, fingerprint="late", predecessor=seen, **options),
    ):
        pytest.fail("it was opened")


def test_what_is_composed_knows_who_was_first(place: Place, tmp_path: Path) -> None:
    base = place.root + "out/"
    seen: list[str | None] = []

    def compose(current: Any) -> Content:
        seen.append(current and current.fingerprint)
        if len(seen) < 3:
            publish(place, f"f{len(seen)}", parquet_bytes(1), tmp_path)
        return Content(f"after {seen[-1]}", {"number": len(seen)})

    with publish_version(base, fingerprint="mine", s3_client=place.client) as version:
        publish(place, "f0", parquet_bytes(1), tmp_path)
        published = version.commit_onto(compose)
    assert published is not None
    # What was there when the version was opened does not matter.
    assert seen == ["f0", "f1", "f2"]
    manifest = read_manifest(base, s3_client=place.client)
    assert (manifest.fingerprint, manifest.details) == ("after f2", {"number": 3})
    assert manifest.document == published.manifest.document
    assert find_published(base, fingerprint="after f2", s3_client=place.client) == published


def test_nothing_to_publish_any_more_leaves_nothing(place: Place, tmp_path: Path) -> None:
    publish(place, "f0", parquet_bytes(1), tmp_path)
    before = place.names()
    with publish_version(place.root + "out/", fingerprint="f1", s3_client=place.client) as version:
        version.add_bytes("features.parquet", parquet_bytes(2))
        assert version.commit_onto(lambda _: None) is None
    assert place.names() == before


def test_versions_that_are_kept_for_a_time_do_not_go_as_abandoned(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is under construction for longer than a day, where versions stay for a week."""
    from airflow_provider_mlbridge.storage import publish as publish_module

    monkeypatch.setattr(publish_module, "ABANDONED_AFTER", timedelta(seconds=-1))
    base = place.root + "out/"
    slow = publish_version(base, fingerprint="slow", s3_client=place.client).__enter__()
    slow.add_bytes("features.parquet", parquet_bytes(9))
    publish(place, "f0", parquet_bytes(1), tmp_path, keep_at_least=timedelta(days=7))
    assert versions(place) == {"slow", "f0"}
    publish(place, "f1", parquet_bytes(1), tmp_path)
    assert versions(place) == {"f0", "f1"}


@pytest.mark.parametrize("value", [0, -1, True, "7", None, 2.5])
def test_how_many_versions_to_keep(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="keep_versions must be"):
        publish_version(str(tmp_path), fingerprint="f", keep_versions=value).__enter__()


def test_what_others_publish_before_old_versions_go_stays(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old its files are, as after an upload of more than a day."""
    from airflow_provider_mlbridge.storage import publish as publish_module
    from airflow_provider_mlbridge.storage.retention import remove_old_versions as real_remove

    def late(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(publish_module, "remove_old_versions", real_remove)
        publish(place, "other", parquet_bytes(7), tmp_path)
        real_remove(*arguments, **{**options, "abandoned_after": timedelta(seconds=-1)})

    publish(place, "f0", parquet_bytes(1), tmp_path)
    monkeypatch.setattr(publish_module, "remove_old_versions", late)
    publish(place, "mine", parquet_bytes(3), tmp_path)
    assert versions(place) == {"f0", "mine", "other"}
    manifest = read_manifest(place.root + "out/", s3_client=place.client)
    assert manifest.fingerprint == "other"
    assert place.store.read(manifest.file("features.parquet").uri) == parquet_bytes(7)


def test_an_upload_that_takes_long_is_not_abandoned(tmp_path: Path) -> None:
    base = f"{tmp_path}/out"
    slow = publish_version(base, fingerprint="slow").__enter__()
    for name in ("first.parquet", "second.parquet"):
        slow.add_bytes(name, parquet_bytes(1))
    two_days_ago = time.time() - 2 * 86_400
    os.utime(f"{slow.uri}first.parquet", (two_days_ago, two_days_ago))
    with publish_version(base, fingerprint="other") as version:
        version.commit({})
    assert sorted(path.name for path in Path(slow.uri).iterdir()) == ["first.parquet", "second.parquet"]
    os.utime(f"{slow.uri}second.parquet", (two_days_ago, two_days_ago))
    with publish_version(base, fingerprint="third") as version:
        version.commit({})
    assert not Path(slow.uri).exists()
