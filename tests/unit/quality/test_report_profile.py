# SPDX-License-Identifier: Apache-2.0
"""What the profile says of columns, what it keeps to itself, and that its cost is bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.quality.masking import MaskingPolicy
from airflow_provider_mlbridge.quality.profile import ColumnProfile, SampleProfile, profile
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.storage import pin_snapshot

Writer = Callable[..., Path]


def of(path: Path, policy: MaskingPolicy | None = None, **options: Any) -> dict[str, ColumnProfile]:
    snapshot = pin_snapshot(str(path))
    files = [Path(snapshot.root + file.path) for file in snapshot.files]
    return {item.name: item for item in profile(read_table(snapshot), policy, paths=files, **options)}


def sample(profiles: dict[str, ColumnProfile], name: str) -> SampleProfile:
    found = profiles[name].sample
    assert found is not None
    return found


def test_every_kind_of_column_is_described(write_parquet: Writer) -> None:
    path = write_parquet(
        "t.parquet",
        {
            "n": [3, 1, None, 1],
            "f": [0.5, math.nan, math.inf, 1.5],
            "d": [Decimal("1.10"), Decimal("2.20"), None, None],
            "day": [date(2024, 1, 1), date(2024, 1, 3), None, date(2024, 1, 1)],
            "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 4, pa.timestamp("ns", "UTC")),
            "s": ["x", "y", "x", None],
            "b": [True, True, False, None],
            "k": pa.array(["u", "u", "v", "u"]).dictionary_encode(),
            "list": [[1], [2], None, []],
            "none": pa.nulls(4),
            "h": pa.array([1.0, 2.0, 3.0, 4.0], pa.float16()),
            "u": pa.array([2**64 - 1, 0, 5, 5], pa.uint64()),
        },
    )
    found = of(path)
    assert (found["n"].null_count, found["n"].null_ratio) == (1, 0.25)
    assert (found["n"].minimum, found["n"].maximum) == (1, 3)
    assert (found["day"].minimum, found["day"].maximum) == ("2024-01-01", "2024-01-03")
    assert found["s"].minimum is None
    n = sample(found, "n")
    assert (n.rows, n.nulls, n.distinct) == (4, 1, 2)
    assert n.mean == pytest.approx(5 / 3)
    assert n.histogram is not None
    assert (n.histogram.low, n.histogram.high, n.histogram.counts) == (1, 3, (2, 0, 1))
    f = sample(found, "f")
    assert (f.nulls, f.distinct, f.mean) == (1, 3, 1.0)
    assert f.histogram is not None
    assert (f.histogram.low, f.histogram.high, sum(f.histogram.counts)) == (0.5, 1.5, 2)
    assert sample(found, "d").mean == pytest.approx(1.65)
    day = sample(found, "day").histogram
    assert day is not None
    assert (day.low, day.high, day.counts) == ("2024-01-01", "2024-01-03", (2, 0, 1))
    at = sample(found, "at").histogram
    assert at is not None
    assert (at.low, at.counts) == ("2024-01-01T00:00:00+00:00", (4,))
    assert sample(found, "s").top == (("value 1", 2),)
    assert sample(found, "b").top == (("value 1", 2),)
    assert sample(found, "k").top == (("value 1", 3),)
    assert found["list"].sample is None
    assert sample(found, "h").mean == 2.5
    assert sample(found, "u").distinct == 3
    for item in found.values():
        json.dumps(item.to_dict(), allow_nan=False)


def test_values_of_text_are_shown_only_where_they_may_be(write_parquet: Writer) -> None:
    columns = {name: ["ann@x.org"] * 3 + ["bob@x.org"] * 2 for name in ("plain", "hash", "mask")}
    path = write_parquet("t.parquet", {**columns, "drop": [7, 7, 7, 8, 9]})
    policy = MaskingPolicy.parse({"plain": "plain", "hash": "hash", "drop": "drop"})
    found = of(path, policy)
    assert sample(found, "plain").top == (("ann@x.org", 3), ("bob@x.org", 2))
    assert sample(found, "hash").top[0][0].startswith("hash:")
    assert sample(found, "mask").top == (("value 1", 3), ("value 2", 2))
    assert found["drop"].sample is None
    assert (found["drop"].minimum, found["drop"].maximum) == (None, None)
    assert of(path)["drop"].maximum == 9
    for name in ("hash", "mask", "drop"):
        text = json.dumps(found[name].to_dict())
        assert "@" not in text
        assert '"max"' not in text


def test_the_sample_is_bounded_and_spread(tmp_path: Path, mocker: MockerFixture) -> None:
    for number in range(20):
        # In the file the text stands once, in its dictionary.
        table = pa.table({"n": pa.array([number] * 1000), "s": pa.array(["x" * 20_000] * 1000)})
        pq.write_table(table, tmp_path / f"{number:02}.parquet", row_group_size=500)
    opened = mocker.spy(pq, "ParquetFile")
    found = of(tmp_path, sample_rows=80)
    assert opened.call_count == 8
    n = sample(found, "n")
    assert n.rows == 80
    assert n.histogram is not None
    assert (n.histogram.low, n.histogram.high) == (0, 19)
    wide = sample(of(tmp_path, sample_rows=10**9), "s")
    assert wide.rows == 8 * 256


def test_partitions_and_widths_that_differ_are_sampled(tmp_path: Path) -> None:
    for day, type_ in (("2024-01-01", pa.int64()), ("2024-01-02", pa.int64())):
        (tmp_path / f"day={day}").mkdir()
        pq.write_table(pa.table({"n": pa.array([1, 2], type_)}), tmp_path / f"day={day}" / "p.parquet")
    found = of(tmp_path)
    histogram = sample(found, "day").histogram
    assert histogram is not None
    assert (histogram.low, histogram.counts) == ("2024-01-01", (2, 2))
    assert sample(found, "n").rows == 4


def test_a_column_that_was_added_or_widened_is_sampled(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32())}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": pa.array([3, 2**40], pa.int64()), "b": ["x", "x"]}), tmp_path / "2.parquet")
    table = read_table(pin_snapshot(str(tmp_path / "2.parquet")))
    found = {
        item.name: item for item in profile(table, paths=[tmp_path / "1.parquet", tmp_path / "2.parquet"])
    }
    assert (sample(found, "a").rows, sample(found, "a").distinct) == (4, 4)
    assert (sample(found, "b").nulls, sample(found, "b").top) == (2, (("value 1", 2),))


def test_names_with_dots_are_told_apart(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": [1, 2], "a.b": [30, 40], '"; DROP\n<é>': [5, 5]})
    found = of(path)
    assert [sample(found, name).mean for name in found] == [1.5, 35.0, 5.0]


def test_a_column_that_cannot_be_read_costs_its_sample_only(write_parquet: Writer) -> None:
    columns = {"x": list(range(100_000)), "y": [1] * 100_000}
    path = write_parquet("t.parquet", columns, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(raw)
    found = of(path)
    assert found["x"].sample is None
    assert sample(found, "y").mean == 1


def test_without_rows_or_files_there_is_no_sample(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})
    assert [item.sample for item in of(path).values()] == [None, None]
    full = write_parquet("u.parquet", {"a": [1]})
    (only,) = profile(read_table(pin_snapshot(str(full))))
    assert only.sample is None
    assert only.null_count == 0


def test_columns_without_a_value_and_extreme_numbers(write_parquet: Writer) -> None:
    path = write_parquet(
        "t.parquet",
        {
            "e": pa.array([None, None], pa.float64()),
            "s": pa.array([None, None], pa.string()),
            "far": [-1.7e308, 1.7e308],
            "same": [2.5, 2.5],
            "at": pa.array([None, None], pa.timestamp("us")),
        },
    )
    found = of(path)
    assert sample(found, "e").histogram is sample(found, "far").histogram is None
    assert sample(found, "s").distinct == 0
    same = sample(found, "same").histogram
    assert same is not None
    assert same.counts == (2,)
    assert sample(found, "at").histogram is None
