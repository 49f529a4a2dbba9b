# SPDX-License-Identifier: Apache-2.0
"""Quality and features against an S3 API: one snapshot through both, and nothing half-published."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    ColumnNotFoundError,
    DataQualityFailedError,
    ExpectationNotCheckedError,
    InvalidExpectationError,
    PublishConflictError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.reporting.report import write_report
from airflow_provider_mlbridge.storage import publish_version, read_manifest
from tests.integration.storage.conftest import parquet_bytes

pytestmark = pytest.mark.integration

RECIPE = {
    "name": "shop",
    "keys": ["id"],
    "label": "bought",
    "split": {"by": "hash"},
    "steps": [
        {"type": "impute", "columns": ["price"], "strategy": "median", "indicator": True},
        {"type": "standard", "columns": ["price"]},
        {"type": "one_hot", "columns": ["region"], "unknown": "other"},
    ],
}


@pytest.fixture
def mart(bucket: str, s3_client: Any) -> str:
    """A hive-partitioned datamart of 200 rows."""
    for number, region in enumerate(["north", "south"]):
        ids = list(range(number * 100, number * 100 + 100))
        body = parquet_bytes(
            id=ids,
            price=[None if row % 7 == 0 else row / 3 for row in ids],
            bought=[row % 3 == 0 for row in ids],
        )
        s3_client.put_object(Bucket=bucket, Key=f"mart/region={region}/part-0.parquet", Body=body)
    return f"s3://{bucket}/mart/"


def test_one_snapshot_goes_through_quality_and_features(mart: str, bucket: str, s3_client: Any) -> None:
    report = validate(
        mart,
        [
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "price", "min_value": 0, "max_value": 100},
            }
        ],
        schema={"id": "int64", "price": "double"},
        not_null=["id"],
        unique=["id"],
        min_rows=200,
        max_age=timedelta(hours=1),
        s3_client=s3_client,
    )
    assert report.success
    report.raise_for_verdict()
    where = write_report(report, f"s3://{bucket}/reports/1/", s3_client=s3_client)
    stored = json.loads(
        s3_client.get_object(Bucket=bucket, Key="reports/1/quality_report.json")["Body"].read()
    )
    assert where == f"s3://{bucket}/reports/1/quality_report.json"
    assert stored["success"] is True

    summary = report.summary(report_uri=where).to_dict()
    features = build_feature_set(summary, RECIPE, f"s3://{bucket}/features/", s3_client=s3_client)
    assert features.datamart_fingerprint == report.snapshot.fingerprint
    assert features.rows == 200
    manifest = read_manifest(f"s3://{bucket}/features/", s3_client=s3_client)
    assert manifest.fingerprint == features.fingerprint
    assert {"features.parquet", "recipe.json", "state.json", "statistics.json"} <= set(manifest.etags)


def test_a_datamart_that_changes_after_quality_is_not_featured(
    mart: str, bucket: str, s3_client: Any
) -> None:
    summary = validate(mart, not_null=["id"], s3_client=s3_client).summary().to_dict()
    s3_client.put_object(
        Bucket=bucket,
        Key="mart/region=south/part-0.parquet",
        Body=parquet_bytes(id=[1], price=[1.0], bought=[True]),
    )
    with pytest.raises(SnapshotChangedError):
        build_feature_set(summary, RECIPE, f"s3://{bucket}/features/", s3_client=s3_client)
    assert s3_client.list_objects_v2(Bucket=bucket, Prefix="features/")["KeyCount"] == 0


def test_a_repeat_returns_the_version_that_is_there(mart: str, bucket: str, s3_client: Any) -> None:
    options: dict[str, Any] = {"s3_client": s3_client, "latest_parquet": True}
    first = build_feature_set(mart, RECIPE, f"s3://{bucket}/features/", **options)
    s3_client.put_object(Bucket=bucket, Key="features/latest.parquet", Body=b"of an older version")
    second = build_feature_set(mart, RECIPE, f"s3://{bucket}/features/", **options)
    assert (second.uri, second.fingerprint) == (first.uri, first.fingerprint)
    version_key = first.uri.removeprefix(f"s3://{bucket}/") + "features.parquet"
    latest = s3_client.get_object(Bucket=bucket, Key="features/latest.parquet")["Body"].read()
    assert latest == s3_client.get_object(Bucket=bucket, Key=version_key)["Body"].read()


def test_a_writer_that_was_overtaken_leaves_nothing(
    mart: str, bucket: str, s3_client: Any, mocker: Any
) -> None:
    base = f"s3://{bucket}/features/"
    real = publish_version

    def overtaken(*args: Any, **options: Any) -> Any:
        opened = real(*args, **options)

        class Overtaken:
            def __enter__(self) -> Any:
                version = opened.__enter__()
                with real(base, fingerprint="other", s3_client=s3_client) as other:
                    other.add_bytes("features.parquet", parquet_bytes())
                    other.commit({})
                return version

            def __exit__(self, *details: Any) -> Any:  # noqa: PYI036
                return opened.__exit__(*details)

        return Overtaken()

    mocker.patch("airflow_provider_mlbridge.features.build.publish_version", overtaken)
    with pytest.raises(PublishConflictError):
        build_feature_set(mart, RECIPE, base, s3_client=s3_client)
    assert read_manifest(base, s3_client=s3_client).fingerprint == "other"
    keys = [item["Key"] for item in s3_client.list_objects_v2(Bucket=bucket, Prefix="features/")["Contents"]]
    assert {key.split("/")[2] for key in keys if "/versions/" in key} == {
        read_manifest(base, s3_client=s3_client).version_uri.rstrip("/").rsplit("/", 1)[1]
    }


def test_a_column_that_is_not_there(mart: str, bucket: str, s3_client: Any) -> None:
    report = validate(mart, not_null=["prise"], s3_client=s3_client)
    assert not report.success
    with pytest.raises(ExpectationNotCheckedError, match="prise"):
        report.raise_for_verdict()
    recipe = {**RECIPE, "steps": [{"type": "standard", "columns": ["prise"]}]}
    with pytest.raises(ColumnNotFoundError, match="'prise'"):
        build_feature_set(mart, recipe, f"s3://{bucket}/features/", s3_client=s3_client)
    assert s3_client.list_objects_v2(Bucket=bucket, Prefix="features/")["KeyCount"] == 0


def test_an_unknown_expectation_names_the_likely_one(mart: str, s3_client: Any) -> None:
    with pytest.raises(InvalidExpectationError, match="expect_column_values_to_be_unique"):
        validate(
            mart,
            [{"type": "expect_column_values_to_be_uniqe", "kwargs": {"column": "id"}}],
            s3_client=s3_client,
        )


def test_the_verdict_tells_observed_and_expected(mart: str, s3_client: Any) -> None:
    report = validate(mart, min_rows=1000, not_null=["price"], s3_client=s3_client)
    with pytest.raises(DataQualityFailedError) as caught:
        report.raise_for_verdict(report_uri="s3://lake/report.json")
    message = str(caught.value)
    assert "200" in message
    assert "1,000" in message
    assert "s3://lake/report.json" in message
