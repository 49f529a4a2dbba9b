# SPDX-License-Identifier: Apache-2.0
"""The operators."""

from __future__ import annotations

from airflow_provider_mlbridge.operators.datamart_quality import DatamartQualityOperator
from airflow_provider_mlbridge.operators.feature_build import FeatureBuildOperator
from airflow_provider_mlbridge.operators.ml_training_trigger import MLTrainingTriggerOperator

__all__ = ["DatamartQualityOperator", "FeatureBuildOperator", "MLTrainingTriggerOperator"]
