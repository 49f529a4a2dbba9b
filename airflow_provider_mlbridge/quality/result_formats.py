# SPDX-License-Identifier: Apache-2.0
"""
How much of a result is kept: Great Expectations' ``result_format``.

The keys of each format are those of Great Expectations 1.24 on pandas (``_format_map_output`` in
``expectations/expectation.py``). Differences:

- Values are shown as the masking policy says; a list of values that must all be left out is left out itself.
- ``unexpected_list`` and ``unexpected_rows`` end after 200 rows, as there. ``unexpected_index_list`` and
  ``unexpected_index_query`` do not there; here they end after 10,000 rows (:data:`INDEX_CAP`), and then
  ``unexpected_index_list_cap`` says so.
- A missing value is null, also where pandas holds NaN, and counts as one value in
  ``partial_unexpected_counts``.
- ``unexpected_rows`` is a list of rows, each a mapping of columns. Of a suite in which very many expectations
  fail, only the most severe show rows; the others have ``unexpected_rows_note``, which says so.
- Rows without a value are named by ``unexpected_index_column_names`` alone, not also by their missing value.
- ``expect_column_values_to_be_null`` repeats ``unexpected_index_column_names`` like all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.catalog import close_names
from airflow_provider_mlbridge.quality.outcome import SAMPLE_LIMIT

Level = Literal["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]

VALUE_CAP = 200
"""Unexpected values shown for one expectation at most, as many as Great Expectations shows."""
INDEX_CAP = 10_000
"""Places of unexpected rows shown for one expectation at most."""

_OPTIONS = frozenset(
    {
        "result_format",
        "partial_unexpected_count",
        "unexpected_index_column_names",
        "include_unexpected_rows",
        "exclude_unexpected_values",
        "return_unexpected_index_query",
        "map_expectation_unexpected_rows_as_dict",
    }
)


@dataclass(frozen=True)
class ResultFormat:
    """
    What a result holds.

    :param level: ``BOOLEAN_ONLY``: nothing but the verdict; ``BASIC``: counts, percentages and some values;
        ``SUMMARY``: also how often each occurs, and where; ``COMPLETE``: also longer lists.
    :param partial_unexpected_count: the most values, and places, in the lists called ``partial_...``.
    :param unexpected_index_column_names: columns by which rows are named; by their number when empty.
    :param include_unexpected_rows: whether whole rows are shown.
    :param exclude_unexpected_values: whether values are left out.
    :param return_unexpected_index_query: whether ``unexpected_index_query`` is given; from ``COMPLETE`` on
        when None.
    """

    level: Level = "SUMMARY"
    partial_unexpected_count: int = SAMPLE_LIMIT
    unexpected_index_column_names: tuple[str, ...] = ()
    include_unexpected_rows: bool = False
    exclude_unexpected_values: bool = False
    return_unexpected_index_query: bool | None = None

    @classmethod
    def parse(cls, value: object = None) -> Self:
        """
        Read the argument of a user: the name of a format, or Great Expectations' mapping.

        :raises ConfigurationError: when it is neither.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            # Also its members of an enumeration, which are texts.
            return cls(_level(value))
        for name in value:
            if name not in _OPTIONS:
                raise ConfigurationError(
                    f"result_format has the unknown key {name!r}.{close_names(str(name), _OPTIONS)} "
                    f"It takes {', '.join(sorted(_OPTIONS))}."
                )
        if "result_format" not in value:
            raise ConfigurationError("result_format is a mapping without the key 'result_format'")
        return cls(
            _level(value["result_format"]),
            _count(value.get("partial_unexpected_count", SAMPLE_LIMIT)),
            _names(value.get("unexpected_index_column_names")),
            _flag(value, "include_unexpected_rows") or False,
            _flag(value, "exclude_unexpected_values") or False,
            _flag(value, "return_unexpected_index_query"),
        )

    @property
    def with_query(self) -> bool:
        """Whether results have ``unexpected_index_query``."""
        if self.return_unexpected_index_query is None:
            return self.level == "COMPLETE"
        return self.return_unexpected_index_query

    @property
    def values_wanted(self) -> int:
        """How many unexpected values are looked up for one expectation."""
        if self.level == "BOOLEAN_ONLY" or self.exclude_unexpected_values:
            return 0
        return VALUE_CAP if self.level == "COMPLETE" else min(self.partial_unexpected_count, VALUE_CAP)

    @property
    def rows_wanted(self) -> int:
        """How many whole rows are looked up for one expectation."""
        wanted = self.include_unexpected_rows and self.level != "BOOLEAN_ONLY"
        return min(self.partial_unexpected_count, VALUE_CAP) if wanted else 0

    @property
    def places_wanted(self) -> int:
        """For how many unexpected rows it is looked up where they are."""
        if self.with_query or self.level == "COMPLETE":
            return INDEX_CAP
        if self.level != "SUMMARY" or not self.partial_unexpected_count:
            return 0
        if self.exclude_unexpected_values and self.unexpected_index_column_names:
            return INDEX_CAP
        return min(self.partial_unexpected_count, INDEX_CAP)

    @property
    def limit(self) -> int:
        """The most unexpected rows that are looked at for one expectation."""
        return max(self.values_wanted, self.rows_wanted, self.places_wanted)


@dataclass(frozen=True)
class UnexpectedRows:
    """
    The first rows that are not as expected, with what may be shown of them.

    :param values: the judged values, one entry per row; None when none may be shown.
    :param positions: the rows' numbers in the datamart, from 0; None when they are not known.
    :param named: the judged values and those of ``unexpected_index_column_names`` by column, one per row.
    :param rows: the whole rows.
    """

    values: Sequence[Any] | None = ()
    positions: Sequence[int] | None = ()
    named: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Mapping[str, Any]] = ()


def with_rows(
    result: Mapping[str, Any], found: UnexpectedRows, result_format: ResultFormat
) -> dict[str, Any]:
    """The result of an expectation about rows, with the lists that its format has."""
    return shape(_filled(result, found, result_format), result_format)


def _filled(result: Mapping[str, Any], found: UnexpectedRows, result_format: ResultFormat) -> dict[str, Any]:
    """The result with all lists."""
    full = dict(result)
    partial = result_format.partial_unexpected_count
    if found.values is not None and not result_format.exclude_unexpected_values:
        values = list(found.values[: result_format.values_wanted])
        full["partial_unexpected_list"] = values[:partial]
        full["partial_unexpected_counts"] = _counted(values, partial)
        full["unexpected_list"] = values
    if result_format.unexpected_index_column_names:
        full["unexpected_index_column_names"] = list(result_format.unexpected_index_column_names)
    if result_format.include_unexpected_rows:
        full["unexpected_rows"] = list(found.rows[:partial])
    if found.positions is not None:
        positions = list(found.positions[: result_format.places_wanted])
        places: list[Any] = positions
        if result_format.unexpected_index_column_names:
            places = list(found.named[: result_format.places_wanted])
            if result_format.exclude_unexpected_values and places:
                names = result_format.unexpected_index_column_names
                places = [{name: [place.get(name) for place in places] for name in names}]
        full["partial_unexpected_index_list"] = places[:partial]
        full["unexpected_index_list"] = places
        full["unexpected_index_query"] = f"df.filter(items={positions}, axis=0)"
        if int(result["unexpected_count"]) > INDEX_CAP:
            full["unexpected_index_list_cap"] = INDEX_CAP
    return full


def shape(result: Mapping[str, Any], result_format: ResultFormat) -> dict[str, Any]:
    """
    The result with the keys that its format has; what is not of Great Expectations stays.

    It may be shaped again, by the same format or one with less.
    """
    about_rows = "element_count" in result
    if result_format.level == "BOOLEAN_ONLY":
        kept = ("unexpected_index_query", "unexpected_index_column_names")
        if not (result_format.with_query and "unexpected_index_query" in result):
            return {}
        return {key: result[key] for key in kept if key in result}
    if about_rows and not result["unexpected_count"] and "unexpected_list" not in result:
        # Whoever judged it did not look for rows, for there are none.
        result = _filled(result, UnexpectedRows(), result_format)
    dropped: set[str] = set()
    if not result_format.partial_unexpected_count:
        dropped |= {"partial_unexpected_counts", "partial_unexpected_index_list"}
        if not about_rows:
            dropped.add("partial_unexpected_list")
    if result_format.exclude_unexpected_values and about_rows:
        dropped |= {"partial_unexpected_list", "partial_unexpected_counts", "unexpected_list"}
    if result_format.level != "COMPLETE":
        dropped |= {"unexpected_list", "unexpected_index_list"}
        if not result_format.with_query:
            dropped.add("unexpected_index_list_cap")
    if result_format.level == "BASIC":
        dropped |= {"partial_unexpected_counts", "partial_unexpected_index_list"}
    if not result_format.with_query:
        dropped.add("unexpected_index_query")
    if not result_format.include_unexpected_rows:
        dropped.add("unexpected_rows")
    shaped = {key: value for key, value in result.items() if key not in dropped}
    if "partial_unexpected_list" in shaped:
        shaped["partial_unexpected_list"] = shaped["partial_unexpected_list"][
            : result_format.partial_unexpected_count
        ]
    return shaped


def _counted(values: Sequence[Any], limit: int) -> list[dict[str, Any]]:
    """How often each value occurs among those shown, the most frequent first."""
    counts: dict[str, tuple[Any, int]] = {}
    for value in values:
        flat = list(value.values()) if isinstance(value, Mapping) else value
        text = json.dumps(flat)
        counts[text] = (flat, counts.get(text, (None, 0))[1] + 1)
    frequent = sorted(counts.values(), key=lambda item: -item[1])[:limit]
    return [
        {"value": value, "count": count}
        for value, count in sorted(frequent, key=lambda item: (-item[1], *_order(item[0])))
    ]


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, everything else as text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (
        not number,
        float(value) if number else 0.0,
        value if isinstance(value, str) else json.dumps(value),
    )


def _level(value: object) -> Level:
    for level in get_args(Level):
        if value == level:
            return level  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"result_format must be one of {', '.join(map(repr, get_args(Level)))}, or a mapping with the key "
        f"'result_format', got {value!r}"
    )


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(
            f"result_format: partial_unexpected_count must be a number from 0, got {value!r}"
        )
    return value


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            f"result_format: unexpected_index_column_names must be a list of column names, got {value!r}"
        )
    return tuple(dict.fromkeys(names))


def _flag(options: Mapping[str, Any], name: str) -> bool | None:
    value = options.get(name)
    if value is not None and not isinstance(value, bool):
        raise ConfigurationError(f"result_format: {name} must be true or false, got {value!r}")
    return value
