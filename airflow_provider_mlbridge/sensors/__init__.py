# SPDX-License-Identifier: Apache-2.0
"""Sensors."""

from __future__ import annotations

from airflow_provider_mlbridge.sensors.datamart import DatamartSensor

__all__ = ["DatamartSensor"]
