# SPDX-License-Identifier: Apache-2.0
"""A DAG file that imports the operators must stay cheap, and the core must work without Airflow."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAVY = (
    "pandas",
    "numpy",
    "duckdb",
    "pyarrow",
    "boto3",
    "botocore",
    "paramiko",
    "asyncssh",
    "aiohttp",
    "ibis",
    "great_expectations",
)


def run(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_importing_the_operators_loads_no_heavy_library() -> None:
    loaded = run(
        f"""
        import sys
        from airflow.sdk import BaseOperator
        before = set(sys.modules)
        from airflow_provider_mlbridge.operators import (
            DatamartQualityOperator, FeatureBuildOperator, MLTrainingTriggerOperator)
        from airflow_provider_mlbridge.sensors import DatamartSensor
        from airflow_provider_mlbridge.triggers import TrainingCompletionTrigger
        print([name for name in {HEAVY!r} if name in sys.modules and name not in before])
        """
    )
    assert loaded == "[]"


def test_importing_the_package_imports_nothing_else() -> None:
    added = run(
        """
        import __future__, sys, typing
        before = set(sys.modules)
        import airflow_provider_mlbridge
        import airflow_provider_mlbridge.get_provider_info
        print(sorted(set(sys.modules) - before))
        """
    )
    assert added == "['airflow_provider_mlbridge', 'airflow_provider_mlbridge.get_provider_info']"


@pytest.mark.parametrize("part", ["storage", "quality", "features", "training"])
def test_the_core_works_where_airflow_cannot_be_imported(part: str) -> None:
    run(
        f"""
        import importlib, pkgutil, sys

        class NoAirflow:
            def find_spec(self, name, path=None, target=None):
                if name == "airflow" or name.startswith("airflow."):
                    raise ImportError(name)

        sys.meta_path.insert(0, NoAirflow())
        package = importlib.import_module("airflow_provider_mlbridge.{part}")
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
        """
    )
