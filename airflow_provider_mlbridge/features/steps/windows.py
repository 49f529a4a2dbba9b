# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""
Steps that look at other rows of the same group, as far as these were known.

A row sees the rows of its group that were known strictly before its own event time. A row is known from the
recipe's ``known_time`` on, or from its event time on when the recipe has no ``known_time`` or the known time
is the earlier one; so no row ever sees itself, or a row of the very same time. In detail:

- A row without event time, or without one of its group columns, has missing results, ``count`` included. It
  is not seen by others either, and neither is one whose known time is missing.
- ``rolling`` sees what became known in [event time - window, event time); ``group_aggregate`` and ``lag``
  all that was known before the event time.
- Missing values are left out by aggregates; where no value is left, ``count`` is 0 and the others are
  missing. ``lag`` takes them as they are: the k-th latest row counts, whether its value is missing or not.
- Rows that became known at the same moment are ordered by event time, then by the recipe's keys (missing ones
  first), then by their place in the datamart; only ``lag`` depends on it.
- Infinities are values: a sum and a mean are infinite, or missing where both infinities meet, and ``std`` is
  missing. ``std`` is that of the population (divided by n), so 0 for a single value.
- A date is its first moment; a known *date* in a recipe whose event time is a timestamp is the end of that
  day. Times beyond the year 9999 count as missing.

The label may be looked at only when the recipe names a ``known_time`` other than the event time: the label of
an earlier row is known some time after that row's event, and nothing else says when.

When later steps are fitted on the results, these are computed over the training rows alone; a transform looks
at all rows.

Tables are sorted by group and time once per step and column, and nothing is joined: n log n for n rows. All
of it spills to disk, except that the rows of one group (all rows, with an empty ``by``) must fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.durations import duration, microseconds
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.steps.base import (
    HistoryFunction,
    Roles,
    State,
    Step,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary
from airflow_provider_mlbridge.features.timeline import ARRIVAL, EVENT, TIME, Timeline
from airflow_provider_mlbridge.features.window_sums import WindowSums, exponent_for

FUNCTIONS = ("count", "sum", "mean", "std", "min", "max")
_SUMS = ("sum", "mean", "std")
_ORDERED: tuple[Kind, ...] = ("int", "float", "date", "timestamp")
_GROUPING: tuple[Kind, ...] = ("bool", "int", "string", "date", "timestamp")

_LAGS = 1000
"""The earliest row that a lag can be asked for."""


@dataclass(frozen=True)
class _Earlier(Step):
    """
    What the steps share.

    :param by: columns that identify the group; an empty list makes all rows one group.
    """

    REPLACES: ClassVar[bool] = False
    KEEPS: ClassVar[bool] = True
    HISTORY: ClassVar[bool] = True

    by: Sequence[str]

    def validate(self) -> None:
        self.set("by", options.texts(self.TYPE, "by", self.by))

    def admit_label(self, roles: Roles) -> None:
        if roles.known_time is None or roles.known_time == roles.event_time:
            said = "does not say" if roles.known_time is None else "takes the event time for"
            raise InvalidRecipeError(
                f"{roles.label!r} is the label; of an earlier row it may be used once it was known, but the "
                f"recipe {said} when that is. Give known_time, a column of its own with the time when the "
                f"label of the row was known"
            )

    def reads(self, roles: Roles) -> Sequence[str]:
        return Timeline.of(self.by, roles).columns

    def check_kinds(self, kinds: Mapping[str, Kind]) -> None:
        for name in self.by:
            if kinds[name] not in _GROUPING:
                raise InvalidRecipeError(
                    f"by: column {name!r} is {kinds[name]}; groups are told apart by {', '.join(_GROUPING)}"
                )


@dataclass(frozen=True)
class Lag(_Earlier):
    """
    The values that the column had in the latest rows of the group, in ``<name>_lag<k>``; see the module.

    :param periods: which: 1 is the latest row that was known before, 2 the one before it, and so on.
    """

    TYPE: ClassVar[str] = "lag"

    periods: Sequence[int] = (1,)

    def validate(self) -> None:
        super().validate()
        given: Any = self.periods
        periods = [given] if isinstance(given, int) else given
        if isinstance(periods, str) or not isinstance(periods, Sequence) or not periods:
            raise InvalidRecipeError(
                f"{self.TYPE}: periods={periods!r} must be a list of at least one integer"
            )
        for period in periods:
            options.integer(self.TYPE, "periods", period, low=1, high=_LAGS)
        self.set("periods", options.scalars(self.TYPE, "periods", list(periods)))

    def reads(self, roles: Roles) -> Sequence[str]:
        return (*super().reads(roles), *roles.keys)

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(f"{stem}_lag{period}", kind) for period in self.periods]

    def extend(
        self, table: Any, columns: Mapping[str, str], outputs: Sequence[str], state: State, roles: Roles
    ) -> Any:
        import ibis

        timeline = Timeline.of(self.by, roles)
        kept = table.columns
        rows = timeline.laid_out(table, columns, twice=True)
        groups, order = timeline.group_by(rows, columns), timeline.order_by(rows, columns)
        value = rows[next(iter(columns.values()))]
        # The rows that are known are numbered; a row that asks gets the number of the last one before it. Of
        # each number there is then one known row, which has the values of those before it.
        known = ibis.window(group_by=[*groups, rows[ARRIVAL]], order_by=order)
        numbered = rows.mutate(
            window_number=rows[ARRIVAL].sum().over(ibis.cumulative_window(group_by=groups, order_by=order)),
            **{
                output: value.lag(period - 1).over(known) if period > 1 else value
                for output, period in zip(outputs, self.periods, strict=True)
            },
        )
        numbered = numbered.mutate(window_number=numbered["window_number"].cast("int64"))
        together = ibis.window(group_by=[*timeline.group_by(numbered, columns), numbered["window_number"]])
        seen = (numbered[ARRIVAL] == literal(1)) & (numbered["window_number"] > literal(0))
        found = numbered.mutate(
            **{
                output: ibis.ifelse(seen, numbered[output], ibis.null(numbered[output].type()))
                .max()
                .over(together)
                for output in outputs
            }
        )
        return found.filter(found[ARRIVAL] == literal(0)).select(*kept, *outputs)

    def history_function(
        self, columns: Sequence[str], kinds: Mapping[str, Kind], state: State, roles: Roles
    ) -> HistoryFunction:
        timeline = Timeline.of(self.by, roles).reader(columns, kinds)

        def function(row: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[Any]:
            asked = timeline.asks(row)
            known = [] if asked is None else timeline.known_before(asked, row, rows, None)
            known.sort(key=lambda item: item[0])
            return [known[-period][1][0] if period <= len(known) else None for period in self.periods]

        return function


@dataclass(frozen=True)
class _Aggregate(_Earlier):
    """
    What aggregates share.

    :param functions: which: count (of values that are not missing), sum, mean, std, min, max. Sums, means and
        standard deviations are floats, of numbers and booleans; they are the same in every order of rows and
        with any number of threads, see :mod:`~..window_sums`.
    """

    functions: Sequence[str] = ("mean",)

    def validate(self) -> None:
        super().validate()
        self.set("functions", options.texts(self.TYPE, "functions", self.functions))
        if not self.functions:
            raise InvalidRecipeError(f"{self.TYPE}: functions is empty; valid are {', '.join(FUNCTIONS)}")
        for function in self.functions:
            options.choice(self.TYPE, "functions", function, FUNCTIONS)

    @property
    def _length(self) -> int | None:
        """Length of the window in microseconds; None for all that was known before."""
        return None

    def _name(self, function: str) -> str:
        raise NotImplementedError

    def needs(self, kind: Kind) -> Needs:
        for function in self.functions:
            if function in _SUMS and kind not in SCALAR:
                raise InvalidRecipeError(
                    f"function {function!r} needs {', '.join(SCALAR)}, the column is {kind}"
                )
            if function in ("min", "max") and kind not in _ORDERED:
                raise InvalidRecipeError(
                    f"function {function!r} needs {', '.join(_ORDERED)}, the column is {kind}"
                )
        return Needs(magnitude=kind == "float" and not set(_SUMS).isdisjoint(self.functions))

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        return {"exponent": exponent_for(summary.magnitude)} if self.needs(kind) else {}

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        kinds: dict[str, Kind] = {"count": "int", "min": kind, "max": kind}
        return [
            (f"{stem}_{self._name(function)}", kinds.get(function, "float")) for function in self.functions
        ]

    def extend(
        self, table: Any, columns: Mapping[str, str], outputs: Sequence[str], state: State, roles: Roles
    ) -> Any:
        import ibis

        timeline = Timeline.of(self.by, roles)
        kept = table.columns
        twice = timeline.known_time is not None
        rows = timeline.laid_out(table, columns, twice=twice)
        own = rows[next(iter(columns.values()))]
        # Rows that only ask, and those that are never known, have nothing to add.
        known = rows[ARRIVAL] == literal(1)
        value = ibis.ifelse(known, own, ibis.null(own.type()))
        sums = self._sums(own.type(), state)
        parts = {"value": value}
        if sums is not None:
            parts.update(sums.parts(value, squares="std" in self.functions))
        rows = rows.mutate(**{f"window_{name}": part for name, part in parts.items()})

        frame = ibis.range_window(
            preceding=(self._length, 1),
            group_by=timeline.group_by(rows, columns),
            order_by=rows[TIME].asc(nulls_first=True),
        )
        added: dict[str, Any] = {"value": rows["window_value"].count()}
        added.update({name: rows[f"window_{name}"].sum() for name in parts if name != "value"})
        for function in ("min", "max"):
            if function in self.functions:
                number = rows["window_value"]
                # 0.0 and -0.0 are equal, and which of them is found would depend on the order.
                number = number + literal(0.0) if number.type().is_floating() else number
                added[function] = getattr(number, function)()
        framed = rows.mutate(**{f"window_{name}": item.over(frame) for name, item in added.items()})

        count = framed["window_value"]
        found = {name: framed[f"window_{name}"] for name in added}
        asks = framed[EVENT].notnull()
        results = {}
        for output, function in zip(outputs, self.functions, strict=True):
            if function == "count":
                result = count
            elif function in _SUMS and sums is not None:
                result = getattr(sums, function)(found, count)
            else:
                result = found[function]
            results[output] = ibis.ifelse(asks, result, ibis.null(result.type()))
        done = framed.mutate(**results)
        if twice:
            done = done.filter(done[ARRIVAL] == literal(0))
        return done.select(*kept, *outputs)

    def _sums(self, dtype: Any, state: State) -> WindowSums | None:
        if set(_SUMS).isdisjoint(self.functions):
            return None
        kind: Kind = "float" if dtype.is_floating() else "bool" if dtype.is_boolean() else "int"
        return WindowSums(kind, state.get("exponent", 0))

    def history_function(
        self, columns: Sequence[str], kinds: Mapping[str, Kind], state: State, roles: Roles
    ) -> HistoryFunction:
        timeline = Timeline.of(self.by, roles).reader(columns, kinds)
        length = self._length
        kind = kinds[columns[0]]
        sums = WindowSums(kind, state["exponent"] if self.needs(kind) else 0).functions()
        known: dict[str, Callable[[Sequence[Any]], Any]] = {"count": len, "min": _least, "max": _most, **sums}
        functions = [known[name] for name in self.functions]
        nothing = [None] * len(functions)

        def function(row: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
            asked = timeline.asks(row)
            if asked is None:
                return nothing
            found = [other[0] for _, other in timeline.known_before(asked, row, rows, length)]
            values = [value for value in found if value is not None]
            return [each(values) for each in functions]

        return function


def _least(values: Sequence[Any]) -> Any:
    return min(values, default=None)


def _most(values: Sequence[Any]) -> Any:
    return max(values, default=None)


@dataclass(frozen=True)
class Rolling(_Aggregate):
    """
    Aggregates over what became known of the group within a length of time before the row, in
    ``<name>_<function>_<window>``, for example ``delay_mean_7d``; see the module.

    :param window: the length: ``"7d"``, ``"36h"``, ``"1d12h"``, ISO 8601 (``"PT36H"``) or a timedelta.
    """

    TYPE: ClassVar[str] = "rolling"

    window: str | timedelta = ""

    def validate(self) -> None:
        super().validate()
        self.set("window", duration(self.TYPE, "window", self.window))

    @property
    def _length(self) -> int | None:
        return microseconds(str(self.window))

    def _name(self, function: str) -> str:
        return f"{function}_{self.window}"


@dataclass(frozen=True)
class GroupAggregate(_Aggregate):
    """
    Aggregates over all that was known of the group before the row, in ``<name>_<function>_by_<groups>``, for
    example ``delay_mean_by_carrier``; see the module.
    """

    TYPE: ClassVar[str] = "group_aggregate"

    def _name(self, function: str) -> str:
        return f"{function}_by_{'_'.join(self.by)}" if self.by else f"{function}_before"
