# SPDX-License-Identifier: Apache-2.0
"""
When rows ask and when they are known, for tables and for single rows.

A row asks at its event time. It is known from its known time on, but never before its own event time, so no
row is known to itself: what it may see was known strictly before it asks. Times are whole microseconds since
1970 (UTC). A row without event time, known time or a group column is never known; one without event time or
group column asks nothing, and its results are missing.

Where dates meet timestamps, a date of an event is its first microsecond; a date on which something became
known is its last one, if events have timestamps: nothing shows that it was known earlier that day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import Roles, literal

TIME, ARRIVAL, EVENT = "window_time", "window_arrival", "window_event"
"""
Columns of :meth:`Timeline.laid_out`: the time by which rows are ordered (asked or known), 1 for a row that is
known and 0 for one that asks, and the event time. No alias of a pipeline looks like them.
"""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by definition
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Timeline:
    """
    Which columns say who is earlier.

    :param by: the group columns.
    :param event_time: when a row asks.
    :param known_time: when it is known, or None when that is the event time.
    :param keys: columns that order rows of equal times.
    """

    by: tuple[str, ...]
    event_time: str
    known_time: str | None
    keys: tuple[str, ...]

    @classmethod
    def of(cls, by: Sequence[str], roles: Roles) -> Timeline:
        """:raises InvalidRecipeError: when the recipe has no event time, or the label is a group column."""
        if roles.event_time is None:
            raise InvalidRecipeError(
                "which rows are earlier is told by the event time, but the recipe names none; give event_time"
            )
        if roles.label == roles.event_time:
            raise InvalidRecipeError(
                f"{roles.label!r} is both the label and the event time; which rows are earlier would give "
                f"the answer away"
            )
        if roles.label in by:
            raise InvalidRecipeError(
                f"by: {roles.label!r} is the label; rows that are grouped by it would give the answer away"
            )
        known = None if roles.known_time == roles.event_time else roles.known_time
        return cls(tuple(by), roles.event_time, known, roles.keys)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read to tell who is earlier, without keys."""
        times = (self.event_time,) if self.known_time is None else (self.event_time, self.known_time)
        return (*self.by, *times)

    def laid_out(self, table: Any, names: Mapping[str, str], *, twice: bool) -> Any:
        """
        ``table`` with :data:`TIME`, :data:`ARRIVAL` and :data:`EVENT`.

        :param names: alias by column.
        :param twice: whether there is one row for asking and one for being known; if not, each row stands
            for both, which is enough when both have the same time.
        """
        import ibis

        nothing = ibis.null("int64")
        event = micros(table[names[self.event_time]])
        grouped = [table[names[name]].notnull() for name in self.by]
        event = ibis.ifelse(ibis.and_(event.notnull(), *grouped), event, nothing)
        if not twice:
            present = ibis.ifelse(event.notnull(), literal(1), literal(0)).cast("int64")
            return table.mutate(**{TIME: event, ARRIVAL: present, EVENT: event})
        if self.known_time is None:
            known = event
        else:
            days = table[names[self.known_time]].type().is_date()
            late = days and not table[names[self.event_time]].type().is_date()
            known = micros(table[names[self.known_time]]) + literal(_DAY - 1 if late else 0)
            known = ibis.ifelse(
                known.notnull() & event.notnull(), ibis.ifelse(known > event, known, event), nothing
            )
        # Both rows come from one reading of the table, so that several steps do not double the work each.
        both = table.mutate(
            **{EVENT: event, TIME: known, ARRIVAL: ibis.array([0, 1]).cast("array<int64>").unnest()}
        )
        both = both.mutate(**{TIME: ibis.ifelse(both[ARRIVAL] == literal(1), both[TIME], both[EVENT])})
        return both.filter((both[ARRIVAL] == literal(0)) | both[TIME].notnull())

    def group_by(self, table: Any, names: Mapping[str, str]) -> list[Any]:
        """The group columns of a table."""
        return [table[names[name]] for name in self.by]

    def order_by(self, table: Any, names: Mapping[str, str]) -> list[Any]:
        """The order of all rows of :meth:`laid_out`: nothing is known to a row that asks at the same time."""
        from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX

        keys = [table[names[name]] for name in self.keys]
        columns = [table[TIME], table[ARRIVAL], table[EVENT], *keys, table[FILE_INDEX], table[ROW_INDEX]]
        return [column.asc(nulls_first=True) for column in columns]

    def reader(self, columns: Sequence[str], kinds: Mapping[str, Kind]) -> TimelineReader:
        """
        The same for rows of Python values.

        :param columns: names of the values, in order.
        :param kinds: their kinds.
        """
        late = (
            self.known_time is not None
            and kinds[self.known_time] == "date"
            and kinds[self.event_time] == "timestamp"
        )
        return TimelineReader(
            tuple(columns.index(name) for name in self.by),
            columns.index(self.event_time),
            columns.index(self.known_time or self.event_time),
            tuple(columns.index(name) for name in self.keys if name in columns),
            _DAY - 1 if late else 0,
        )


@dataclass(frozen=True)
class TimelineReader:
    """
    Who is earlier among rows of Python values; the parameters are places of values.

    :param by: the group columns.
    :param event: the event time.
    :param known: the known time.
    :param keys: the keys.
    :param delay: microseconds to add to the known time.
    """

    by: tuple[int, ...]
    event: int
    known: int
    keys: tuple[int, ...]
    delay: int

    def asks(self, row: Sequence[Any]) -> int | None:
        """When a row asks, or None."""
        return None if any(row[place] is None for place in self.by) else _micros_of(row[self.event])

    def known_before(
        self, asked: int, row: Sequence[Any], rows: Sequence[Sequence[Any]], window: int | None
    ) -> list[tuple[tuple[Any, ...], Sequence[Any]]]:
        """
        The rows of the group that are known before ``row`` asks at ``asked``, each after what orders it.

        :param window: how many microseconds before, at most; None for all.
        """
        group = [row[place] for place in self.by]
        found = []
        for number, other in enumerate(rows):
            if [other[place] for place in self.by] != group:
                continue
            event, known = _micros_of(other[self.event]), _micros_of(other[self.known])
            if event is None or known is None:
                continue
            time = max(event, known + self.delay)
            if time < asked and (window is None or time >= asked - window):
                # A missing key comes first, as in the table.
                keys = tuple((other[place] is not None, other[place]) for place in self.keys)
                found.append(((time, event, keys, number), other))
        return found


def micros(time: Any) -> Any:
    """Whole microseconds (Ibis) since 1970 of a date or timestamp, NULL beyond the years 1 to 9999."""
    import ibis

    moment = time.cast("timestamp") if time.type().is_date() else time
    # What Python's dates cannot hold counts as missing: infinity, and years beyond 9999.
    first, last = ibis.literal(datetime.min), ibis.literal(datetime.max)  # noqa: DTZ901 - UTC
    moment = ibis.ifelse((moment >= first) & (moment <= last), moment, ibis.null("timestamp"))
    return moment.delta(ibis.literal(_EPOCH), unit="microsecond")


def _micros_of(time: date | datetime | None) -> int | None:
    if time is None:
        return None
    moment = time if isinstance(time, datetime) else datetime(time.year, time.month, time.day)  # noqa: DTZ001
    return (moment - _EPOCH) // _MICROSECOND
