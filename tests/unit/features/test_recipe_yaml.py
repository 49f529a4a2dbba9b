# SPDX-License-Identifier: Apache-2.0
"""YAML that is no recipe: one clear error each, whatever it does to the parser."""

from __future__ import annotations

import json

import pytest

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import FittedRecipe, Recipe

HEAD = "version: 1\nname: r\n"
STEPS = "steps:\n- {type: passthrough, columns: [x]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event_time: t\nsplit: {by: time, cutoff: 2024-13-45}\n", "cutoff='2024-13-45' must be"),
        ("label: !!int abc\n", "no valid YAML: invalid literal"),
        ("label: !!float abc\n", "no valid YAML: could not convert"),
        ("label: !!binary a\n", "no valid YAML"),
        ("label: !!timestamp foo\nx: 1\n", "unknown x"),
        ("label: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("a: " + "[" * 20_000, "nested too deep"),
        ("? [a]\n: b\n", "unhashable key"),
        ("<<: {label: y}\n", r"merge keys \(<<\) are not read \(line 3\)"),
        ("label: a\nlabel: b\n", "label"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_no_recipe(text: str, message: str) -> None:
    with pytest.raises(InvalidRecipeError, match=message) as error:
        Recipe.from_yaml(HEAD + text + ("" if "[[" in text else STEPS))
    assert len(str(error.value)) < 1000


def test_a_time_of_day_is_no_number() -> None:
    # YAML 1.1 reads 1:30 as 90.
    with pytest.raises(InvalidRecipeError, match="upper='1:30' must be a finite number"):
        Recipe.from_yaml(HEAD + "steps:\n- {type: clip, columns: [x], upper: 1:30}\n")
    assert Recipe.from_yaml(HEAD + "steps:\n- {type: clip, columns: [x], upper: 010}\n").steps


def test_aliases_may_repeat_but_not_explode() -> None:
    shared = "steps:\n- {type: impute, columns: &all [x, y]}\n- {type: standard, columns: *all}\n"
    assert [step.columns.names for step in Recipe.from_yaml(HEAD + shared).steps] == [("x", "y")] * 2
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8))
    with pytest.raises(InvalidRecipeError, match="aliases") as error:
        Recipe.from_yaml("a0: &a0 [x]\n" + levels + "name: *a7\n")
    assert len(str(error.value)) < 200


def test_a_message_does_not_repeat_all_of_what_was_given() -> None:
    with pytest.raises(InvalidRecipeError, match="must be a finite number") as error:
        Recipe.from_dict(
            {"version": 1, "name": "r", "steps": [{"type": "clip", "columns": ["x"], "upper": "9" * 10**6}]}
        )
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "step",
    [
        {"type": "impute", "columns": ["x"], "strategy": "constant", "value": "\ud800"},
        {"type": "ordinal", "columns": ["x"], "order": ["a", "\udc00"]},
        {"type": "passthrough", "columns": ["x\ud800"]},
        {"type": "standard", "columns": ["x"], "output": "\ud800"},
    ],
    ids=lambda step: step["type"],
)
def test_half_a_character_is_refused_at_once(step: dict[str, object]) -> None:
    # JSON can say it, no file can hold it: the build would fail after all was computed.
    text = json.dumps({"version": 1, "name": "r", "steps": [step]})
    with pytest.raises(InvalidRecipeError, match="half of a surrogate pair"):
        Recipe.from_dict(json.loads(text))


def test_a_state_that_is_nested_without_end() -> None:
    with pytest.raises(InvalidRecipeError, match="the feature state is not JSON"):
        FittedRecipe.from_json("[" * 200_000)
