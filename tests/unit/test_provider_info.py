# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_mlbridge.get_provider_info import get_provider_info


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(airflow.__path__[0]) / name).read_text())
    return schema


def test_it_is_what_airflow_expects() -> None:
    jsonschema.validate(get_provider_info(), _schema("provider_info.schema.json"))


def test_connection_forms_are_what_airflow_expects() -> None:
    # provider_info.schema.json does not look into conn-fields; the stricter schema of provider.yaml does.
    schema = _schema("provider.yaml.schema.json")
    part = {**schema["properties"]["connection-types"], "definitions": schema.get("definitions", {})}
    jsonschema.validate(get_provider_info()["connection-types"], part)


def test_every_module_it_names_exists() -> None:
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for group in info[kind]:
            for module in group["python-modules"]:
                importlib.import_module(module)


@pytest.mark.parametrize("connection", get_provider_info()["connection-types"])
def test_every_connection_type_has_its_hook(connection: dict[str, Any]) -> None:
    module, name = connection["hook-class-name"].rsplit(".", 1)
    hook = getattr(importlib.import_module(module), name)
    assert hook.conn_type == connection["connection-type"]
    assert hook.hook_name == connection["hook-name"]


def test_fields_that_may_stay_empty_are_not_shown_as_required() -> None:
    required = {
        name
        for connection in get_provider_info()["connection-types"]
        for name, field in connection["conn-fields"].items()
        if "null" not in field["schema"]["type"]
    }
    assert required == {"auth"}
