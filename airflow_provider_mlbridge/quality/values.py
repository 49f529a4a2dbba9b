# SPDX-License-Identifier: Apache-2.0
"""Values as they come in suites, and as they go out in reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError

Bound = int | float | date | datetime


def parse_bound(value: object, name: str, *, instants: bool = False) -> Bound | None:
    """
    One bound of a range: a number, a date or a point in time, the last two also as ISO 8601 text.

    Text that reads as a number is one, as in Great Expectations, unless dates come first.

    :param instants: whether text that reads as a date is one, as it is beside a date or timestamp column:
        ``"20240131"`` is a day there.
    :raises InvalidExpectationError: for anything else.
    """
    if value is None or isinstance(value, date):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value % 1 == 0 else float(value)
    if isinstance(value, int | float):
        if value != value:
            raise InvalidExpectationError(f"{name} is NaN, which is neither above nor below anything")
        return value
    if isinstance(value, str):
        text = value.strip()
        instant = parse_instant(text) if instants else None
        parsed = _parse_text(text) if instant is None else instant
        if parsed is not None:
            return parsed
    raise InvalidExpectationError(
        f"{name} must be a number, a date or a timestamp (ISO 8601), got {value!r} of type "
        f"{type(value).__name__}"
    )


def _parse_text(text: str) -> Bound | None:
    try:
        # A double would not tell 9007199254740993 from its neighbour.
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return parse_instant(text)
    return None if math.isnan(number) else number


def parse_instant(text: str) -> date | datetime | None:
    """A date or a timestamp in ISO 8601, or None when the text is neither."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def as_datetime(value: date) -> datetime:
    """A date as its midnight; a datetime as it is."""
    return value if isinstance(value, datetime) else datetime.combine(value, time.min)


def in_utc(value: date) -> datetime:
    """The point in time; one without a zone is taken as UTC."""
    moment = as_datetime(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def json_value(value: Any) -> Any:
    """
    The value in strict JSON types.

    Infinity and NaN, which JSON does not have, become their names; decimals become numbers; dates and times
    ISO 8601 text; bytes their hexadecimal form; sets sorted lists; NumPy and pandas scalars what they hold.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return json_value(float(value))
    if isinstance(value, datetime | date | time):
        # pandas' NaT is a datetime that has no text form worth keeping.
        return None if str(value) == "NaT" else value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [json_value(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    for method in ("item", "tolist"):
        if hasattr(value, method):
            try:
                return json_value(getattr(value, method)())
            except ValueError:
                continue
    return str(value)
