# SPDX-License-Identifier: Apache-2.0
"""
What the columns of a datamart look like: from its footers at no cost, and from a sample of rows.

The sample is the beginning of a few row groups, spread evenly over the files, so that its cost does not grow
with the datamart. It is no random sample: figures from it are shown as those of so many rows, and no verdict
rests on them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.quality.column_types import Family
from airflow_provider_mlbridge.quality.instants import Instant
from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

SAMPLE_ROWS = 50_000
"""The most rows of a sample."""
SAMPLED_COLUMNS = 200
"""Columns that are sampled at most; of all others there is what the footers say."""
BINS = 20
TOP = 10

_GROUPS = 8
_COLUMN_BYTES = 32_000_000
_TEXTS_AT_ONCE = 256
_TEXT = 60
_NUMBERS: tuple[Family, ...] = ("int", "float", "decimal")
_INSTANTS: tuple[Family, ...] = ("date", "timestamp", "timestamptz")
_SAMPLED: tuple[Family, ...] = (*_NUMBERS, *_INSTANTS, "bool", "string")
_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}
_DAY = 86_400_000_000_000


@dataclass(frozen=True)
class Histogram:
    """
    Counts of values in bins of the same width.

    :param low: lower end of the first bin: a number, or a date or timestamp in ISO 8601.
    :param high: upper end of the last bin.
    :param counts: number of values in each bin.
    """

    low: Any
    high: Any
    counts: tuple[int, ...]


@dataclass(frozen=True)
class SampleProfile:
    """
    What a sample says about one column.

    :param rows: rows of the sample.
    :param nulls: rows among them without a value; NaN is none.
    :param distinct: different values among them.
    :param mean: mean of finite numbers.
    :param stdev: their standard deviation, as of a sample.
    :param histogram: of finite numbers, dates and timestamps.
    :param top: the most frequent values of text and booleans, and how often each occurs; only those that
        occur twice. Values that may not be shown are ``value 1`` and so on.
    """

    rows: int
    nulls: int
    distinct: int
    mean: float | None = None
    stdev: float | None = None
    histogram: Histogram | None = None
    top: tuple[tuple[Any, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON, without what is not known."""
        document: dict[str, Any] = {"rows": self.rows, "nulls": self.nulls, "distinct": self.distinct}
        if self.mean is not None:
            document["mean"] = json_value(self.mean)
        if self.stdev is not None:
            document["stdev"] = json_value(self.stdev)
        if self.histogram is not None:
            document["histogram"] = {
                "low": json_value(self.histogram.low),
                "high": json_value(self.histogram.high),
                "counts": list(self.histogram.counts),
            }
        if self.top:
            document["top"] = [{"value": json_value(value), "count": count} for value, count in self.top]
        return document


@dataclass(frozen=True)
class ColumnProfile:
    """
    What is known about one column.

    :param name: its name.
    :param type_name: its type.
    :param family: the family of that type.
    :param null_count: nulls in all rows, when every footer says; NaN is not counted.
    :param null_ratio: their share, 0 to 1.
    :param bytes: bytes of its values, without compression, roughly.
    :param minimum: the least value in all rows, when every footer says and it may be shown.
    :param maximum: the greatest one.
    :param sample: what the sample says; None where none was taken, or where it may not be shown.
    """

    name: str
    type_name: str
    family: Family
    null_count: int | None
    null_ratio: float | None
    bytes: int
    minimum: Any = None
    maximum: Any = None
    sample: SampleProfile | None = None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON, without what is not known."""
        document = {
            "name": self.name,
            "type": self.type_name,
            "null_count": self.null_count,
            "null_ratio": self.null_ratio,
            "bytes": self.bytes,
            "min": json_value(self.minimum),
            "max": json_value(self.maximum),
            "sample": self.sample.to_dict() if self.sample else None,
        }
        return {key: value for key, value in document.items() if value is not None}


def profile(
    table: Table,
    policy: MaskingPolicy | None = None,
    *,
    paths: Sequence[Path] | None = None,
    columns: Sequence[str] | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> tuple[ColumnProfile, ...]:
    """
    Describe the columns of a datamart.

    A column that cannot be sampled is described by the footers alone: a profile never fails a check.

    :param policy: what may be shown of values; by default those of no text.
    :param paths: the snapshot's files, local, in its order; without them no sample is taken.
    :param columns: names of the columns to describe; all when None.
    :param sample_rows: the most rows of the sample.
    """
    policy = policy or MaskingPolicy()
    wanted = [column for column in table.columns if columns is None or column.name in columns]
    sampled = [
        column for column in wanted if column.family in _SAMPLED and not policy.is_dropped(column.name)
    ][:SAMPLED_COLUMNS]
    samples: dict[str, SampleProfile] = {}
    if paths and table.rows and sampled:
        samples = _samples(table, sampled, paths, policy, sample_rows)
    return tuple(_describe(column, table, policy, samples.get(column.name)) for column in wanted)


def _describe(
    column: Column, table: Table, policy: MaskingPolicy, sample: SampleProfile | None
) -> ColumnProfile:
    nulls = column.null_count
    low, high = _bounds(column, policy)
    return ColumnProfile(
        name=column.name,
        type_name=column.type_name,
        family=column.family,
        null_count=nulls,
        null_ratio=nulls / table.rows if nulls is not None and table.rows else None,
        bytes=column.size,
        minimum=low,
        maximum=high,
        sample=sample,
    )


def _bounds(column: Column, policy: MaskingPolicy) -> tuple[Any, Any]:
    """Least and greatest value where the footers state them and they may be shown."""
    if column.bounds is None or policy.is_dropped(column.name):
        return None, None
    low, high = (str(value) if isinstance(value, Instant) else value for value in column.bounds)
    return low, high


def _cut(value: Any) -> Any:
    return f"{value[: _TEXT - 1]}…" if isinstance(value, str) and len(value) > _TEXT else value


def _samples(
    table: Table, columns: Sequence[Column], paths: Sequence[Path], policy: MaskingPolicy, rows: int
) -> dict[str, SampleProfile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples: dict[str, SampleProfile] = {}
    files: dict[int, pq.ParquetFile] = {}
    try:
        for index in _spread(len(paths)):
            # Columns are read in small parts: a row group may be larger than the memory.
            files[index] = pq.ParquetFile(paths[index], buffer_size=1 << 20)
        groups = [(index, group) for index, file in files.items() for group in range(file.num_row_groups)]
        chosen = [groups[position] for position in _spread(len(groups))]
        for column in columns:
            try:
                values = _read(column, files, chosen, rows)
                samples[column.name] = _sample(column, values, policy)
            except (pa.ArrowException, OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
                log.debug("No sample of column %d: %s", column.position, type(error).__name__)
    except (pa.ArrowException, OSError) as error:
        log.warning("No sample for the profile of %s: %s", table.snapshot.uri, type(error).__name__)
    finally:
        for file in files.values():
            file.close()
    return samples


def _spread(count: int) -> list[int]:
    """Up to :data:`_GROUPS` positions of ``count``, evenly, with the first and the last."""
    if count <= _GROUPS:
        return list(range(count))
    return [round(step * (count - 1) / (_GROUPS - 1)) for step in range(_GROUPS)]


def _read(
    column: Column,
    files: dict[int, pq.ParquetFile],
    groups: Sequence[tuple[int, int]],
    rows: int,
) -> pa.ChunkedArray:
    import pyarrow as pa

    per_group = max(1, rows // max(1, len(groups)))
    parts: list[pa.Array] = []
    for index, group in groups:
        if column.partition is not None:
            taken = min(per_group, files[index].metadata.row_group(group).num_rows)
            parts.append(pa.array([column.partition.values[index]] * taken))
        else:
            parts += _read_group(column, files[index], group, per_group, _COLUMN_BYTES // len(groups))
    # Files may have been written with different widths of the same type.
    tables = [pa.table({"values": part}) for part in parts]
    return pa.concat_tables(tables, promote_options="permissive").column("values")


def _read_group(column: Column, file: pq.ParquetFile, group: int, rows: int, limit: int) -> list[pa.Array]:
    """The first rows of a row group, until there are enough, or until they take too much memory."""
    import pyarrow as pa

    # How long texts are is known only when they are there: a dictionary in the file may stand for many.
    size = min(rows, _TEXTS_AT_ONCE) if column.family == "string" else rows
    parts: list[pa.Array] = []
    read = taken = 0
    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=[column.name]):
        position = batch.schema.get_field_index(column.name)
        # A file from before the column was added has only nulls.
        part = batch.column(position) if position >= 0 else pa.nulls(batch.num_rows)
        part = part.dictionary_decode() if pa.types.is_dictionary(part.type) else part
        part = part.slice(0, rows - read)
        parts.append(part)
        read, taken = read + len(part), taken + part.nbytes
        if read >= rows or taken >= limit:
            break
    return parts


def _sample(column: Column, values: pa.ChunkedArray, policy: MaskingPolicy) -> SampleProfile:
    import pyarrow as pa
    import pyarrow.compute as pc

    present = values.drop_null()
    if column.family in ("float", "decimal"):
        present = present.cast(pa.float64(), safe=False)
        present = present.filter(pc.invert(pc.is_nan(present)))
    rows, nulls = len(values), len(values) - len(present)
    if column.family in ("bool", "string"):
        counts = pc.value_counts(present)
        order = pc.sort_indices(counts.field("counts"), sort_keys=[("", "descending")])
        top = [counts[int(position.as_py())] for position in order[:TOP]]
        named = tuple(
            (_shown(column, item["values"].as_py(), number, policy), item["counts"].as_py())
            for number, item in enumerate(top, 1)
            if item["counts"].as_py() > 1
        )
        return SampleProfile(rows, nulls, len(counts), top=named)
    distinct = pc.count_distinct(present).as_py()
    if column.family in _INSTANTS:
        return SampleProfile(rows, nulls, distinct, histogram=_instants(column, present))
    finite = present.filter(pc.is_finite(present))
    if not len(finite):
        return SampleProfile(rows, nulls, distinct)
    mean, stdev = pc.mean(finite).as_py(), pc.stddev(finite, ddof=1).as_py()
    return SampleProfile(
        rows, nulls, distinct, _finite(mean), _finite(stdev), _histogram(finite, whole=column.family == "int")
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(column: Column, value: Any, number: int, policy: MaskingPolicy) -> Any:
    if policy.needs_value(column.name):
        return _cut(policy.shown(column.name, column.type_name, value))
    return f"value {number}"


def _instants(column: Column, present: pa.ChunkedArray) -> Histogram | None:
    import pyarrow as pa

    if pa.types.is_date32(present.type):
        numbers, unit = present.cast(pa.int32()).cast(pa.int64()), _DAY
    else:
        numbers, unit = present.cast(pa.int64()), _UNITS[present.type.unit]
    found = _histogram(numbers, whole=True) if len(numbers) else None
    if found is None:
        return None

    def text(value: float) -> str:
        kind: Any = column.family
        return str(Instant(int(value) * unit, kind))

    return Histogram(text(found.low), text(found.high), found.counts)


def _histogram(values: pa.ChunkedArray, *, whole: bool) -> Histogram | None:
    """Counts of finite numbers, of which there is at least one; None when they are too far apart."""
    import numpy as np
    import pyarrow.compute as pc

    extremes = pc.min_max(values).as_py()
    low, high = extremes["min"], extremes["max"]
    if not math.isfinite(float(high) - float(low)):
        return None
    # Whole numbers of a small range get a bin each, which reaches to the next number.
    width = high - low + 1 if whole and high - low < BINS else high - low
    if not width:
        return Histogram(low, high, (len(values),))
    numbers = values.to_numpy()
    # Far from 0 a double does not tell neighbours apart; their distances it does.
    exact = whole and width < 1 << 53
    distances = (numbers - low).astype(np.float64) if exact else numbers.astype(np.float64) - float(low)
    bins = int(min(width, BINS)) if whole else BINS
    counts, _ = np.histogram(distances, bins=bins, range=(0.0, float(width)))
    return Histogram(low, high, tuple(int(count) for count in counts))
