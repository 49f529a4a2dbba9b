# SPDX-License-Identifier: Apache-2.0
"""Splits that keep rows apart: a gap in time, whole groups."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    ColumnSplit,
    GroupSplit,
    HashSplit,
    Recipe,
    Standard,
    TimeSplit,
    build_feature_set,
)
from airflow_provider_mlbridge.features.splits import Split

from .tables import flights, read, write

DAY = datetime.timedelta(days=1)
FIRST = datetime.date(2024, 1, 1)


def _days(values: list[float] | None = None) -> pa.Table:
    """One row a day, from the first to the tenth of January; one without a day."""
    days = [FIRST + DAY * number for number in range(10)]
    numbers = values or [float(number) for number in range(10)]
    return pa.table({"t": pa.array([*days, None], pa.date32()), "x": [*numbers, 99.0]})


def _recipe(split: Any) -> Recipe:
    return Recipe("r", [Standard("x")], event_time="t", split=split)


def _split(split: Any, tmp_path: Path, table: pa.Table | None = None) -> tuple[str, str]:
    """The first letter of each row's split, and the state."""
    source = write(_days() if table is None else table, tmp_path / "in.parquet")
    fitted = _recipe(split).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    return "".join(row["split"][:2] + " " for row in read(tmp_path / "out.parquet")), fitted.to_json()


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"cutoff": "2024-01-07", "gap": "2d"}, "tr tr tr tr ga ga te te te te te "),
        ({"cutoff": "2024-01-07", "gap": "36h"}, "tr tr tr tr tr ga te te te te te "),
        ({"train": 0.55, "gap": "2d"}, "tr tr tr tr ga ga te te te te te "),
        (
            {"cutoff": "2024-01-05", "validation_cutoff": "2024-01-09", "gap": "P1D"},
            "tr tr tr ga va va va ga te te te ",
        ),
        ({"train": 0.4, "validation": 0.35, "gap": "1d"}, "tr tr tr ga va va va ga te te te "),
        # A validation period that is shorter than the gap is none.
        (
            {"cutoff": "2024-01-05", "validation_cutoff": "2024-01-06", "gap": "1d"},
            "tr tr tr ga ga te te te te te te ",
        ),
    ],
)
def test_a_gap_in_time(split: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert _split({"by": "time", **split}, tmp_path)[0] == expected


def test_a_share_is_of_all_rows(tmp_path: Path) -> None:
    """So that a test row may lose its time, or get one, without changing what is learned from."""
    whole = pa.table(
        {"t": [FIRST + DAY * number for number in range(10)], "x": [float(n) for n in range(10)]}
    )
    expected = _split({"by": "time", "train": 0.6, "validation": 0.2}, tmp_path, whole)
    assert json.loads(expected[1])["train_rows"] == 6
    for lost in ([9], [8, 9], [6, 7, 8, 9]):
        times = [None if row in lost else time for row, time in enumerate(whole["t"].to_pylist())]
        table = whole.set_column(0, "t", pa.array(times, pa.date32()))
        found = json.loads(_split({"by": "time", "train": 0.6, "validation": 0.2}, tmp_path, table)[1])
        assert found["train_rows"] == 6
        assert found["split"]["train_until"] == "2024-01-06T00:00:00"
    assert _split({"by": "time", "train": 0.9}, tmp_path, table)[0].startswith("tr " * 6 + "te ")


@pytest.mark.parametrize(
    "split",
    [
        HashSplit(keys=["y"]),
        GroupSplit(keys=["t", "y"]),
        TimeSplit("y", train=0.5),
        ColumnSplit("y", train=[0]),
    ],
)
def test_the_label_splits_nothing(split: Split) -> None:
    """Folds by it would turn what target encoding learns inside out."""
    with pytest.raises(InvalidRecipeError, match=f"split by {split.BY}: 'y' is the label"):
        Recipe("r", [Standard("x")], event_time="t", label="y", split=split)


@pytest.mark.parametrize("split", [{"cutoff": "2024-01-07"}, {"train": 0.55}])
def test_nothing_is_learned_from_the_gap_or_after_it(split: dict[str, Any], tmp_path: Path) -> None:
    split = {"by": "time", "gap": "2d", **split}
    state = _split(split, tmp_path)[1]
    changed = _days([0.0, 1.0, 2.0, 3.0, *[1e6] * 6])
    assert _split(split, tmp_path, changed)[1] == state
    learned = _days([0.0, 1.0, 2.0, 4.0, *[1e6] * 6])
    assert _split(split, tmp_path, learned)[1] != state


def test_rows_of_the_gap_are_published_and_counted(tmp_path: Path) -> None:
    source = write(_days(), tmp_path / "in" / "in.parquet")
    split = TimeSplit(cutoff="2024-01-07", gap="2d")
    recipe = Recipe("r", [Standard("x")], event_time="t", split=split)
    built = build_feature_set(source, recipe, f"{tmp_path}/out")
    folder = Path(built.uri.removeprefix("file://"))
    counts = {"gap": 2, "test": 5, "train": 4}
    assert json.loads((folder / "statistics.json").read_text())["split_rows"] == counts
    assert json.loads((folder / "manifest.json").read_text())["details"]["split_rows"] == counts
    assert (built.rows, built.train_rows) == (11, 4)


def test_a_gap_that_takes_all(tmp_path: Path) -> None:
    for gap in ("60d", "3000000d"):
        with pytest.raises(FitError, match=r"none of its 11 rows is in the training split.*gap"):
            _split({"by": "time", "cutoff": "2024-01-07", "gap": gap}, tmp_path)


def test_groups_stay_together(tmp_path: Path) -> None:
    table = flights()
    source = write(table, tmp_path / "in.parquet")
    split = GroupSplit(keys=["distance"], train=0.5, validation=0.2)
    steps = [Standard("temp")]
    fitted = Recipe("r", steps, keys=["flight_id"], split=split).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    groups = dict(zip(table["flight_id"].to_pylist(), table["distance"].to_pylist(), strict=True))
    places: dict[int, set[str]] = {}
    for row in read(tmp_path / "out.parquet"):
        places.setdefault(groups[row["flight_id"]], set()).add(row["split"])
    assert all(len(found) == 1 for found in places.values())
    shares = [sum(name in found for found in places.values()) / len(places) for name in ("train", "test")]
    assert shares == [pytest.approx(0.5, abs=0.05), pytest.approx(0.3, abs=0.05)]


def test_rows_without_group_are_not_learned_from(tmp_path: Path) -> None:
    table = pa.table({"g": ["a", None, "b", None], "h": [1, 1, None, None], "x": [1.0, 2.0, 3.0, 4.0]})
    source = write(table, tmp_path / "in.parquet")
    found = []
    for keys in (["g"], ["g", "h"]):
        split = GroupSplit(keys=keys, train=1.0)
        Recipe("r", [Standard("x")], split=split).fit(source).transform(source, tmp_path / "out.parquet")
        found.append([row["split"] for row in read(tmp_path / "out.parquet")])
    assert found == [["train", "test", "train", "test"], ["train", "test", "test", "test"]]


@pytest.mark.parametrize(
    "split",
    [
        GroupSplit(keys=["customer"], train=0.7, validation=0.1, salt="2"),
        TimeSplit(column="t", train=0.7, gap="PT36H"),
        TimeSplit(column="t", cutoff="2024-01-01", gap=datetime.timedelta(days=7)),
    ],
)
def test_written_and_read(split: Any) -> None:
    recipe = Recipe("r", [Standard("x")], split=split)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))).split == split


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ({"by": "group"}, ["split by group: keys is empty"]),
        ({"by": "group", "keys": ["g"], "train": 0}, ["split by group: train=0"]),
        ({"by": "group", "column": "g"}, ["split by group: unknown column", "keys"]),
        ({"by": "time", "train": 0.5, "gap": "1mo"}, ["split by time: gap='1mo'", "min, s"]),
        ({"by": "time", "train": 0.5, "gap": "0d"}, ["above 0"]),
        ({"by": "fold"}, ["hash, group, time, column"]),
    ],
)
def test_splits_that_are_refused(split: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        _recipe(split)
    for part in parts:
        assert part in str(caught.value)


def test_groups_by_floats_are_refused(tmp_path: Path) -> None:
    source = write(flights(50), tmp_path / "in.parquet")
    with pytest.raises(InvalidRecipeError, match="split by group: column 'temp' is float"):
        Recipe("r", [Standard("humid")], split=GroupSplit(keys=["temp"])).fit(source)
