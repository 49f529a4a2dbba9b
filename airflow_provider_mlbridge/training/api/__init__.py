# SPDX-License-Identifier: Apache-2.0
"""Training services over HTTP: where they are, how to ask them, how their answers read."""

from __future__ import annotations

from airflow_provider_mlbridge.training.api.adapters import Adapter, resolve_adapter
from airflow_provider_mlbridge.training.api.client import RetryPolicy
from airflow_provider_mlbridge.training.api.target import APITarget

__all__ = ["APITarget", "Adapter", "RetryPolicy", "resolve_adapter"]
