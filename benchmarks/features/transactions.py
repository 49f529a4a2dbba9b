# SPDX-License-Identifier: Apache-2.0
"""
A datamart of card transactions, 20 columns wide, as dbt writes a table in the order of its key: 15 columns
that features are made of, key, label, and columns that nothing needs.

Every value is a hash of its row's number, so that the same number of rows gives the same datamart on every
machine. Each process makes one file at a time, so that memory does not grow with the number of rows.

    python benchmarks/features/transactions.py --rows 1e6 --data /tmp/marts
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

sys.path.append(str(Path(__file__).resolve().parents[1] / "quality"))

import generate

VERSION = 1
"""Part of the cache's folder names; raise it when a value changes."""

CHANNELS = ("app", "phone", "store", "web")
COUNTRIES = [
    "AT",
    "BE",
    "BG",
    "CH",
    "CY",
    "CZ",
    "DE",
    "DK",
    "EE",
    "ES",
    "FI",
    "FR",
    "GB",
    "GR",
    "HR",
    "HU",
    "IE",
    "IS",
    "IT",
    "LI",
    "LT",
    "LU",
    "LV",
    "MC",
    "MT",
    "NL",
    "NO",
    "PL",
    "PT",
    "RO",
    "RS",
    "SE",
    "SI",
    "SK",
    "SM",
    "TR",
    "UA",
    "US",
]
DEVICES = ("android", "desktop", "ios", "kiosk", "tablet", "terminal")
MERCHANTS = 4_000
RATINGS = 11

_DAY_US = 86_400_000_000
_FIRST_DAY = 19_723
"""2024-01-01, in days since 1970."""
_DAYS = 730


def dataset(data: str | Path, rows: int) -> Path:
    """The folder of a datamart, made when it is not there yet."""
    folder = Path(data, f"transactions-v{VERSION}-{rows}")
    if folder.is_dir():
        return folder
    Path(data).mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=data))
    try:
        spans = generate.file_spans(rows)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            futures = [pool.submit(_write, unfinished, *item, rows) for item in enumerate(spans)]
            for future in futures:
                future.result()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, number: int, span: tuple[int, int], rows: int) -> None:
    generate.write_file(folder / f"part-{number:04d}.parquet", table(*span, rows))


def table(start: int, count: int, total: int) -> pa.Table:
    """Rows ``start`` to ``start + count`` of a datamart of ``total`` rows; keys and times ascend."""
    import numpy as np
    import pyarrow as pa

    row = np.arange(start, start + count, dtype=np.int64)
    customer = _pick(row, 1, max(total // 12, 100))
    created = _FIRST_DAY * _DAY_US + (row * (_DAYS * _DAY_US / total)).astype(np.int64)
    normal = _normal(row, 2)
    amount = np.round(np.exp(3.2 + 1.1 * normal), 2)
    distance = np.exp(1.5 + 1.4 * _normal(row, 5))
    tenure = _pick(customer, 9, 4_000)
    rating = _pick(row, 10, RATINGS) / 2
    signup = created // _DAY_US - tenure
    return pa.table(
        {
            "transaction_id": 500_000_000 + 7 * row,
            "customer_id": 100_000 + customer,
            "created_at": pa.array(created.astype("datetime64[us]")),
            "amount": amount,
            "fee": pa.array(np.round(amount * 0.012 + _pick(row, 3, 200) / 100, 2), mask=_one_in(row, 20, 4)),
            "balance": pa.array(np.round(900 + 2_500 * _normal(customer, 6), 2), mask=_one_in(row, 12, 7)),
            "age": pa.array((18 + _pick(customer, 8, 70)).astype(np.int32), mask=_one_in(customer, 15, 11)),
            "items": (1 + _pick(row, 12, 9)).astype(np.int16),
            "distance_km": pa.array(distance, mask=_one_in(row, 9, 13)),
            "rating": pa.array(rating.astype(np.float32), mask=_one_in(row, 3, 14)),
            "tenure_days": tenure.astype(np.int32),
            "channel": generate.words(CHANNELS, _pick(row, 15, len(CHANNELS))),
            "country": generate.words(COUNTRIES, _pick(customer, 16, len(COUNTRIES))),
            "device": _missing(generate.words(DEVICES, _pick(row, 17, len(DEVICES))), _one_in(row, 25, 18)),
            "merchant_id": (10_000 + 3 * _pick(row, 19, MERCHANTS)).astype(np.int32),
            "is_member": _one_in(customer, 3, 20),
            "signup_on": pa.array(signup.astype("datetime64[D]")),
            "is_fraud": pa.array(_one_in(row, 50, 21).astype(np.int8)),
            "terminal": generate.joined("T-", generate.numbers(_pick(row, 22, 50_000))),
            "loaded_at": pa.array((created // _DAY_US + 1) * _DAY_US).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def _pick(values: Any, salt: int, choices: int) -> Any:
    return generate.pick(values, 100 + salt, choices)


def _one_in(values: Any, many: int, salt: int) -> Any:
    return _pick(values, salt, many) == 0


def _normal(values: Any, salt: int) -> Any:
    """About a normal distribution: twelve uniform ones added, as exact in every NumPy."""
    import numpy as np

    added = np.zeros(len(values), dtype=np.int64)
    for part in range(12):
        added += _pick(values, 1_000 * salt + part, 1 << 20)
    return added / (1 << 20) - 6


def _missing(words: Any, mask: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pa.array(mask), None, words)


def main() -> None:
    """Make a datamart and print where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", type=generate.whole_number, default=1_000_000)
    parser.add_argument("--data", type=Path, default=generate.default_data())
    options = parser.parse_args()
    print(dataset(options.data, options.rows))


if __name__ == "__main__":
    main()
