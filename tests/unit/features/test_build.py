# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    FeatureError,
    FeatureValueError,
    InvalidRecipeError,
    MLBridgeError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    HashSplit,
    Impute,
    OneHot,
    Ordinal,
    Passthrough,
    Recipe,
    Standard,
    build_feature_set,
)
from airflow_provider_mlbridge.features import session as session_module
from airflow_provider_mlbridge.results import XCOM_LIMIT_BYTES
from airflow_provider_mlbridge.storage import pin_snapshot, read_manifest

from .tables import flights, read, write

RECIPE = Recipe(
    "flights",
    [Impute(["dep_delay", "seats"]), Standard(["dep_delay", "temp"]), OneHot("carrier", missing="category")],
    keys=["flight_id"],
    label="late",
    split=HashSplit(train=0.8),
)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write(flights(), tmp_path / "datamart" / "part.parquet")


def test_a_version_has_everything_that_a_reader_needs(source: str, tmp_path: Path) -> None:
    built = build_feature_set(source, RECIPE, f"{tmp_path}/features", latest_parquet=True)
    manifest = read_manifest(f"{tmp_path}/features")
    version = Path(built.uri)
    assert sorted(path.name for path in version.iterdir()) == [
        "features.parquet",
        "lint.json",
        "manifest.json",
        "recipe.json",
        "recipe.yaml",
        "state.json",
        "statistics.html",
        "statistics.json",
    ]
    table = pq.read_table(version / "features.parquet")
    fitted = FittedRecipe.from_json((version / "state.json").read_text())
    assert table.column_names == ["flight_id", "late", "split", *fitted.feature_names]
    assert Recipe.load(str(version / "recipe.yaml")) == RECIPE
    assert Recipe.from_dict(json.loads((version / "recipe.json").read_text())) == RECIPE
    statistics = json.loads((version / "statistics.json").read_text())
    assert list(statistics["features"]) == list(fitted.feature_names)
    details = manifest.details
    assert details["features"] == list(fitted.feature_names)
    assert [name for name, _ in details["schema"]] == table.column_names
    assert details["rows"] == built.rows == table.num_rows == sum(details["split_rows"].values())
    assert details["train_rows"] == built.train_rows == details["split_rows"]["train"]
    assert (details["keys"], details["label"], details["split_column"]) == (["flight_id"], "late", "split")
    assert details["recipe_hash"] == built.recipe_hash == RECIPE.hash
    assert built.latest_uri is not None
    assert Path(built.latest_uri).read_bytes() == (version / "features.parquet").read_bytes()
    assert len(built.to_json()) < XCOM_LIMIT_BYTES
    row = flights().to_pylist()[0]
    served = fitted.transform_row(row)
    stored = next(
        item for item in read(version / "features.parquet") if item["flight_id"] == row["flight_id"]
    )
    assert served == {name: pytest.approx(stored[name], rel=1e-12) for name in fitted.feature_names}


def test_the_same_again_is_the_same_version(source: str, tmp_path: Path) -> None:
    first = build_feature_set(source, RECIPE, f"{tmp_path}/features")
    again = build_feature_set(pin_snapshot(source).to_dict(), RECIPE.to_dict(), f"{tmp_path}/features")
    assert again.uri == first.uri
    assert {**again.to_dict(), "duration_seconds": 0} == {**first.to_dict(), "duration_seconds": 0}
    other = build_feature_set(source, Recipe("flights", [Passthrough("temp")]), f"{tmp_path}/features")
    assert (other.fingerprint != first.fingerprint, other.label) == (True, None)
    elsewhere = build_feature_set(source, RECIPE, f"{tmp_path}/elsewhere", threads=1)
    assert elsewhere.fingerprint == first.fingerprint
    for name in ("features.parquet", "state.json", "statistics.json", "recipe.json", "recipe.yaml"):
        assert Path(elsewhere.uri, name).read_bytes() == Path(first.uri, name).read_bytes()


@pytest.mark.parametrize(
    ("recipe", "error"),
    [
        ({"name": "r", "steps": [{"type": "scale", "columns": "temp"}]}, InvalidRecipeError),
        (Recipe("r", [Standard("no_such_column")]), FeatureError),
        (Recipe("r", [OneHot("carrier", missing="error")]), FeatureValueError),
        (Recipe("r", [Ordinal("carrier", order=["UA"])]), FeatureValueError),
    ],
)
def test_an_error_publishes_nothing(source: str, recipe: Any, error: type[Exception], tmp_path: Path) -> None:
    first = build_feature_set(source, RECIPE, f"{tmp_path}/features")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error):
        build_feature_set(source, recipe, f"{tmp_path}/features")
    assert sorted(tmp_path.rglob("*")) == before
    assert read_manifest(f"{tmp_path}/features").version_uri == first.uri


def test_data_replaced_since_it_was_validated(source: str, tmp_path: Path) -> None:
    snapshot = pin_snapshot(source)
    write(flights(seed=8), Path(source))
    with pytest.raises(SnapshotChangedError):
        build_feature_set(snapshot, RECIPE, f"{tmp_path}/features")
    assert not (tmp_path / "features").exists()


def test_data_replaced_while_it_is_read(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = session_module.Session.write

    def replaced(self: Any, expression: Any, path: Path) -> None:
        original(self, expression, path)
        write(flights(seed=8), Path(source))

    monkeypatch.setattr(session_module.Session, "write", replaced)
    with pytest.raises(SnapshotChangedError):
        build_feature_set(source, RECIPE, f"{tmp_path}/features")
    assert not (tmp_path / "features").exists()


def test_scratch_is_left_empty(source: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    build_feature_set(source, RECIPE, f"{tmp_path}/features", scratch_dir=scratch, scratch_limit_bytes=10**9)
    assert list(scratch.iterdir()) == []


def test_what_cannot_be_a_recipe(source: str, tmp_path: Path) -> None:
    with pytest.raises(
        MLBridgeError, match="recipe must be a Recipe, a mapping or the path of a YAML file, got list"
    ):
        build_feature_set(source, [], f"{tmp_path}/features")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("datamart", "output"),
    [
        ("{t}/datamart", "{t}/datamart"),
        ("{t}/datamart/", "file://{t}/datamart"),
        ("file://{t}/datamart", "{t}/datamart/features/"),
        ("{t}/datamart", "{t}/"),
        ("{t}/datamart", "{t}/other/../datamart"),
        ("{t}/datamart", "{t}/link/features"),
        ("{t}/datamart/part.parquet", "{t}/datamart"),
        ("{t}/datamart/part.parquet", "file://{t}"),
        ("{t}/datamart/part.parquet", "{t}/datamart/part.parquet"),
    ],
)
def test_output_that_overlaps_the_datamart(source: str, datamart: str, output: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "datamart")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    datamart, output = datamart.format(t=tmp_path), output.format(t=tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        build_feature_set(datamart, RECIPE, output, latest_parquet=True)
    assert repr(output) in str(caught.value)
    assert repr(datamart) in str(caught.value)
    assert "Give a prefix" in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_output_that_overlaps_a_published_datamart(source: str, tmp_path: Path) -> None:
    published = build_feature_set(source, RECIPE, f"{tmp_path}/published")
    recipe = Recipe("second", [Passthrough("temp")])
    for output in (f"{tmp_path}/published", published.uri, f"{tmp_path}/published/features"):
        with pytest.raises(ConfigurationError, match="overlaps the datamart"):
            build_feature_set(f"{tmp_path}/published", recipe, output)
    # A name that only begins like the datamart's is another place.
    assert build_feature_set(f"{tmp_path}/published", recipe, f"{tmp_path}/published2").rows == 2_000


@pytest.mark.parametrize("value", [0, -3, "7", True, None, 2.0])
@pytest.mark.parametrize("partitioned", [False, True])
def test_how_many_versions_to_keep_is_checked_first(value: Any, partitioned: bool, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keep_versions must be"):
        build_feature_set(
            f"{tmp_path}/none", RECIPE, f"{tmp_path}/out", keep_versions=value, partitioned=partitioned
        )
