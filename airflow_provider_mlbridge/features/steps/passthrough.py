# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Step, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""Take columns into the output as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import Input, RowFunction, State, Step


@dataclass(frozen=True)
class Passthrough(Step):
    """
    The columns as they are at this point, missing values included.

    32-bit floats and decimals become 64-bit floats, timestamps UTC without zone; see ``kinds``.
    """

    TYPE: ClassVar[str] = "passthrough"

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        return [(stem, kind)]

    def expressions(self, x: Input, state: State) -> list[Any]:
        return [x.value]

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        return lambda value: (value,)
