# SPDX-License-Identifier: Apache-2.0
"""What Airflow reads to find the provider. Imports nothing: it runs while Airflow's configuration loads."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Provider metadata in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-mlbridge",
        "name": "MLBridge",
        "description": "From a validated Parquet datamart to a trained model.",
    }
