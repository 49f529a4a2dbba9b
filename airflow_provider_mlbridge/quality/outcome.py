# SPDX-License-Identifier: Apache-2.0
"""
What judging one expectation gives: the verdict, and a result with the keys of Great Expectations.

The arithmetic (``mostly``, percentages, what is vacuously true) is that of Great Expectations 1.24,
``expectations/expectation.py``, functions ``_format_map_output`` and ``_mostly_success``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.values import Bound, json_value, parse_bound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from airflow_provider_mlbridge.quality.expectation import Severity

Engine = Literal["footer", "duckdb", "gx"]
SAMPLE_LIMIT = 20
"""Unexpected values shown for one expectation, as many as Great Expectations shows."""


class CannotCheckError(Exception):
    """The expectation cannot be evaluated on this table; the message says why. Never a pass."""


@dataclass(frozen=True)
class Outcome:
    """
    The verdict on one expectation.

    :param engine: what judged it.
    :param success: whether it held; None when it could not be evaluated.
    :param result: the details, with the keys and the arithmetic of Great Expectations, as strict JSON.
    :param error: why it could not be evaluated.
    :param severity: what the failure means where that is less than the expectation says; else None.
    :param unexpected_positions: numbers of the rows that are not as expected, from 0 in the order of the
        files, where the engine says so itself; not part of any report.
    """

    engine: Engine
    success: bool | None
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    severity: Severity | None = None
    unexpected_positions: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)


def not_checked(engine: Engine, reason: object) -> Outcome:
    """The outcome of an expectation that could not be evaluated."""
    return Outcome(engine, None, {}, str(reason))


def map_outcome(
    engine: Engine,
    *,
    mostly: float,
    rows: int,
    considered: int,
    unexpected: int,
    with_missing: bool = True,
) -> Outcome:
    """
    Judge an expectation about each row.

    :param rows: rows of the table.
    :param considered: rows that are judged: those that have a value.
    :param unexpected: rows among them that are not as expected.
    :param with_missing: whether rows without a value are counted as missing; the expectations about nulls
        themselves do not.
    """
    success = not considered or (float(considered) - float(unexpected)) / float(considered) >= mostly
    result: dict[str, Any] = {
        "element_count": rows,
        "unexpected_count": unexpected,
        "unexpected_percent": _percent(unexpected, considered),
    }
    if with_missing:
        missing = rows - considered
        result |= {
            "missing_count": missing,
            "missing_percent": _percent(missing, rows),
            "unexpected_percent_total": _percent(unexpected, rows),
            "unexpected_percent_nonmissing": _percent(unexpected, considered),
        }
    return Outcome(engine, success, result)


def with_sample(result: Mapping[str, Any], sample: Sequence[Any]) -> dict[str, Any]:
    """The result with values that are not as expected, and how often each occurs among those shown."""
    counts: dict[str, tuple[Any, int]] = {}
    for value in sample:
        flat = list(value.values()) if isinstance(value, Mapping) else value
        _, count = counts.get(repr(flat), (None, 0))
        counts[repr(flat)] = (flat, count + 1)
    ordered = sorted(counts.values(), key=lambda item: -item[1])
    return {
        **result,
        "partial_unexpected_list": list(sample),
        "partial_unexpected_counts": [{"value": value, "count": count} for value, count in ordered],
    }


def _percent(part: int, whole: int) -> float | None:
    return part / whole * 100 if whole else None


def between_outcome(engine: Engine, observed: Any, kwargs: Mapping[str, Any]) -> Outcome:
    """
    Judge one number, date or point in time against ``min_value`` and ``max_value``; no value fails.

    :raises CannotCheckError: when the two are not comparable.
    """
    if observed is None or observed != observed:
        return Outcome(engine, False, {"observed_value": None})
    instants = isinstance(observed, Instant)
    low, high = (
        parse_bound(kwargs.get(name), name, instants=instants) for name in ("min_value", "max_value")
    )
    success = True
    for bound, strict, sign in ((low, kwargs.get("strict_min"), 1), (high, kwargs.get("strict_max"), -1)):
        if bound is not None:
            order = _compare(observed, bound) * sign
            success = success and (order > 0 if strict else order >= 0)
    return Outcome(engine, success, {"observed_value": str(observed) if instants else json_value(observed)})


def _compare(value: Any, bound: Bound) -> int:
    """-1, 0 or 1; a date counts as its midnight, a bound without a zone as UTC where the value has one."""
    if isinstance(value, Instant) != isinstance(bound, date):
        raise CannotCheckError(
            f"the observed value is {'a date' if isinstance(value, Instant) else 'a number'}, the bound is "
            f"{bound!r}"
        )
    if isinstance(value, Instant) and isinstance(bound, date):
        if value.kind != "timestamptz" and isinstance(bound, datetime) and bound.tzinfo is not None:
            raise CannotCheckError(ZONE_MISMATCH.format(bound=bound.isoformat()))
        return value.order(bound)
    low = cast(Any, bound)
    return int(value > low) - int(value < low)


ZONE_MISMATCH = "the column has no time zone, but the bound {bound} has one; give the bound without"
