# SPDX-License-Identifier: Apache-2.0
"""Real servers on loopback, one of each for the whole session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from demo.services.moto_s3 import start_moto
from demo.services.s3 import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 API that checks signatures."""
    server = start_moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def s3_client(s3_server: S3Server) -> Iterator[Any]:
    """A boto3 client with credentials that the server accepts."""
    client = s3_server.client()
    yield client
    client.close()


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """A bucket of the test's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return name
