# SPDX-License-Identifier: Apache-2.0
"""What the README shows is what runs."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def test_the_dag_is_a_chain_of_four_tasks() -> None:
    namespace: dict[str, Any] = {}
    exec(compile(block("python", "with DAG("), "README.md", "exec"), namespace)
    dag = namespace["datamart"].dag
    order = ["wait", "check", "features", "train"]
    assert [task.task_id for task in dag.topological_sort()] == order
    for before, after in pairwise(order):
        assert dag.get_task(after).upstream_task_ids == {before}


def test_recipe_and_the_part_without_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 2000
    table = pa.table(
        {
            "flight_id": range(rows),
            "temp": [None if row % 9 == 0 else row % 40 - 5.0 for row in range(rows)],
            "carrier": [("UA", "B6", "AA")[row % 3] for row in range(rows)],
            "late": [row % 7 == 0 for row in range(rows)],
        }
    )
    pq.write_table(table, tmp_path / "flights.parquet")
    (tmp_path / "flights_recipe.yaml").write_text(block("yaml", "steps:"))
    monkeypatch.chdir(tmp_path)
    code = block("python", "validate(").replace(
        "s3://datalake/datamarts/flights/", f"{tmp_path}/flights.parquet"
    )
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert namespace["report"].success
    row = namespace["fitted"].transform_row({"flight_id": 1, "temp": None, "carrier": "UA", "late": None})
    assert row["carrier_UA"] == 1


def test_the_training_program_reads_and_writes_what_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from airflow_provider_mlbridge.training.reported import parse_reported_result

    monkeypatch.setenv("MLBRIDGE_FEATURES_URI", "s3://lake/f/")
    monkeypatch.setenv("MLBRIDGE_REQUEST", "{}")
    monkeypatch.setenv("MLBRIDGE_RESULT_FILE", str(tmp_path / "result.json"))
    namespace: dict[str, Any] = {"os": os, "json": json, "Path": Path}
    exec(compile(block("python", "MLBRIDGE_RESULT_FILE"), "README.md", "exec"), namespace)
    assert parse_reported_result((tmp_path / "result.json").read_text()).metrics == {"auc": 0.87}
