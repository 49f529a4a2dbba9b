# SPDX-License-Identifier: Apache-2.0
"""The built wheel in an environment of its own, found by Airflow itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path = REPOSITORY, **environment: str) -> str:
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
    )
    assert finished.returncode == 0, f"{command}: {finished.stdout[-2000:]} {finished.stderr[-4000:]}"
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as a release is."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment with the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    interpreter = folder / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, "--clear")
    lock = REPOSITORY / "requirements" / "dev.txt"
    run(UV, "pip", "install", "--quiet", "--python", interpreter, wheel, "--constraint", lock)
    return interpreter


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AIRFLOW_HOME of its own."""
    return tmp_path_factory.mktemp("home")


def ask(python: Path, home: Path, code: str, **environment: str) -> Any:
    """Run code in the fresh environment; its last line is JSON."""
    # Not in the repository: there Python would find the sources before the wheel.
    given = {"AIRFLOW_HOME": str(home), "PYTHONPATH": "", **environment}
    output = run(python, "-c", textwrap.dedent(code), cwd=home, **given)
    return json.loads(output.strip().splitlines()[-1])


def test_it_carries_types_licence_examples_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "airflow_provider_mlbridge/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    examples = {path.name for path in (REPOSITORY / "example_dags").iterdir() if path.is_file()}
    carried = {name.rsplit("/", 1)[1] for name in names if "/example_dags/" in name}
    assert carried == examples
    tops = {name.split("/", 1)[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airflow_provider_mlbridge"}
    scripts = [name for name in names if name.startswith("airflow_provider_mlbridge/training/ssh/")]
    assert any(name.endswith(".sh") for name in scripts), "the shell protocol travels with the package"


def test_airflow_finds_provider_and_connection_types(python: Path, home: Path) -> None:
    found = ask(
        python,
        home,
        """
        import json
        from airflow.providers_manager import ProvidersManager
        manager = ProvidersManager()
        provider = manager.providers["airflow-provider-mlbridge"]
        hooks = {name: manager.hooks[name].hook_name for name in ("mlbridge_ssh", "mlbridge_api")}
        print(json.dumps({"version": provider.version, "name": provider.data["name"], "hooks": hooks}))
        """,
    )
    assert found["name"] == "MLBridge"
    assert found["version"] == "0.1.0"
    assert found["hooks"] == {
        "mlbridge_ssh": "ML training host (SSH)",
        "mlbridge_api": "ML training service (HTTP)",
    }


def test_operators_sensor_and_trigger_come_from_the_wheel(python: Path, home: Path) -> None:
    files = ask(
        python,
        home,
        """
        import inspect, json
        from airflow_provider_mlbridge.operators import (
            DatamartQualityOperator, FeatureBuildOperator, MLTrainingTriggerOperator)
        from airflow_provider_mlbridge.sensors import DatamartSensor
        from airflow_provider_mlbridge.triggers import TrainingCompletionTrigger
        print(json.dumps([inspect.getfile(found) for found in (
            DatamartQualityOperator, FeatureBuildOperator, MLTrainingTriggerOperator, DatamartSensor,
            TrainingCompletionTrigger)]))
        """,
    )
    assert all("site-packages/airflow_provider_mlbridge/" in file for file in files)


def test_airflow_loads_the_example_dags_as_a_bundle(python: Path, home: Path) -> None:
    found = ask(
        python,
        home,
        """
        import json
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag
        bundles = [
            bundle for bundle in DagBundlesManager().get_all_dag_bundles()
            if "airflow_provider_mlbridge" in str(bundle.path)
        ]
        (bundle,) = bundles
        bundle.initialize()
        bag = DagBag(dag_folder=str(bundle.path), bundle_path=bundle.path, bundle_name=bundle.name)
        print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors}))
        """,
        AIRFLOW__CORE__LOAD_EXAMPLES="True",
    )
    assert found["errors"] == {}
    assert found["dags"] == [
        "dataops_flights",
        "dataops_to_mlops_integration_api",
        "dataops_to_mlops_integration_dag",
        "dataops_to_mlops_integration_ssh",
        "features_by_partition",
        "features_on_spark",
        "integration_by_asset",
        "integration_by_external_task",
        "integration_by_schedule",
        "integration_by_trigger",
        "quality_by_contract",
        "quality_by_dbt_manifest",
        "quality_by_gx_objects",
        "quality_by_shorthands",
        "quality_by_suite",
        "train_flight_delay",
        "watch_flight_delays",
    ]


def test_the_core_works_from_the_wheel(python: Path, home: Path, tmp_path: Path) -> None:
    mart = tmp_path / "mart.parquet"
    answer = ask(
        python,
        home,
        f"""
        import json
        import pyarrow as pa, pyarrow.parquet as pq
        from airflow_provider_mlbridge.quality import validate
        from airflow_provider_mlbridge.features import Recipe
        mart = {str(mart)!r}
        pq.write_table(pa.table({{"id": [1, 2, 3, 4], "x": [1.0, None, 3.0, 4.0]}}), mart)
        report = validate(mart, not_null=["id"], unique=["id"], min_rows=3)
        step = {{"type": "impute", "columns": ["x"], "strategy": "median"}}
        fitted = Recipe.from_dict({{"name": "w", "keys": ["id"], "steps": [step]}}).fit(mart)
        print(json.dumps([report.success, fitted.transform_row({{"id": 9, "x": None}})]))
        """,
    )
    assert answer[0] is True
    assert answer[1]["x"] == 3.0
