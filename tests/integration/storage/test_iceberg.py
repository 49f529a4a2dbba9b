# SPDX-License-Identifier: Apache-2.0
"""A table of Iceberg in S3: every byte comes through the client of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.utils.config import Config

from airflow_provider_mlbridge.exceptions import ConfigurationError, StorageAccessError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import local_files, opened_snapshot, pin_snapshot
from tests.integration.storage.roles import assume_role, client_of
from tests.unit.iceberg.tables import catalog_in, data_files, delete_keys, delete_positions

pytestmark = pytest.mark.integration


@pytest.fixture
def catalog(
    tmp_path: Path, s3_server: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlCatalog]:
    """A catalog whose writer has credentials of its own; the environment knows the catalog only."""
    catalog = catalog_in(
        tmp_path,
        warehouse=f"s3://{bucket}/lake",
        **{
            "s3.endpoint": s3_server.endpoint_url,
            "s3.region": s3_server.region,
            "s3.access-key-id": s3_server.access_key,
            "s3.secret-access-key": s3_server.secret_key,
        },
    )
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", catalog.properties["uri"])
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    yield catalog
    catalog.close()


@pytest.fixture
def table(catalog: SqlCatalog) -> Table:
    """Six rows in two files, of which three are deleted."""
    rows = pa.table({"id": pa.array([1, 2, 3]), "region": ["n", None, "s"]})
    table = catalog.create_table("shop.sales", rows.schema)
    table.append(rows)
    table.append(pa.table({"id": pa.array([4, 5, 6]), "region": ["n", "s", "s"]}))
    delete_positions(table, {data_files(table)[0].file_path: [0]})
    delete_keys(table, {"region": [None], "id": [2]})
    delete_keys(table, {"id": [6]})
    return table


def ids(snapshot: Snapshot, client: Any, **options: Any) -> list[int]:
    with opened_snapshot(snapshot, s3_client=client, **options) as near, local_files(near) as paths:
        return sorted(value for path in paths for value in pq.read_table(path)["id"].to_pylist())


def test_a_table_by_its_catalog_and_by_its_metadata_file(
    table: Table, s3_client: Any, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    for datamart in ("iceberg://lake/shop.sales", table.metadata_location):
        snapshot = pin_snapshot(datamart, s3_client=s3_client)
        again = pin_snapshot(snapshot.to_dict(), s3_client=s3_client)
        assert ids(again, s3_client, scratch_dir=scratch) == [3, 4, 5]
        assert list(scratch.iterdir()) == []


def test_files_without_deletes_are_downloaded_as_they_are(catalog: SqlCatalog, s3_client: Any) -> None:
    rows = pa.table({"id": pa.array([1, 2, 3])})
    table = catalog.create_table("shop.plain", rows.schema)
    table.append(rows)
    key = data_files(table)[0].file_path.removeprefix("s3://").partition("/")
    stored = s3_client.get_object(Bucket=key[0], Key=key[2])["Body"].read()
    snapshot = pin_snapshot("iceberg://lake/shop.plain", s3_client=s3_client)
    with opened_snapshot(snapshot, s3_client=s3_client) as near, local_files(near) as paths:
        assert [path.read_bytes() for path in paths] == [stored]


def test_the_session_of_an_assumed_role_reads_and_a_wrong_token_is_refused(
    table: Table, s3_server: Any
) -> None:
    session = assume_role(s3_server)
    client = client_of(s3_server, session)
    assert ids(pin_snapshot("iceberg://lake/shop.sales", s3_client=client), client) == [3, 4, 5]
    client.close()
    wrong = client_of(s3_server, {**session, "SessionToken": "not-the-token"})
    with pytest.raises(StorageAccessError, match="access refused"):
        pin_snapshot("iceberg://lake/shop.sales", s3_client=wrong)
    wrong.close()


def test_the_data_folder_of_a_table_is_no_plain_prefix(table: Table, s3_client: Any) -> None:
    for folder in ("", "/data/"):
        with pytest.raises(ConfigurationError, match="belongs to a table of Iceberg"):
            pin_snapshot(table.location() + folder, s3_client=s3_client)
