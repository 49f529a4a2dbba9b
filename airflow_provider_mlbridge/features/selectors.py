# SPDX-License-Identifier: Apache-2.0
"""Which columns a step works on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import KINDS, NUMERIC, Kind

TYPES = (*KINDS, "numeric")
"""What ``type`` may be; ``numeric`` is int and float."""

CANDIDATE = "feature_candidate"
ROLES = (CANDIDATE, "key", "event_time", "known_time", "split")
"""What ``role`` may be. The label is none of them, for no feature is ever made from it."""


@dataclass(frozen=True)
class Selector:
    """
    Columns by name, or all that match.

    Names come in the order given and may also be columns that earlier steps produced. ``role``, ``type`` and
    ``regex`` choose among the datamart's own columns, in its order and by the types they have there; with
    several of them, all must match. Without a role, or with ``feature_candidate``, they never take the label,
    a key, the event time, the known time or a column that the split reads.

    :param names: column names; then the other parameters stay unset.
    :param regex: regular expression that the whole name must match.
    :param type: kind of the column: bool, int, float, string, date, timestamp, or numeric for int and float.
    :param role: what the column means in the recipe: key, event_time, known_time, split (what the split
        reads), or feature_candidate for all columns that mean nothing else.
    :param exclude: names to leave out of what the other parameters match.
    """

    names: tuple[str, ...] = ()
    regex: str | None = None
    type: str | None = None
    role: str | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", options.texts("columns", "names", self.names))
        object.__setattr__(self, "exclude", options.texts("columns", "exclude", self.exclude))
        if self.type is not None:
            options.choice("columns", "type", self.type, TYPES)
        if self.role is not None:
            options.choice("columns", "role", self.role, ROLES)
        if self.regex is not None:
            try:
                re.compile(options.text("columns", "regex", self.regex))
            except re.error as error:
                raise InvalidRecipeError(
                    f"columns: regex={self.regex!r} is not a regular expression: {error}"
                ) from error
        matching = not (self.regex is None and self.type is None and self.role is None)
        if bool(self.names) == matching or (self.names and self.exclude):
            raise InvalidRecipeError(
                "columns: give either names, or some of regex, type and role (with exclude if need be)"
            )

    @classmethod
    def of(cls, value: object) -> Selector:
        """A selector from what users write: a name, a list of names, a mapping, or a selector."""
        if isinstance(value, Selector):
            return value
        if isinstance(value, Mapping):
            options.known_keys("columns", value, ("regex", "type", "role", "exclude"))
            return cls(**value)
        return cls(names=options.texts("columns", "names", value))

    def to_plain(self) -> list[str] | dict[str, Any]:
        """The shortest JSON form that :meth:`of` reads."""
        if self.names:
            return list(self.names)
        plain: dict[str, Any] = {}
        for name in ("regex", "type", "role"):
            if getattr(self, name) is not None:
                plain[name] = getattr(self, name)
        if self.exclude:
            plain["exclude"] = list(self.exclude)
        return plain

    def select(
        self,
        kinds: Mapping[str, Kind | None],
        current: Collection[str],
        reserved: Collection[str],
        roles: Mapping[str, Collection[str]] | None = None,
    ) -> list[str]:
        """
        The columns meant.

        :param kinds: the datamart's columns with their kinds.
        :param current: all columns there are at this step.
        :param reserved: columns with a role, the label among them.
        :param roles: columns by role, where they have one of :data:`ROLES`.
        :raises ColumnNotFoundError: for a name that is not there, also among those to be left out.
        :raises InvalidRecipeError: when nothing matches.
        """
        if self.names:
            for name in self.names:
                if name not in current:
                    raise not_found(name, list(current))
            return list(self.names)
        for name in self.exclude:
            # A typing error here would make a feature of the very column that was to be none.
            if name not in kinds:
                raise not_found(name, list(kinds), what="the column to exclude,")
        wanted: Sequence[str] = (
            TYPES if self.type is None else NUMERIC if self.type == "numeric" else (self.type,)
        )
        with_role = (roles or {}).get(self.role or CANDIDATE, ())
        found = [
            name
            for name, kind in kinds.items()
            if kind in wanted
            and (self.regex is None or re.fullmatch(self.regex, name))
            and name not in self.exclude
            and (name not in reserved if self.role in (None, CANDIDATE) else name in with_role)
        ]
        if not found:
            raise InvalidRecipeError(
                f"columns={self.to_plain()} selects no column; there are "
                + options.shown(f"{name} ({kind or 'unsupported'})" for name, kind in kinds.items())
            )
        return found


def not_found(name: str, available: Sequence[str], *, what: str = "column") -> ColumnNotFoundError:
    """The error for a column that is not there, the most similar names first."""
    close = difflib.get_close_matches(name, available, n=3)
    ordered = close + [item for item in available if item not in close]
    return ColumnNotFoundError(f"{what} {name!r} does not exist; available are {options.shown(ordered)}")
