# SPDX-License-Identifier: Apache-2.0
"""What Great Expectations says about a frame, as results that show no more of its rows than may be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.foreign_errors import first_line, is_harmless, without_values
from airflow_provider_mlbridge.quality.masking import (
    DROPPED,
    MaskingPolicy,
    mask,
    mask_observed,
)
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.result_formats import (
    ResultFormat,
    UnexpectedRows,
    shape,
    with_rows,
)
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.quality.values import json_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEPT = (
    "element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent",
    "unexpected_percent_total", "unexpected_percent_nonmissing", "observed_value", "details",
)  # fmt: skip


def texts_in(value: Any) -> Iterator[str]:
    """All text in arguments, such as those of a condition on rows."""
    if hasattr(value, "dict"):
        value = value.dict()
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)


def told_of(
    class_name: str,
    message: str,
    names: Sequence[str],
    table: Table,
    policy: MaskingPolicy,
    own_words: Iterable[str] = (),
) -> str:
    """
    An error that was raised over these columns: its words when all of them are plain, else ours.

    :param own_words: texts of the user, whose words may be repeated.
    """
    if all(map(policy.is_plain, names)):
        return f"{class_name}: {first_line(message)}"
    words = list(own_words)
    shown = ", ".join(f"{name!r} ({table.by_name[name].type_name})" for name in names[:10])
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    told = f"{without_values(class_name, message, words)} (columns {shown}{more})"
    if is_harmless(message, words):
        return told
    return f"{told}. Its own words may quote values; they are shown when unmasked_columns has all of these."


class FrameReader:
    """Reads what Great Expectations says about a frame, and leaves out what may not be shown."""

    def __init__(
        self,
        frame: Any,
        table: Table,
        policy: MaskingPolicy,
        result_format: ResultFormat,
        *,
        with_positions: bool,
    ) -> None:
        self.frame = frame
        self._table = table
        self._policy = policy
        self._format = result_format
        self._with_positions = with_positions

    @property
    def asked(self) -> dict[str, Any]:
        """The ``result_format`` for Great Expectations: what is shown of rows is taken from the frame."""
        places = max(self._format.places_wanted, self._format.rows_wanted)
        partial = self._format.partial_unexpected_count
        level = "COMPLETE" if self._with_positions or places > partial else "SUMMARY" if places else "BASIC"
        return {
            "result_format": level,
            "partial_unexpected_count": partial,
            "return_unexpected_index_query": False,
        }

    def message(self, expectation: Expectation, class_name: str, message: str) -> str:
        """
        An error of Great Expectations; in its own words only when all values of the frame may be shown.

        :param class_name: the class of the error.
        :param message: its text.
        """
        names = [str(name) for name in self.frame.columns]
        told = told_of(class_name, message, names, self._table, self._policy, texts_in(expectation.kwargs))
        return f"Great Expectations could not evaluate it: {told}"

    def outcome(self, expectation: Expectation, success: bool, raw: Mapping[str, Any]) -> Outcome:
        """The outcome, in the format that is wanted."""
        result = {name: json_value(raw[name]) for name in _KEPT if name in raw}
        names = expectation.columns
        if names and not all(map(self._policy.is_plain, names)):
            for name in ("observed_value", "details"):
                if name in result:
                    result[name] = mask_observed(expectation.type, result[name])
        positions = self._positions(raw)
        if "element_count" not in raw:
            if "partial_unexpected_list" in raw:
                values = self._shown_values(expectation, raw["partial_unexpected_list"])
                if values is not None:
                    result["partial_unexpected_list"] = values
            result |= {key: raw[key] for key in ("unexpected_count",) if key in raw}
            return Outcome("gx", success, shape(result, self._format))
        found = self._found(expectation, raw, positions)
        result = with_rows(result, found, self._format)
        return Outcome(
            "gx", success, result, unexpected_positions=positions if self._with_positions else None
        )

    def _positions(self, raw: Mapping[str, Any]) -> NDArray[np.int64] | None:
        listed = raw.get("unexpected_index_list", raw.get("partial_unexpected_index_list"))
        if listed is None:
            return None
        import numpy as np

        return np.asarray(listed, dtype=np.int64)

    def _found(
        self, expectation: Expectation, raw: Mapping[str, Any], positions: NDArray[np.int64] | None
    ) -> UnexpectedRows:
        values = raw.get("unexpected_list", raw.get("partial_unexpected_list", []))
        shown = self._shown_values(expectation, values[: self._format.values_wanted])
        if positions is None:
            return UnexpectedRows(values=shown, positions=None)
        index = self._format.unexpected_index_column_names
        places = [int(place) for place in positions[: self._format.limit]]
        judged = [name for name in dict.fromkeys((*expectation.columns, *index)) if name in self.frame]
        return UnexpectedRows(
            values=shown,
            positions=places,
            named=self._records(places[: self._format.places_wanted], judged) if index else (),
            rows=self._records(places[: self._format.rows_wanted], list(self.frame.columns)),
        )

    def _records(self, places: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        kept = [name for name in names if not self._policy.is_dropped(name)]
        columns = {name: self.frame[name].iloc[places] for name in kept}
        return [
            {name: self._cell(name, columns[name].iloc[row]) for name in kept} for row in range(len(places))
        ]

    def _shown_values(self, expectation: Expectation, values: Iterable[Any]) -> list[Any] | None:
        """What may be shown of the values that Great Expectations lists; None when nothing."""
        names = expectation.columns
        if names and all(map(self._policy.is_dropped, names)):
            return None
        return [self._shown(value, names) for value in values]

    def _shown(self, value: Any, names: Sequence[str]) -> Any:
        if isinstance(value, Mapping):
            cells = {name: self._cell(name, item) for name, item in value.items()}
            return {name: cell for name, cell in cells.items() if cell is not DROPPED}
        if isinstance(value, list | tuple) and len(names) == len(value) > 1:
            cells = dict(zip(range(len(names)), map(self._cell, names, value), strict=True))
            return [None if cell is DROPPED else cell for cell in cells.values()]
        if len(names) == 1:
            return self._cell(names[0], value)
        # Of an expectation that does not name its columns, values could be of any.
        return None if json_value(value) in (None, "NaN") else mask("string")

    def _cell(self, name: str, value: Any) -> Any:
        plain = json_value(value)
        if plain is None or plain == "NaN":
            value = plain = None
        column = self._table.by_name.get(name)
        if column is None:
            return None if plain is None else mask("string")
        # The policy's hash tells a decimal or a date from text, so that it gets the value itself.
        return self._policy.shown(name, column.type_name, value)
