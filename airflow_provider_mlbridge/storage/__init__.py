# SPDX-License-Identifier: Apache-2.0
"""Datasets in S3 or on disk: pin, read, publish. Knows no Airflow."""
