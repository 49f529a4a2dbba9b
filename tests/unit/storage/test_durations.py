# SPDX-License-Identifier: Apache-2.0
"""Lengths of time as text."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.storage.durations import duration

HOURS = timedelta(hours=26)


@pytest.mark.parametrize(
    "value", [HOURS, 93600, 93600.0, "93600", "26 hours", "26h", " 26 Hours ", "1560min", "PT26H", "P1DT2H"]
)
def test_the_same_length_is_read_from_all_forms(value: object) -> None:
    assert duration(value, "max_age") == HOURS


@pytest.mark.parametrize("value", ["P1W", "7d", "1 week", "168.0 h"])
def test_weeks_and_fractions(value: str) -> None:
    assert duration(value, "max_age") == timedelta(days=7)


@pytest.mark.parametrize(
    "value",
    ["", "P", "PT", "P1DT", "P1M", "1 month", "26 hrs ago", "-1h", "0h", "nan", 0, -1, True, None, [], 1e300,
     float("nan"), float("inf"), timedelta(0), "999999999999 weeks"],
)  # fmt: skip
def test_what_is_none_names_the_forms(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"max_age=.*'26 hours', '26h', '90 min' or 'PT26H'"):
        duration(value, "max_age")
