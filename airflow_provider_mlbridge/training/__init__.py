# SPDX-License-Identifier: Apache-2.0
"""Training jobs: one request, three transports, exactly one run. Knows no Airflow."""
