# SPDX-License-Identifier: Apache-2.0
"""How often the data is read: as often as the figures need, seen by DuckDB; and never sorted for nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import (
    Clip,
    HashSplit,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Standard,
    TimeSplit,
)
from airflow_provider_mlbridge.features.session import Session, compile_sql

from .tables import flights, read, write

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

ROWS = 4_000


@pytest.fixture
def scanned(mocker: MockerFixture) -> Counter[str]:
    """How often DuckDB's scans read each column, as its own profile of every query says."""
    counted: Counter[str] = Counter()
    execute = Session._execute

    def watched(session: Session, sql: str, parameters: Any = ()) -> Any:
        rows = sql.partition("(")[2].rpartition(") TO '")[0] if sql.startswith("COPY") else sql
        if rows.startswith("SELECT"):
            ((_, profile),) = execute(session, f"EXPLAIN (ANALYZE, FORMAT json) {rows}").fetchall()
            for scan in _scans(json.loads(profile)["operator"]):
                columns = scan["extra_info"].get("Projections", [])
                counted.update([columns] if isinstance(columns, str) else columns)
        return execute(session, sql, parameters)

    mocker.patch.object(Session, "_execute", watched)
    return counted


def _scans(operators: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for operator in operators:
        if operator["type"] == "TABLE_SCAN":
            yield operator
        yield from _scans(operator.get("children", []))


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write(flights(ROWS).sort_by("flight_id"), tmp_path / "in" / "f.parquet")


STEPS = [
    Impute("dep_delay", strategy="median"),
    Clip("dep_delay", lower=-1, upper=60),
    Log1p("dep_delay"),
    Standard("temp"),
    MinMax("distance"),
    QuantileBins("humid", bins=4),
    OneHot("carrier", missing="category"),
    Impute("seats", strategy="mode"),
    Passthrough("night"),
]


def test_each_column_is_read_as_often_as_its_figures_need(source: str, scanned: Counter[str]) -> None:
    Recipe("r", STEPS, keys=["flight_id"], split=TimeSplit("day", cutoff="2013-09-01")).fit(source)
    assert not scanned.pop("late", 0)
    # Besides the split's column, which tells the rows to learn from, all are read once, for their extremes or
    # to count categories, and some once more: for the moments, to pick quantiles.
    del scanned["day"], scanned[""]
    assert scanned == {
        "dep_delay": 2,
        "temp": 2,
        "distance": 1,
        "humid": 2,
        "carrier": 1,
        "seats": 1,
    }


def test_training_rows_found_by_md5_are_found_once(source: str, scanned: Counter[str]) -> None:
    Recipe("r", STEPS, keys=["flight_id"], split=HashSplit(train=0.7)).fit(source)
    names = ("dep_delay", "temp", "distance", "humid", "carrier", "seats")
    assert {name: scanned[name] for name in names} == dict.fromkeys(names, 1)
    # The scan tells the rows to learn from itself, and hands the key to nobody.
    assert scanned["night"] <= 1
    assert scanned["flight_id"] <= 1


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _in_two_files(table: pa.Table, folder: Path) -> str:
    half = table.num_rows // 2 + 333
    write(table.slice(0, half), folder / "a.parquet", row_group_size=7_000)
    write(table.slice(half), folder / "b.parquet", row_group_size=20_000)
    return f"{folder}/"


def test_rows_in_order_are_not_sorted_and_still_the_same_bytes(tmp_path: Path, mocker: MockerFixture) -> None:
    table = flights(300_000).sort_by("flight_id")
    source = _in_two_files(table, tmp_path / "in")
    # 40 categories are looked up without a join, which would lose the order.
    steps = [Standard("temp"), Ordinal("distance", unknown="other"), OneHot("carrier", missing="category")]
    recipe = Recipe("r", steps, keys=["flight_id"], split=HashSplit(train=0.7))
    fitted = recipe.fit(source)
    copies = mocker.spy(Session, "write")
    found = set()
    for threads, memory in ((1, "2GB"), (2, "200MB"), (8, "2GB")):
        out = tmp_path / "out.parquet"
        result = fitted.transform(source, out, threads=threads, memory_limit=memory)
        found.add((_sha256(out), json.dumps(result.statistics)))
        assert "ORDER BY" not in compile_sql(copies.call_args.args[1])
    assert len(found) == 1
    rows = read(tmp_path / "out.parquet")
    assert [row["flight_id"] for row in rows] == list(range(300_000))
    # Sorted by force, the same rows.
    mocker.patch.object(Session, "row_by_row", return_value=False)
    fitted.transform(source, tmp_path / "sorted.parquet")
    assert "ORDER BY" in compile_sql(copies.call_args.args[1])
    assert read(tmp_path / "sorted.parquet") == rows


@pytest.mark.parametrize(
    ("keys", "sorted_already"),
    [
        ({"k": [1, 2, 2, 3]}, True),
        ({"k": [1, 3, 2, 4]}, False),
        ({"k": [2, 1]}, False),
        ({"k": [7]}, True),
        ({"k": [1, 1, 2], "l": ["b", "b", "a"]}, True),
        ({"k": [1, 1, 2], "l": ["b", "a", "c"]}, False),
        ({"k": ["B", "a", "é"]}, True),
        ({"k": ["a", "B"]}, False),
        ({"k": [1, None]}, False),
        ({"k": [None, 1]}, False),
        ({"k": [1.0, 2.0]}, False),
    ],
)
def test_the_output_is_in_the_order_of_the_keys(
    keys: dict[str, list[Any]], sorted_already: bool, tmp_path: Path, mocker: MockerFixture
) -> None:
    rows = len(next(iter(keys.values())))
    source = write(pa.table({**keys, "x": [float(row) for row in range(rows)]}), tmp_path / "in.parquet")
    copies = mocker.spy(Session, "write")
    recipe = Recipe("r", [Passthrough("x")], keys=list(keys))
    recipe.fit(source).transform(source, tmp_path / "out.parquet")
    assert ("ORDER BY" not in compile_sql(copies.call_args.args[1])) is sorted_already
    found = [tuple(row[name] for name in keys) for row in read(tmp_path / "out.parquet")]
    known = list(zip(*keys.values(), strict=True))
    assert found == sorted(known, key=lambda row: [(value is None, value or 0) for value in row])


def test_many_columns_with_many_categories(tmp_path: Path) -> None:
    codes = np.arange(1_000)
    table = pa.table(
        {f"c{index}": [f"v{code * (index + 1) % 499}" for code in codes] for index in range(120)}
    )
    source = write(table, tmp_path / "in.parquet", row_group_size=1_000)
    fitted = Recipe("r", [Ordinal([f"c{index}" for index in range(120)])]).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    rows = _features(tmp_path / "out.parquet")
    assert [fitted.transform_row(row) for row in table.slice(0, 20).to_pylist()] == rows[:20]


def test_categories_of_every_kind_are_looked_up_as_in_a_row(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": [*(f"t{number}" for number in range(20)), "", "it's"],
            "whole": [float(number) for number in range(-10, 10)] + [1e300, None],
            "number": [float(number) / 3 for number in range(20)] + [-0.0, 1e-300],
            "unsigned": pa.array([*range(20), 2**64 - 1, 2**63], pa.uint64()),
        }
    )
    source = write(table, tmp_path / "in.parquet")
    fitted = Recipe("r", [Ordinal(["text", "whole", "number", "unsigned"], unknown="other")]).fit(source)
    other = pa.table(
        {
            "text": ["t3", "T3", "", None, "it's"],
            "whole": [-0.0, 0.5, -3.0, None, 9.0],
            "number": [0.0, -0.0, 1 / 3, 1e-301, None],
            "unsigned": pa.array([2**63, 2**64 - 2, 0, None, 19], pa.uint64()),
        }
    )
    fitted.transform(write(other, tmp_path / "other.parquet"), tmp_path / "out.parquet")
    assert _features(tmp_path / "out.parquet") == [fitted.transform_row(row) for row in other.to_pylist()]


def _features(path: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "split"} for row in read(path)]
