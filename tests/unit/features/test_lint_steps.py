# SPDX-License-Identifier: Apache-2.0
"""The linter knows features by the step that makes them, and categories by the step that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import (
    Expression,
    Frequency,
    Hashing,
    Impute,
    OneHot,
    Ordinal,
    Recipe,
    Target,
)
from airflow_provider_mlbridge.features.linter import lint

from .tables import write

ROWS = 1_000


def _findings(steps: list[Any], tmp_path: Path) -> list[tuple[str, str]]:
    random = np.random.default_rng(1)
    label = random.integers(0, 2, ROWS)
    a = random.normal(size=ROWS)
    table = pa.table(
        {
            "id": random.permutation(ROWS),
            "y": label,
            "a": a,
            "b": a + label * (random.normal(size=ROWS) + 5),
            "unique": random.permutation(ROWS) * 977 + 5_000_000,
            "rare": (np.arange(ROWS) * 3 // 4) * 977 + 10**9,
            "often": random.integers(0, 9, ROWS) * 977 + 10**9,
            "gone": pa.array(random.normal(size=ROWS), mask=random.random(ROWS) < 0.2),
        }
    )
    recipe = Recipe("r", steps, keys=["id"], label="y")
    return [(item.code, item.column) for item in lint(write(table, tmp_path / "in.parquet"), recipe).findings]


@pytest.mark.parametrize("output", ["gap", "gap_missing"])
def test_names_hide_nothing(output: str, tmp_path: Path) -> None:
    assert _findings([Expression("b - a", output=output)], tmp_path) == [("perfect_predictor", output)]


def test_indicators_of_a_column_say_no_more_than_it(tmp_path: Path) -> None:
    """But those of a column that a step has made may: it shows nowhere else where that was missing."""
    made = [Expression("nullif(b - a, 0)", output="gap"), Impute("gap", indicator=True)]
    assert ("label_copy", "gap_missing") in _findings(made, tmp_path)
    assert _findings([Impute("gone", indicator=True)], tmp_path) == []


@pytest.mark.parametrize(
    "step", [Target, Frequency, Ordinal, OneHot, Hashing], ids=lambda step: str(step.TYPE)
)
@pytest.mark.parametrize("column", ["unique", "rare", "often"])
def test_account_numbers_as_categories(step: Any, column: str, tmp_path: Path) -> None:
    options: dict[Any, dict[str, Any]] = {
        Hashing: {"buckets": 50},
        OneHot: {"unknown": "other", "max_categories": 5},
    }
    found = _findings([step(column, output="{column}_c", **options.get(step, {}))], tmp_path)
    about = [code for code, name in found if name == column]
    assert about == ([] if column == "often" else ["near_unique_category"])
