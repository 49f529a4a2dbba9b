# SPDX-License-Identifier: Apache-2.0
"""Datamart quality: expectations in, verdicts out. Knows no Airflow."""
