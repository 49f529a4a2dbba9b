# SPDX-License-Identifier: Apache-2.0
"""Typed parameters of the service's pipelines, and the argument lists that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlbridge_training_service.config import ConfigError, Pipeline, load_config
from mlbridge_training_service.parameters import Parameter, ParameterError, fill, resolve

PARAMETERS = {
    "epochs": Parameter(type="integer", min=1, max=500, default=10),
    "rate": Parameter(type="number", min=0, max=1, required=True),
    "kind": Parameter(type="string", choices=["linear", "tree"], default="tree"),
    "label": Parameter(type="string", pattern="[a-z]+", max=8, default="x"),
    "free": Parameter(default="text"),
    "fast": Parameter(type="boolean", default=False),
    "note": Parameter(),
}


def test_values_become_whole_arguments_whatever_they_hold() -> None:
    values = resolve(PARAMETERS, {"rate": 1e-05, "free": "a b; rm -rf / $(id) {kind}", "fast": True})
    command = ["python", "{rate}", "{free}", "{kind}", "{fast}", "{epochs}", "{{kind}}", "{}", "a{b}"]
    assert fill(command, values) == [
        "python", "1e-05", "a b; rm -rf / $(id) {kind}", "tree", "true", "10", "{kind}", "{}", "a{b}",
    ]  # fmt: skip
    assert "note" not in values


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", 0, "is 0; valid: an integer from 1 to 500"),
        ("epochs", 501, "is 501; valid: an integer from 1 to 500"),
        ("epochs", 1.0, "is 1.0; valid: an integer from 1 to 500"),
        ("epochs", "7", 'is "7"; valid: an integer from 1 to 500'),
        ("epochs", True, "is true; valid: an integer from 1 to 500"),
        ("rate", 10**400, "valid: a number from 0 to 1"),
        ("rate", [0.5], "is a list; valid: a number from 0 to 1"),
        ("kind", "forest", 'is "forest"; valid: one of "linear", "tree"'),
        ("label", "Ab", """is "Ab"; valid: a string to 8 characters that matches '[a-z]+'"""),
        ("label", "abc\n", "without control characters"),
        ("label", "abcdefghi", "to 8 characters"),
        ("free", "--output=/etc/passwd", "does not begin with '-'"),
        ("free", "a\0b", "without control characters"),
        ("free", "x" * 5000, "to 4096 characters"),
        ("fast", "yes", 'is "yes"; valid: true or false'),
        ("speed", 3, "is unknown; valid: epochs, rate, kind"),
    ],
)
def test_value_that_is_not_valid_is_named_with_the_valid_ones(name: str, value: Any, said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(PARAMETERS, {"rate": 0.5, name: value})
    assert list(caught.value.faults) == [name]
    assert said in caught.value.faults[name]
    assert f"parameter '{name}'" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(PARAMETERS, {"epochs": 0, "kind": "forest"})
    assert set(caught.value.faults) == {"epochs", "kind", "rate"}
    assert caught.value.faults["rate"] == "is missing; valid: a number from 0 to 1"


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ({"command": ["a", "{epoch}"], "parameters": {"epochs": {}}}, "'{epoch}' names no parameter"),
        ({"command": ["a", "--n={n}"], "parameters": {"n": {"default": "1"}}}, "an element of its own"),
        ({"command": ["a", "{n}"], "parameters": {"n": {}}}, "required or have a default"),
        ({"command": ["a"], "parameters": {"n": {"type": "float"}}}, "parameters.n.type"),
        ({"command": ["a"], "parameters": {"n": {"pattern": "("}}}, "no regular expression"),
        ({"command": ["a"], "parameters": {"n": {"type": "integer", "min": 2, "max": 1}}}, "min 2"),
        ({"command": ["a"], "parameters": {"n": {"type": "integer", "default": "1"}}}, "the default is"),
        ({"command": ["a"], "parameters": {"n": {"choices": [1]}}}, "choice 1 is no string"),
        ({"command": ["a"], "parameters": {"no name": {}}}, "parameters.no name"),
        ({"command": ["a"], "parameters": {"n": {"required": True, "default": "1"}}}, "has no default"),
    ],
)
def test_template_that_cannot_be_filled_is_refused_at_the_start(
    tmp_path: Path, pipeline: dict[str, Any], said: str
) -> None:
    import yaml

    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump({"data_dir": "d", "auth": "none", "pipelines": {"p": pipeline}}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)


def test_command_without_declared_parameters_is_taken_as_it_is() -> None:
    assert Pipeline(command=["awk", "{print}"]).command == ["awk", "{print}"]
    with pytest.raises(ValidationError):
        Pipeline(command=["awk", "{print}"], parameters={})
