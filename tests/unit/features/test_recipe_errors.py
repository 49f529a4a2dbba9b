# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a recipe is said with the step, the column and the valid choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    ColumnSplit,
    DateParts,
    HashSplit,
    OneHot,
    Ordinal,
    Passthrough,
    Recipe,
    Selector,
    Standard,
    TimeSplit,
)

from .tables import flights, write

STEP = {"type": "standard", "columns": ["temp"]}


def _recipe(**changes: Any) -> dict[str, Any]:
    return {"name": "r", "steps": [STEP], **changes}


def _step(**options: Any) -> dict[str, Any]:
    return _recipe(steps=[STEP, {**STEP, **options}])


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ("text", ["a recipe is a mapping", "str"]),
        (_recipe(name=""), ["name=''", "non-empty string"]),
        (_recipe(name=7), ["name=7", "non-empty string"]),
        (_recipe(version="1"), ["version='1'", "integer from 1"]),
        (_recipe(version=True), ["version=True"]),
        (_recipe(version=0), ["version=0"]),
        (_recipe(keys=7), ["keys=7", "list of non-empty strings"]),
        (_recipe(keys=["a", "a"]), ["keys names a more than once"]),
        (_recipe(label=["y"]), ["label=['y']", "non-empty string"]),
        (_recipe(event_time=""), ["event_time=''"]),
        (_recipe(known_time=3), ["known_time=3"]),
        (_recipe(steps={"type": "standard"}), ["list of at least one step"]),
        (_recipe(steps="standard"), ["list of at least one step"]),
        (_recipe(steps=[STEP, "standard"]), ["step 2", "a mapping with type and columns", "'standard'"]),
        (_recipe(steps=[STEP, {"columns": "x"}]), ["step 2", "unknown step type None", "standard"]),
        (_recipe(steps=[{"type": ["standard"], "columns": "x"}]), ["step 1", "unknown step type"]),
        (_step(with_mean="yes"), ["step 2", "with_mean='yes'", "true or false"]),
        (_step(output=""), ["step 2", "output=''", "non-empty string"]),
        (_step(output=5), ["step 2", "output=5"]),
        (_step(columns=None), ["step 2", "names=None", "list of non-empty strings"]),
        (_step(columns=[]), ["step 2", "some of regex, type and role"]),
        (_step(columns={}), ["step 2", "some of regex, type and role"]),
        (_step(columns={"names": "x"}), ["step 2", "unknown names", "regex, type, role, exclude"]),
        (_step(columns={"role": "label"}), ["step 2", "role='label'", "feature_candidate, key, event_time"]),
        (_step(columns={"role": "weight"}), ["role='weight'", "known_time, split"]),
        (_step(columns={"regex": ""}), ["regex=''"]),
        (_step(columns={"type": "text"}), ["type='text'", "string, date, timestamp, numeric"]),
        (_step(columns={"exclude": "x"}), ["some of regex, type and role"]),
        (_step(columns={"type": "int", "exclude": 7}), ["exclude=7"]),
        (_recipe(split="hash"), ["split must be a mapping with by", "'hash'"]),
        (_recipe(split={"train": 0.8}), ["by=None", "hash"]),
        (_recipe(split={"by": "hash", "keys": "k", "seed": 1}), ["unknown seed", "keys, train"]),
        (_recipe(split={"by": "hash", "keys": "k", "salt": 1}), ["salt=1", "string"]),
        (_recipe(split={"by": "hash", "keys": "k", "train": 0}), ["train=0", "above 0"]),
        (_recipe(split={"by": "time", "column": 1, "train": 0.8}), ["column=1"]),
        (
            _recipe(
                split={"by": "time", "column": "t", "cutoff": "2020-01-02", "validation_cutoff": "2020-01-01"}
            ),
            ["2020-01-01", "is before"],
        ),
        (_recipe(split={"by": "column", "column": ""}), ["column=''"]),
        (
            _recipe(split={"by": "column", "column": "s", "train": ["a"], "validation": ["a"]}),
            ["a is both train and validation"],
        ),
        (_recipe(allow="row_id"), ["allow='row_id'", "list of mappings with code, column and reason"]),
        (_recipe(allow=["row_id"]), ["allow 1", "'row_id'"]),
        (_recipe(allow=[{"code": "row_id", "column": "x"}]), ["allow 1", "reason is missing"]),
        (
            _recipe(allow=[{"code": "rowid", "column": "x", "reason": "y"}]),
            ["allow 1", "code='rowid'", "label_copy, perfect_predictor, row_id, future_timestamp"],
        ),
        (
            _recipe(allow=[{"code": "row_id", "column": "x", "why": "y"}]),
            ["unknown why", "code, column, reason"],
        ),
        (_recipe(allow=[{"code": "row_id", "column": "x", "reason": ""}]), ["allow 1", "reason=''"]),
        (
            _recipe(allow=[{"code": "row_id", "column": "x", "reason": "y"}] * 2),
            ["row_id on 'x'", "more than once"],
        ),
    ],
)
def test_a_document_that_is_no_recipe(document: Any, parts: list[str]) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.from_dict(document)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"steps": [Standard("Temp")]}, ColumnNotFoundError, ["step 1 (standard)", "'Temp'", "are temp"]),
        (
            {"steps": [Standard("temp"), Standard(Selector(type="float", exclude=("humidd",)))]},
            ColumnNotFoundError,
            ["step 2 (standard)", "to exclude, 'humidd' does not exist", "available are humid"],
        ),
        (
            {"steps": [DateParts(Selector(role="known_time"), parts=["hour"])]},
            InvalidRecipeError,
            ["step 1 (date_parts)", "'role': 'known_time'", "selects no column", "scheduled (timestamp)"],
        ),
        (
            {"steps": [Standard(Selector(role="key", type="float"))], "keys": ["flight_id"]},
            InvalidRecipeError,
            ["step 1 (standard)", "selects no column", "flight_id (int)"],
        ),
        (
            {"steps": [Standard(Selector(role="feature_candidate"))]},
            InvalidRecipeError,
            ["step 1 (standard)", "column 'carrier' is string", "takes bool, int, float"],
        ),
        ({"keys": ["flight"]}, ColumnNotFoundError, ["'flight' does not exist", "are flight_id"]),
        ({"label": "delayed"}, ColumnNotFoundError, ["'delayed' does not exist"]),
        ({"event_time": "time"}, ColumnNotFoundError, ["'time' does not exist"]),
        ({"label": "tags"}, InvalidRecipeError, ["'tags' has type VARCHAR[]"]),
        (
            {"split": HashSplit(["temp"])},
            InvalidRecipeError,
            ["'temp' is float", "int, string, date and bool"],
        ),
        (
            {"split": TimeSplit(column="seats", train=0.5)},
            InvalidRecipeError,
            ["'seats' is int", "a date or a timestamp"],
        ),
        (
            {"split": ColumnSplit("carrier", train=[1])},
            InvalidRecipeError,
            ["'carrier' is string", "1 is int"],
        ),
        ({"steps": [OneHot("scheduled")]}, InvalidRecipeError, ["step 1 (one_hot)", "is timestamp"]),
        ({"steps": [DateParts("temp", parts=["hour"])]}, InvalidRecipeError, ["takes date, timestamp"]),
        (
            {"steps": [Passthrough("temp"), Ordinal("carrier", order=[1])]},
            InvalidRecipeError,
            ["step 2 (ordinal), column 'carrier'", "order has int values", "is a string"],
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], parts: list[str]
) -> None:
    table = flights(50).append_column("tags", [[["a"]] * 50])
    path = write(table, tmp_path / "flights.parquet")
    with pytest.raises(error) as caught:
        Recipe("r", **{"steps": [Standard("temp")], **options}).fit(path)
    for part in parts:
        assert part in str(caught.value)


def test_columns_by_role(tmp_path: Path) -> None:
    path = write(flights(200), tmp_path / "flights.parquet")

    def features(selector: Selector, **roles: Any) -> tuple[str, ...]:
        recipe = Recipe("r", [Passthrough(selector, output="f_{column}")], **roles)
        return tuple(name.removeprefix("f_") for name in recipe.fit(path).feature_names)

    roles: dict[str, Any] = {
        "keys": ["flight_id"],
        "label": "late",
        "event_time": "scheduled",
        "known_time": "day",
        "split": HashSplit(["carrier"]),
    }
    rest = ("dep_delay", "distance", "temp", "seats", "humid", "night", "constant")
    assert features(Selector(role="feature_candidate"), **roles) == rest
    assert features(Selector(role="feature_candidate", type="int", exclude=("seats",)), **roles) == (
        "distance",
    )
    assert features(Selector(role="feature_candidate", regex=".*t.*"), **roles) == rest[1:4] + rest[5:]
    assert features(Selector(role="key"), **roles) == ("flight_id",)
    assert features(Selector(role="event_time"), **roles) == ("scheduled",)
    assert features(Selector(role="known_time"), **roles) == ("day",)
    assert features(Selector(role="split"), **roles) == ("carrier",)
    # The split uses the recipe's keys where it names none.
    assert features(Selector(role="split"), keys=["flight_id"], split=HashSplit()) == ("flight_id",)


def test_a_role_survives_yaml() -> None:
    recipe = Recipe("r", [Passthrough(Selector(role="feature_candidate", type="float", exclude=("x",)))])
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.steps[0].to_dict()["columns"] == {
        "type": "float",
        "role": "feature_candidate",
        "exclude": ["x"],
    }
