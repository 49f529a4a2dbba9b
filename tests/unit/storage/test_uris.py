# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetNotFoundError
from airflow_provider_mlbridge.storage import pin_snapshot
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


@pytest.mark.parametrize("scheme", ["s3a", "s3n"])
def test_a_scheme_of_hadoop_is_told_what_to_write(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="write s3://lake/marts/a/$"):
        check_uri(f"{scheme}://lake/marts/a/")


@pytest.mark.parametrize("name", ["*.parquet", "part-?.parquet", "day=[0-9]/x.parquet"])
def test_a_pattern_that_names_nothing_is_told_what_to_write(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=re.escape(f"give the prefix, such as {tmp_path}/,")):
        pin_snapshot(f"{tmp_path}/{name}")
    with pytest.raises(DatasetNotFoundError, match=r"none below \S+/gone/$"):
        pin_snapshot(f"{tmp_path}/gone/")


def test_letters_of_patterns_are_valid_in_names(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*?"
    folder.mkdir()
    (folder / "x.parquet").write_bytes(b"PAR1")
    assert pin_snapshot(str(folder)).file_count == 1
