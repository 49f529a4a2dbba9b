# SPDX-License-Identifier: Apache-2.0
"""The documents beside the example DAGs are read as the examples say."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_mlbridge.quality.inputs import load_contract, load_dbt_model, load_suite

EXAMPLES = Path(__file__).parents[4] / "example_dags"


def test_the_contract() -> None:
    imported = load_contract(str(EXAMPLES / "flight_delays.odcs.yaml"), schema_name="flight_delays")
    assert len(imported.expectations) == 18
    assert [item.says for item in imported.unsupported] == ["Cancelled flights are left out."]


def test_the_model_of_dbt() -> None:
    imported = load_dbt_model(str(EXAMPLES / "flight_delays_manifest.json"), "flight_delays")
    assert len(imported.expectations) == 9
    assert not imported.unsupported


def test_the_suite() -> None:
    name, expectations = load_suite(str(EXAMPLES / "flight_delays_suite.json"))
    assert (name, len(expectations)) == ("flight_delays", 6)
