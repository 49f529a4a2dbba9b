# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation of many columns in one pass, whatever the order of rows; see :mod:`~.sums`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.steps.base import (
    as_float,
)
from airflow_provider_mlbridge.features.steps.summary import Summary
from airflow_provider_mlbridge.features.sums import Scale

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.summaries import Request


def _range_overflows(summary: Summary) -> bool:
    return not math.isfinite(float(summary.maximum) - float(summary.minimum))


class Moments:
    """
    Mean and standard deviation of some columns.

    :param wanted: request and what is known so far, by index.
    :param lenient: leave out what cannot be computed.
    :raises FitError: when the range of a column is too large, unless ``lenient``.
    """

    def __init__(self, table: Any, wanted: Mapping[int, tuple[Request, Summary]], *, lenient: bool) -> None:
        self._table = table
        self._wanted = wanted
        self._known: dict[int, tuple[float | None, float | None]] = {}
        self._scales: dict[int, Scale] = {}
        for index, (request, summary) in wanted.items():
            if not summary.count or summary.infinite or (lenient and _range_overflows(summary)):
                self._known[index] = (None, None)
            elif summary.minimum == summary.maximum:
                self._known[index] = (float(summary.minimum), 0.0)
            elif _range_overflows(summary):
                raise FitError(
                    f"{summary.where}: the range of the values is too large for a float. Bound them with a "
                    f"clip step before this one."
                )
            else:
                low, high = float(summary.minimum), float(summary.maximum)
                self._scales[index] = Scale.of(low, high, whole=request.kind == "int")

    def aggregates(self) -> dict[str, Any]:
        """What to ask, by name."""
        aggregates: dict[str, Any] = {}
        for index, scale in self._scales.items():
            request = self._wanted[index][0]
            value = self._table[request.alias]
            number = value if scale.whole else as_float(value, request.kind)
            aggregates[f"sum{index}"] = scale.sum_of(number)
            if not scale.binary:
                aggregates[f"squares{index}"] = scale.squares_of(number)
        return aggregates

    def results(self, answer: Mapping[str, Any]) -> dict[int, tuple[float | None, float | None]]:
        """Mean and standard deviation by index; None where they cannot be computed."""
        results = dict(self._known)
        for index, scale in self._scales.items():
            count = self._wanted[index][1].count
            total = answer[f"sum{index}"]
            squares = total if scale.binary else answer[f"squares{index}"]
            results[index] = scale.moments(total, squares, count)
        return results
