# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetEmptyError,
    DatasetIncompleteError,
    DatasetNotFoundError,
    InvalidParquetError,
    ScratchLimitError,
    SnapshotChangedError,
    StorageAccessError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import local_files, opened_snapshot, pin_snapshot, read_footers
from airflow_provider_mlbridge.storage.partitions import partition_columns
from airflow_provider_mlbridge.storage.s3 import S3Store
from tests.integration.storage.conftest import Place, parquet_bytes

pytestmark = pytest.mark.integration


def test_a_prefix_is_pinned_with_its_parquet_files_only(place: Place) -> None:
    place.put("mart/day=2026-01-01/a.parquet", parquet_bytes(2))
    place.put("mart/day=2026-01-02/b.parquet", parquet_bytes(3))
    place.put("mart/_SUCCESS", b"")
    place.put("mart/.part.crc", b"x")
    place.put("mart2/c.parquet", parquet_bytes(5))

    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)

    assert [file.path for file in snapshot.files] == ["day=2026-01-01/a.parquet", "day=2026-01-02/b.parquet"]
    assert snapshot.total_bytes == sum(file.size for file in snapshot.files)
    footers = read_footers(snapshot, s3_client=place.client)
    assert [footer.metadata.num_rows for footer in footers] == [2, 3]


def test_a_prefix_without_slash_and_a_single_file_are_found(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes())
    assert pin_snapshot(place.root + "mart", s3_client=place.client).file_count == 1
    single = pin_snapshot(place.root + "mart/a.parquet", s3_client=place.client)
    assert [file.path for file in single.files] == [""]


def test_files_of_athena_have_no_ending_and_are_found(place: Place) -> None:
    place.put("mart/20261123_101112_00042_abcde_0f3c1c9e-1111-2222-3333-444455556666", parquet_bytes())
    assert pin_snapshot(place.root + "mart/", s3_client=place.client).file_count == 1


def test_the_fingerprint_is_of_the_content_not_of_the_moment(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes(2))
    first = pin_snapshot(place.root + "mart/", s3_client=place.client)
    second = pin_snapshot(place.root + "mart/", s3_client=place.client)
    place.put("mart/a.parquet", parquet_bytes(3))
    third = pin_snapshot(place.root + "mart/", s3_client=place.client)

    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != third.fingerprint


@pytest.mark.parametrize(
    "name", ["a b.parquet", "c#d.parquet", "50%.parquet", "ü.parquet", "ts=00%3A00/x.parquet"]
)
def test_names_with_special_characters(place: Place, name: str, tmp_path: Any) -> None:
    if place.client is None:
        path = tmp_path / "lake" / "mart" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(parquet_bytes(4))
    else:
        place.put(f"mart/{name}", parquet_bytes(4))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    assert read_footers(snapshot, s3_client=place.client)[0].metadata.num_rows == 4
    with local_files(snapshot, s3_client=place.client) as paths:
        assert paths[0].stat().st_size == snapshot.total_bytes


def test_a_first_publication_under_way_is_not_a_datamart(place: Place) -> None:
    from airflow_provider_mlbridge.storage import publish_version

    opened = publish_version(place.root + "out/", fingerprint="f" * 64, s3_client=place.client).__enter__()
    opened.add_bytes("part.parquet", parquet_bytes())
    with pytest.raises(DatasetIncompleteError, match="is being published for the first time"):
        pin_snapshot(place.root + "out/", s3_client=place.client)


def test_a_uri_too_long_for_xcom_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="at most 400 are possible"):
        pin_snapshot("s3://bucket/" + "x" * 400)


def test_nothing_at_the_uri(place: Place) -> None:
    with pytest.raises(DatasetNotFoundError, match="nothing is stored at"):
        pin_snapshot(place.root + "nowhere/", s3_client=place.client)


def test_a_missing_bucket_is_named(s3_client: Any) -> None:
    with pytest.raises(DatasetNotFoundError, match="the bucket 'no-such-bucket' does not exist"):
        pin_snapshot("s3://no-such-bucket/mart/", s3_client=s3_client)


def test_objects_but_no_parquet(place: Place) -> None:
    place.put("mart/data.csv", b"a,b")
    with pytest.raises(DatasetEmptyError, match="holds 1 object, but none is a Parquet file"):
        pin_snapshot(place.root + "mart/", s3_client=place.client)


def test_a_file_without_bytes(place: Place) -> None:
    place.put("mart/a.parquet", b"")
    with pytest.raises(DatasetEmptyError, match="has no bytes"):
        pin_snapshot(place.root + "mart/", s3_client=place.client)


def test_a_writer_at_work(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes())
    place.put("mart/_temporary/0/part-0.parquet", parquet_bytes())
    with pytest.raises(DatasetIncompleteError, match="is being written"):
        pin_snapshot(place.root + "mart/", s3_client=place.client)


def _with_footer(data: bytes, footer: bytes) -> bytes:
    return data[:4] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda data: data[:-9], "does not end with the Parquet magic"),
        (lambda data: b"name,age\nann,3\nbob,4\n", "does not end with the Parquet magic"),
        (lambda data: b"PAR1", "the smallest Parquet file has 12"),
        (lambda data: data[:-8] + (10**9).to_bytes(4, "little") + b"PAR1", "claims a footer of 1000000000"),
        (lambda data: _with_footer(data, b"\xff" * 64), "has a footer that cannot be read"),
    ],
    ids=["truncated", "csv", "short", "absurd footer length", "corrupt footer"],
)
def test_files_that_are_no_parquet_are_named(
    place: Place, spoil: Callable[[bytes], bytes], problem: str
) -> None:
    place.put("mart/good.parquet", parquet_bytes())
    place.put("mart/wrong.parquet", spoil(parquet_bytes(100)))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    with pytest.raises(InvalidParquetError, match=problem) as caught:
        read_footers(snapshot, s3_client=place.client)
    assert "wrong.parquet" in str(caught.value)


def test_a_footer_longer_than_the_first_guess(place: Place) -> None:
    columns: dict[str, Any] = {f"column_with_a_long_name_{index:04}": [index] for index in range(1500)}
    data = parquet_bytes(**columns)
    assert int.from_bytes(data[-8:-4], "little") > 64 * 1024
    place.put("mart/wide.parquet", data)
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    assert len(read_footers(snapshot, s3_client=place.client)[0].schema) == 1500


def test_reading_after_a_replacement_fails(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes(2))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    place.put("mart/a.parquet", parquet_bytes(7))

    with pytest.raises(SnapshotChangedError, match="was replaced since it was pinned"):
        read_footers(snapshot, s3_client=place.client)
    with (
        pytest.raises(SnapshotChangedError, match="was replaced since it was pinned"),
        local_files(snapshot, s3_client=place.client),
    ):
        pass


def test_reading_after_a_removal_fails(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes(2))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    place.store.delete([place.root + "mart/a.parquet"])
    with (
        pytest.raises(SnapshotChangedError, match="was removed after it was pinned"),
        local_files(snapshot, s3_client=place.client),
    ):
        pass


@pytest.mark.parametrize("size", [1000, 20 * 1024 * 1024], ids=["one part", "several parts"])
def test_a_replacement_of_equal_size_is_noticed_by_the_download(
    bucket: str, s3_client: Any, size: int
) -> None:
    uri = f"s3://{bucket}/mart/a.parquet"
    s3_client.put_object(Bucket=bucket, Key="mart/a.parquet", Body=b"a" * size)
    snapshot = pin_snapshot(uri, s3_client=s3_client)
    with local_files(snapshot, s3_client=s3_client) as paths:
        assert paths[0].read_bytes() == b"a" * size
    s3_client.put_object(Bucket=bucket, Key="mart/a.parquet", Body=b"b" * size)
    with pytest.raises(SnapshotChangedError), local_files(snapshot, s3_client=s3_client):
        pass


def test_a_snapshot_survives_xcom(place: Place) -> None:
    place.put("mart/a.parquet", parquet_bytes(2))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    document = json.loads(json.dumps(snapshot.to_dict()))
    assert Snapshot.from_dict(document) == snapshot
    assert pin_snapshot(document, s3_client=place.client) == snapshot


def test_a_large_snapshot_travels_as_its_fingerprint_and_is_checked(place: Place) -> None:
    for index in range(30):
        place.put(f"mart/part-{index:03}.parquet", parquet_bytes(1))
    snapshot = pin_snapshot(place.root + "mart/", s3_client=place.client)
    document = json.loads(json.dumps(snapshot.to_dict()))
    assert document["files"] == []
    assert len(json.dumps(document)) < 2048
    assert pin_snapshot(document, s3_client=place.client).files == snapshot.files

    place.put("mart/part-007.parquet", parquet_bytes(2))
    with pytest.raises(SnapshotChangedError, match="is no longer what was pinned"):
        pin_snapshot(document, s3_client=place.client)


def test_partitions_whose_folders_no_local_file_can_have(bucket: str, s3_client: Any) -> None:
    value = "v" * 300
    s3_client.put_object(Bucket=bucket, Key=f"mart/k={value}/a.parquet", Body=parquet_bytes(2))
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", s3_client=s3_client)
    with local_files(snapshot, s3_client=s3_client) as paths:
        assert paths[0].read_bytes() == parquet_bytes(2)
    (column,) = partition_columns(snapshot, ["id"])
    assert column.values == (value,)


def test_a_long_folder_of_files_that_are_written_anew_is_named(bucket: str, s3_client: Any) -> None:
    key = f"mart/k={'v' * 300}/"
    s3_client.put_object(Bucket=bucket, Key=key + "a.parquet", Body=parquet_bytes(2))
    s3_client.put_object(Bucket=bucket, Key=key + "b.parquet", Body=parquet_bytes(other=[1]))
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", schema_evolution="union", s3_client=s3_client)
    with (
        pytest.raises(ConfigurationError, match="longer than names of local folders"),
        opened_snapshot(snapshot, s3_client=s3_client),
    ):
        pass


class BrokenBodies:
    """A client whose first answers break off while they are read."""

    def __init__(self, client: Any, count: int) -> None:
        self._client = client
        self.left = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **options: Any) -> Any:
        answer = self._client.get_object(**options)
        if self.left:
            self.left -= 1
            answer["Body"].close()
            answer["Body"] = self
        return answer

    def read(self) -> bytes:
        raise ResponseStreamingError(error="Connection broken")

    def close(self) -> None:
        """As bodies can be closed."""


def test_an_answer_that_breaks_off_is_asked_for_again(bucket: str, s3_client: Any, tmp_path: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="a", Body=b"12345")
    uri = f"s3://{bucket}/a"
    client: Any = BrokenBodies(s3_client, 2)
    store = S3Store(client)
    assert store.read(uri) == b"12345"
    client.left = 2
    info = store.head(uri)
    assert info is not None
    store.download(uri, tmp_path / "a", size=5, etag=info.etag)
    assert (tmp_path / "a").read_bytes() == b"12345"
    client.left = 99
    with pytest.raises(StorageUnavailableError, match="Connection broken"):
        store.read(uri)
    assert client.left == 96


def test_a_disk_that_fills_up_under_a_download(
    place: Place, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place.put("a", b"12345")
    info = place.store.head(place.root + "a")
    assert info is not None
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ScratchLimitError, match="became full while temporary files were written"):
        place.store.download(info.uri, tmp_path / "a", size=5, etag=info.etag)


def test_keys_that_a_file_system_does_not_tell_apart_stay_apart(bucket: str, s3_client: Any) -> None:
    names = [
        "p/f.parquet",
        "p//f.parquet",
        "f.parquet",
        "f.parquet/g.parquet",
        "x" * 300 + ".parquet",
    ]
    for number, name in enumerate(names):
        s3_client.put_object(Bucket=bucket, Key=f"mart/{name}", Body=parquet_bytes(id=[number]))
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", s3_client=s3_client)
    with local_files(snapshot, s3_client=s3_client) as paths:
        import pyarrow.parquet as pq

        values = sorted(pq.read_table(path)["id"][0].as_py() for path in paths)
    assert values == list(range(len(names)))


def test_downloads_are_bounded_and_cleaned_up(bucket: str, s3_client: Any, tmp_path: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="mart/a.parquet", Body=parquet_bytes(1000))
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", s3_client=s3_client)
    with (
        pytest.raises(ScratchLimitError, match="but only 10 may be used"),
        local_files(snapshot, s3_client=s3_client, scratch_dir=tmp_path, scratch_limit_bytes=10),
    ):
        pass
    with local_files(snapshot, s3_client=s3_client, scratch_dir=tmp_path) as paths:
        assert paths[0].exists()
    assert list(tmp_path.iterdir()) == []


def test_wrong_credentials_are_told_as_such(s3_server: Any, bucket: str) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key="wrong",
    )
    with pytest.raises(StorageAccessError, match="access refused") as caught:
        pin_snapshot(f"s3://{bucket}/mart/", s3_client=client)
    client.close()
    assert s3_server.secret_key not in str(caught.value)


def test_a_store_that_does_not_answer(bucket: str) -> None:
    import boto3
    from botocore.config import Config

    from demo.services.process import free_port

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{free_port()}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(StorageUnavailableError, match="did not answer"):
        pin_snapshot(f"s3://{bucket}/mart/", s3_client=client)
    client.close()
