# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps on dates and timestamps, and on other values that come round again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import (
    Check,
    Input,
    RowFunction,
    State,
    Step,
    as_float,
    as_int,
    literal,
)

_DATE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], int]]] = {
    "year": (lambda x: x.year(), lambda v: v.year),
    "quarter": (lambda x: x.quarter(), lambda v: (v.month + 2) // 3),
    "month": (lambda x: x.month(), lambda v: v.month),
    "week": (lambda x: x.week_of_year(), lambda v: v.isocalendar()[1]),
    "day": (lambda x: x.day(), lambda v: v.day),
    "dayofyear": (lambda x: x.day_of_year(), lambda v: v.timetuple().tm_yday),
    "weekday": (lambda x: x.day_of_week.index(), lambda v: v.weekday()),
    "is_weekend": (
        lambda x: x.day_of_week.index() >= literal(5),
        lambda v: int(v.weekday() >= 5),
    ),
}
_TIME: dict[str, tuple[Callable[[Any], Any], Callable[[Any], int]]] = {
    "hour": (lambda x: x.hour(), lambda v: v.hour),
    "minute": (lambda x: x.minute(), lambda v: v.minute),
    "second": (lambda x: x.second(), lambda v: v.second),
}
PARTS = (*_DATE, *_TIME)

PERIODS: dict[str, float] = {
    "quarter": 4.0,
    "month": 12.0,
    "week": 365.25 / 7,
    "day": 365.25 / 12,
    "dayofyear": 365.25,
    "weekday": 7.0,
    "hour": 24.0,
    "minute": 60.0,
    "second": 60.0,
}
"""After how much each part comes round again, on average."""

_INFINITE_ADVICE = 'An infinite value has no place in a period: clip before this step, or set invalid="null".'


@dataclass(frozen=True)
class DateParts(Step):
    """
    Parts of a date or a timestamp (in UTC), each as int32 in ``<name>_<part>``; missing stays missing.

    The column itself leaves the output.

    :param parts: which: year, quarter, month, week (ISO 8601), day, dayofyear, weekday (Monday is 0),
        is_weekend (Saturday and Sunday), and of timestamps hour, minute, second.
    """

    TYPE: ClassVar[str] = "date_parts"
    KINDS: ClassVar[tuple[Kind, ...]] = ("date", "timestamp")
    REPLACES: ClassVar[bool] = False
    DISCRETE: ClassVar[bool] = True

    parts: Sequence[str] = ()

    def validate(self) -> None:
        self.set("parts", options.texts(self.TYPE, "parts", self.parts))
        if not self.parts:
            raise InvalidRecipeError(f"{self.TYPE}: parts is empty; valid are {', '.join(PARTS)}")
        for part in self.parts:
            options.choice(self.TYPE, "parts", part, PARTS)

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        _check_parts(self.parts, kind, tuple(_DATE))
        return [(f"{stem}_{part}", "int") for part in self.parts]

    def expressions(self, x: Input, state: State) -> list[Any]:
        functions = {**_DATE, **_TIME}
        return [as_int(functions[part][0](x.value), "int32") for part in self.parts]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        functions = {**_DATE, **_TIME}
        chosen = [functions[part][1] for part in self.parts]
        nothing = [None] * len(chosen)
        return lambda value: nothing if value is None else [function(value) for function in chosen]


def _check_parts(parts: Sequence[str], kind: Kind, of_dates: Sequence[str]) -> None:
    timely = [part for part in parts if part in _TIME]
    if kind == "date" and timely:
        raise InvalidRecipeError(
            f"parts {', '.join(timely)} need a timestamp, the column is a date; "
            f"valid are {', '.join(of_dates)}"
        )


@dataclass(frozen=True)
class Cyclical(Step):
    """
    Sine and cosine of a value that comes round again, so that 23 o'clock is next to 0 o'clock.

    Of a date or timestamp (in UTC), ``parts`` are taken: each gives ``<name>_<part>_sin`` and
    ``<name>_<part>_cos``. Of a number, such as a wind direction with ``period=360``, it is ``<name>_sin`` and
    ``<name>_cos``. The angle is ``2 pi value / period``, with the parts as ``date_parts`` gives them and the
    average lengths of their periods: hour 24, minute and second 60, weekday 7, month 12, quarter 4, dayofyear
    365.25, day (of the month) 365.25 / 12, week 365.25 / 7. Missing stays missing. The column itself leaves
    the output.

    :param parts: which of those, for dates and timestamps.
    :param period: after how much a number comes round again, above 0; for numbers.
    :param invalid: what happens to infinite numbers: ``error``, or ``null`` to make them missing.
    """

    TYPE: ClassVar[str] = "cyclical"
    KINDS: ClassVar[tuple[Kind, ...]] = ("int", "float", "date", "timestamp")
    REPLACES: ClassVar[bool] = False

    parts: Sequence[str] = ()
    period: float | None = None
    invalid: str = "error"

    def validate(self) -> None:
        self.set("parts", options.texts(self.TYPE, "parts", self.parts))
        for part in self.parts:
            options.choice(self.TYPE, "parts", part, tuple(PERIODS))
        if bool(self.parts) == (self.period is not None):
            raise InvalidRecipeError(
                f"{self.TYPE}: give either parts (of dates and timestamps: {', '.join(PERIODS)}) or a period "
                f"(of numbers)"
            )
        if self.period is not None:
            self.set("period", options.number(self.TYPE, "period", self.period))
            if self.period <= 0 or math.isinf(2 * math.pi / self.period):
                raise InvalidRecipeError(f"{self.TYPE}: period={self.period} must be above 0")
        options.choice(self.TYPE, "invalid", self.invalid, ("error", "null"))

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        if kind in ("date", "timestamp"):
            if not self.parts:
                raise InvalidRecipeError(
                    f"the column is a {kind}, which needs parts instead of a period; "
                    f"valid are {', '.join(PERIODS)}"
                )
            _check_parts(self.parts, kind, [part for part in PERIODS if part in _DATE])
        elif self.parts:
            raise InvalidRecipeError(f"the column is {kind}, which needs a period instead of parts")
        stems = [f"{stem}_{part}" for part in self.parts] or [stem]
        return [(f"{name}_{function}", "float") for name in stems for function in ("sin", "cos")]

    def expressions(self, x: Input, state: State) -> list[Any]:
        if self.period is None:
            functions = {**_DATE, **_TIME}
            turns = [(functions[part][0](x.value).cast("float64"), PERIODS[part]) for part in self.parts]
        else:
            turns = [(_within(as_float(x.value, x.kind), self.period), self.period)]
        angles = [value * literal(2 * math.pi / period) for value, period in turns]
        return [result for angle in angles for result in (angle.sin(), angle.cos())]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        if self.period is None:
            return self._parts_function()
        period, factor, fatal = self.period, 2 * math.pi / self.period, self.invalid == "error"

        def of_number(value: Any) -> tuple[float | None, float | None]:
            if value is None:
                return (None, None)
            if math.isinf(value):
                if fatal:
                    raise FeatureValueError(f"{where}: a value is infinite. {_INFINITE_ADVICE}")
                return (None, None)
            angle = math.fmod(float(value), period) * factor
            return (math.sin(angle), math.cos(angle))

        return of_number

    def _parts_function(self) -> RowFunction:
        functions = {**_DATE, **_TIME}
        chosen = [(functions[part][1], 2 * math.pi / PERIODS[part]) for part in self.parts]
        nothing = [None] * (2 * len(chosen))

        def of_moment(value: Any) -> Sequence[float | None]:
            if value is None:
                return nothing
            angles = [function(value) * factor for function, factor in chosen]
            return [result for angle in angles for result in (math.sin(angle), math.cos(angle))]

        return of_moment

    def checks(self, x: Input, state: State) -> list[Check]:
        if x.kind != "float":
            return []
        return [Check("invalid", x.value.isinf().fill_null(False), self.invalid == "error", _INFINITE_ADVICE)]


def _within(number: Any, period: float) -> Any:
    """The rest after whole periods, with the sign of the number; NULL when it is infinite."""
    import ibis

    # The rest is exact in floats; without it the angle of a large number would have no digit left.
    finite = ibis.ifelse(number.isinf(), ibis.null("float64"), number)
    return finite % literal(period)
