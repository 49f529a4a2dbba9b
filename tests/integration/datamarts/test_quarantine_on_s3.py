# SPDX-License-Identifier: Apache-2.0
"""Quarantine against an S3 API: what is set aside, what is left, and that features are built from that."""

from __future__ import annotations

import io
import threading
from typing import Any

import pyarrow.parquet as pq
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import PublishConflictError
from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.quality import quarantine, validate
from airflow_provider_mlbridge.storage import pin_snapshot, read_manifest
from tests.integration.storage.conftest import parquet_bytes
from tests.unit.quality.quarantine_support import expect, judge_and_quarantine, quarantine_of

pytestmark = pytest.mark.integration

WANTED = [
    expect("column_values_to_be_between", column="price", min_value=0),
    expect("column_values_to_be_unique", severity="warning", column="id"),
]
RECIPE = {
    "name": "shop",
    "keys": ["id"],
    "label": "bought",
    "split": {"by": "hash"},
    "steps": [
        {"type": "standard", "columns": ["price"]},
        {"type": "one_hot", "columns": ["region"], "unknown": "other"},
    ],
}


@pytest.fixture
def mart(bucket: str, s3_client: Any) -> str:
    """200 rows in two partitions; row 3 of the north is bad, as are rows 0 and 50 of the south."""
    for number, region in enumerate(["north", "south"]):
        ids = [number * 100 + row for row in range(100)]
        if number:
            ids[50] = ids[0]
        body = parquet_bytes(
            id=ids,
            price=[-1.0 if (number, row) == (0, 3) else row / 3 for row in range(100)],
            bought=[row % 3 == 0 for row in range(100)],
        )
        s3_client.put_object(Bucket=bucket, Key=f"mart/region={region}/part-0.parquet", Body=body)
    return f"s3://{bucket}/mart/"


def test_bad_rows_are_set_aside_and_features_built_from_the_others(
    mart: str, bucket: str, s3_client: Any
) -> None:
    base = f"s3://{bucket}/quarantine"
    result = judge_and_quarantine(mart, WANTED, base, s3_client=s3_client)
    assert (result.clean_rows, result.quarantined_rows) == (197, 3)
    assert result.uri.startswith(f"{base}/versions/")
    bad = []
    for name in read_manifest(base, s3_client=s3_client).etags:
        if name.startswith("quarantined/"):
            key = f"{result.uri}{name}".removeprefix(f"s3://{bucket}/")
            body = s3_client.get_object(Bucket=bucket, Key=key)["Body"].read()
            bad += pq.read_table(io.BytesIO(body)).to_pylist()
    assert [(row["_mlbridge_file"], row["_mlbridge_row"], row["_mlbridge_reasons"]) for row in bad] == [
        ("region=north/part-0.parquet", 3, ["expect_column_values_to_be_between(price), critical"]),
        ("region=south/part-0.parquet", 0, ["expect_column_values_to_be_unique(id), warning"]),
        ("region=south/part-0.parquet", 50, ["expect_column_values_to_be_unique(id), warning"]),
    ]
    clean = pin_snapshot(result.clean_uri, s3_client=s3_client)
    assert validate(clean, WANTED, fail_on="warn", s3_client=s3_client).success
    features = build_feature_set(clean, RECIPE, f"s3://{bucket}/features/", s3_client=s3_client)
    assert features.rows == 197
    # The same again is recognised; nothing is written.
    assert quarantine_of(validate(mart, WANTED, s3_client=s3_client), base, s3_client=s3_client).reused


def test_tasks_that_set_different_rows_aside_at_once(
    mart: str, bucket: str, s3_client: Any, mocker: MockerFixture
) -> None:
    base = f"s3://{bucket}/quarantine"
    regions = ["north", "south"]
    reports = [validate(mart, WANTED, partitions={"region": name}, s3_client=s3_client) for name in regions]
    both = threading.Barrier(2, timeout=60)
    real = quarantine._Split.write

    def together(split: Any, version: Any) -> None:
        both.wait()
        real(split, version)

    mocker.patch.object(quarantine._Split, "write", together)
    results: dict[str, Any] = {}

    def run(name: str, report: Any) -> None:
        try:
            results[name] = quarantine_of(report, base, s3_client=s3_client)
        except PublishConflictError as error:
            results[name] = error

    threads = [threading.Thread(target=run, args=item) for item in zip(regions, reports, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for name in regions:
        clean = pin_snapshot(results[name].clean_uri, s3_client=s3_client)
        assert [file.path.split("/")[0] for file in clean.files] == [f"region={name}"]
