# SPDX-License-Identifier: Apache-2.0
"""
How long one row takes in pure Python.

    python benchmarks/features/serving.py [--rows 20000] [--repeats 5] [--report]

A recipe that makes 50 features of 16 columns is fitted on random rows. Processes that read the state alone,
one for each repeat, time ``transform_row`` row by row; times are in microseconds. ``--report`` writes
``docs/benchmarks/serving.md`` with its figures beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "serving.md"

_WARM = 1_000
_LIMIT_US = 1_000
_SHARES = {
    "p50_us": "median",
    "p95_us": "95 of 100 rows",
    "p99_us": "99 of 100 rows",
    "max_us": "slowest row",
}

_INTRODUCTION = """\
<!-- Written by benchmarks/features/serving.py from the measured figures. Do not edit. -->
# Time of one row

`FittedRecipe.transform_row()` in a process that has read `state.json` and has no engine: {features} features
of {inputs} columns, made by 18 types of steps. {rows} different rows after {warm} to warm up, each timed by
itself; medians of {repeats} such processes, with the least and the greatest.

| | µs |
|---|---:|
"""

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
    """Fit, serve, print; 1 when it takes too long, or something heavy was imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks/serving.md as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = _measure(Path(name), options.rows, options.repeats)
    results = summary(runs)
    print(json.dumps(results, indent=1))
    if options.report:
        PAGE.write_text(page(results))
        PAGE.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    return 0 if results["met"] and not results["heavy_modules_loaded"] else 1


def _measure(folder: Path, rows: int, repeats: int) -> list[dict[str, Any]]:
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_mlbridge.features import Recipe

    source = random.Random(7)  # noqa: S311 - rows, not secrets
    table = pa.Table.from_pylist([_row(source, number) for number in range(10_000)])
    at = table.column_names.index("at")
    moments = pa.array(table["at"].to_pylist()).cast(pa.timestamp("us"))
    pq.write_table(table.set_column(at, "at", moments), folder / "in.parquet")
    fitted = Recipe("serving", _steps(), keys=["id"], label="late").fit(str(folder / "in.parquet"))
    (folder / "state.json").write_text(fitted.to_json())
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows + _WARM):
            file.write(json.dumps(_row(source, number)) + "\n")
    files = [str(folder / "state.json"), str(folder / "rows.jsonl"), str(_WARM)]
    command = [sys.executable, "-c", SERVE, *files]
    return [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All runs in one, with the limit and what it ran on."""
    same = {name: runs[0][name] for name in ("python", "inputs", "features", "rows")}
    times = {
        name: {
            "median": median(run[name] for run in runs),
            "min": min(run[name] for run in runs),
            "max": max(run[name] for run in runs),
        }
        for name in _SHARES
    }
    return {
        **same,
        "repeats": len(runs),
        **times,
        "limit_p99_us": _LIMIT_US,
        "met": times["p99_us"]["median"] < _LIMIT_US,
        "heavy_modules_loaded": sorted({name for run in runs for name in run["heavy_modules_loaded"]}),
        "cpus": os.cpu_count(),
        "cpu": _cpu(),
        "system": platform.system(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def page(results: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    text = _INTRODUCTION.format(**{**results, "rows": f"{results['rows']:,}", "warm": f"{_WARM:,}"})
    for name, title in _SHARES.items():
        times = results[name]
        text += f"| {title} | {times['median']:.0f} ({times['min']:.0f} to {times['max']:.0f}) |\n"
    verdict = "met" if results["met"] else "missed"
    heavy = ", ".join(results["heavy_modules_loaded"]) or "none"
    return (
        f"{text}\nTarget: 99 of 100 rows in less than {results['limit_p99_us']:,} µs: {verdict}. Of Airflow, "
        f"DuckDB, Ibis, NumPy,\npandas, pyarrow and scikit-learn the process has imported: {heavy}.\n\n"
        f"{results['cpus']} CPUs ({results['cpu']}), {results['system']}, Python {results['python']}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
