# SPDX-License-Identifier: Apache-2.0
"""What a datamart's files and folders mean to features."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    FeatureError,
    InvalidParquetError,
    InvalidRecipeError,
    StorageError,
)
from airflow_provider_mlbridge.features import (
    DateParts,
    MinMax,
    OneHot,
    Passthrough,
    Recipe,
    Standard,
    TimeSplit,
)
from airflow_provider_mlbridge.features.session import open_session
from airflow_provider_mlbridge.storage import pin_snapshot

from .tables import read, write


def _transform(recipe: Recipe, source: Any, tmp_path: Path) -> list[dict[str, Any]]:
    fitted = recipe.fit(str(source))
    fitted.transform(str(source), f"{tmp_path}/out.parquet")
    rows = read(tmp_path / "out.parquet")
    return [{name: row[name] for name in fitted.feature_names} for row in rows]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": [1]}, {"a": [1.7]}, "'a' is double, not int64"),
        ({"a": pa.array([1], pa.int32())}, {"a": pa.array([2**40], pa.int64())}, "'a' is int64, not int32"),
        ({"a": [1]}, {"a": ["7"]}, "'a' is string, not int64"),
        ({"a": [1], "b": [2]}, {"a": [1]}, "'b' is missing"),
        ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}, "another order"),
    ],
)
def test_files_that_disagree(first: Any, second: Any, message: str, tmp_path: Path) -> None:
    write(pa.table(first), tmp_path / "data" / "a.parquet")
    write(pa.table(second), tmp_path / "data" / "b.parquet")
    with pytest.raises(InvalidParquetError, match=message):
        Recipe("r", [Passthrough("a")]).fit(tmp_path / "data")


@pytest.mark.parametrize(
    ("folders", "kind", "values"),
    [
        (["01", "02"], "string", ["01", "02"]),
        (["10", "9"], "int", [10, 9]),
        (["true", "false"], "string", ["true", "false"]),
        (["2024-01-01 10:00:00"], "string", ["2024-01-01 10:00:00"]),
        (["2024-01-02"], "date", [datetime.date(2024, 1, 2)]),
        (["NULL", "it's"], "string", ["NULL", "it's"]),
        (["__HIVE_DEFAULT_PARTITION__", "1"], "int", [None, 1]),
        (["a%2Fb"], "string", ["a/b"]),
    ],
)
def test_partitions_are_those_of_every_engine(
    folders: list[str], kind: str, values: list[Any], tmp_path: Path
) -> None:
    root = tmp_path / "p=above" / "env=prod" / "data"
    for index, folder in enumerate(folders):
        write(pa.table({"k": [index]}), root / f"p={folder}" / "f.parquet")
    with open_session(root) as session:
        assert session.kinds == {"k": "int", "p": kind}
    rows = _transform(Recipe("r", [Passthrough(["k", "p"])]), root, tmp_path)
    assert sorted(rows, key=lambda row: row["k"]) == [{"k": k, "p": p} for k, p in enumerate(values)]


def test_the_files_own_column_counts(tmp_path: Path) -> None:
    write(pa.table({"Y": [1], "z": [3]}), tmp_path / "data" / "y=7" / "q=8" / "f.parquet")
    rows = _transform(Recipe("r", [Passthrough(["Y", "q"])]), tmp_path / "data", tmp_path)
    assert rows == [{"Y": 1, "q": 8}]


def test_partition_as_category_and_as_time_of_the_split(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        table = pa.table({"x": [day * 10, day * 10 + 1]})
        write(table, tmp_path / "data" / f"day=2024-01-0{day}" / f"place={'abc'[day - 1]}" / "f.parquet")
    split = TimeSplit("day", cutoff="2024-01-03")
    recipe = Recipe("r", [OneHot("place", unknown="ignore"), MinMax("x")], split=split)
    fitted = recipe.fit(tmp_path / "data")
    assert (fitted.feature_names, fitted.train_rows) == (("place_a", "place_b", "x"), 4)


def test_names_that_the_engine_takes_for_one(tmp_path: Path) -> None:
    source = write(pa.table({"a": [1.0, 3.0], "A": [5.0, 9.0]}), tmp_path / "f.parquet")
    assert _transform(Recipe("r", [Standard("a")]), source, tmp_path) == [{"a": -1.0}, {"a": 1.0}]
    with pytest.raises(InvalidRecipeError, match=r"column 'A' .*cannot tell its name from 'a'"):
        Recipe("r", [Standard("A")]).fit(source)


def test_names_that_the_engine_needs(tmp_path: Path) -> None:
    source = write(pa.table({"File_Index": [7], "x": [1]}), tmp_path / "f.parquet")
    with pytest.raises(InvalidRecipeError, match="File_Index are reserved"):
        Recipe("r", [Standard("x")]).fit(source)


def test_errors_of_the_engine_show_no_values(tmp_path: Path) -> None:
    source = write(pa.table({"s": ["secret"]}), tmp_path / "f.parquet")
    with open_session(source) as session, pytest.raises(FeatureError, match="ConversionException") as caught:
        session._execute("SELECT s::INTEGER FROM datamart").fetchall()
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, StorageError)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_nanoseconds_round_down_as_in_a_row(zone: str | None, tmp_path: Path) -> None:
    moments = [-1, -1_000, -1_001, 1_999, 0, 1_704_067_199_999_999_999, None]
    table = pa.table(
        {
            "k": range(len(moments)),
            "t": pa.array(moments, pa.timestamp("ns", zone)),
            "x": [1.0] * len(moments),
        }
    )
    source = write(table, tmp_path / "f.parquet")
    parts = ["year", "hour", "second"]
    recipe = Recipe(
        "r",
        [Passthrough("t", output="t_raw"), DateParts("t", parts=parts)],
        keys=["k"],
        event_time="t",
        split=TimeSplit(train=0.9),
    )
    fitted = recipe.fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    batch = read(tmp_path / "out.parquet")
    row_values = [*table["t"].to_pandas().astype(object)]
    assert [str(row["t_raw"]) for row in batch][:4] == [
        "1969-12-31 23:59:59.999999",
        "1969-12-31 23:59:59.999999",
        "1969-12-31 23:59:59.999998",
        "1970-01-01 00:00:00.000001",
    ]
    for value, stored in zip(row_values, batch, strict=True):
        served = fitted.transform_row({"t": value})
        assert served == {name: stored[name] for name in fitted.feature_names}


def test_a_path_is_no_pattern_for_other_files(tmp_path: Path) -> None:
    for folder, values in (("b*", [1, 2]), ("bc", [100])):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"x": values}), tmp_path / folder / "x.parquet")
    with open_session(f"{tmp_path}/b*/x.parquet") as session:
        assert session.connection.execute("SELECT list(x) FROM datamart").fetchall() == [([1, 2],)]


def test_files_of_an_evolving_schema_are_one_table(tmp_path: Path) -> None:
    for name, table in (
        ("a", pa.table({"id": pa.array([1, 2], pa.int32())})),
        ("b", pa.table({"id": pa.array([3], pa.int64()), "x": [1.5]})),
    ):
        (tmp_path / "mart").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "mart" / f"{name}.parquet")
    snapshot = pin_snapshot(f"{tmp_path}/mart/", schema_evolution="union")
    with open_session(snapshot.to_dict()) as session:
        assert session.snapshot == snapshot
        assert session.kinds == {"id": "int", "x": "float"}
        rows = session.connection.execute("SELECT id, x FROM datamart ORDER BY id").fetchall()
    assert rows == [(1, None), (2, None), (3, 1.5)]
    with pytest.raises(InvalidParquetError, match="schema_evolution="), open_session(f"{tmp_path}/mart/"):
        pass
