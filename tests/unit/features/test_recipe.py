# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_mlbridge.features as features
from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    Clip,
    ColumnSplit,
    DateParts,
    HashSplit,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Selector,
    Standard,
    TimeSplit,
)

from .tables import flights, write

EVERYTHING = Recipe(
    "flights",
    keys=["flight_id"],
    label="late",
    event_time="scheduled",
    split=HashSplit(train=0.7, validation=0.1, salt="2013"),
    steps=[
        Impute(["dep_delay", "humid"], strategy="median", indicator=True),
        Impute("seats", strategy="constant", value=0),
        Impute(Selector(regex="carr.*", exclude=("no",)), strategy="constant", value="no: 'x'\n\\"),
        Clip("dep_delay", lower=-5, upper_quantile=0.99),
        Log1p("distance", invalid="null", output="{column}_log"),
        Standard(Selector(type="float", exclude=("constant",)), with_mean=False),
        MinMax("temp", low=-1, high=1e-7),
        OneHot("carrier", min_frequency=0.01, max_categories=4, unknown="other", missing="category"),
        Ordinal("seats", order=[0, 50, 150, 180], unknown="other"),
        DateParts("scheduled", parts=["month", "hour"]),
        QuantileBins("distance", bins=4),
        Passthrough("night"),
    ],
)
STEP = {"type": "standard", "columns": ["temp"]}


def test_yaml_is_a_lossless_twin() -> None:
    again = Recipe.from_yaml(EVERYTHING.to_yaml())
    assert again == EVERYTHING
    assert again.hash == EVERYTHING.hash
    assert Recipe.from_dict(json.loads(json.dumps(EVERYTHING.to_dict()))) == EVERYTHING


@pytest.mark.parametrize(
    "split",
    [
        None,
        HashSplit(["carrier", "day"], train=0.5),
        TimeSplit(cutoff="2013-10-01", validation_cutoff="2013-11-01T12:00:00+02:00"),
        TimeSplit(column="day", train=0.8, validation=0.1),
        ColumnSplit("fold", train=[0, 1], validation=[2]),
        ColumnSplit("fold", train=["yes", "on"]),
    ],
)
def test_every_split_survives_yaml(split: Any) -> None:
    recipe = Recipe("r", [Standard("temp")], event_time="scheduled", split=split)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_yaml_from_a_file_and_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: r\nevent_time: t\nsplit: {by: time, cutoff: 2013-10-01}\n"
        "steps:\n- {type: clip, columns: x, upper: 1e3}\n"
    )
    recipe = Recipe.from_yaml(path)
    assert recipe.steps == (Clip("x", upper=1000.0),)
    assert recipe.split == TimeSplit(cutoff=datetime.date(2013, 10, 1))
    assert Recipe.load(str(path)) == Recipe.load(f"file://{path}") == Recipe.load(recipe.to_dict()) == recipe


def test_the_hash_tells_recipes_apart_by_meaning() -> None:
    spelled_out = Recipe.from_dict(_recipe(steps=[{**STEP, "with_mean": True}], split=None))
    assert spelled_out.hash == Recipe("r", [Standard("temp")]).hash
    assert Recipe("r", [Standard("temp", with_mean=False)]).hash != spelled_out.hash
    # Written down, so that a change of the canonical form, which would rebuild everybody's features, is seen.
    assert spelled_out.hash == "723e34fd5b2a873298f5fa6bcc0c30d3d29f2da22d0b1c5e8355a83ab47dd0b7"


def _recipe(**changes: Any) -> dict[str, Any]:
    return {"name": "r", "steps": [STEP], **changes}


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        (
            _recipe(steps=[{"type": "standart", "columns": "x"}]),
            ["step 1", "'standart'", "standard, min_max"],
        ),
        (_recipe(steps=[STEP, {**STEP, "ddof": 1}]), ["step 2", "standard", "ddof", "with_mean"]),
        (_recipe(steps=[{"type": "standard"}]), ["step 1", "'columns' is missing"]),
        (
            _recipe(steps=[{"type": "impute", "columns": "x", "strategy": "average"}]),
            ["average", "mean, median"],
        ),
        (_recipe(steps=[{"type": "impute", "columns": "x", "value": 1}]), ["value=1", "constant"]),
        (_recipe(steps=[{"type": "clip", "columns": "x"}]), ["at least one of lower"]),
        (_recipe(steps=[{"type": "clip", "columns": "x", "lower": 2, "upper": 1}]), ["2.0 is above", "1.0"]),
        (
            _recipe(steps=[{"type": "clip", "columns": "x", "upper": "high"}]),
            ["upper='high'", "finite number"],
        ),
        (_recipe(steps=[{"type": "clip", "columns": "x", "upper": float("inf")}]), ["finite number"]),
        (_recipe(steps=[{"type": "clip", "columns": "x", "upper_quantile": 99}]), ["between 0 and 1"]),
        (_recipe(steps=[{"type": "one_hot", "columns": "x", "unknown": "skip"}]), ["error, other, ignore"]),
        (_recipe(steps=[{"type": "one_hot", "columns": "x", "min_frequency": 5}]), ['unknown="other"']),
        (
            _recipe(steps=[{"type": "ordinal", "columns": "x", "order": ["a", True]}]),
            ["mixture", "quote them"],
        ),
        (_recipe(steps=[{"type": "date_parts", "columns": "x", "parts": ["hours"]}]), ["hours", "hour"]),
        (_recipe(steps=[{"type": "quantile_bins", "columns": "x", "bins": 1}]), ["from 2 to 255"]),
        (_recipe(steps=[{**STEP, "columns": ["a", "a"]}]), ["a more than once"]),
        (_recipe(steps=[{**STEP, "columns": {"regx": "a"}}]), ["regx", "regex, type, role, exclude"]),
        (_recipe(steps=[{**STEP, "columns": {"regex": "("}}]), ["regular expression"]),
        (_recipe(steps=[{**STEP, "columns": {"type": "double"}}]), ["double", "float", "numeric"]),
        (_recipe(steps=[{**STEP, "columns": ["a", "b"], "output": "c"}]), ["{column}"]),
        (_recipe(steps=[]), ["at least one step"]),
        (_recipe(target="y"), ["unknown target", "label"]),
        ({"name": "r"}, ["'steps' is missing"]),
        (_recipe(version=2), ["version 2", "up to 1", "Upgrade"]),
        (_recipe(split={"by": "random"}), ["random", "hash, group, time, column"]),
        (_recipe(split={"by": "hash"}), ["give keys"]),
        (_recipe(split={"by": "hash", "keys": "k", "train": 80}), ["train=80", "between 0 and 1"]),
        (_recipe(split={"by": "hash", "keys": "k", "validation": 0.3}), ["at most 1 together"]),
        (_recipe(split={"by": "time", "train": 0.8}), ["event_time"]),
        (_recipe(split={"by": "time", "column": "t"}), ["either cutoff or train"]),
        (_recipe(split={"by": "time", "column": "t", "cutoff": "autumn"}), ["autumn", "ISO 8601"]),
        (_recipe(label="k", keys=["k"]), ["both label and key"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_valid(document: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.from_dict(document)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: r\nname: s\n", "'name' is there twice (line 2)"),
        ("name: [\n", "no valid YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "no valid YAML"),
    ],
)
def test_broken_yaml(text: str, part: str) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.from_yaml(text)
    assert part in str(caught.value)


def test_a_missing_recipe_file_is_named() -> None:
    with pytest.raises(InvalidRecipeError, match=r"'/nowhere/recipe\.yaml' cannot be read"):
        Recipe.load("/nowhere/recipe.yaml")


@pytest.mark.parametrize(
    ("steps", "error", "parts"),
    [
        (
            [Standard("dep_dely")],
            ColumnNotFoundError,
            ["step 1 (standard)", "'dep_dely'", "dep_delay, flight_id"],
        ),
        ([Standard("carrier")], InvalidRecipeError, ["'carrier' is string", "bool, int, float"]),
        ([Passthrough("tags")], InvalidRecipeError, ["'tags' is VARCHAR[]"]),
        ([Impute("carrier")], InvalidRecipeError, ["'carrier'", "'mean' needs a number"]),
        (
            [Impute("night", strategy="constant", value="x")],
            InvalidRecipeError,
            ["'x' is a string", "a bool"],
        ),
        ([Ordinal("seats", order=["50"])], InvalidRecipeError, ["'50'", "int"]),
        ([DateParts("day", parts=["hour"])], InvalidRecipeError, ["hour need a timestamp", "year, quarter"]),
        ([Standard("late")], InvalidRecipeError, ["'late' is the label"]),
        ([Passthrough("flight_id")], InvalidRecipeError, ["'flight_id'", "key", "output"]),
        ([Passthrough("temp", output="humid")], InvalidRecipeError, ["second column 'humid'"]),
        ([Passthrough("temp", output="TEMP")], InvalidRecipeError, ["second column 'temp'"]),
        ([Passthrough("temp", output="split")], InvalidRecipeError, ["'split'"]),
        ([Standard(Selector(regex="delay"))], InvalidRecipeError, ["selects no column", "dep_delay (float)"]),
        ([Standard("carrier_UA")], ColumnNotFoundError, ["carrier_UA"]),
    ],
)
def test_what_does_not_fit_the_data_is_named(
    tmp_path: Path, steps: list[Any], error: type[Exception], parts: list[str]
) -> None:
    table = flights(50).append_column("tags", [[["a"]] * 50])
    recipe = Recipe("r", steps, keys=["flight_id"], label="late")
    with pytest.raises(error) as caught:
        recipe.fit(write(table, tmp_path / "flights.parquet"))
    for part in parts:
        assert part in str(caught.value)


def test_regex_and_type_pass_over_columns_with_a_role(tmp_path: Path) -> None:
    recipe = Recipe(
        "r",
        [Passthrough(Selector(type="int"))],
        keys=["flight_id"],
        label="late",
        split=ColumnSplit("seats", train=[50]),
    )
    assert recipe.fit(write(flights(50), tmp_path / "flights.parquet")).feature_names == ("distance",)


def test_every_public_name_is_there() -> None:
    assert set(features.__all__) == set(features._MODULES)
    assert all(getattr(features, name).__name__ == name for name in features.__all__)


def test_a_dag_file_may_import_recipes_for_next_to_nothing() -> None:
    code = (
        "import sys\nfrom airflow_provider_mlbridge.features import Recipe, Standard\n"
        "Recipe('r', [Standard('x')]).hash\n"
        "heavy = ['airflow', 'boto3', 'duckdb', 'ibis', 'numpy', 'pandas', 'pyarrow', 'yaml']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
