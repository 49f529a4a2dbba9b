# SPDX-License-Identifier: Apache-2.0
"""Random histories of a table against the specification's rules, applied row by row."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from airflow_provider_mlbridge.storage import local_files, opened_snapshot, pin_snapshot
from tests.unit.iceberg.tables import catalog_in, data_files, delete_keys, delete_positions

IDS = st.one_of(st.none(), st.integers(0, 3))
REGIONS = st.sampled_from([None, "n", "s"])
APPEND = st.tuples(st.just("append"), st.lists(st.tuples(IDS, REGIONS), min_size=1, max_size=6))
KEYS = st.tuples(
    st.just("keys"),
    st.sampled_from([("id",), ("region",), ("id", "region")]),
    st.lists(st.tuples(IDS, REGIONS), min_size=1, max_size=3),
    REGIONS,
)
POSITIONS = st.tuples(st.just("positions"), st.integers(0, 9), st.sets(st.integers(0, 5), min_size=1))


@dataclass
class Row:
    number: int
    key: dict[str, Any]
    sequence: int
    file: str
    position: int


@given(
    first=APPEND,
    history=st.lists(st.one_of(APPEND, KEYS, POSITIONS), min_size=2, max_size=6),
    partitioned=st.booleans(),
)
@settings(max_examples=12)
def test_the_rows_left_are_those_of_the_specification(
    first: Any, history: list[Any], partitioned: bool
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlbridge-test-"))
    catalog = catalog_in(folder)
    try:
        _run(catalog, [first, *history], partitioned)
    finally:
        catalog.close()
        shutil.rmtree(folder)


def _run(catalog: Any, history: list[Any], partitioned: bool) -> None:
    fields = [("number", LongType()), ("id", LongType()), ("region", StringType())]
    schema = Schema(
        *[NestedField(index, name, kind, required=False) for index, (name, kind) in enumerate(fields, 1)]
    )
    spec = PartitionSpec(*[PartitionField(3, 1000, IdentityTransform(), "region")] * partitioned)
    table = catalog.create_table("shop.random", schema, partition_spec=spec)
    rows: list[Row] = []
    written = 0
    for operation, *details in history:
        sequence = table.metadata.last_sequence_number + 1
        if operation == "append":
            rows += _append(table, details[0], written, sequence)
            written += len(details[0])
        elif operation == "keys":
            names, values, region = details
            keys = [dict(zip(("id", "region"), value, strict=True)) for value in values]
            columns = {name: [key[name] for key in keys] for name in names}
            delete_keys(table, columns, partition=Record(region) if partitioned else None)
            wanted = [{name: key[name] for name in names} for key in keys]
            rows = [
                row
                for row in rows
                if row.sequence >= sequence
                or (partitioned and row.key["region"] != region)
                or {name: row.key[name] for name in names} not in wanted
            ]
        else:
            files = data_files(table)
            file = files[details[0] % len(files)]
            delete_positions(table, {file.file_path: sorted(details[1])}, partition=file.partition)
            rows = [row for row in rows if row.file != file.file_path or row.position not in details[1]]
    assert sorted(_read(table)) == sorted(row.number for row in rows)


def _append(table: Table, values: list[Any], start: int, sequence: int) -> list[Row]:
    known = {file.file_path for file in data_files(table)} if table.current_snapshot() else set()
    numbers = range(start, start + len(values))
    columns: dict[str, Any] = {
        "number": pa.array(numbers, pa.int64()),
        "id": pa.array([value[0] for value in values], pa.int64()),
        "region": pa.array([value[1] for value in values], pa.string()),
    }
    table.append(pa.table(columns))
    added = []
    for file in data_files(table):
        if file.file_path not in known:
            stored = pq.read_table(file.file_path.removeprefix("file://"), partitioning=None).to_pylist()
            for position, row in enumerate(stored):
                number = row.pop("number")
                added.append(Row(number, row, sequence, file.file_path, position))
    return added


def _read(table: Table) -> list[int]:
    with opened_snapshot(pin_snapshot(table.metadata_location)) as near, local_files(near) as paths:
        return [value for path in paths for value in pq.read_table(path)["number"].to_pylist()]
