# SPDX-License-Identifier: Apache-2.0
"""The demonstration: real servers on loopback, real data, and the integration DAG in a real Airflow."""
