# SPDX-License-Identifier: Apache-2.0
"""Selected partitions and evolving schemas, the same in S3 and on disk."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    DatasetIncompleteError,
    DatasetNotFoundError,
    InvalidParquetError,
    ScratchLimitError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import (
    common_schema,
    local_files,
    opened_snapshot,
    partition_columns,
    pin_snapshot,
    read_footers,
)
from airflow_provider_mlbridge.storage.readiness import look
from tests.integration.storage.conftest import Place, parquet_bytes

pytestmark = pytest.mark.integration


@pytest.fixture
def mart(place: Place) -> str:
    """Two months, of which the second has wider columns and one more."""
    place.put("mart/month=01/a.parquet", parquet_bytes(id=pa.array([1, 2], pa.int32()), old=["x", "y"]))
    place.put("mart/month=02/a.parquet", parquet_bytes(id=pa.array([3], pa.int64()), old=["z"], new=[1.5]))
    return place.root + "mart/"


def read(snapshot: Snapshot, client: Any) -> list[dict[str, Any]]:
    with opened_snapshot(snapshot, s3_client=client) as near:
        schema = common_schema(near, read_footers(near, s3_client=client))
        (month,) = partition_columns(near, schema.names)
        with local_files(near, s3_client=client) as paths:
            tables = [pq.read_table(path, partitioning=None) for path in paths]
    return [
        {**row, "month": value}
        for table, value in zip(tables, month.values, strict=True)
        for row in table.to_pylist()
    ]


def test_a_selector_reads_its_partitions_and_survives_xcom(mart: str, place: Place) -> None:
    snapshot = pin_snapshot(mart, partitions={"month": 2}, s3_client=place.client)
    document = json.loads(json.dumps({**snapshot.to_dict(), "files": []}))
    again = pin_snapshot(document, s3_client=place.client)
    assert again.files == snapshot.files
    assert read(again, place.client) == [{"id": 3, "old": "z", "new": 1.5, "month": "02"}]
    place.put("mart/month=02/b.parquet", parquet_bytes(id=[4]))
    with pytest.raises(SnapshotChangedError, match="is no longer what was pinned"):
        pin_snapshot(document, s3_client=place.client)


def test_a_partition_that_is_not_there_yet_is_waited_for(mart: str, place: Place) -> None:
    with pytest.raises(DatasetNotFoundError, match="has no file of partitions month='3'") as caught:
        pin_snapshot(mart, partitions={"month": 3}, s3_client=place.client)
    assert caught.value.retryable
    assert "month='3'" in look(mart, partitions={"month": 3}, s3_client=place.client).reason
    place.put("mart/month=03/a.parquet", parquet_bytes())
    found = look(mart, partitions={"month": 3}, s3_client=place.client).snapshot
    assert found is not None
    assert found.file_count == 1


def test_a_writer_at_work_is_seen_through_a_selector(mart: str, place: Place) -> None:
    place.put("mart/_temporary/0/part.parquet", parquet_bytes())
    with pytest.raises(DatasetIncompleteError):
        pin_snapshot(mart, partitions={"month": 2}, s3_client=place.client)


def test_a_selector_asks_s3_for_its_folders_only(bucket: str, s3_client: Any) -> None:
    for month in range(1, 10):
        key = f"mart/month={month}/day=1/a.parquet"
        s3_client.put_object(Bucket=bucket, Key=key, Body=parquet_bytes())
    asked: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(params["Prefix"])

    s3_client.meta.events.register("provide-client-params.s3.ListObjectsV2", note)
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", partitions={"month": 7, "day": 1}, s3_client=s3_client)
    assert snapshot.file_count == 1
    assert asked == ["mart/", "mart/month=7/", "mart/month=7/day=1/"]


def test_an_evolving_schema_is_read_as_one_table(mart: str, place: Place) -> None:
    snapshot = pin_snapshot(mart, schema_evolution="union", s3_client=place.client)
    assert read(pin_snapshot(snapshot.to_dict(), s3_client=place.client), place.client) == [
        {"id": 1, "old": "x", "new": None, "month": "01"},
        {"id": 2, "old": "y", "new": None, "month": "01"},
        {"id": 3, "old": "z", "new": 1.5, "month": "02"},
    ]
    strict = pin_snapshot(mart, s3_client=place.client)
    with pytest.raises(InvalidParquetError, match='schema_evolution="union"'):
        read(strict, place.client)


def test_downloads_for_an_evolving_schema_are_bounded(bucket: str, s3_client: Any, tmp_path: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="mart/a.parquet", Body=parquet_bytes(1000))
    s3_client.put_object(Bucket=bucket, Key="mart/b.parquet", Body=parquet_bytes(id=[1], more=["x"]))
    snapshot = pin_snapshot(f"s3://{bucket}/mart/", schema_evolution="union", s3_client=s3_client)
    with (
        pytest.raises(ScratchLimitError, match="but only 500 may be used"),
        opened_snapshot(snapshot, s3_client=s3_client, scratch_dir=tmp_path, scratch_limit_bytes=500),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pa.table({}), "wrong.parquet has no columns"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]), "has 2 columns named 'x'"),
    ],
    ids=["zero columns", "duplicate names"],
)
@pytest.mark.parametrize("evolution", ["strict", "union"])
def test_files_without_usable_columns_are_named(
    place: Place, table: pa.Table, problem: str, evolution: str
) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    place.put("mart/wrong.parquet", bytes(sink.getvalue().to_pybytes()))
    snapshot = pin_snapshot(place.root + "mart/", schema_evolution=evolution, s3_client=place.client)
    with (
        pytest.raises(InvalidParquetError, match=problem),
        opened_snapshot(snapshot, s3_client=place.client) as near,
    ):
        common_schema(near, read_footers(near, s3_client=place.client))
