# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Fill missing values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import SCALAR, Kind
from airflow_provider_mlbridge.features.steps.base import (
    Input,
    Monotone,
    RowFunction,
    State,
    Step,
    as_float,
    flag,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

STRATEGIES = ("mean", "median", "mode", "constant")


@dataclass(frozen=True)
class Impute(Step):
    """
    Put a value where there is none.

    :param strategy: ``mean`` and ``median`` make the column a float; ``mode`` (the most frequent value, the
        smallest of several) and ``constant`` keep its type, where the value allows it.
    :param value: the constant: a number, a string or a boolean, as the column is.
    :param indicator: also produce ``<name>_missing``, 1 where the value was missing.
    """

    TYPE: ClassVar[str] = "impute"
    KINDS: ClassVar[tuple[Kind, ...]] = (*SCALAR, "string")
    MONOTONE: ClassVar[Monotone] = "exact"
    FILLS: ClassVar[bool] = True

    strategy: str = "mean"
    value: float | str | bool | None = None
    indicator: bool = False

    def validate(self) -> None:
        options.choice(self.TYPE, "strategy", self.strategy, STRATEGIES)
        options.boolean(self.TYPE, "indicator", self.indicator)
        if (self.strategy == "constant") == (self.value is None):
            raise InvalidRecipeError(
                f"{self.TYPE}: value={self.value!r} with strategy={self.strategy!r}; give a value for the "
                f"strategy constant and for no other"
            )
        if isinstance(self.value, str):
            options.writable(self.TYPE, "value", self.value)
        elif self.value is not None and not isinstance(self.value, bool):
            options.number(self.TYPE, "value", self.value)
            if isinstance(self.value, int):
                low, high = options.INTEGER_LOW, options.INTEGER_HIGH
                options.integer(self.TYPE, "value", self.value, low=low, high=high)

    def needs(self, kind: Kind) -> Needs:
        self._result_kind(kind)
        return Needs(
            extent=self.strategy == "median",
            quantiles=(0.5,) if self.strategy == "median" else (),
            moments=self.strategy == "mean",
            mode=self.strategy == "mode",
        )

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:
        if self.strategy == "constant":
            value = self.value
            if self._result_kind(kind) == "float" and isinstance(value, int):
                value = float(value)
            return {"value": value}
        if self.strategy == "mode":
            summary.require_values()
            if isinstance(summary.mode, float) and not math.isfinite(summary.mode):
                raise FitError(
                    f"{summary.where}: the most frequent value of the training split is infinite. Bound the "
                    f"values with a clip step before this one, or clean the datamart."
                )
            return {"value": summary.mode}
        summary.require_finite()
        return {"value": summary.quantiles[0.5] if self.strategy == "median" else summary.mean}

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        filled: list[tuple[str, Kind]] = [(stem, self._result_kind(kind))]
        return [*filled, *((name, "int") for name in self.indicators(stem))]

    def indicators(self, stem: str) -> Sequence[str]:
        return (f"{stem}_missing",) if self.indicator else ()

    def expressions(self, x: Input, state: State) -> list[Any]:
        source = as_float(x.value, x.kind) if self._result_kind(x.kind) == "float" else x.value
        if source.type().is_unsigned_integer() and state["value"] < 0 and source.type().nbytes == 8:
            raise InvalidRecipeError(
                f"{self.TYPE}: value={state['value']!r} is negative, but the column has unsigned 64-bit "
                f"integers: no integer type holds both. Give a value from 0."
            )
        filled = source.fill_null(literal(state["value"]))
        return [filled, flag(x.value.isnull())] if self.indicator else [filled]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        constant = state["value"]
        convert = float if self._result_kind(kind) == "float" else _same
        if self.indicator:
            return lambda value: (constant, 1) if value is None else (convert(value), 0)
        return lambda value: (constant,) if value is None else (convert(value),)

    def _result_kind(self, kind: Kind) -> Kind:
        if self.strategy == "mode":
            return kind
        if self.strategy != "constant":
            if kind == "string":
                raise InvalidRecipeError(
                    f"strategy {self.strategy!r} needs a number, the column is a string; use mode or constant"
                )
            return "float"
        given: Kind = (
            "bool"
            if isinstance(self.value, bool)
            else "string"
            if isinstance(self.value, str)
            else "int"
            if isinstance(self.value, int)
            else "float"
        )
        if given == kind:
            return kind
        if given in ("int", "float") and kind in ("int", "float"):
            return "float"
        raise InvalidRecipeError(f"value={self.value!r} is a {given}, the column is a {kind}")


def _same(value: Any) -> Any:
    return value
