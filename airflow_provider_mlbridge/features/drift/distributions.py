# SPDX-License-Identifier: Apache-2.0
"""
How the features of a version are distributed, as strict JSON: enough to be a reference later.

Every feature gets edges, and every split the counts of the values below, at and between them. The edges are
the different values when there are few, else quantiles; so a value that is frequent ends a bin. Counts over
the edges of a reference make two versions comparable without reading the reference's rows again.

Strings are placed by the first 32 bits of their md5 instead of by themselves: no value is stored, a value
that was never seen falls into some bin too, and no choice of the most frequent categories biases their
counts.

Of large versions about :data:`SAMPLE_ROWS` rows are looked at, spread evenly over the file by a
multiplicative sequence of row numbers: the same ones every time. The file is read once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.exceptions import FeatureError
from airflow_provider_mlbridge.features.kinds import Kind

SAMPLE_ROWS = 250_000
"""More rows would only find shifts that are too small to matter."""

EDGE_ROWS = 100_000
FEW_VALUES = 50
"""Up to this many different values, each is an edge."""

ALL = "all"
"""The only "split" of a feature set that has none."""

DISTRIBUTIONS_VERSION = 1

_SHARES = (0.0, 0.01, *(step / 50 for step in range(1, 50)), 0.99, 1.0)
_COLUMNS_AT_A_TIME = 50
_FACTORS = (2_654_435_761, 2_246_822_519)
"""The first is 2**32 over the golden ratio; the second chooses evenly of what the first chose."""

_ROW = "row_number"
_SPLIT = "split_name"


def measure(
    connection: Any,
    path: Path,
    kinds: Mapping[str, Kind],
    *,
    split_column: str | None = None,
    reference: Mapping[str, Any] | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> dict[str, Any]:
    """
    Distributions of the columns of a Parquet file that a feature build wrote.

    The result is merged into the version's statistics. ``distributions`` has, by feature: ``kind``,
    ``edges`` (ascending numbers), ``complete`` (whether the edges are all values there are) and ``splits``;
    by split ``rows``, ``nulls`` and ``counts``, whose first is below the first edge, then at it, then above
    an edge up to the next, the last above all. ``over_reference`` is there when a reference is given:
    ``digest`` of its edges and, by feature and split, ``counts`` over them and ``new`` (values that the
    reference does not have, where its edges are complete, else None).

    :param connection: a DuckDB connection on which ``statistics_propagation`` is disabled.
    :param kinds: kind by feature, in order.
    :param split_column: the column that names the split of each row, if there is one.
    :param reference: the statistics of the reference, as they were read from its version.
    :param sample_rows: how many rows to look at, about.
    :raises FeatureError: when the engine fails.
    """
    import duckdb

    try:
        return _measure(connection, path, kinds, split_column, reference, sample_rows)
    except duckdb.Error as error:
        # Its message may quote values of rows, which have no place in a log.
        raise FeatureError(
            f"{path.name}: the engine could not count how the features are distributed "
            f"({type(error).__name__}). Raise memory_limit."
        ) from None


def edges_digest(statistics: Mapping[str, Any]) -> str | None:
    """Identity of the edges of a version's statistics; None when it has none."""
    distributions = statistics.get("distributions")
    if not distributions:
        return None
    edges = {name: [item["kind"], item["edges"]] for name, item in sorted(distributions["features"].items())}
    return hashlib.sha256(json.dumps(edges).encode()).hexdigest()


def _measure(
    connection: Any,
    path: Path,
    kinds: Mapping[str, Kind],
    split_column: str | None,
    reference: Mapping[str, Any] | None,
    sample_rows: int,
) -> dict[str, Any]:
    source = "read_parquet(?, file_row_number = true)"
    file = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}", [file]).fetchall()  # noqa: S608
    # Columns go by their position: names of users' never enter SQL.
    positions = {str(row[0]): index for index, row in enumerate(described[:-1])}
    aliases = [f"c{index}" for index in range(len(described) - 1)]
    source += f" AS file({', '.join([*aliases, _ROW])})"
    total = connection.execute(f"SELECT count(*) FROM {source}", [file]).fetchone()[0]  # noqa: S608
    split = f"c{positions[split_column]}" if split_column in positions else f"'{ALL}'"
    old = (reference or {}).get("distributions", {}).get("features", {})
    features: dict[str, Any] = {}
    over: dict[str, Any] = {}
    names = list(kinds)
    for begin in range(0, len(names), _COLUMNS_AT_A_TIME):
        part = names[begin : begin + _COLUMNS_AT_A_TIME]
        columns = ", ".join(
            f"{_number(f'c{positions[name]}', kinds[name])} AS x{index}" for index, name in enumerate(part)
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE drift_sample AS "  # noqa: S608 - no names, no values
            f"SELECT {_ROW}, {split} AS {_SPLIT}, {columns} FROM {source} {_chosen(total, sample_rows)}",
            [file],
        )
        try:
            rows = connection.execute("SELECT count(*) FROM drift_sample").fetchone()[0]
            own = _edges(connection, len(part), rows)
            counted = _Counted(connection, len(part))
            mine = counted.over([edges for edges, _ in own])
            for index, name in enumerate(part):
                edges, complete = own[index]
                features[name] = {
                    "kind": kinds[name],
                    "edges": edges,
                    "complete": complete,
                    "splits": {
                        group: {"rows": size, "nulls": size - counted.known[group][index], "counts": counts}
                        for group, size, counts in mine[index]
                    },
                }
            known = [old.get(name, {}) for name in part]
            usable = [
                item.get("edges", []) if item.get("kind") == kinds[name] else []
                for name, item in zip(part, known, strict=True)
            ]
            theirs = counted.over(usable)
            new = counted.new([bool(item.get("complete")) and item["edges"] for item in known])
            for index, name in enumerate(part):
                if usable[index] or (known[index] and known[index]["kind"] == kinds[name]):
                    over[name] = {
                        group: {"counts": counts, "new": new[group][index]}
                        for group, _, counts in theirs[index]
                    }
        finally:
            connection.execute("DROP TABLE drift_sample")
    result: dict[str, Any] = {
        "distributions": {
            "version": DISTRIBUTIONS_VERSION,
            "sampled": total > sample_rows,
            "features": features,
        }
    }
    if reference is not None:
        result["over_reference"] = {"digest": edges_digest(reference), "features": over}
    return result


def _chosen(total: int, sample_rows: int, factor: int = _FACTORS[0]) -> str:
    if total <= sample_rows:
        return ""
    limit = round(2**32 * sample_rows / total)
    # Taken modulo 2**31 first, the product has at most 63 bits.
    return f"WHERE ({_ROW} % {2**31} * {factor}) % {2**32} < {limit}"


def _number(column: str, kind: Kind) -> str:
    """SQL that places a value on a line; NaN is missing."""
    if kind == "string":
        return f"('0x' || substr(md5({column}), 1, 8))::BIGINT::DOUBLE"
    if kind == "timestamp":
        return f"epoch_us({column})::DOUBLE / 1e6"
    if kind == "date":
        return f"date_diff('day', DATE '1970-01-01', {column})::DOUBLE"
    value = f"{column}::DOUBLE"
    return f"CASE WHEN isnan({value}) THEN NULL ELSE {value} + 0.0 END" if kind == "float" else value


def _edges(connection: Any, count: int, rows: int) -> list[tuple[list[float], bool]]:
    """Edges by column, and whether they are all of its values."""
    shares = ", ".join(f"{share}::DOUBLE" for share in _SHARES)
    chosen = _chosen(rows, EDGE_ROWS, _FACTORS[1])
    quantiles = ", ".join(
        f"quantile_disc(x{index}, [{shares}]) FILTER (isfinite(x{index}))" for index in range(count)
    )
    extremes = ", ".join(
        f"min(x{index}) FILTER (isfinite(x{index})), max(x{index}) FILTER (isfinite(x{index}))"
        for index in range(count)
    )
    found = connection.execute(f"SELECT {quantiles} FROM drift_sample {chosen}").fetchone()  # noqa: S608
    bounds = connection.execute(f"SELECT {extremes} FROM drift_sample").fetchone()  # noqa: S608
    result: list[tuple[list[float], bool]] = []
    for index in range(count):
        low, high = bounds[2 * index], bounds[2 * index + 1]
        edges = sorted({*(found[index] or ()), *(() if low is None else (low, high))})
        complete = False
        if len(edges) <= FEW_VALUES:
            values = connection.execute(
                f"SELECT DISTINCT x{index} FROM drift_sample WHERE x{index} IS NOT NULL "  # noqa: S608
                f"ORDER BY 1 LIMIT {FEW_VALUES + 3}"
            ).fetchall()
            finite = [row[0] for row in values if math.isfinite(row[0])]
            if len(finite) <= FEW_VALUES and len(values) < FEW_VALUES + 3:
                edges, complete = finite, len(finite) == len(values)
        result.append((edges, complete))
    return result


class _Counted:
    """Counts by split over the sample."""

    def __init__(self, connection: Any, count: int) -> None:
        self._connection = connection
        self._count = count
        known = ", ".join(f"count(x{index})" for index in range(count))
        rows = self._by_split(known)
        self.rows = {group: values[0] for group, values in rows.items()}
        self.known = {group: values[1:] for group, values in rows.items()}

    def _by_split(self, aggregates: str) -> dict[str, Sequence[Any]]:
        found = self._connection.execute(
            f"SELECT {_SPLIT}, count(*), {aggregates} FROM drift_sample "  # noqa: S608
            f"GROUP BY {_SPLIT} ORDER BY {_SPLIT}"
        ).fetchall()
        return {str(row[0]): row[1:] for row in found}

    def over(self, edges: Sequence[Sequence[float]]) -> list[list[tuple[str, int, list[int]]]]:
        """By column: split, its rows, its counts over these edges."""
        parts = []
        for index, bounds in enumerate(edges):
            if bounds:
                listed = ", ".join(f"{bound!r}::DOUBLE" for bound in bounds)
                parts.append(f"histogram(x{index}, [{listed}])")
                parts.append(f"count(*) FILTER (x{index} < {bounds[0]!r}::DOUBLE)")
            else:
                parts += ["NULL", f"count(x{index})"]
        found = self._by_split(", ".join(parts))
        result: list[list[tuple[str, int, list[int]]]] = []
        for index, bounds in enumerate(edges):
            column = []
            for group, row in found.items():
                counts, below = row[1 + 2 * index] or {}, int(row[2 + 2 * index])
                if bounds:
                    inner = [int(counts.get(bound, 0)) for bound in bounds]
                    inner[0] -= below
                    above = int(self.known[group][index]) - below - sum(inner)
                    column.append((group, int(row[0]), [below, *inner, above]))
                else:
                    column.append((group, int(row[0]), []))
            result.append(column)
        return result

    def new(self, values: Sequence[Any]) -> dict[str, list[int | None]]:
        """By split: how many values are none of these, by column; None where the column has no list."""
        parts = []
        for index, listed in enumerate(values):
            if listed is False:
                parts.append("NULL")
                continue
            items = ", ".join(f"{value!r}::DOUBLE" for value in listed)
            parts.append(
                f"count(*) FILTER (x{index} IS NOT NULL AND NOT list_contains([{items}]::DOUBLE[], x{index}))"
            )
        found = self._by_split(", ".join(parts))
        return {
            group: [None if value is None else int(value) for value in row[1:]]
            for group, row in found.items()
        }


def total_counts(splits: Mapping[str, Any], split: str | None) -> Iterator[Mapping[str, Any]]:
    """The entries of one split, or of all when None."""
    return (entry for name, entry in splits.items() if split is None or name == split)
