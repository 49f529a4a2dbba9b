# SPDX-License-Identifier: Apache-2.0
"""Tables that the feature tests share: like flights, with everything that goes wrong in real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def flights(rows: int = 2_000, seed: int = 7) -> pa.Table:
    """Delays with NaN and NULL, carriers with rare and missing ones, integers, times, a constant, a label."""
    random = np.random.default_rng(seed)
    delay = random.gamma(2.0, 20.0, rows) - 10
    delay[random.random(rows) < 0.05] = np.nan
    carrier = random.choice(
        ["UA", "AA", "B6", "DL", "OO", "HA"], rows, p=[0.3, 0.25, 0.2, 0.2, 0.045, 0.005]
    ).astype(object)
    carrier[random.random(rows) < 0.03] = None
    seconds = random.integers(0, 365 * 86_400, rows)
    return pa.table(
        {
            "flight_id": pa.array(random.permutation(rows), pa.int64()),
            "carrier": pa.array(carrier, pa.string()),
            "dep_delay": pa.array(delay, mask=random.random(rows) < 0.05),
            "distance": pa.array(random.integers(80, 5_000, rows), pa.int32()),
            "temp": pa.array(random.normal(288.15, 0.01, rows)),
            "seats": pa.array(
                random.choice([50, 150, 180], rows), pa.int64(), mask=random.random(rows) < 0.1
            ),
            "humid": pa.array(random.random(rows).astype("float32")),
            "scheduled": pa.array(
                np.datetime64("2013-01-01", "us") + seconds.astype("timedelta64[s]"), pa.timestamp("us")
            ),
            "day": pa.array(np.datetime64("2013-01-01", "D") + (seconds // 86_400).astype("timedelta64[D]")),
            "night": pa.array(random.random(rows) < 0.2),
            "constant": pa.array(np.full(rows, 3.25)),
            "late": pa.array((random.random(rows) < 0.25).astype("int64"), mask=random.random(rows) < 0.01),
        }
    )


def write(table: pa.Table, path: Path, *, row_group_size: int = 500) -> str:
    """Write a table as Parquet and return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return str(path)


def read(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def equal(left: Any, right: Any) -> bool:
    """Equal, floats to 1e-12 of their size."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= 1e-12 * max(abs(left), abs(right))
    return type(left) is type(right) and left == right
