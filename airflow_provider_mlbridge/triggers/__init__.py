# SPDX-License-Identifier: Apache-2.0
"""Triggers: the waiting, done in the triggerer."""

from __future__ import annotations

from airflow_provider_mlbridge.triggers.datamart import DatamartTrigger
from airflow_provider_mlbridge.triggers.training import TrainingCompletionTrigger

__all__ = ["DatamartTrigger", "TrainingCompletionTrigger"]
