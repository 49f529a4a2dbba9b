# SPDX-License-Identifier: Apache-2.0
"""
What the statistics of Parquet footers say exactly about a column: its nulls, its least and greatest value.

A writer may leave statistics out, cut long texts short and forget NaN; none of those are answers. So extremes
are taken of integers, dates and timestamps only, and only where every row group with values states them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.quality.column_types import Family
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.storage import Footer

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Extreme = int | Instant

_DAY_NS = 86_400_000_000_000
_UNIT_NS = {"milliseconds": 1_000_000, "microseconds": 1000, "nanoseconds": 1}


@dataclass(frozen=True)
class Statistics:
    """
    Exact knowledge about one column.

    :param null_count: nulls in all files, or None when that is not known.
    :param bounds: the least and the greatest value, both None when there is no value; or None when that is
        not known.
    """

    null_count: int | None
    bounds: tuple[Extreme | None, Extreme | None] | None


UNKNOWN = Statistics(None, None)


def read_statistics(footers: Sequence[Footer], name: str, family: Family) -> Statistics:
    """The statistics of a column of the files; nested columns have none."""
    nulls = 0
    lows: list[Extreme] = []
    highs: list[Extreme] = []
    exact = family in ("int", "date", "timestamp", "timestamptz")
    for metadata, leaf in _leaves(footers, name):
        if leaf is None:
            return UNKNOWN
        schema = metadata.schema.column(leaf)
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            if not group.num_rows:
                continue
            statistics = group.column(leaf).statistics
            # A column that the file's schema calls required has no nulls, whatever the statistics say.
            if schema.max_definition_level == 0:
                found = 0
            # The writer may leave the count out; the reader then says 0 in some versions.
            elif statistics is None or not getattr(statistics, "has_null_count", False):
                return UNKNOWN
            else:
                found = statistics.null_count or 0
            nulls += found
            if not exact or found == group.num_rows:
                continue
            extremes = _extremes(statistics, schema, family)
            exact = extremes is not None
            if extremes is not None:
                lows.append(extremes[0])
                highs.append(extremes[1])
    if not exact:
        return Statistics(nulls, None)
    return Statistics(nulls, (min(lows, key=_order), max(highs, key=_order)) if lows else (None, None))


def _order(value: Extreme) -> int:
    return value.nanoseconds if isinstance(value, Instant) else value


def _extremes(statistics: Any, schema: Any, family: Family) -> tuple[Extreme, Extreme] | None:
    if statistics is None or not statistics.has_min_max or schema.physical_type not in ("INT32", "INT64"):
        return None
    if family == "int":
        return int(statistics.min), int(statistics.max)
    # As they are stored: Python's types have neither all years nor nanoseconds.
    raw = statistics.min_raw, statistics.max_raw
    logical = json.loads(schema.logical_type.to_json())
    if family == "date" and logical.get("Type") == "Date":
        return Instant(raw[0] * _DAY_NS, "date"), Instant(raw[1] * _DAY_NS, "date")
    unit = _UNIT_NS.get(str(logical.get("timeUnit")))
    if unit is None or logical.get("Type") != "Timestamp" or family not in ("timestamp", "timestamptz"):
        return None
    return Instant(raw[0] * unit, family), Instant(raw[1] * unit, family)


def _leaves(footers: Sequence[Footer], name: str) -> Iterator[tuple[pq.FileMetaData, int | None]]:
    """Each file with the position of a column among its leaf columns; None where it has none or several."""
    for footer in footers:
        yield footer.metadata, leaf_positions(footer.schema).get(name)


def is_int96(footers: Sequence[Footer], name: str) -> bool:
    """Whether a file holds the column as timestamps of 96 bits, as older versions of Spark write them."""
    return any(
        leaf is not None and metadata.schema.column(leaf).physical_type == "INT96"
        for metadata, leaf in _leaves(footers, name)
    )


def leaf_positions(schema: pa.Schema) -> dict[str, int | None]:
    """Index of each top-level column among the leaf columns; None for nested ones, which have several."""
    positions: dict[str, int | None] = {}
    offset = 0
    for column in schema:
        nested = bool(column.type.num_fields)
        positions[column.name] = None if nested else offset
        offset += _count_leaves(column.type)
    return positions


def _count_leaves(data_type: pa.DataType) -> int:
    if not data_type.num_fields:
        return 1
    return sum(_count_leaves(data_type.field(index).type) for index in range(data_type.num_fields))
