# SPDX-License-Identifier: Apache-2.0
"""Expectations in, verdicts out: is this datamart fit for use? Knows no Airflow."""

from __future__ import annotations

from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.reporting.report import write_report
from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport
from airflow_provider_mlbridge.quality.validation import validate

__all__ = ["Expectation", "ExpectationResult", "QualityReport", "validate", "write_report"]
