# SPDX-License-Identifier: Apache-2.0
"""Lengths of time as users write them: ``7d``, ``36h``, ``1d12h``, or ISO 8601 (``P7D``, ``PT36H``)."""

from __future__ import annotations

import re
from datetime import timedelta

from airflow_provider_mlbridge.exceptions import InvalidRecipeError

_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "min": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_SHORT = re.compile(r"(?:\d+(?:w|d|h|min|s|ms|us))+")
_PART = re.compile(r"(\d+)([a-z]+)")
_ISO = re.compile(r"p(?:(\d+)w)?(?:(\d+)d)?(?:t(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?)?")
_ISO_UNITS = ("w", "d", "h", "min", "s")

LONGEST = 10_000 * 366 * _MICROSECONDS["d"]
"""No two dates are further apart (in microseconds)."""


def duration(what: str, name: str, value: object) -> str:
    """
    A length of time as short text: ``7d``, ``24h`` and ``1d12h`` stay as they are, ``PT24H`` is ``24h``.

    Months and years have no fixed length, and a bare ``m`` may be minutes or months, so neither is taken.

    :raises InvalidRecipeError: naming the option, the value and the valid units.
    """
    text = _of_timedelta(value) if isinstance(value, timedelta) else value
    short = _short(text) if isinstance(text, str) else None
    if short is None or not 0 < microseconds(short) <= LONGEST:
        raise InvalidRecipeError(
            f"{what}: {name}={value!r} must be a length of time above 0, for example '7d', '36h', '1d12h' or "
            f"ISO 8601 'PT36H'; the units are {', '.join(_MICROSECONDS)} (a month or a year has no fixed "
            f"length)"
        )
    return short


def microseconds(short: str) -> int:
    """Microseconds of what :func:`duration` returned."""
    return sum(int(number) * _MICROSECONDS[unit] for number, unit in _PART.findall(short))


def _short(text: str) -> str | None:
    lowered = text.strip().lower()
    if not lowered.isascii() or len(lowered) > 100:
        return None
    if _SHORT.fullmatch(lowered):
        return lowered
    iso = _ISO.fullmatch(lowered)
    if iso is None or not any(iso.groups()):
        return None
    return "".join(f"{number}{unit}" for number, unit in zip(iso.groups(), _ISO_UNITS, strict=True) if number)


def _of_timedelta(value: timedelta) -> str:
    parts = (("d", value.days), ("s", value.seconds), ("us", value.microseconds))
    return "".join(f"{number}{unit}" for unit, number in parts if number)
