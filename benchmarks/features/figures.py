# SPDX-License-Identifier: Apache-2.0
"""
Medians, targets, and the page ``docs/benchmarks/features.md``, with its figures beside it.

    python benchmarks/features/figures.py [benchmarks/results/features.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "quality"))

import judgement
import report

RESULTS = report.ROOT / "benchmarks" / "results" / "features.json"
PAGE = report.ROOT / "docs" / "benchmarks" / "features.md"

_VARIANT = "features"
_MILLION = 1_000_000
_TITLES = {
    "mlbridge": "mlbridge, fit and transform",
    "scikit-learn": "scikit-learn on pandas",
    "polars": "Polars, streaming",
    "floor-duckdb": "floor: DuckDB reads and writes",
}

_INTRODUCTION = """\
<!-- Written by benchmarks/features/figures.py from the measured figures. Do not edit. -->
# Speed and memory of feature builds

A datamart of card transactions in the order of its key, with 20 columns, 15 of which become 24 features:
quantile bins, values clipped at quantiles, logarithms, standard and min-max scaling, missing values filled
by mean, median and most frequent value with indicators, one-hot and ordinal categories of 4 to 4,000
values, parts of a timestamp and a date. What is learned is learned from the first 80 % of the rows by time.
The output has the key, the label, the split and the features, as Parquet packed with zstd.

Each run is a fresh process, measured from outside: wall time and CPU seconds (user and system) count the
start of the interpreter and all imports, and the peak is the greatest resident set. Repeats are
interleaved, so that a noisy moment meets all contestants alike; machines are noisy, so ratios count. The
file cache is warm. A run in which contestants differ by more than 1e-9 on any of some 2,000 rows fails.

- mlbridge fits, transforms and takes the statistics of the features, as a build does; all but publishing.
- scikit-learn is a ColumnTransformer, with a transformer of its own for clipping at quantiles; pandas reads
  the needed columns only.
- Polars learns in three rounds of lazy queries on its streaming engine, and writes with a streaming sink.
- The floor is DuckDB with one statement that reads the inputs and writes as many columns of the same kinds,
  with constants in place of what must be learned. It fits, checks, counts and describes nothing.
"""


def main() -> None:
    """Render the page and the JSON beside it."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    write(json.loads(source.read_text()))


def summarize(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median, least and greatest of every measure, for each contestant and number of rows."""
    lines = judgement.summarize({**run, "variant": _VARIANT} for run in runs)
    return [{name: value for name, value in line.items() if name != "variant"} for line in lines]


def targets(summary: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The targets, each with the observed figure, and ``met`` true, false, or None when not measured."""
    lines = {(line["contestant"], line["rows"]): line for line in summary if line["ok"]}

    def ratio(measure: str, upper: str, lower: str, rows: int) -> float | None:
        one, other = lines.get((upper, rows)), lines.get((lower, rows))
        return one[measure]["median"] / other[measure]["median"] if one and other else None

    def peak(rows: int) -> float | None:
        # A limit on memory is one for the worst run, not for the usual one.
        line = lines.get(("mlbridge", rows))
        return line["peak_bytes"]["max"] / 1e9 if line else None

    middle, large = 20 * _MILLION, 100 * _MILLION
    speedup = ratio("wall_seconds", "scikit-learn", "mlbridge", middle)
    return [
        judgement.target("times faster than scikit-learn, 20 M rows", speedup, 5),
        judgement.target(
            "times the CPU of the floor, 20 M rows",
            ratio("cpu_seconds", "mlbridge", "floor-duckdb", middle),
            2,
            most=True,
        ),
        judgement.target("GB at the peak, 20 M rows, limit 2 GB", peak(middle), 1.3, most=True),
        judgement.target("GB at the peak, 100 M rows, limit 2 GB", peak(large), 2, most=True),
    ]


targets_table = report.targets_table


def write(results: Mapping[str, Any]) -> None:
    """Write the page, and all but the single runs beside it."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(results))
    kept = {name: value for name, value in results.items() if name != "runs"}
    PAGE.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{PAGE} and {PAGE.with_suffix('.json').name}")


def page(results: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    parts = [_INTRODUCTION, "## Targets\n", targets_table(results["targets"])]
    summary = results["summary"]
    for rows in sorted({line["rows"] for line in summary}):
        lines = [line for line in summary if line["rows"] == rows]
        parts += [f"\n## {report.rows_title(rows)}\n", report.figures_table(lines, _TITLES)]
    parts += ["\n## Where it ran\n", report.facts(results)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
