# SPDX-License-Identifier: Apache-2.0
"""The guide lists every expectation with what judges it."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_mlbridge.quality.catalog import ANOMALIES, EXPECTATION_TYPES
from airflow_provider_mlbridge.quality.compiled import (
    COMPILERS,
    distincts,
    quantiles,
    uniqueness,
)
from airflow_provider_mlbridge.quality.engines import footers, gx

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "quality.md"
GROUPING = {**distincts.COMPILERS, **quantiles.COMPILERS, **uniqueness.COMPILERS}


def engine(name: str) -> str:
    """What judges a type, as the guide calls it."""
    if name in ANOMALIES:
        return "history"
    parts = []
    if name in footers.ANSWERED:
        parts.append("footers")
    if name in GROUPING:
        parts.append("DuckDB, one grouping per key")
    elif name in COMPILERS:
        parts.append("DuckDB, the one pass")
    if not parts:
        parts.append("not on files" if name in gx.DATABASE_ONLY else "Great Expectations")
    return "; else ".join(parts)


def table() -> dict[str, str]:
    """The guide's table as it should be: engine to types."""
    found: dict[str, list[str]] = {}
    for name in sorted(EXPECTATION_TYPES):
        found.setdefault(engine(name), []).append(name)
    return {key: ", ".join(f"`{name}`" for name in names) for key, names in found.items()}


def test_the_guide_lists_every_type_with_its_engine() -> None:
    rows = re.findall(r"^\| (.+?) \| (`.*`) \|$", GUIDE.read_text(), re.MULTILINE)
    listed = {key: value for key, value in rows if key in table()}
    assert listed == table()
