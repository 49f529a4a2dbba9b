# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of recipes, and every step and split through YAML and JSON and back."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import Passthrough, Recipe, Standard
from airflow_provider_mlbridge.features.recipe_schema import SCHEMA_PATH, recipe_schema, schema_text
from airflow_provider_mlbridge.features.recipe_yaml import load_yaml
from airflow_provider_mlbridge.features.splits import SPLITS
from airflow_provider_mlbridge.features.steps import STEP_TYPES

ROOT = Path(__file__).parents[3]
SCHEMA = recipe_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

# What YAML readers take for something else than text, or cannot read at all.
ODD = (
    "yes",
    "null",
    "~",
    "1e3",
    "1_000",
    "0x1F",
    "012",
    "12:30:45",
    "2013-10-01",
    "=",
    "<<",
    "- a",
    "a: b",
    "#",
    "'",
    '"',
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    " x ",
    "x\n",
    "\ud800",
    "\U0001f600",
    ".inf",
    "!!str",
)
TEXTS = st.sampled_from(ODD) | st.text(min_size=1, max_size=8) | st.sampled_from(["a", "b", "{column}_x"])


def drawn(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Anything that a part of the schema describes."""
    if "$ref" in schema:
        return drawn(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type")
    if kinds == "object" and "properties" in schema:
        properties = {name: drawn(item) for name, item in schema["properties"].items()}
        required = {name: properties.pop(name) for name in schema.get("required", ())}
        some = st.fixed_dictionaries(required, optional=properties)
        # Few options together contradict one another less often.
        few = st.fixed_dictionaries(required)
        return few | some
    if kinds == "object":
        return st.dictionaries(TEXTS, drawn(schema["additionalProperties"]), max_size=3)
    if "anyOf" in schema:
        return st.one_of([drawn(item) for item in schema["anyOf"]])
    if isinstance(kinds, list):
        return st.one_of([drawn({"type": kind}) for kind in kinds])
    low, high = schema.get("minimum"), schema.get("maximum")
    if kinds == "string":
        return st.sampled_from(["a.*", "[xy]+"]) if schema.get("format") == "regex" else TEXTS
    if kinds == "integer":
        return st.integers(low if low is not None else -5, high if high is not None else 2**53)
    if kinds == "number":
        whole = st.integers(int(low or 0), int(high if high is not None else 10**20))
        return st.floats(low, high, allow_nan=False, allow_infinity=False) | whole
    if kinds == "array":
        unique: dict[str, Any] = {"unique_by": repr} if schema.get("uniqueItems") else {}
        return st.lists(
            drawn(schema["items"]), min_size=max(schema.get("minItems", 0), 1), max_size=3, **unique
        )
    return {"boolean": st.booleans(), "null": st.none(), None: TEXTS}[kinds]


ALLOW = drawn(SCHEMA["$defs"]["allow"])
OPTIONS = st.fixed_dictionaries(
    {"name": TEXTS, "keys": st.lists(TEXTS, min_size=1, max_size=2, unique=True), "event_time": TEXTS},
    optional={"known_time": TEXTS, "label": TEXTS, "allow": st.lists(ALLOW, max_size=2)},
)


def _through_everything(document: dict[str, Any]) -> bool:
    """Whether it is a recipe; then it must survive YAML and JSON, and be what the schema describes."""
    try:
        recipe = Recipe.from_dict(document)
    except InvalidRecipeError:
        return False
    text = recipe.to_yaml()
    for again in (Recipe.from_yaml(text), Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))):
        assert again == recipe
        assert again.hash == recipe.hash
        assert again.to_dict() == recipe.to_dict()
    assert [error.message for error in VALIDATOR.iter_errors(load_yaml(text))] == []
    return True


@pytest.mark.parametrize("name", STEP_TYPES)
def test_every_step_survives_yaml_and_json(name: str) -> None:
    made = 0

    @settings(max_examples=80)
    @given(drawn(SCHEMA["$defs"][f"step_{name}"]), OPTIONS)
    def check(step: dict[str, Any], options: dict[str, Any]) -> None:
        nonlocal made
        # Texts at random are no expressions and no lengths of time.
        known = {"expression": "a / nullif(b, 0)", "window": "36h", "edges": [0, 1.5]}
        step = {key: known.get(key, value) for key, value in step.items()}
        if name == "interaction":
            step = {
                "type": name,
                "columns": ["a", "b", "c"],
                **{k: v for k, v in step.items() if k == "degree"},
            }
        made += _through_everything({**options, "steps": [step]})

    check()
    assert made >= 2, f"the schema of {name} describes hardly any valid step"


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_survives_yaml_and_json(name: str) -> None:
    made = 0
    schema = {**SCHEMA["$defs"][f"split_{name}"]}
    moments = st.sampled_from(["2013-10-01", "2013-10-01T12:00:00+02:00", "2014-01-01T00:00:00.000001"])

    # Shares or moments, not both: most of what is drawn at random has both or none.
    kinds = st.sampled_from(["cutoff", "train"])

    @settings(max_examples=100)
    @given(drawn(schema), moments, kinds, OPTIONS)
    def check(split: dict[str, Any], moment: str, kind: str, options: dict[str, Any]) -> None:
        nonlocal made
        if name == "time":
            known = {
                "gap": "36h",
                "train": 0.5,
                "validation": 0.25,
                "cutoff": moment,
                "validation_cutoff": moment,
            }
            other = ("train", "validation") if kind == "cutoff" else ("cutoff", "validation_cutoff")
            split = {**split, kind: moment}
            split = {key: known.get(key, value) for key, value in split.items() if key not in other}
        made += _through_everything(
            {**options, "split": split, "steps": [{"type": "standard", "columns": "x"}]}
        )

    check()
    assert made >= 10


def test_members_of_enumerations_are_written_as_their_values() -> None:
    class Name(StrEnum):
        LABEL = "late"

    recipe = Recipe("r", [Standard("x")], label=Name.LABEL)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


EVERYTHING = {
    "version": 1,
    "name": "r",
    "keys": ["k"],
    "label": "y",
    "event_time": "t",
    "split": {"by": "time", "train": 0.8},
    "steps": [
        {"type": "clip", "columns": {"regex": "a.*", "type": "float", "exclude": ["ab"]}, "lower": 1.0},
        {"type": "one_hot", "columns": ["c"], "min_frequency": 0.01, "unknown": "other"},
        {"type": "date_parts", "columns": {"role": "event_time"}, "parts": ["hour"]},
        {"type": "ordinal", "columns": ["d"], "order": ["x", "y"]},
    ],
    "allow": [{"code": "row_id", "column": "c", "reason": "on purpose"}],
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(0, 3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=400)
@given(st.data())
def test_whatever_stands_in_a_recipe_is_read_or_refused_in_words(data: Any) -> None:
    document: Any = {"": json.loads(json.dumps(EVERYTHING))}
    parent, place = document, ""
    while isinstance(parent[place], dict | list) and parent[place] and data.draw(st.integers(0, 4)):
        parent = parent[place]
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        place = data.draw(st.sampled_from(keys))
    parent[place] = data.draw(ANYTHING)
    try:
        recipe = Recipe.from_dict(document[""])
    except InvalidRecipeError:
        return
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert VALIDATOR.is_valid(recipe.to_dict())


def test_the_schema_is_one_and_the_file_is_it() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    command = "python -m airflow_provider_mlbridge.features.recipe_schema"
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), (
        f"write it again: {command} > {SCHEMA_PATH}"
    )


def test_every_option_is_described() -> None:
    for name, schema in SCHEMA["$defs"].items():
        if name.startswith(("step_", "split_")):
            assert schema["description"], name
            for option, part in schema["properties"].items():
                assert option in ("type", "by") or part.get("description"), (name, option)
    assert set(SCHEMA["properties"]) == {"version", *Recipe.__dataclass_fields__}
    assert all("description" in part for part in SCHEMA["properties"].values())


def test_choices_and_bounds_are_those_of_the_checks() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["step_impute"]["properties"]["strategy"]["enum"] == [
        "mean",
        "median",
        "mode",
        "constant",
    ]
    bins = definitions["step_quantile_bins"]["properties"]["bins"]
    assert (bins["type"], bins["minimum"], bins["maximum"], bins["default"]) == ("integer", 2, 255, 5)
    assert "hour" in definitions["step_date_parts"]["properties"]["parts"]["anyOf"][1]["items"]["enum"]
    # Their defaults are empty, but nothing is valid without them.
    assert "parts" in definitions["step_date_parts"]["required"]
    assert "column" in definitions["split_column"]["required"]
    assert "column" not in definitions["split_time"]["required"]
    assert definitions["step"]["properties"]["type"]["enum"] == list(STEP_TYPES)


def test_recipes_in_examples_and_guides_are_valid() -> None:
    texts = [path.read_text() for path in sorted((ROOT / "example_dags").glob("*recipe*.yaml"))]
    for guide in sorted((ROOT / "docs").rglob("*.md")):
        blocks = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
        texts += [text for text in blocks if re.match(r"(#.*\n)*(version|name):", text) and "steps:" in text]
    assert len(texts) >= 2
    for text in texts:
        assert [error.message for error in VALIDATOR.iter_errors(load_yaml(text))] == []
        Recipe.from_yaml(text)


def _recipe(*steps: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "r", "steps": list(steps) or [{"type": "standard", "columns": "x"}], **changes}


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"name": "r"},
        {"name": "r", "steps": []},
        _recipe(name=""),
        _recipe(version=2),
        _recipe(target="y"),
        _recipe(keys=[""]),
        _recipe({"columns": "x"}),
        _recipe({"type": "standart", "columns": "x"}),
        _recipe({"type": "standard"}),
        _recipe({"type": "standard", "columns": []}),
        _recipe({"type": "standard", "columns": "x", "ddof": 1}),
        _recipe({"type": "standard", "columns": {"regx": "x"}}),
        _recipe({"type": "standard", "columns": {"exclude": "x"}}),
        _recipe({"type": "standard", "columns": {"type": "double"}}),
        _recipe({"type": "standard", "columns": {"role": "label"}}),
        _recipe({"type": "standard", "columns": "x", "with_mean": "no"}),
        _recipe({"type": "impute", "columns": "x", "strategy": "average"}),
        _recipe({"type": "quantile_bins", "columns": "x", "bins": 1}),
        _recipe({"type": "quantile_bins", "columns": "x", "bins": 2.5}),
        _recipe({"type": "clip", "columns": "x", "upper_quantile": 99}),
        _recipe({"type": "one_hot", "columns": "x", "unknown": "skip"}),
        _recipe({"type": "date_parts", "columns": "x", "parts": ["hours"]}),
        _recipe(split="hash"),
        _recipe(split={"by": "random"}),
        _recipe(split={"by": "hash", "keys": "k", "train": 80}),
        _recipe(split={"by": "time", "colum": "t"}),
        _recipe(allow=[{"code": "leak", "column": "x", "reason": "y"}]),
        _recipe(allow=[{"code": "row_id", "column": "x"}]),
    ],
)
def test_an_editor_sees_what_is_wrong(document: Any) -> None:
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(InvalidRecipeError):
        Recipe.from_dict(document)


def test_a_wrong_option_is_shown_where_it_is() -> None:
    wrong = _recipe(
        {"type": "passthrough", "columns": "x"}, {"type": "quantile_bins", "columns": "x", "bins": 1}
    )
    [error] = VALIDATOR.iter_errors(wrong)
    assert list(error.absolute_path) == ["steps", 1, "bins"]
    assert VALIDATOR.is_valid(Recipe("r", [Passthrough("x")]).to_dict())
