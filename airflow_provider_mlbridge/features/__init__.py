# SPDX-License-Identifier: Apache-2.0
"""Feature recipes: fit on the training split, transform everywhere alike. Knows no Airflow."""
