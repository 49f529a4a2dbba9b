# SPDX-License-Identifier: Apache-2.0
"""Tables of Iceberg: the rows that are read are those that the specification says are there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
    UUIDType,
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
from tests.unit.iceberg.tables import catalog_in, data_files, delete_keys, delete_positions


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    catalog = catalog_in(tmp_path)
    yield catalog
    catalog.close()


def columns(*fields: tuple[str, Any]) -> Schema:
    return Schema(
        *[NestedField(number, name, kind, required=False) for number, (name, kind) in enumerate(fields, 1)]
    )


def append(table: Table, **values: list[Any]) -> None:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    given = [pa.array(values.get(f.name, [None] * len(next(iter(values.values())))), f.type) for f in schema]
    table.append(pa.Table.from_arrays(given, schema=schema))


def pinned(table: Table) -> Snapshot:
    return pin_snapshot(table.metadata_location)


def rows(table: Table) -> list[dict[str, Any]]:
    """The rows as quality and features would read them."""
    import pyarrow.parquet as pq

    snapshot = pinned(table)
    with opened_snapshot(snapshot) as near:
        schema = common_schema(near, read_footers(near))
        assert partition_columns(near, schema.names) == ()
        with local_files(near) as paths:
            read = [pq.read_table(path, partitioning=None) for path in paths]
    assert schema.names == [field.name for field in table.schema().fields]
    return [row for each in read for row in each.to_pylist()]


def ids(table: Table) -> list[int]:
    return sorted(row["id"] for row in rows(table))


@pytest.fixture
def shop(catalog: SqlCatalog) -> Table:
    """Two files of three rows each."""
    table = catalog.create_table(
        "shop.sales", columns(("id", LongType()), ("region", StringType()), ("price", DoubleType()))
    )
    append(table, id=[1, 2, 3], region=["n", None, "s"], price=[1.0, 2.0, 3.0])
    append(table, id=[4, 5, 6], region=["n", "s", None], price=[4.0, 5.0, 6.0])
    return table


def test_files_without_deletes_are_read_as_they_are(shop: Table) -> None:
    assert ids(shop) == [1, 2, 3, 4, 5, 6]
    with opened_snapshot(pinned(shop)) as near, local_files(near) as paths:
        assert all(path.is_symlink() for path in paths)


def test_position_deletes_remove_rows_of_their_file_and_agree_with_pyiceberg(shop: Table) -> None:
    first, second = (file.file_path for file in data_files(shop))
    delete_positions(shop, {first: [0, 2], second: [1]})
    append(shop, id=[7], region=["n"], price=[7.0])
    assert ids(shop) == [2, 4, 6, 7]
    assert sorted(shop.scan().to_arrow()["id"].to_pylist()) == [2, 4, 6, 7]
    delete_positions(shop, {second: [0, 1, 2]})
    assert ids(shop) == [2, 7]


def test_position_deletes_in_several_batches(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlbridge.storage.rewriting._BATCH_ROWS", 300)
    table = catalog.create_table("shop.many", columns(("id", LongType())))
    append(table, id=list(range(2000)))
    gone = [0, 299, 300, 301, 599, 600, 1999]
    delete_positions(table, {data_files(table)[0].file_path: gone})
    assert [row["id"] for row in rows(table)] == [n for n in range(2000) if n not in gone]


def test_an_equality_delete_removes_older_rows_only_and_null_equals_null(shop: Table) -> None:
    delete_keys(shop, {"region": ["s", None]})
    append(shop, id=[7, 8], region=["s", None], price=[7.0, 8.0])
    assert ids(shop) == [1, 4, 7, 8]


def test_a_key_of_several_columns_matches_as_a_whole(shop: Table) -> None:
    delete_keys(shop, {"id": [1, 2, 4, 6], "region": ["n", None, "s", "n"]})
    assert ids(shop) == [3, 4, 5, 6]


def test_several_delete_files_of_different_keys_add_up(shop: Table) -> None:
    delete_keys(shop, {"id": [1]})
    delete_keys(shop, {"id": [5], "price": [5.0]})
    delete_keys(shop, {"id": [6]})
    delete_positions(shop, {data_files(shop)[0].file_path: [1]})
    assert ids(shop) == [3, 4]


def test_in_one_commit_position_deletes_reach_its_own_rows_and_equality_deletes_do_not(shop: Table) -> None:
    # The second file has sequence number 2, and so have these deletes.
    first, second = (file.file_path for file in data_files(shop))
    delete_keys(shop, {"id": [1, 4]}, sequence_number=2)
    assert ids(shop) == [2, 3, 4, 5, 6]
    delete_positions(shop, {second: [2]}, sequence_number=2)
    delete_positions(shop, {second: [1], first: [1]}, sequence_number=1)
    assert ids(shop) == [3, 4, 5]


def test_a_key_that_is_written_and_deleted_again_and_again(shop: Table) -> None:
    # What Flink does: every update deletes the key and writes the row anew.
    for price in (10.0, 11.0):
        delete_keys(shop, {"id": [1], "region": ["n"]})
        append(shop, id=[1], region=["n"], price=[price])
    assert [row["price"] for row in rows(shop) if row["id"] == 1] == [11.0]
    assert ids(shop) == [1, 2, 3, 4, 5, 6]


def test_a_table_of_format_version_1(catalog: SqlCatalog) -> None:
    table = catalog.create_table(
        "shop.first", columns(("id", LongType())), properties={"format-version": "1"}
    )
    append(table, id=[1, 2])
    append(table, id=[3])
    assert ids(table) == [1, 2, 3]


def test_a_delete_of_a_partition_applies_there_only(catalog: SqlCatalog) -> None:
    table = catalog.create_table(
        "shop.parts",
        columns(("id", LongType()), ("region", StringType())),
        partition_spec=PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "region")),
    )
    append(table, id=[1, 2, 1, 3], region=["n", "n", "s", None])
    delete_keys(table, {"id": [1, 3]}, partition=Record("n"))
    assert ids(table) == [1, 2, 3]
    delete_keys(table, {"id": [3]}, partition=Record(None))
    assert ids(table) == [1, 2]


def test_a_delete_without_partition_applies_to_all(catalog: SqlCatalog) -> None:
    table = catalog.create_table("shop.later", columns(("id", LongType()), ("region", StringType())))
    append(table, id=[1, 2], region=["n", "s"])
    with table.update_spec() as update:
        update.add_field("region", IdentityTransform(), "region_part")
    append(table, id=[1, 3], region=["n", "s"])
    # Spec 0 has no partitions: its equality deletes are global.
    delete_keys(table, {"id": [1]}, spec_id=0)
    assert ids(table) == [2, 3]


def test_a_table_whose_rows_are_all_deleted_has_its_columns_still(shop: Table) -> None:
    delete_keys(shop, {"id": [1, 2, 3, 4, 5, 6]})
    assert rows(shop) == []


def test_a_table_without_files_has_its_columns_still(shop: Table) -> None:
    shop.delete("id > 0")
    assert rows(shop) == []
    with opened_snapshot(pinned(shop)) as near:
        assert near.file_count == 1


def test_columns_are_found_by_their_ids(shop: Table) -> None:
    with shop.update_schema() as update:
        # "price" becomes "region": by name, the old files would show the wrong one.
        update.delete_column("region")
    with shop.update_schema() as update:
        update.rename_column("price", "region")
        update.add_column("note", StringType())
    append(shop, id=[7], region=[7.0], note=["new"])
    assert sorted(rows(shop), key=lambda row: row["id"])[2:] == [
        {"id": 3, "region": 3.0, "note": None},
        {"id": 4, "region": 4.0, "note": None},
        {"id": 5, "region": 5.0, "note": None},
        {"id": 6, "region": 6.0, "note": None},
        {"id": 7, "region": 7.0, "note": "new"},
    ]


def test_a_column_dropped_and_added_again_is_another_column(shop: Table) -> None:
    with shop.update_schema() as update:
        update.delete_column("price")
    with shop.update_schema() as update:
        update.add_column("price", DoubleType())
    assert {row["price"] for row in rows(shop)} == {None}


def test_a_key_column_that_was_dropped_still_deletes(shop: Table) -> None:
    delete_keys(shop, {"region": ["n"]})
    with shop.update_schema() as update:
        update.delete_column("region")
    assert ids(shop) == [2, 3, 5, 6]
    assert set(rows(shop)[0]) == {"id", "price"}


def test_a_key_column_that_was_added_later_is_null_in_older_rows(shop: Table) -> None:
    with shop.update_schema() as update:
        update.add_column("note", StringType())
    append(shop, id=[7, 8], note=["x", None])
    delete_keys(shop, {"note": [None]})
    assert ids(shop) == [7]


def test_promoted_columns_are_wide_in_every_file_and_in_every_key(catalog: SqlCatalog) -> None:
    table = catalog.create_table(
        "shop.promoted",
        columns(("id", IntegerType()), ("ratio", FloatType()), ("amount", DecimalType(6, 2))),
    )
    append(table, id=[1, 2], ratio=[0.5, None], amount=[Decimal("1.50"), Decimal("2.50")])
    delete_keys(table, {"id": [2]})
    with table.update_schema() as update:
        update.update_column("id", LongType())
        update.update_column("ratio", DoubleType())
        update.update_column("amount", DecimalType(20, 2))
    append(table, id=[2**40], ratio=[0.25], amount=[Decimal("123456789.25")])
    delete_keys(table, {"amount": [Decimal("9.99")]})
    assert sorted(rows(table), key=lambda row: row["id"]) == [
        {"id": 1, "ratio": 0.5, "amount": Decimal("1.50")},
        {"id": 2**40, "ratio": 0.25, "amount": Decimal("123456789.25")},
    ]
    delete_keys(table, {"id": [1]})
    assert ids(table) == [2**40]


def test_nested_columns_evolve_too(catalog: SqlCatalog) -> None:
    table = catalog.create_table(
        "shop.nested",
        columns(
            ("id", LongType()),
            ("tags", ListType(10, StringType(), element_required=False)),
            ("place", StructType(NestedField(11, "city", StringType(), required=False))),
            ("counts", MapType(12, StringType(), 13, LongType(), value_required=False)),
        ),
    )
    append(table, id=[1], tags=[["a", None]], place=[{"city": "x"}], counts=[[("k", 1)]])
    with table.update_schema() as update:
        update.add_column(("place", "country"), StringType())
        update.rename_column("place.city", "town")
    append(table, id=[2], tags=[None], place=[{"town": "y", "country": "z"}], counts=[[]])
    append(table, id=[3])
    delete_keys(table, {"id": [3]})
    assert sorted(rows(table), key=lambda row: row["id"]) == [
        {"id": 1, "tags": ["a", None], "place": {"town": "x", "country": None}, "counts": [("k", 1)]},
        {"id": 2, "tags": None, "place": {"town": "y", "country": "z"}, "counts": []},
    ]


@pytest.mark.parametrize(
    ("kind", "gone", "kept"),
    [
        (DateType(), date(2026, 1, 1), date(2026, 1, 2)),
        (TimestamptzType(), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (DecimalType(9, 2), Decimal("1.10"), Decimal("1.11")),
        (UUIDType(), uuid.UUID(int=1), uuid.UUID(int=2)),
        (StringType(), "a", "A"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_keys_of_every_plain_type(catalog: SqlCatalog, kind: Any, gone: Any, kept: Any) -> None:
    table = catalog.create_table("shop.typed", columns(("id", LongType()), ("key", kind)))
    values = [value.bytes if isinstance(value, uuid.UUID) else value for value in (gone, kept, None)]
    append(table, id=[1, 2, 3], key=values)
    delete_keys(table, {"key": values[:1], "id": [1]})
    delete_keys(table, {"key": values[:1]})
    assert ids(table) == [2, 3]


def test_a_migrated_file_takes_its_partition_from_the_manifest(catalog: SqlCatalog, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = catalog.create_table(
        "shop.migrated",
        columns(("id", LongType()), ("day", DateType())),
        partition_spec=PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "day")),
    )
    append(table, id=[1], day=[date(2026, 1, 1)])
    # A file as Hive leaves it: without field ids, and without the column of its folder.
    bare = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"id": [2, 3]}), bare)
    written = data_files(table)[0].file_path.removeprefix("file://")
    size = Path(written).stat().st_size
    with table.transaction() as transaction:
        mapping = table.schema().name_mapping
        transaction.set_properties({"schema.name-mapping.default": mapping.model_dump_json()})
    # The same size, as the manifest says.
    padded = bare.read_bytes()
    Path(written).write_bytes(_padded(padded, size))
    assert rows(table) == [{"id": 2, "day": date(2026, 1, 1)}, {"id": 3, "day": date(2026, 1, 1)}]


def _padded(data: bytes, size: int) -> bytes:
    """A Parquet file of this size: bytes that nothing points to, between the data and the footer."""
    length = int.from_bytes(data[-8:-4], "little") + 8
    assert len(data) <= size
    return data[:-length] + bytes(size - len(data)) + data[-length:]
