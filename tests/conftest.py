# SPDX-License-Identifier: Apache-2.0
"""Fixtures that all tests may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Airflow reads and writes its home when it is imported; a test must not touch a person's own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="mlbridge-airflow-home-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# Deterministic, so that a failure is a failure for everybody; no deadlines, since machines differ.
settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write columns to a Parquet file below the test's folder and return its path."""

    def write(name: str, columns: dict[str, Any], **options: Any) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, **options)
        return path

    return write
