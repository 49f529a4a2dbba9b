# SPDX-License-Identifier: Apache-2.0
"""
How long one row takes in pure Python: ``python benchmarks/features/serving.py [ROWS]``.

A recipe that makes 50 features of 16 columns is fitted on random rows; another process, which reads the state
alone, times ``transform_row`` row by row. Prints JSON; times are in microseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS = 20_000
_WARM = 1_000

SERVE = """
import json, platform, sys, time
from airflow_provider_mlbridge.features import FittedRecipe
fitted = FittedRecipe.from_json(open(sys.argv[1]).read())
rows = [json.loads(line) for line in open(sys.argv[2])]
warm, times = int(sys.argv[3]), []
for row in rows:
    start = time.perf_counter_ns()
    fitted.transform_row(row)
    times.append(time.perf_counter_ns() - start)
times = sorted(times[warm:])
def share(part):
    return round(times[min(len(times) - 1, int(len(times) * part))] / 1000, 1)
heavy = ("airflow", "boto3", "duckdb", "ibis", "numpy", "pandas", "pyarrow", "sklearn", "yaml")
print(json.dumps({
    "python": platform.python_version(), "inputs": len(fitted.inputs), "features": len(fitted.feature_names),
    "rows": len(times), "p50_us": share(0.5), "p95_us": share(0.95), "p99_us": share(0.99),
    "max_us": share(1), "heavy_modules_loaded": [name for name in heavy if name in sys.modules],
}))
"""


def _row(random: Any, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {f"n{index}": random.gauss(0, 10) for index in range(10)}
    row |= {f"i{index}": random.randrange(500) for index in range(2)}
    row |= {"carrier": f"c{random.randrange(8)}", "shop": f"s{random.randrange(2_000)}"}
    row |= {"night": random.random() < 0.3, "at": f"2024-{1 + number % 12:02}-03T{number % 24:02}:15:00"}
    row |= {"id": number, "late": random.random() < 0.2}
    for name in ("n0", "n3", "i1", "carrier"):
        if random.random() < 0.05:
            row[name] = None
    return row


def _steps() -> list[Any]:
    from airflow_provider_mlbridge.features import (
        Bins,
        Clip,
        Cyclical,
        DateParts,
        Expression,
        Frequency,
        Hashing,
        Impute,
        Interaction,
        Log1p,
        MinMax,
        OneHot,
        Ordinal,
        QuantileBins,
        Robust,
        Standard,
        Target,
        YeoJohnson,
    )

    return [
        Expression("n0 / nullif(n1, 0) + coalesce(n3, 0)", output="ratio"),
        Expression("if_else(n2 > 0 and i0 < 250, sqrt(abs(n2)), n4)", output="chosen"),
        Interaction(["n1", "n2", "n4", "n5", "n6"]),
        Target("shop", output="shop_late"),
        Frequency("shop", output="shop_often"),
        Hashing("shop", buckets=64),
        Log1p("i0", output="i0_log"),
        QuantileBins("n6", bins=20, output="n6_bin"),
        Bins("n7", edges=[-30, -10, 0, 10, 30], output="n7_bin"),
        Impute(["n0", "n3", "i1"], strategy="median", indicator=True),
        Clip(["n0", "n3"], lower_quantile=0.01, upper_quantile=0.99),
        Standard(["n0", "n1", "n2", "n3", "i1"]),
        MinMax(["n4", "n5"]),
        Robust(["n6", "n7"]),
        YeoJohnson(["n8", "n9"]),
        OneHot("carrier", unknown="other", missing="category"),
        Ordinal("night", missing="category"),
        DateParts("at", parts=["month", "weekday", "is_weekend"], output="on"),
        Cyclical("at", parts=["hour", "dayofyear"]),
    ]


def main() -> int:
    """Fit, serve, print."""
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_mlbridge.features import Recipe

    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    source = random.Random(7)  # noqa: S311 - rows, not secrets
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = pa.Table.from_pylist([_row(source, number) for number in range(10_000)])
        at = table.column_names.index("at")
        moments = pa.array(table["at"].to_pylist()).cast(pa.timestamp("us"))
        pq.write_table(table.set_column(at, "at", moments), folder / "in.parquet")
        fitted = Recipe("serving", _steps(), keys=["id"], label="late").fit(str(folder / "in.parquet"))
        (folder / "state.json").write_text(fitted.to_json())
        with (folder / "rows.jsonl").open("w") as file:
            for number in range(rows + _WARM):
                file.write(json.dumps(_row(source, number)) + "\n")
        command = [sys.executable, "-c", SERVE, str(folder / "state.json"), str(folder / "rows.jsonl")]
        return subprocess.run([*command, str(_WARM)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
