# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.storage.uris import check_uri, local_path


@pytest.mark.parametrize("uri", ["s3://bucket/key", "file:///data/x.parquet", "/data/x.parquet"])
def test_readable_uris_pass(uri: str) -> None:
    assert check_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("data/x.parquet", "is not a URI this provider can read"),
        ("gs://bucket/key", "is not a URI this provider can read"),
        ("s3://bucket", "names no key"),
        ("s3:///key", "names no bucket"),
        ("", "must be a URI"),
        (None, "must be a URI"),
    ],
)
def test_other_uris_are_refused_with_argument_given_and_valid(uri: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        check_uri(uri, argument="datamart")
    assert "datamart" in str(caught.value)
    assert "s3://bucket/key" in str(caught.value)


def test_escapes_in_file_uris_are_resolved() -> None:
    assert str(local_path("file:///a%20b/c.parquet")) == "/a b/c.parquet"
