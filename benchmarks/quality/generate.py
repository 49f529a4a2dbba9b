# SPDX-License-Identifier: Apache-2.0
"""
A datamart of order lines, 25 columns wide, as dbt would leave it: keys, foreign keys, dates, timestamps,
amounts, categories, text, flags and some nulls.

Every value is a hash of its row, order, customer or product number, so that the same number of rows gives the
same datamart on every machine. Each process makes one file at a time, so that memory does not grow with the
number of rows.

    python benchmarks/quality/generate.py --rows 1e6 --data /tmp/marts [--bad]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

VERSION = 1
"""Part of the cache's folder names; raise it when a value changes."""
FILE_ROWS = 1_000_000
"""Most rows in a file."""
LEAST_FILES = 10
ROW_GROUP_ROWS = 122_880
"""Rows in a row group, as DuckDB (and so dbt-duckdb) writes them."""
BAD_SHARE = 100
"""One row in so many is bad, in each of :data:`BAD_COLUMNS`."""
BAD_COLUMNS = ("order_line_id", "shipped_at", "status", "quantity", "net_amount", "email")
"""Repeated keys, shipped before ordered, unknown categories, out of range, null, malformed."""

_LINE_ORDER = (0, 1, 1, 2, 2, 2, 3, 3, 3, 3)
_LINE_NUMBER = (1, 1, 2, 1, 2, 3, 1, 2, 3, 4)
_FIRST_DAY = 19_723
"""2024-01-01, in days since 1970."""
_DAYS = 730
_DAY_US = 86_400_000_000

STATUSES = ("placed", "paid", "packed", "shipped", "delivered", "returned", "cancelled")
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK", "PLN")
_CHANNELS = ("web", "app", "store", "phone", "marketplace")
_COUNTRIES = ("DE", "US", "GB", "CH", "SE", "PL", "FR", "NL", "AT", "BE", "DK", "ES")
_FIRST_NAMES = (
    "anna",
    "ben",
    "carla",
    "david",
    "eva",
    "felix",
    "greta",
    "hugo",
    "ida",
    "jonas",
    "karin",
    "luis",
)
_LAST_NAMES = (
    "adler",
    "berg",
    "costa",
    "dahl",
    "evans",
    "fischer",
    "garcia",
    "huber",
    "ito",
    "jensen",
    "kowalski",
)
_DOMAINS = ("example.com", "example.org", "mail.example.net", "post.example.com")
_ADJECTIVES = ("Small", "Large", "Light", "Solid", "Folding", "Round", "Blue", "Walnut", "Classic")
_THINGS = ("Lamp", "Chair", "Table", "Shelf", "Mirror", "Carpet", "Basket", "Clock", "Desk", "Cushion")
_REMARKS = (
    "leave at the door",
    "ring twice",
    "gift wrapping please",
    "deliver after six",
    "call before delivery",
)


def dataset(data: str | Path, rows: int, *, bad: bool = False) -> Path:
    """
    The folder of a datamart, made when it is not there yet.

    :param data: the folder that keeps datamarts.
    :param rows: its number of rows.
    :param bad: whether 1 % of the values are bad in each of :data:`BAD_COLUMNS`.
    """
    folder = Path(data, f"orders-v{VERSION}-{rows}{'-bad' if bad else ''}")
    if folder.is_dir():
        return folder
    Path(data).mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=data))
    try:
        write(unfinished, rows, bad=bad)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write(folder: Path, rows: int, *, bad: bool = False, workers: int | None = None) -> None:
    """Write the files of a datamart."""
    spans = file_spans(rows)
    if workers == 1 or rows <= FILE_ROWS:
        for number, span in enumerate(spans):
            _write_file(folder, number, span, rows, bad)
        return
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        futures = [pool.submit(_write_file, folder, *item, rows, bad) for item in enumerate(spans)]
        for future in futures:
            future.result()


def file_spans(rows: int) -> list[tuple[int, int]]:
    """First row and number of rows of each file."""
    step = max(1, min(FILE_ROWS, -(-rows // LEAST_FILES)))
    return [(start, min(step, rows - start)) for start in range(0, rows, step)]


def _write_file(folder: Path, number: int, span: tuple[int, int], rows: int, bad: bool) -> None:
    write_file(folder / f"part-{number:04d}.parquet", table(*span, rows, bad=bad))


def write_file(path: Path, content: pa.Table) -> None:
    """Write one file the way all of them are written."""
    import pyarrow.parquet as pq

    pq.write_table(content, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def table(start: int, count: int, total: int, *, bad: bool = False) -> pa.Table:
    """
    Rows ``start`` to ``start + count`` of a datamart of ``total`` rows, as one file of it.

    Files follow each other in time, as loads do; within a file the rows are in no order.
    """
    import numpy as np
    import pyarrow as pa

    natural = np.arange(start, start + count, dtype=np.int64)
    row = natural[np.argsort(_hash(natural, 1), kind="stable")]
    order = row // 10 * 4 + np.array(_LINE_ORDER)[row % 10]
    customer = pick(order, 2, max(total // 12, 100))
    product = pick(row, 3, 20_000)
    ordered = _FIRST_DAY * _DAY_US + (order * (_DAYS * _DAY_US / (total * 0.4 + 4))).astype(np.int64)
    ordered += pick(order, 4, 3_600_000_000)
    shipped = ordered + 3_600_000_000 + pick(row, 5, 4 * _DAY_US)
    delivered = shipped + 12 * 3_600_000_000 + pick(row, 6, 5 * _DAY_US)
    progress = pick(row, 7, 100)
    quantity = 1 + pick(row, 8, 8) * (pick(row, 9, 4) == 0)
    cents = 299 + pick(product, 10, 49_000) + 1000 * (pick(product, 11, 20) == 0)
    discount = np.where(pick(row, 12, 10) < 7, 0, 5 * (1 + pick(row, 13, 6)))
    net = np.round(quantity * cents * (100 - discount) / 10_000, 2)
    return pa.table(
        {
            "order_line_id": _line_ids(row, natural, bad),
            "order_id": 10_000_000 + 3 * order,
            "line_number": np.array(_LINE_NUMBER, dtype=np.int16)[row % 10],
            "customer_id": 500_000 + customer,
            "product_id": (1000 + product).astype(np.int32),
            "store_id": pa.array((1 + pick(order, 14, 240)).astype(np.int32), mask=pick(order, 15, 10) < 7),
            "order_date": pa.array((ordered // _DAY_US).astype("datetime64[D]")),
            "ordered_at": pa.array(ordered.astype("datetime64[us]")),
            "shipped_at": _shipped(row, ordered, shipped, progress < 6, bad),
            "delivered_at": pa.array(delivered.astype("datetime64[us]"), mask=progress < 12),
            "status": _statuses(row, bad),
            "channel": words(_CHANNELS, pick(order, 16, len(_CHANNELS))),
            "country": words(_COUNTRIES, pick(customer, 17, len(_COUNTRIES))),
            "currency": words(CURRENCIES, pick(customer, 18, len(CURRENCIES))),
            "quantity": np.where(_is_bad(row, 19, bad), 0, quantity).astype(np.int32),
            "unit_price": cents / 100,
            "discount_pct": discount / 100,
            "net_amount": pa.array(net, mask=_is_bad(row, 20, bad)),
            "tax_amount": _decimals(np.round(net * 19).astype(np.int64), 2),
            "unit_cost": _decimals(cents * (40 + pick(product, 21, 30)), 4),
            "email": _emails(customer, _is_bad(row, 22, bad)),
            "product_name": _product_names(product),
            "remark": _remarks(row),
            "is_gift": pick(row, 23, 20) == 0,
            "loaded_at": pa.array((ordered // _DAY_US + 1) * _DAY_US + 3 * 3_600_000_000).cast(
                pa.timestamp("us", tz="UTC")
            ),
        }
    )


def _hash(values: Ints, salt: int) -> Any:
    """64 well-mixed bits per value (the finaliser of SplitMix64)."""
    import numpy as np

    mixed = values.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def pick(values: Ints, salt: int, choices: int) -> Any:
    """A number from 0 to below ``choices`` for each value."""
    import numpy as np

    return (_hash(values, salt) % np.uint64(choices)).astype(np.int64)


def _is_bad(row: Ints, salt: int, bad: bool) -> Any:
    import numpy as np

    return pick(row, 1000 + salt, BAD_SHARE) == 0 if bad else np.zeros(len(row), dtype=bool)


def _line_ids(row: Ints, natural: Ints, bad: bool) -> Any:
    """Every third number of a sequence; a bad one repeats the id of the row before."""
    import numpy as np

    repeats = _is_bad(row, 24, bad) & (row > natural[0])
    return 70_000_000 + 3 * np.where(repeats, row - 1, row)


def _shipped(row: Ints, ordered: Ints, shipped: Ints, open_: Flags, bad: bool) -> Any:
    import numpy as np
    import pyarrow as pa

    values = np.where(_is_bad(row, 25, bad), ordered - 3_600_000_000, shipped)
    return pa.array(values.astype("datetime64[us]"), mask=open_)


def _statuses(row: Ints, bad: bool) -> Any:
    import numpy as np

    codes = np.where(_is_bad(row, 26, bad), len(STATUSES), pick(row, 27, len(STATUSES)))
    return words((*STATUSES, "unknown"), codes)


def words(choices: Sequence[str], codes: Ints) -> Any:
    """An Arrow array of the words at these places."""
    import numpy as np
    import pyarrow as pa

    return pa.array(choices).take(pa.array(codes.astype(np.int32)))


def joined(*parts: Any) -> Any:
    """Texts put together, row by row."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*parts, "")


def numbers(values: Ints) -> Any:
    """Numbers as an Arrow array of texts."""
    import pyarrow as pa

    return pa.array(values).cast(pa.string())


def _emails(customer: Ints, bad: Flags) -> Any:
    import numpy as np

    first = words(_FIRST_NAMES, pick(customer, 28, len(_FIRST_NAMES)))
    last = words(_LAST_NAMES, pick(customer, 29, len(_LAST_NAMES)))
    at = words(("@", " at "), bad.astype(np.int64))
    return joined(first, ".", last, numbers(customer), at, words(_DOMAINS, pick(customer, 30, len(_DOMAINS))))


def _product_names(product: Ints) -> Any:
    adjective = words(_ADJECTIVES, pick(product, 31, len(_ADJECTIVES)))
    thing = words(_THINGS, pick(product, 32, len(_THINGS)))
    return joined(adjective, " ", thing, " ", numbers(product))


def _remarks(row: Ints) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    remark = joined(words(_REMARKS, pick(row, 33, len(_REMARKS))), ", ", numbers(pick(row, 34, 1000)))
    return pc.if_else(pa.array(pick(row, 35, 5) == 0), remark, None)


def _decimals(units: Ints, scale: int) -> Any:
    """Decimals out of whole units of their last digit."""
    import numpy as np
    import pyarrow as pa

    words = np.empty((len(units), 2), dtype="<i8")
    words[:, 0], words[:, 1] = units, units >> 63
    return pa.Array.from_buffers(pa.decimal128(12, scale), len(units), [None, pa.py_buffer(words)])


def whole_number(text: str) -> int:
    """A number of rows such as ``20e6``."""
    return int(float(text))


def default_data() -> Path:
    """Where datamarts are kept when nothing else is said."""
    return Path(tempfile.gettempdir(), "mlbridge-benchmarks")


def main() -> None:
    """Make a datamart and print where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", type=whole_number, default=1_000_000)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--bad", action="store_true", help="1 %% bad values in six columns")
    options = parser.parse_args()
    print(dataset(options.data, options.rows, bad=options.bad))


if __name__ == "__main__":
    main()
