# SPDX-License-Identifier: Apache-2.0
"""The storage tests run over both stores: what a user relies on is the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.storage import ObjectStore, Published, open_store, publish_version


@dataclass(frozen=True)
class Place:
    """A prefix to test in, and how to reach it."""

    root: str
    client: Any
    store: ObjectStore

    def put(self, name: str, data: bytes) -> None:
        """Store an object."""
        self.store.put(self.root + name, data)

    def names(self) -> list[str]:
        """Names of all objects, without lock and temporary files."""
        found = [info.uri.removeprefix(self.root) for info in self.store.list(self.root)]
        return [name for name in found if not name.rsplit("/", 1)[-1].startswith("._")]


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place in S3 and one on disk."""
    if request.param == "file":
        root = f"file://{tmp_path}/lake/"
        return Place(root, None, open_store(root))
    client = request.getfixturevalue("s3_client")
    root = f"s3://{request.getfixturevalue('bucket')}/lake/"
    return Place(root, client, open_store(root, s3_client=client))


def parquet_bytes(rows: int = 3, **columns: Any) -> bytes:
    """A small Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns or {"id": list(range(rows))}), sink)
    return bytes(sink.getvalue().to_pybytes())


def publish(place: Place, fingerprint: str, data: bytes, tmp_path: Path, **options: Any) -> Published:
    """Publish a version of two files."""
    path = tmp_path / f"{fingerprint}.parquet"
    path.write_bytes(data)
    with publish_version(
        place.root + "out/", fingerprint=fingerprint, s3_client=place.client, **options
    ) as version:
        version.add(path, "features.parquet")
        version.add_bytes("recipe.json", b"{}")
        return version.commit({"rows": 3}, latest_parquet="features.parquet")


def versions(place: Place) -> set[str]:
    """Fingerprints of the versions that are there."""
    return {name.split("/")[2].split("-")[1] for name in place.names() if "/versions/" in name}
