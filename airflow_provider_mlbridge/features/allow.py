# SPDX-License-Identifier: Apache-2.0
"""What the linter looks for, and what a recipe lets pass on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import options

ERROR, WARNING = "error", "warning"
SEVERITIES: dict[str, str] = {
    "label_copy": ERROR,
    "perfect_predictor": ERROR,
    "row_id": ERROR,
    "future_timestamp": ERROR,
    "near_unique_category": WARNING,
    "constant": WARNING,
}
"""Severity by code of what is found."""


@dataclass(frozen=True)
class Allow:
    """
    One finding of the linter that is no fault.

    :param code: what is found: label_copy, perfect_predictor, row_id, future_timestamp,
        near_unique_category or constant.
    :param column: the column or feature it is found on.
    :param reason: why it is right, for those who read the recipe and the report.
    """

    code: str
    column: str
    reason: str

    def __post_init__(self) -> None:
        options.choice("allow", "code", self.code, tuple(SEVERITIES))
        options.text("allow", "column", self.column)
        options.text("allow", "reason", self.reason)

    def to_dict(self) -> dict[str, str]:
        """Plain JSON."""
        return {"code": self.code, "column": self.column, "reason": self.reason}


def parse_allow(value: object) -> tuple[Allow, ...]:
    """
    Allowances from what users write: a list of mappings with code, column and reason, or of the objects.

    :raises InvalidRecipeError: naming the place in the list, what is wrong and the valid choices.
    """
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise InvalidRecipeError(
            f"recipe: allow={value!r} must be a list of mappings with code, column and reason"
        )
    parsed: list[Allow] = []
    for position, item in enumerate(value, start=1):
        try:
            parsed.append(_one(item))
        except InvalidRecipeError as error:
            raise InvalidRecipeError(f"allow {position}: {error}") from error
    pairs = [(item.code, item.column) for item in parsed]
    twice = sorted({f"{code} on {column!r}" for code, column in pairs if pairs.count((code, column)) > 1})
    if twice:
        raise InvalidRecipeError(f"recipe: allow has {options.shown(twice)} more than once")
    return tuple(parsed)


def _one(item: Any) -> Allow:
    if isinstance(item, Allow):
        return item
    if not isinstance(item, Mapping):
        raise InvalidRecipeError(f"a mapping with code, column and reason is expected, got {item!r}")
    names = [entry.name for entry in fields(Allow)]
    options.known_keys("allow", item, names)
    missing = [name for name in names if name not in item]
    if missing:
        raise InvalidRecipeError(f"{options.shown(missing)} is missing; an entry has {', '.join(names)}")
    return Allow(**item)
