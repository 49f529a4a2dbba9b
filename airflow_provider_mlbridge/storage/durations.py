# SPDX-License-Identifier: Apache-2.0
"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from airflow_provider_mlbridge.exceptions import ConfigurationError

SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 604_800),
}
"""Units of fixed length."""

_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"
_WITH_UNIT = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_ISO = re.compile(
    rf"P(?=.)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.IGNORECASE,
)


def duration(value: object, argument: str) -> timedelta:
    """
    A length of time: a timedelta, a number of seconds, or text such as ``26 hours``, ``26h`` or ``PT26H``.

    Text of a number alone is seconds, as a template renders them. Months and years have no fixed length.

    :param argument: name of the user's argument, for the message.
    :raises ConfigurationError: for anything else, and for what is not positive, naming what is valid.
    """
    seconds: float | None = None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str):
        seconds = _read(value.strip())
    try:
        if seconds is not None and seconds > 0:
            return timedelta(seconds=seconds)
    # Beyond what a timedelta can hold.
    except OverflowError:
        pass
    raise ConfigurationError(
        f"{argument}={repr(value)[:100]} is not valid; valid is a positive length of time: a timedelta, a "
        f"number of seconds, or text such as '26 hours', '26h', '90 min' or 'PT26H'"
    )


def _read(text: str) -> float | None:
    if match := _WITH_UNIT.fullmatch(text):
        unit = SECONDS.get(match["unit"].lower() or "s")
        return None if unit is None else float(match["number"]) * unit
    if match := _ISO.fullmatch(text):
        units = (SECONDS[unit] for unit in "wdhms")
        return sum(float(number or 0) * unit for number, unit in zip(match.groups(), units, strict=True))
    return None
