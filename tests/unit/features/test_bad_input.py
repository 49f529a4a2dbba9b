# SPDX-License-Identifier: Apache-2.0
"""Data and states that features cannot be made of, or hardly: an error or a documented value each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    FitError,
    InvalidRecipeError,
    MLBridgeError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    HashSplit,
    Impute,
    MinMax,
    OneHot,
    Passthrough,
    Recipe,
    Standard,
    TimeSplit,
    build_feature_set,
)
from airflow_provider_mlbridge.features import fitted as fitted_module
from airflow_provider_mlbridge.features import session as session_module
from airflow_provider_mlbridge.storage import pin_snapshot, read_manifest

from .tables import flights, read, write

RECIPE = Recipe(
    "r",
    [Impute(["dep_delay"]), Standard(["dep_delay"]), OneHot("carrier", unknown="other")],
    keys=["flight_id"],
    label="late",
    split=HashSplit(train=0.8),
)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("table", "recipe", "message"),
    [
        (flights().slice(0, 0), RECIPE, "none of its 0 rows is in the training split"),
        (flights().slice(0, 0), Recipe("r", [Passthrough("temp")]), "none of its 0 rows"),
        (
            flights(50),
            Recipe("r", [Standard("temp")], split=TimeSplit("scheduled", cutoff="1999-01-01")),
            "none of its 50 rows is in the training split.*'cutoff': '1999-01-01",
        ),
        (
            _with(flights(50), "temp", pa.nulls(50, pa.float64())),
            Recipe("r", [Standard("temp")]),
            r"step 1 \(standard\), column 'temp': all 50 values.*are missing",
        ),
    ],
    ids=["no rows", "no rows, nothing to learn", "none to train on", "all missing"],
)
@pytest.mark.parametrize("published_before", [False, True])
def test_nothing_to_learn_from(
    table: pa.Table, recipe: Recipe, message: str, published_before: bool, tmp_path: Path
) -> None:
    source, output = tmp_path / "mart" / "part.parquet", tmp_path / "out"
    before = None
    if published_before:
        before = build_feature_set(write(flights(100), source), RECIPE, str(output)).uri
    there = sorted(output.rglob("*"))
    with pytest.raises(FitError, match=message):
        build_feature_set(write(table, source), recipe, str(output))
    assert sorted(output.rglob("*")) == there
    assert before is None or read_manifest(str(output)).version_uri == before


def test_one_row_has_no_spread(tmp_path: Path) -> None:
    """The mean is the value, and a deviation or range of 0 is taken for 1."""
    recipe = Recipe("r", [Standard("temp"), MinMax("distance"), OneHot("carrier")], keys=["flight_id"])
    table = flights().slice(3, 1)
    built = build_feature_set(write(table, tmp_path / "m" / "p.parquet"), recipe, f"{tmp_path}/out")
    (row,) = read(Path(built.uri, "features.parquet"))
    assert (built.rows, built.train_rows) == (1, 1)
    assert row == {
        "flight_id": table["flight_id"][0].as_py(),
        "split": "train",
        "temp": 0.0,
        "distance": 0.0,
        f"carrier_{table['carrier'][0].as_py()}": 1,
    }


def test_a_split_without_test_rows_is_what_was_asked_for(tmp_path: Path) -> None:
    recipe = Recipe("r", [Standard("temp")], split=TimeSplit("scheduled", cutoff="2099-01-01"))
    built = build_feature_set(write(flights(50), tmp_path / "m" / "p.parquet"), recipe, f"{tmp_path}/out")
    assert read_manifest(built.uri).details["split_rows"] == {"train": 50}


def test_a_label_of_one_class_does_not_matter_to_steps_that_do_not_read_it(tmp_path: Path) -> None:
    table = _with(flights(), "late", pa.array([1] * 2_000))
    built = build_feature_set(write(table, tmp_path / "m" / "p.parquet"), RECIPE, f"{tmp_path}/out")
    other = build_feature_set(write(flights(), tmp_path / "n" / "p.parquet"), RECIPE, f"{tmp_path}/other")
    assert {row["late"] for row in read(Path(built.uri, "features.parquet"))} == {1}
    assert Path(built.uri, "state.json").read_bytes() == Path(other.uri, "state.json").read_bytes()


def test_a_partition_without_rows_is_one(tmp_path: Path) -> None:
    recipe = Recipe("r", RECIPE.steps, keys=["flight_id"], label="late", split=HashSplit(), refit="never")
    for number, rows in enumerate((100, 0)):
        write(flights(100).slice(0, rows), tmp_path / "mart" / f"part={number}" / "p.parquet")
    for number in range(2):
        built = build_feature_set(
            str(tmp_path / "mart"), recipe, f"{tmp_path}/out", partitions={"part": number}, partitioned=True
        )
    assert [item["rows"] for item in read_manifest(built.uri).details["partitions"]] == [100, 0]
    # The first of a set must have some.
    with pytest.raises(FitError, match="none of its 0 rows"):
        build_feature_set(
            str(tmp_path / "mart"), recipe, f"{tmp_path}/new", partitions={"part": 1}, partitioned=True
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("partitioned", [False, True])
def test_data_replaced_since_it_was_validated(partitioned: bool, tmp_path: Path) -> None:
    source = tmp_path / "mart" / "day=1" / "p.parquet"
    write(flights(100), source)
    snapshot = pin_snapshot(str(tmp_path / "mart"), partitions={"day": 1})
    write(flights(100, seed=8), source)
    recipe = Recipe("r", RECIPE.steps, keys=["flight_id"], label="late", refit="never")
    with pytest.raises(SnapshotChangedError, match=r"p\.parquet"):
        build_feature_set(snapshot, recipe, f"{tmp_path}/out", partitioned=partitioned)
    assert not (tmp_path / "out").exists()


def test_a_partition_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "mart" / "day=1" / "p.parquet"
    write(flights(100), source)
    original = session_module.Session.write

    def replaced(self: Any, expression: Any, path: Path) -> None:
        original(self, expression, path)
        write(flights(100, seed=8), source)

    monkeypatch.setattr(session_module.Session, "write", replaced)
    recipe = Recipe("r", RECIPE.steps, keys=["flight_id"], label="late", refit="never")
    with pytest.raises(SnapshotChangedError):
        build_feature_set(
            str(tmp_path / "mart"), recipe, f"{tmp_path}/out", partitions={"day": 1}, partitioned=True
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: text.replace('"train_rows": 1', '"train_rows": 2'), "changed after it was written"),
        (lambda text: text.replace('"features_version": 4', '"features_version": 99'), "features_version 99"),
        (lambda _: "[]", "not a feature state"),
    ],
)
def test_a_state_that_is_not_what_was_written(change: Any, message: str, tmp_path: Path) -> None:
    source = write(flights(200), tmp_path / "mart" / "p.parquet")
    text = RECIPE.fit(source).to_json()
    state = tmp_path / "state.json"
    state.write_text(change(text))
    assert state.read_text() != text
    with pytest.raises(InvalidRecipeError, match=message):
        build_feature_set(source, RECIPE, f"{tmp_path}/out", state_uri=str(state))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("scale", 0), ("scale", "1"), ("mean", None)])
def test_a_state_that_its_step_cannot_work_with(name: str, value: object, tmp_path: Path) -> None:
    # The checksum is no signature: whoever edits a state can write a new one.
    source = write(flights(200), tmp_path / "mart" / "p.parquet")
    document = json.loads(Recipe("r", [Standard("distance")]).fit(source).to_json())
    document.pop("checksum")
    assert name in document["operations"][0]["state"]
    document["operations"][0]["state"][name] = value
    document["checksum"] = fitted_module._checksum(document)
    with pytest.raises(InvalidRecipeError, match=r"not well formed \((ZeroDivision|Type)Error"):
        FittedRecipe.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "out",
    ["{t}/mart/part.parquet", "{t}/mart", "{t}/mart/new/features.parquet", "{t}/link", "file://{t}/mart/"],
)
@pytest.mark.parametrize("datamart", ["{t}/mart", "file://{t}/mart"])
def test_a_transform_does_not_write_into_its_datamart(out: str, datamart: str, tmp_path: Path) -> None:
    source = Path(write(flights(100), tmp_path / "mart" / "part.parquet"))
    (tmp_path / "link").symlink_to(tmp_path / "mart")
    before = source.read_bytes()
    fitted = RECIPE.fit(datamart.format(t=tmp_path))
    with pytest.raises(ConfigurationError, match="out=.*overlaps the datamart"):
        fitted.transform(datamart.format(t=tmp_path), out.format(t=tmp_path))
    assert [path.name for path in (tmp_path / "mart").iterdir()] == ["part.parquet"]
    assert source.read_bytes() == before


def test_a_transform_does_not_replace_the_file_that_it_reads(tmp_path: Path) -> None:
    source = Path(write(flights(100), tmp_path / "part.parquet"))
    before = source.read_bytes()
    fitted = RECIPE.fit(source)
    with pytest.raises(MLBridgeError, match="overlaps the datamart"):
        fitted.transform(source, source)
    assert source.read_bytes() == before
    # Beside it there is room.
    assert fitted.transform(source, tmp_path / "features.parquet").rows == 100
    assert FittedRecipe.from_json(fitted.to_json()).transform(source, tmp_path).rows == 100
