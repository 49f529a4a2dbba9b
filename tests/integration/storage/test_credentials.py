# SPDX-License-Identifier: Apache-2.0
"""Who reads: session tokens, the Airflow connection's endpoint and region, and objects one may not read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import SnapshotChangedError, StorageAccessError
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.storage import local_files, opened_snapshot, pin_snapshot, read_footers
from tests.integration.storage.conftest import parquet_bytes
from tests.integration.storage.roles import assume_role, client_of

pytestmark = pytest.mark.integration


@pytest.fixture
def mart(bucket: str, s3_client: Any) -> str:
    for name in ("a", "b"):
        s3_client.put_object(Bucket=bucket, Key=f"mart/{name}.parquet", Body=parquet_bytes(3))
    return f"s3://{bucket}/mart/"


@pytest.mark.parametrize("token", ["right", "wrong"])
def test_the_airflow_connection_brings_session_token_endpoint_and_region(
    mart: str, s3_server: Any, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    role = assume_role(s3_server)
    connection = {
        "conn_type": "aws",
        "login": role["AccessKeyId"],
        "password": role["SecretAccessKey"],
        "extra": {
            "aws_session_token": role["SessionToken"] if token == "right" else "another",
            "endpoint_url": s3_server.endpoint_url,
            "region_name": s3_server.region,
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    client = s3_client_for("lake", mart)
    assert client is not None
    try:
        if token == "wrong":
            with pytest.raises(StorageAccessError, match="access refused") as caught:
                pin_snapshot(mart, s3_client=client)
            assert role["SecretAccessKey"] not in str(caught.value)
            return
        snapshot = pin_snapshot(mart, s3_client=client)
        with local_files(snapshot, s3_client=client) as paths:
            assert len(paths) == 2
    finally:
        client.close()


@pytest.mark.parametrize("datamart", ["s3://bucket/mart/", "iceberg://lake/shop.sales"])
def test_datamarts_in_s3_and_tables_of_a_catalog_get_the_connections_client(
    monkeypatch: pytest.MonkeyPatch, datamart: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps({"conn_type": "aws", "login": "k", "password": "s"}))
    client = s3_client_for("lake", {"uri": datamart})
    assert client is not None
    client.close()
    assert s3_client_for("lake", "file:///mart/") is None


def test_one_object_that_may_not_be_read_is_named(mart: str, bucket: str, s3_server: Any) -> None:
    client = client_of(s3_server, assume_role(s3_server, f"arn:aws:s3:::{bucket}/mart/b.parquet"))
    try:
        snapshot = pin_snapshot(mart, s3_client=client)
        assert snapshot.file_count == 2
        for reading in (
            lambda: read_footers(snapshot, s3_client=client),
            lambda: local_files(snapshot, s3_client=client).__enter__(),
        ):
            with pytest.raises(StorageAccessError, match=r"mart/b\.parquet: access refused"):
                reading()
    finally:
        client.close()


@pytest.mark.parametrize("evolution", ["strict", "union"])
def test_an_object_replaced_between_footer_and_read_is_noticed(
    mart: str, bucket: str, s3_client: Any, evolution: str
) -> None:
    snapshot = pin_snapshot(mart, schema_evolution=evolution, s3_client=s3_client)
    with opened_snapshot(snapshot, s3_client=s3_client) as near:
        assert len(read_footers(near, s3_client=s3_client)) == 2
        s3_client.put_object(Bucket=bucket, Key="mart/b.parquet", Body=parquet_bytes(4))
        with (
            pytest.raises(SnapshotChangedError, match="b.parquet was replaced"),
            local_files(near, s3_client=s3_client),
        ):
            pass
