# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Steps on dates and timestamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import Input, RowFunction, State, Step, as_int, literal

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
        if kind == "date":
            timely = [part for part in self.parts if part in _TIME]
            if timely:
                raise InvalidRecipeError(
                    f"parts {', '.join(timely)} need a timestamp, the column is a date; "
                    f"valid are {', '.join(_DATE)}"
                )
        return [(f"{stem}_{part}", "int") for part in self.parts]

    def expressions(self, x: Input, state: State) -> list[Any]:
        functions = {**_DATE, **_TIME}
        return [as_int(functions[part][0](x.value), "int32") for part in self.parts]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        functions = {**_DATE, **_TIME}
        chosen = [functions[part][1] for part in self.parts]
        nothing = [None] * len(chosen)
        return lambda value: nothing if value is None else [function(value) for function in chosen]
