# SPDX-License-Identifier: Apache-2.0
"""A threshold lets pass what its operator says, to the row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.inputs.thresholds import (
    OPERATORS,
    NotExpressibleError,
    allowed,
    as_counts,
    as_shares,
)

PASSES: dict[str, Callable[[float, Any], bool]] = {
    "mustBe": lambda seen, value: seen == value,
    "mustNotBe": lambda seen, value: seen != value,
    "mustBeGreaterThan": lambda seen, value: seen > value,
    "mustBeGreaterOrEqualTo": lambda seen, value: seen >= value,
    "mustBeLessThan": lambda seen, value: seen < value,
    "mustBeLessOrEqualTo": lambda seen, value: seen <= value,
    "mustBeBetween": lambda seen, value: value[0] <= seen <= value[1],
    "mustNotBeBetween": lambda seen, value: not value[0] <= seen <= value[1],
}


def test_all_operators_are_here() -> None:
    assert set(PASSES) == set(OPERATORS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_counts_pass_exactly_when_the_operator_says_so(operator: str) -> None:
    values: list[Any] = [-1, 0, 1, 3, 7, 2.5, 0.5]
    if operator.endswith("Between"):
        values = [[0, 0], [0, 3], [1, 3], [2.5, 6.5], [-2, 4], [-3, -1]]
    kept = 0
    for value in values:
        try:
            counts = as_counts(allowed(operator, value, "rule"))
        except NotExpressibleError:
            # Only when no single range can say it: none, all, or two.
            passing = [PASSES[operator](seen, value) for seen in range(20)]
            changes = sum(a != b for a, b in pairwise(passing))
            assert all(passing) or not any(passing) or (passing[0] and passing[-1] and changes == 2)
            continue
        kept += 1
        for seen in range(20):
            inside = counts.low <= seen and (counts.high is None or seen <= counts.high)
            assert inside == PASSES[operator](seen, value), (operator, value, seen)
    assert kept >= 1


@pytest.mark.parametrize("operator", ["mustBeLessThan", "mustBeLessOrEqualTo"])
@pytest.mark.parametrize("percent", [0.1, 1, 5, 12.5, 33, 99.9])
def test_mostly_fails_from_the_very_row_on(operator: str, percent: float) -> None:
    mostly = as_shares(allowed(operator, percent, "rule")).mostly
    for rows in (1, 3, 7, 8, 100, 1000, 12_345):
        for bad in range(min(rows, 400) + 1):
            # As Great Expectations judges: the share of good rows against mostly.
            success = (rows - bad) / rows >= mostly
            exact = bad * 1000 < round(percent * 10) * rows
            if operator == "mustBeLessOrEqualTo":
                exact = bad * 1000 <= round(percent * 10) * rows
            assert success == exact, (bad, rows)


def test_shares_keep_which_bound_is_out() -> None:
    shares = as_shares(allowed("mustBeGreaterThan", 5, "rule"))
    assert (float(shares.low), shares.strict_low, float(shares.high), shares.strict_high) == (
        0.05,
        True,
        1,
        False,
    )
    assert not shares.from_zero
    assert as_shares(allowed("mustBe", 0, "rule")).none_allowed
    assert as_shares(allowed("mustNotBe", 0, "rule")).strict_low


@pytest.mark.parametrize(
    ("operator", "value", "why"),
    [
        ("mustBeLessThan", 0, "no percentage can be so"),
        ("mustBeLessOrEqualTo", 100, "every percentage is so"),
        ("mustNotBeBetween", [20, 30], "two separate ranges"),
    ],
)
def test_shares_that_no_expectation_says(operator: str, value: Any, why: str) -> None:
    with pytest.raises(NotExpressibleError, match=why):
        as_shares(allowed(operator, value, "rule"))


@pytest.mark.parametrize("value", [None, "5", True, [], [1], [1, 2, 3], float("nan"), float("inf"), {}])
def test_a_value_that_is_no_number_is_an_error(value: Any) -> None:
    for operator in OPERATORS:
        with pytest.raises(ConfigurationError, match=r"rule must be"):
            allowed(operator, value, "rule")


def test_the_smaller_number_comes_first() -> None:
    with pytest.raises(ConfigurationError, match="the smaller number comes first"):
        allowed("mustBeBetween", [3, 1], "rule")
