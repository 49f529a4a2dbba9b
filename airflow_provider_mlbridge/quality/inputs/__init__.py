# SPDX-License-Identifier: Apache-2.0
"""
Where expectations come from: suites of Great Expectations, contracts, models of dbt, and arguments.

:func:`load_suite` returns expectations only; a suite that cannot be kept is an error. :func:`load_contract`
and :func:`load_dbt_model` return an :class:`Imported`, which lists what could not be kept.
"""

from __future__ import annotations

from airflow_provider_mlbridge.quality.inputs.dbt_manifest import load_dbt_model
from airflow_provider_mlbridge.quality.inputs.imported import Imported, Unsupported, to_gx_suite
from airflow_provider_mlbridge.quality.inputs.odcs import load_contract
from airflow_provider_mlbridge.quality.inputs.suite import load_suite

__all__ = ["Imported", "Unsupported", "load_contract", "load_dbt_model", "load_suite", "to_gx_suite"]
