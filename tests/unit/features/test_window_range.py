# SPDX-License-Identifier: Apache-2.0
"""Windows of values far beyond those that the recipe was fitted on."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.features import GroupAggregate, Rolling

from .test_windows import HOUR, START, _aggregate, _series

NAMES = ("sum", "mean", "std")


def _cutoff(hours: int) -> dict[str, Any]:
    """A split of which the first rows of a series are train."""
    return {"by": "time", "cutoff": (START + hours * HOUR).isoformat()}


def test_a_large_value_after_quiet_ones(tmp_path: Path) -> None:
    values = [1.0] * 30 + [600_000.0] + [2.0] * 9
    steps = [Rolling("x", by=["g"], window="5h", functions=NAMES)]
    found = _series(values, steps, tmp_path, split=_cutoff(30))
    for place in range(5, 40):
        for name in NAMES:
            expected = _aggregate(name, values[place - 5 : place])
            assert found[place][f"x_{name}_5h"] == pytest.approx(expected, rel=1e-12, abs=0), (place, name)


@pytest.mark.parametrize("fitted_on", [1.0, 0.0, 1e-100, 1e100])
def test_values_of_every_size(fitted_on: float, tmp_path: Path) -> None:
    """As exact as the largest value of the window allows; every row alone gives what the table does."""
    rng = random.Random(5)
    unit = fitted_on or 2.0**20
    values = [fitted_on] * 5
    values += [
        unit * rng.gauss(0, 1) * 10 ** min(rng.uniform(-3, 15), 7.0 if unit > 1 else 15) for _ in range(150)
    ]
    steps = [Rolling("x", by=["g"], window="4h", functions=NAMES)]
    found = _series(values, steps, tmp_path, split=_cutoff(5))
    for place in range(5, len(values)):
        seen = values[place - 4 : place]
        for name in NAMES:
            expected, result = _aggregate(name, seen), found[place][f"x_{name}_4h"]
            assert abs(result - expected) <= 1e-12 * max(map(abs, seen)), (place, name)


def test_values_that_are_close_to_one_another(tmp_path: Path) -> None:
    values = [1.0, -1.0, *(3e9 + number / 4 for number in (0, 1, 5, 2)), 0.0]
    found = _series(
        values, [Rolling("x", by=["g"], window="4h", functions=NAMES)], tmp_path, split=_cutoff(2)
    )
    for name in NAMES:
        assert found[6][f"x_{name}_4h"] == pytest.approx(_aggregate(name, values[2:6]), rel=1e-9, abs=0)


def test_where_a_value_is_infinitely_large(tmp_path: Path) -> None:
    steps = [GroupAggregate("x", by=["g"], functions=["sum", "mean", "std", "max"])]
    values = [1.0, -1.0, 2.0**49, 2.0**51, 0.0, -math.inf, 0.0]
    found = _series(values, steps, tmp_path, split=_cutoff(2))
    assert found[3]["x_sum_by_g"] == 2.0**49
    rows = [[row[f"x_{name}_by_g"] for name in ("sum", "mean", "std", "max")] for row in found]
    assert rows[4] == [math.inf, math.inf, None, 2.0**51]
    assert rows[6] == [None, None, None, 2.0**51]
