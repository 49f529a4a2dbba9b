# SPDX-License-Identifier: Apache-2.0
"""What judges expectations: Parquet footers, DuckDB, Great Expectations."""
