# SPDX-License-Identifier: Apache-2.0
"""
The floor: DuckDB reads the columns and writes as many, of the same kinds and about as hard to pack.

What has to be learned stands here as constants, next to right. So this is one pass that reads and writes:
nothing is fitted, checked, counted or described, and the order of rows is taken on trust.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import duckdb  # noqa: TID253

ROWS = """
SELECT
    transaction_id,
    is_fraud,
    CASE WHEN created_at <= TIMESTAMP '2025-08-06' THEN 'train' ELSE 'test' END AS split,
    ((amount >= 9.7)::INTEGER + (amount >= 18.5)::INTEGER + (amount >= 32.4)::INTEGER
        + (amount >= 61.9)::INTEGER)::INTEGER AS amount_bin,
    (ln(1 + least(amount, 316.4)) - 3.25) / 1.03 AS amount,
    (coalesce(fee, 1.51) - 0.0) / 90.0 AS fee,
    (least(coalesce(balance, 900.0), 7300.0) - 900.0) / 2360.0 AS balance,
    (balance IS NULL)::TINYINT AS balance_missing,
    (coalesce(age, 52) - 18.0) / 69.0 AS age,
    (items - 5.0) / 2.58 AS items,
    (ln(1 + least(coalesce(distance_km, 4.48), 116.0)) - 1.82) / 1.01 AS distance_km,
    (distance_km IS NULL)::TINYINT AS distance_km_missing,
    coalesce(rating::DOUBLE, 3.0) AS rating,
    (tenure_days // 400)::INTEGER AS tenure_days,
    (channel = 'app')::TINYINT AS channel_app,
    (channel = 'phone')::TINYINT AS channel_phone,
    (channel = 'store')::TINYINT AS channel_store,
    (channel = 'web')::TINYINT AS channel_web,
    (ascii(country) + ascii(country[2]) * 26)::INTEGER AS country,
    ascii(device[2])::INTEGER AS device,
    ((merchant_id - 10000) // 3)::INTEGER AS merchant_id,
    is_member,
    month(created_at)::INTEGER AS created_at_month,
    (isodow(created_at) - 1)::INTEGER AS created_at_weekday,
    hour(created_at)::INTEGER AS created_at_hour,
    (isodow(created_at) >= 6)::INTEGER AS created_at_is_weekend,
    year(signup_on)::INTEGER AS signup_on_year
FROM read_parquet('{folder}/*.parquet')
"""


def main() -> None:
    """Write the columns as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text())
    with duckdb.connect(":memory:", config={"memory_limit": job["memory_limit"]}) as connection:
        connection.execute(
            f"COPY ({ROWS.format(folder=job['folder'])}) TO '{job['output']}' "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
        )
    Path(job["answer"]).write_text(json.dumps({"versions": {"duckdb": version("duckdb")}}))


if __name__ == "__main__":
    main()
