# SPDX-License-Identifier: Apache-2.0
"""From a validated Parquet datamart to a trained model, as Apache Airflow operators."""

from __future__ import annotations

__version__ = "0.1.0"
