# SPDX-License-Identifier: Apache-2.0
"""From Airflow connections to what the core needs."""
