# SPDX-License-Identifier: Apache-2.0
"""Files whose columns changed over time, read as one table."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    InvalidParquetError,
    ScratchLimitError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import (
    common_schema,
    local_files,
    opened_snapshot,
    pin_snapshot,
    read_footers,
)
from airflow_provider_mlbridge.storage.evolution import common_type

WriteParquet = Callable[..., Path]


def read(snapshot: Snapshot, **options: Any) -> pa.Table:
    """What quality and features do with a snapshot, with pyarrow for the engine."""
    with opened_snapshot(snapshot, **options) as near:
        schema = common_schema(near, read_footers(near))
        with local_files(near) as paths:
            tables = [pq.read_table(path, partitioning=None) for path in paths]
        assert all(table.schema.names == schema.names for table in tables)
        assert (near.uri, near.fingerprint, near.modified_at) == (
            snapshot.uri,
            snapshot.fingerprint,
            snapshot.modified_at,
        )
        return pa.concat_tables(tables)


def union(tmp_path: Path) -> Snapshot:
    return pin_snapshot(f"{tmp_path}/mart/", schema_evolution="union")


def aged(path: Path, seconds: int) -> None:
    os.utime(path, (1_700_000_000 - seconds, 1_700_000_000 - seconds))


def test_columns_are_matched_by_name_in_the_order_of_the_newest_file(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    aged(write_parquet("mart/a.parquet", {"id": pa.array([1, 2], pa.int32()), "old": ["x", "y"]}), 100)
    aged(write_parquet("mart/b.parquet", {"new": [1.5], "id": pa.array([3], pa.int64())}), 50)
    aged(write_parquet("mart/c.parquet", {"older": [True], "id": pa.array([4], pa.int8())}), 200)

    table = read(union(tmp_path))

    assert table.schema.names == ["new", "id", "old", "older"]
    assert table.schema.types == [pa.float64(), pa.int64(), pa.string(), pa.bool_()]
    assert table.to_pylist() == [
        {"new": None, "id": 1, "old": "x", "older": None},
        {"new": None, "id": 2, "old": "y", "older": None},
        {"new": 1.5, "id": 3, "old": None, "older": None},
        {"new": None, "id": 4, "old": None, "older": True},
    ]


INT = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
UINT = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (INT[8], INT[64], INT[64]),
        (UINT[8], UINT[32], UINT[32]),
        (UINT[32], INT[8], INT[64]),
        (UINT[8], INT[16], INT[16]),
        (UINT[64], INT[64], None),
        (pa.float32(), pa.float64(), pa.float64()),
        (INT[32], pa.float64(), pa.float64()),
        (INT[32], pa.float32(), pa.float64()),
        (INT[64], pa.float64(), None),
        (pa.decimal128(5, 2), pa.decimal128(9, 2), pa.decimal128(9, 2)),
        (pa.decimal128(5, 2), pa.decimal128(9, 3), None),
        (pa.decimal128(38, 2), pa.decimal256(40, 2), pa.decimal256(40, 2)),
        (INT[32], pa.decimal128(9, 2), None),
        (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.timestamp("ms"), pa.timestamp("us"), None),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.string(), INT[32], None),
        (pa.bool_(), INT[8], None),
        (pa.list_(pa.int8()), pa.list_(pa.int16()), None),
        (pa.struct([("a", pa.int8())]), pa.struct([("b", pa.int8())]), None),
    ],
)
def test_a_common_type_holds_every_value_of_both(
    one: pa.DataType, other: pa.DataType, expected: pa.DataType | None
) -> None:
    assert common_type(one, other) == expected
    assert common_type(other, one) == expected


def test_extreme_values_stay_what_they_are(tmp_path: Path, write_parquet: WriteParquet) -> None:
    narrow = {
        "u": pa.array([2**32 - 1, None], pa.uint32()),
        "f": pa.array([2**31 - 1, -(2**31)], pa.int32()),
        "d": pa.array([Decimal("99.99"), None], pa.decimal128(4, 2)),
        "s": pa.array(["x", "y"]).dictionary_encode(),
        "n": pa.nulls(2),
    }
    wide = {
        "u": pa.array([-1], pa.int8()),
        "f": pa.array([float("nan")]),
        "d": pa.array([Decimal("-1234567.89")], pa.decimal128(20, 2)),
        "s": pa.array(["z"], pa.large_string()),
        "n": pa.array([[1, None]], pa.list_(pa.int64())),
    }
    write_parquet("mart/a.parquet", narrow)
    write_parquet("mart/b.parquet", wide)
    table = read(union(tmp_path))
    assert table["u"].to_pylist() == [2**32 - 1, None, -1]
    assert table["f"].to_pylist()[:2] == [2**31 - 1, -(2**31)]
    assert table["d"].to_pylist() == [Decimal("99.99"), None, Decimal("-1234567.89")]
    assert table["s"].to_pylist() == ["x", "y", "z"]
    assert table["n"].to_pylist() == [None, None, [1, None]]


def test_row_order_and_partitions_are_kept_over_many_batches(
    tmp_path: Path, write_parquet: WriteParquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_mlbridge.storage.rewriting._BATCH_ROWS", 1000)
    write_parquet("mart/p=a%2Fb/x.parquet", {"id": list(range(5000))}, row_group_size=700)
    write_parquet("mart/p=c/x.parquet", {"id": [1], "more": ["m"]})
    with opened_snapshot(union(tmp_path)) as near:
        from airflow_provider_mlbridge.storage import partition_columns

        assert partition_columns(near, ["id", "more"])[0].values == ("a/b", "c")
        footer = read_footers(near)[0]
        assert footer.metadata.num_rows == 5000
        assert footer.metadata.num_row_groups > 1
        with local_files(near) as paths:
            assert pq.read_table(paths[0], partitioning=None)["id"].to_pylist() == list(range(5000))
            assert paths[1].is_symlink() is True


def test_files_that_agree_and_the_strict_policy_cost_nothing(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet("mart/a.parquet", {"x": pa.array(["a"])})
    write_parquet("mart/b.parquet", {"x": pa.array(["b"]).dictionary_encode()})
    snapshot = union(tmp_path)
    with opened_snapshot(snapshot, scratch_dir=tmp_path / "scratch") as near:
        assert near is snapshot
    assert not (tmp_path / "scratch").exists()
    strict = pin_snapshot(f"{tmp_path}/mart/")
    with opened_snapshot(strict) as near:
        assert near is strict


def test_the_policy_travels_with_the_snapshot(tmp_path: Path, write_parquet: WriteParquet) -> None:
    write_parquet("mart/a.parquet", {"x": [1]})
    snapshot = union(tmp_path)
    assert snapshot.to_dict()["schema_evolution"] == "union"
    assert pin_snapshot(snapshot.to_dict()) == snapshot
    assert pin_snapshot({**snapshot.to_dict(), "files": []}) == snapshot
    assert pin_snapshot(snapshot.to_dict(), schema_evolution="strict").schema_evolution == "strict"
    assert "schema_evolution" not in pin_snapshot(f"{tmp_path}/mart/").to_dict()
    with pytest.raises(ConfigurationError, match="valid are 'strict', 'union'"):
        pin_snapshot(f"{tmp_path}/mart/", schema_evolution="merge")


@pytest.mark.parametrize(
    ("name", "columns", "problem"),
    [
        ("b", {"x": ["text"]}, "column 'x' is (int64|string) in .* and (string|int64) in "),
        ("b", {"X": [1]}, "differ in case only"),
        (
            "b",
            {"x": [1], "p": [1]},
            "'p' is a partition of the folders and a column of some files, but not of",
        ),
    ],
)
def test_what_has_no_common_schema_is_named_with_its_files(
    tmp_path: Path, write_parquet: WriteParquet, name: str, columns: dict[str, Any], problem: str
) -> None:
    write_parquet("mart/p=1/a.parquet", {"x": [1]})
    write_parquet("mart/p=1/b.parquet", columns)
    with pytest.raises(InvalidParquetError, match=problem) as caught, opened_snapshot(union(tmp_path)):
        pass
    assert "a.parquet" in str(caught.value)


def test_a_file_replaced_meanwhile_is_named_and_not_its_link(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet("mart/a.parquet", {"x": [1]})
    newest = write_parquet("mart/b.parquet", {"x": [1], "y": [1]})
    snapshot = union(tmp_path)
    with (
        pytest.raises(SnapshotChangedError, match="mart/b.parquet was replaced"),
        opened_snapshot(snapshot) as near,
        local_files(near),
    ):
        newest.write_bytes(b"another")


def test_rewritten_files_are_bounded_and_removed(tmp_path: Path, write_parquet: WriteParquet) -> None:
    write_parquet("mart/a.parquet", {"x": [str(number) for number in range(10_000)]})
    write_parquet("mart/b.parquet", {"x": ["1"], "y": [1]})
    scratch = tmp_path / "scratch"
    with (
        pytest.raises(ScratchLimitError, match="only 1000 may be used"),
        opened_snapshot(union(tmp_path), scratch_dir=scratch, scratch_limit_bytes=1000),
    ):
        pass
    assert list(scratch.iterdir()) == []
    with opened_snapshot(union(tmp_path), scratch_dir=scratch):
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []


def test_a_corrupt_page_is_told_as_such(tmp_path: Path, write_parquet: WriteParquet) -> None:
    path = write_parquet("mart/a.parquet", {"x": [str(number) for number in range(50_000)]})
    write_parquet("mart/b.parquet", {"x": ["1"], "y": [1]})
    data = bytearray(path.read_bytes())
    data[4000:9000] = bytes(5000)
    path.write_bytes(bytes(data))
    with (
        pytest.raises(InvalidParquetError, match=r"a\.parquet cannot be read"),
        opened_snapshot(union(tmp_path)),
    ):
        pass
