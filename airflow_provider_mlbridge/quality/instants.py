# SPDX-License-Identifier: Apache-2.0
"""Points in time as columns hold them: to the nanosecond, also in years that Python does not have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from airflow_provider_mlbridge.quality.values import in_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
"""After so many years the calendar repeats itself."""
_DAY_NS = 86_400_000_000_000


def nanoseconds(moment: date) -> int:
    """Nanoseconds since 1970; a date counts as its midnight, one without a zone as UTC."""
    since = in_utc(moment) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


@dataclass(frozen=True)
class Instant:
    """
    A value of a date or timestamp column.

    :param nanoseconds: since 1970.
    :param kind: the family of the column's type.
    """

    nanoseconds: int
    kind: Literal["date", "timestamp", "timestamptz"]

    def age_seconds(self, now: datetime) -> float:
        """Seconds from here to ``now``; without a zone it is UTC."""
        return (nanoseconds(now) - self.nanoseconds) / 1e9

    def order(self, bound: date) -> int:
        """-1, 0 or 1 for before, at or after the bound."""
        other = nanoseconds(bound)
        return int(self.nanoseconds > other) - int(self.nanoseconds < other)

    def __str__(self) -> str:
        """ISO 8601, with a signed year of six digits outside of the years 1 to 9999."""
        days, rest = divmod(self.nanoseconds, _DAY_NS)
        cycles = 0
        if not date.min.toordinal() <= days + _EPOCH.toordinal() <= date.max.toordinal():
            cycles, days = divmod(days, _CYCLE_DAYS)
        moment = _EPOCH + timedelta(days=days, microseconds=rest // 1000)
        text = moment.date().isoformat() if self.kind == "date" else moment.replace(tzinfo=None).isoformat()
        if self.kind != "date" and rest % 1000:
            text = f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}{rest % 1000:03}"
        if cycles:
            text = f"{moment.year + cycles * _CYCLE_YEARS:+07d}{text[4:]}"
        return f"{text}+00:00" if self.kind == "timestamptz" else text
