# SPDX-License-Identifier: Apache-2.0
"""How a table of Iceberg is named, pinned, found again, and refused."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import FileFormat
from pyiceberg.table import Table
from pyiceberg.utils.config import Config

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetEmptyError,
    DatasetNotFoundError,
    InvalidManifestError,
    InvalidParquetError,
    MLBridgeError,
    ScratchLimitError,
    SnapshotChangedError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import local_files, opened_snapshot, pin_snapshot, read_footers
from airflow_provider_mlbridge.storage.iceberg.files import location_uri
from airflow_provider_mlbridge.storage.readiness import look
from airflow_provider_mlbridge.storage.uris import TableName, table_name
from airflow_provider_mlbridge.triggers.datamart import look_with_connection
from tests.unit.iceberg.tables import catalog_in, data_files, delete_keys, delete_positions


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlCatalog]:
    """A catalog that the environment names, as in a deployment."""
    catalog = catalog_in(tmp_path / "catalog")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", catalog.properties["uri"])
    # pyiceberg reads the environment once, when it is imported.
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    yield catalog
    catalog.close()


@pytest.fixture
def table(catalog: SqlCatalog) -> Table:
    rows = pa.table({"id": pa.array([1, 2, 3]), "price": [1.0, 2.0, 3.0]})
    table = catalog.create_table("shop.sales", rows.schema)
    table.append(rows)
    return table


URI = "iceberg://lake/shop.sales"


def ids(snapshot: Snapshot) -> list[int]:
    import pyarrow.parquet as pq

    with opened_snapshot(snapshot) as near, local_files(near) as paths:
        return sorted(value for path in paths for value in pq.read_table(path)["id"].to_pylist())


def through_xcom(snapshot: Snapshot) -> Any:
    return json.loads(json.dumps(snapshot.to_dict()))


def test_a_table_by_catalog_and_by_metadata_file_is_the_same_snapshot(table: Table) -> None:
    by_catalog, by_file = pin_snapshot(URI), pin_snapshot(table.metadata_location)
    assert by_catalog.fingerprint == by_file.fingerprint
    assert by_catalog.uri == URI
    assert ids(by_catalog) == ids(by_file) == [1, 2, 3]
    current = table.current_snapshot()
    assert current is not None
    assert by_catalog.modified_at == datetime.fromtimestamp(current.timestamp_ms / 1000, UTC).isoformat(
        timespec="seconds"
    )


def test_what_was_pinned_is_read_after_newer_commits(table: Table) -> None:
    document = through_xcom(pin_snapshot(URI))
    assert len(json.dumps(document)) < 700
    delete_positions(table, {data_files(table)[0].file_path: [0]})
    table.append(pa.table({"id": [9], "price": [9.0]}))
    assert ids(pin_snapshot(document)) == [1, 2, 3]
    assert ids(pin_snapshot(URI)) == [2, 3, 9]
    assert pin_snapshot(URI).fingerprint != document["fingerprint"]


def test_an_older_snapshot_by_its_id_has_the_columns_of_its_time(table: Table) -> None:
    first = table.current_snapshot()
    assert first is not None
    with table.update_schema() as update:
        update.rename_column("id", "number")
    table.append(pa.table({"number": [9], "price": [9.0]}))
    assert ids(pin_snapshot(f"{URI}?snapshot_id={first.snapshot_id}")) == [1, 2, 3]
    with pytest.raises(ConfigurationError, match=f"has no snapshot 7; the newest are .*{first.snapshot_id}"):
        pin_snapshot(f"{URI}?snapshot_id=7")


def test_a_metadata_file_that_was_cleaned_up_is_replaced_by_the_catalogs(table: Table) -> None:
    by_catalog, by_file = through_xcom(pin_snapshot(URI)), through_xcom(pin_snapshot(table.metadata_location))
    old = table.metadata_location
    table.append(pa.table({"id": [9], "price": [9.0]}))
    Path(location_uri(old)).unlink()
    assert ids(pin_snapshot(by_catalog)) == [1, 2, 3]
    with pytest.raises(SnapshotChangedError, match="is no longer what was pinned .* was removed"):
        pin_snapshot(by_file)


def test_an_expired_snapshot_is_told_as_such(table: Table) -> None:
    snapshot = pin_snapshot(URI)
    old, current = table.metadata_location, table.current_snapshot()
    assert current is not None
    table.append(pa.table({"id": [9], "price": [9.0]}))
    Path(location_uri(old)).unlink()
    table.maintenance.expire_snapshots().by_id(current.snapshot_id).commit()
    with pytest.raises(SnapshotChangedError, match="has expired"):
        pin_snapshot(through_xcom(snapshot))


@pytest.mark.parametrize("change", ["removed", "truncated"])
def test_a_data_file_that_was_touched_is_named(table: Table, change: str) -> None:
    snapshot = pin_snapshot(URI)
    path = Path(location_uri(data_files(table)[0].file_path))
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SnapshotChangedError, match=path.name), opened_snapshot(snapshot):
        pass


def test_a_file_that_is_no_parquet_is_named(table: Table) -> None:
    path = Path(location_uri(data_files(table)[0].file_path))
    path.write_bytes(b"x" * path.stat().st_size)
    with (
        pytest.raises(InvalidParquetError, match="is no readable Parquet file"),
        opened_snapshot(pin_snapshot(URI)),
    ):
        pass


def test_plain_readers_refuse_the_files_of_a_table(table: Table) -> None:
    snapshot = pin_snapshot(URI)
    with pytest.raises(ConfigurationError, match="inside storage.opened_snapshot"):
        read_footers(snapshot)
    with pytest.raises(ConfigurationError, match="inside storage.opened_snapshot"), local_files(snapshot):
        pass


@pytest.mark.parametrize("folder", ["", "/data", "/data/"])
def test_the_folders_of_a_table_are_refused_as_a_plain_prefix(table: Table, folder: str) -> None:
    with pytest.raises(ConfigurationError, match="belongs to a table of Iceberg .* Give iceberg://"):
        pin_snapshot(table.location() + folder)


def test_partitions_cannot_be_selected_in_a_table(table: Table) -> None:
    for datamart in (URI, pin_snapshot(URI)):
        with pytest.raises(ConfigurationError, match="whose partitions are no folders"):
            pin_snapshot(datamart, partitions={"day": 1})


@pytest.mark.parametrize(
    ("file_format", "problem"),
    [(FileFormat.PUFFIN, "has deletion vectors"), (FileFormat.ORC, "has files of format ORC")],
)
def test_files_that_cannot_be_read_are_refused_before_any_is(
    table: Table, file_format: FileFormat, problem: str
) -> None:
    delete_keys(table, {"id": [1]}, file_format=file_format)
    with pytest.raises(ConfigurationError, match=problem):
        pin_snapshot(URI)


def test_tables_that_are_not_there_or_empty(catalog: SqlCatalog) -> None:
    for name in ("shop.nothing", "nowhere.sales"):
        with pytest.raises(DatasetNotFoundError, match="the catalog has no such table"):
            pin_snapshot(f"iceberg://lake/{name}")
    catalog.create_table("shop.empty", pa.schema([("id", pa.int64())]))
    with pytest.raises(DatasetEmptyError, match="without a snapshot"):
        pin_snapshot("iceberg://lake/shop.empty")
    with pytest.raises(ConfigurationError, match="no valid configuration of a catalog 'other'"):
        pin_snapshot("iceberg://other/shop.sales")


def test_a_catalog_whose_database_fails_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path}/empty.db")
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    with pytest.raises(StorageUnavailableError, match="the catalog's database failed .*no such table"):
        pin_snapshot(URI)


@pytest.mark.parametrize(("kind", "address"), [
    ("", "mysql://user:hun/ter@2@db/x"),
    ("", "http://127.0.0.1:1/x?token=hunter2"),
    ("rest", "http://user:hunter2@127.0.0.1:1/x"),
    ("rest", "http://127.0.0.1:1/x?token=hunter2"),
    ("sql", "nothing+here://user:hunter2@127.0.0.1:1/x"),
])  # fmt: skip
def test_no_secret_of_a_catalog_is_told(monkeypatch: pytest.MonkeyPatch, kind: str, address: str) -> None:
    if kind:
        monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", kind)
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", address)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    with pytest.raises(MLBridgeError) as caught:
        pin_snapshot(URI)
    told = "".join(traceback.format_exception(caught.value))
    assert not any(secret in told for secret in ("hunter2", "hun/ter", "ter@2"))
    assert "iceberg://lake" in told


def test_broken_metadata_is_named(table: Table, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="none.metadata.json does not exist"):
        pin_snapshot(f"file://{tmp_path}/none.metadata.json")
    broken = tmp_path / "x.metadata.json"
    broken.write_text('{"format-version": 2}')
    with pytest.raises(InvalidManifestError, match="x.metadata.json is no readable metadata file"):
        pin_snapshot(str(broken))
    packed = tmp_path / "x.gz.metadata.json"
    packed.write_bytes(b"no gzip")
    with pytest.raises(InvalidManifestError, match="x.gz.metadata.json is no readable metadata file"):
        pin_snapshot(str(packed))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    Path(location_uri(snapshot.manifest_list)).write_bytes(b"Obj\x01 and no more")
    with pytest.raises(InvalidManifestError, match=r"snap-.*\.avro is no readable manifest"):
        pin_snapshot(URI)


@pytest.mark.parametrize(
    "uri",
    [
        "iceberg://lake",
        "iceberg://lake/sales",
        "iceberg://lake/a..b",
        "iceberg://lake/a.b?ref=x",
        "iceberg:///a.b",
    ],
)
def test_uris_that_name_no_table(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"valid is iceberg://catalog/namespace\.table"):
        pin_snapshot(uri)


def test_the_parts_of_a_uri() -> None:
    assert table_name("iceberg://lake/a.b.c?snapshot_id=5") == TableName("lake", ("a", "b", "c"), 5)


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("s3a://b/k", "s3://b/k"),
        ("s3n://b/k", "s3://b/k"),
        ("file:///a%20b", "/a%20b"),
        ("file:/a", "/a"),
        ("/a", "/a"),
    ],
)
def test_locations_in_other_notations(location: str, uri: str) -> None:
    assert location_uri(location) == uri


def test_other_stores_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="gs://b/k"):
        location_uri("gs://b/k")


def test_a_table_is_ready_when_its_newest_snapshot_is_new_enough_and_has_rows(table: Table) -> None:
    found = look(URI)
    assert found.snapshot is not None
    assert found.snapshot.fingerprint == pin_snapshot(URI).fingerprint
    assert "not after" in look(URI, modified_after=datetime.now(UTC) + timedelta(minutes=1)).reason
    assert "has no such table" in look("iceberg://lake/shop.late").reason
    assert look_with_connection(URI, None, None, None, 1).snapshot is not None
    table.delete("id > 0")
    assert "has 0 of 1 files" in look(URI).reason
    assert "but no row" in look(URI, min_files=0).reason


def test_features_are_built_from_a_table_and_not_into_it(table: Table, tmp_path: Path) -> None:
    delete_keys(table, {"id": [2]})
    recipe = {
        "name": "shop",
        "keys": ["id"],
        "split": {"by": "hash", "train": 1.0},
        "steps": [{"type": "passthrough", "columns": ["price"]}],
    }
    built = build_feature_set(pin_snapshot(URI).to_dict(), recipe, f"{tmp_path}/features/")
    assert built.rows == 2
    assert built.datamart_uri == URI
    with pytest.raises(ConfigurationError, match="overlaps the datamart"):
        build_feature_set(URI, recipe, f"{table.location()}/features/")


def test_rewritten_files_stay_within_the_scratch_limit(table: Table, tmp_path: Path) -> None:
    delete_keys(table, {"id": [2]})
    with (
        pytest.raises(ScratchLimitError, match="only 100 may be used"),
        opened_snapshot(pin_snapshot(URI), scratch_dir=tmp_path / "scratch", scratch_limit_bytes=100),
    ):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []


def test_too_many_deletes_are_refused(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlbridge.storage.iceberg.deletes._ROWS_LIMIT", 1)
    delete_keys(table, {"id": [2, 3]})
    with (
        pytest.raises(ScratchLimitError, match="has 2 deletes in 0 position and 1 equality"),
        opened_snapshot(pin_snapshot(URI)),
    ):
        pass


def test_without_the_extra_the_pip_line_is_given() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyiceberg":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from airflow_provider_mlbridge.exceptions import MissingExtraError
from airflow_provider_mlbridge.storage import pin_snapshot
import importlib, pkgutil, airflow_provider_mlbridge.storage.iceberg as package
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
try:
    pin_snapshot("iceberg://lake/shop.sales")
except MissingExtraError as error:
    print(error)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'airflow-provider-mlbridge[iceberg]'" in finished.stdout, finished.stderr
