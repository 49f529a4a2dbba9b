# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Values that a double, or a type of DuckDB, does not hold as they are."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate


def judged(path: Path, *suite: tuple[str, dict[str, Any]], **options: Any) -> list[Any]:
    expectations = [{"type": f"expect_{type_}", "kwargs": kwargs} for type_, kwargs in suite]
    return list(validate(str(path), expectations, unmasked_columns=["*"], **options).results)


def test_sums_and_means_are_precise_to_the_last_digit_whatever_the_threads(tmp_path: Path) -> None:
    rows = 300_000
    values = np.random.default_rng(0).random(rows) * 1e3
    decimals = pa.array([Decimal("19.99")] * rows, pa.decimal128(9, 2))
    table = pa.table({"x": values, "n": decimals})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10_000)
    suite: list[tuple[str, dict[str, Any]]] = []
    for column, total in (("x", math.fsum(values)), ("n", 19.99 * rows)):
        for measure, exact in (("sum", total), ("mean", total / rows)):
            # Which thread adds first may still change the last digit.
            low, high = exact - 2 * math.ulp(exact), exact + 2 * math.ulp(exact)
            bounds = {"column": column, "min_value": low, "max_value": high}
            suite.append((f"column_{measure}_to_be_between", bounds))
    for threads in (1, 2, 2, 2):
        results = judged(tmp_path / "t.parquet", *suite, threads=threads)
        assert [result.success for result in results] == [True] * 4, results


@pytest.mark.parametrize(
    ("values", "total", "mean"),
    [
        ([], 0, None),
        ([None, math.nan], 0, None),
        ([1.0, math.inf], "Infinity", "Infinity"),
        ([-math.inf, 1.0, None], "-Infinity", "-Infinity"),
        ([1e308, 1e308], "Infinity", "Infinity"),
        ([math.inf, -math.inf], None, None),
    ],
    ids=str,
)
def test_sums_of_nothing_and_of_infinite_numbers(
    tmp_path: Path, values: list[Any], total: Any, mean: Any
) -> None:
    pq.write_table(pa.table({"x": pa.array(values, pa.float64())}), tmp_path / "t.parquet")
    bounds = {"column": "x", "min_value": -1e300}
    found = judged(
        tmp_path / "t.parquet",
        ("column_sum_to_be_between", bounds),
        ("column_mean_to_be_between", bounds),
        min_rows=0,
    )[-2:]
    assert [result.observed_value for result in found] == [total, mean]
