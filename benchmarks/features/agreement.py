# SPDX-License-Identifier: Apache-2.0
"""Whether contestants wrote the same features, on a sample of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SAMPLE_ROWS = 2_000
TOLERANCE = 1e-9

Sample = Mapping[str, Sequence[Any]]


def sample(path: Path, key: str, rows: int) -> dict[str, list[Any]]:
    """Some rows of what a contestant wrote, the same of each, by column."""
    import duckdb

    step = max(rows // SAMPLE_ROWS, 1)
    with duckdb.connect(":memory:") as connection:
        relation = connection.execute(
            f"SELECT * FROM read_parquet('{path}') WHERE ({key} // 7) % {step} = 0 ORDER BY {key}"  # noqa: S608
        )
        names = [item[0] for item in relation.description]
        found = relation.fetchall()
    return {name: [row[index] for row in found] for index, name in enumerate(names)}


def disagreements(ours: Sample, theirs: Sample, who: str) -> list[str]:
    """One line for each column that is not the same, to 1e-9 of the value; empty when all are."""
    if list(ours) != list(theirs):
        return [f"{who} wrote the columns {list(theirs)}, not {list(ours)}"]
    lines = []
    for name, values in ours.items():
        other = theirs[name]
        if len(values) != len(other):
            lines.append(f"{who}, {name}: {len(other)} rows in the sample, not {len(values)}")
            continue
        unlike = [pair for pair in zip(values, other, strict=True) if not _equal(*pair)]
        if unlike:
            lines.append(f"{who}, {name}: {len(unlike)} of {len(values)} values differ, as {unlike[0]}")
    return lines


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return bool(left == right)
    numbers = [math.nan if value is None else float(value) for value in (left, right)]
    if any(map(math.isnan, numbers)):
        return all(map(math.isnan, numbers))
    return math.isclose(*numbers, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
