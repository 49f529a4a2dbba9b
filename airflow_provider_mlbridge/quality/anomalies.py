# SPDX-License-Identifier: Apache-2.0
"""
Whether a datamart is unlike its own past: its rows, its bytes, and the share of nulls in a column.

The measure is the modified z-score of B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle Outliers"
(ASQC Basic References in Quality Control 16, 1993): the distance from the median over the median absolute
deviation, ``0.6745 * (x - median) / MAD``, of which they call more than 3.5 an outlier. Median and MAD hold
still when a few of the earlier runs were outliers themselves. Where more than half of the earlier values are
the same, MAD is 0; then, as they advise, the mean absolute deviation takes its place,
``(x - median) / (1.253314 * MeanAD)``. Where all are the same, any difference is infinitely many deviations.

A difference must also matter: one below ``min_change`` is none, however still the past was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.catalog import (
    ANOMALIES,
    ANOMALY_DEFAULTS,
    BYTES_ANOMALY,
    NULL_RATIO_ANOMALY,
    ROW_COUNT_ANOMALY,
)
from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Check
from airflow_provider_mlbridge.quality.expectation import Expectation, Severity
from airflow_provider_mlbridge.quality.history import History, HistoryEntry
from airflow_provider_mlbridge.quality.outcome import Engine, Outcome, not_checked
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.results import Snapshot

MIN_CHANGE = {ROW_COUNT_ANOMALY: 0.01, BYTES_ANOMALY: 0.01, NULL_RATIO_ANOMALY: 0.001}
"""``min_change`` unless given: a share of the median for rows and bytes, a difference of shares for nulls."""

_MAD_FACTOR = 0.6745
_MEAN_FACTOR = 1.253314


@dataclass(frozen=True)
class Norm:
    """
    What is ordinary, after the earlier values.

    :param median: their median.
    :param deviation: what counts as one unit of z; 0 when all earlier values are the same.
    """

    median: float
    deviation: float

    def z(self, value: float) -> float:
        """The modified z-score; infinite for a difference from values that are all the same."""
        difference = value - self.median
        if self.deviation:
            return difference / self.deviation
        return difference and float("inf") * (1 if difference > 0 else -1)


def norm(values: Sequence[float]) -> Norm:
    """The norm after at least one value."""
    middle = float(median(values))
    distances = [abs(value - middle) for value in values]
    mad = float(median(distances))
    return Norm(middle, mad / _MAD_FACTOR if mad else _MEAN_FACTOR * fmean(distances))


def require_history(expectations: Sequence[Expectation], history: History | None) -> None:
    """
    Refuse expectations that need the history where there is none to ask. An empty history is one.

    :raises ConfigurationError: naming the first such expectation.
    """
    if history is None:
        for expectation in expectations:
            if expectation.type in ANOMALIES:
                raise ConfigurationError(
                    f"{expectation.type} compares with earlier runs, whose figures are kept beside the "
                    f"report: give report_uri, the same for every run of this datamart"
                )


def judge(
    expectation: Expectation, table: Table, history: History, *, pinned: Snapshot | None = None
) -> Outcome | None:
    """
    The outcome from the footers, or None when they do not tell; then :func:`check` measures it.

    The columns that the expectation judges must exist.

    :param pinned: the snapshot that was pinned, where the table's is one of files made of it: the history
        holds the bytes of the former.
    """
    if expectation.type == ROW_COUNT_ANOMALY:
        return _judge("footer", expectation, table, table.rows, history)
    if expectation.type == BYTES_ANOMALY:
        return _judge("footer", expectation, table, (pinned or table.snapshot).total_bytes, history)
    if not table.rows:
        return not_checked("footer", "there are no rows, so that there is no share of nulls")
    column = table.by_name[expectation.kwargs["column"]]
    # NaN counts as null, and no footer counts NaN.
    if column.null_count is None or column.family == "float":
        return None
    return _judge("footer", expectation, table, column.null_count / table.rows, history)


def check(expectation: Expectation, table: Table, history: History) -> Check:
    """The share of nulls as SQL, for a column whose footers do not tell it."""
    column = table.by_name[expectation.kwargs["column"]]

    def judge_count(values: Sequence[Any]) -> Outcome:
        present = int(values[0])
        return _judge("duckdb", expectation, table, (table.rows - present) / table.rows, history)

    return Check(judge_count, (f"count(*) FILTER (WHERE {sql.present(column)})",))


def _value_of(expectation: Expectation) -> Callable[[HistoryEntry], float | None]:
    if expectation.type == ROW_COUNT_ANOMALY:
        return lambda entry: entry.rows
    if expectation.type == BYTES_ANOMALY:
        return lambda entry: entry.bytes
    return lambda entry: entry.null_ratios.get(expectation.kwargs["column"])


def _judge(
    engine: Engine, expectation: Expectation, table: Table, observed: float, history: History
) -> Outcome:
    options = {**ANOMALY_DEFAULTS, "min_change": MIN_CHANGE[expectation.type]}
    options |= {name: value for name, value in expectation.kwargs.items() if value is not None}
    states = history.states(only=options["only"], without=table.snapshot.fingerprint)
    known = [value for value in map(_value_of(expectation), states) if value is not None]
    values = known[-options["window"] :]
    details: dict[str, Any] = {"runs": len(values)}
    result = {"observed_value": observed, "details": details}
    if len(values) < options["min_history"]:
        details["note"] = f"not enough history: {len(values)} of {options['min_history']} runs"
        return Outcome(engine, False, result, severity=_short_severity(expectation, options))
    usual = norm(values)
    z = usual.z(observed)
    floor = options["min_change"] * (1 if expectation.type == NULL_RATIO_ANOMALY else abs(usual.median))
    reach = max(options["max_z"] * usual.deviation, floor)
    low, high = usual.median - reach, usual.median + reach
    too_low = observed < low and options["direction"] != "high"
    too_high = observed > high and options["direction"] != "low"
    details["median"] = usual.median
    # Without any deviation so far there is no number that says how far off it is.
    details["z"] = round(z, 3) if usual.deviation else None
    if options["direction"] != "high":
        details["low"] = max(low, 0.0)
    if options["direction"] != "low":
        details["high"] = high
    return Outcome(engine, not too_low and not too_high, result)


def _short_severity(expectation: Expectation, options: dict[str, Any]) -> Severity:
    if options["on_short_history"] == "warn" and expectation.severity == "critical":
        return "warning"
    return expectation.severity
