# SPDX-License-Identifier: Apache-2.0
"""
Renders the results of the benchmark as the page ``docs/benchmarks/quality.md``, with its figures beside it.

    python benchmarks/quality/report.py [benchmarks/results/quality.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "quality.json"
PAGE = ROOT / "docs" / "benchmarks" / "quality.md"

_TITLES = {
    "mlbridge": "mlbridge `validate()`",
    "gx-pandas": "Great Expectations on pandas",
    "gx-duckdb": "Great Expectations on DuckDB (15 of 17)",
    "pandera": "pandera on Polars",
    "floor-duckdb": "floor: DuckDB reads the columns",
    "floor-pyarrow": "floor: pyarrow reads the columns",
}
_VARIANTS = {"clean": "data as expected", "failing": "1 % bad values in six columns, with samples"}

_INTRODUCTION = """\
<!-- Written by benchmarks/quality/report.py from the measured figures. Do not edit. -->
# Speed and memory of quality checks

Seventeen expectations on a datamart of order lines with 25 columns, 13 of which are needed: number of
rows, columns, a type, three not-null, one unique and one compound key, three ranges, two sets, a regular
expression, text lengths, a pair of columns, a mean. All contestants get the same suite and the same
Parquet files, and only the needed columns are read. Each run is a fresh process, measured from outside:
wall time and CPU seconds (user and system) count the start of the interpreter and all imports, and the
peak is the greatest resident set. Repeats are interleaved, so that a noisy moment meets all contestants
alike; machines are noisy, so ratios count. The file cache is warm. A run in which two contestants
disagree on a verdict, or on the number of unexpected values, fails.

- Great Expectations on pandas gets no decimals and no dates among the needed columns, which pandas would
  hold as Python objects.
- Great Expectations on DuckDB goes through SQLAlchemy and duckdb-engine. It judges 15 of the 17: regular
  expressions are "not supported for dialect duckdb", and it does not find the types of columns. Without
  rows buffered at execution it would return no results at all, since it reads them after it has given
  its connection back.
- pandera expresses all seventeen, three of them as custom checks (number of rows, pair, mean).
- The floors only read: DuckDB with the cheapest aggregate that looks at every value of the needed
  columns, pyarrow decoding them batch by batch. Neither checks anything, and uniqueness has no part in
  them.
"""


def main() -> None:
    """Render the page and the JSON beside it."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    write(json.loads(source.read_text()))


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
    for variant, title in _VARIANTS.items():
        for rows in sorted({line["rows"] for line in summary if line["variant"] == variant}):
            lines = [line for line in summary if (line["variant"], line["rows"]) == (variant, rows)]
            parts += [f"\n## {rows_title(rows)}, {title}\n", figures_table(lines)]
    parts += ["\n## Where it ran\n", facts(results)]
    return "\n".join(parts) + "\n"


def targets_table(targets: Sequence[Mapping[str, Any]]) -> str:
    """Each target with what was observed."""
    lines = ["| target | observed | |", "|---|---:|---|"]
    for target in targets:
        sign = "at most" if "at_most" in target else "at least"
        bound = target.get("at_most", target.get("at_least"))
        observed = "" if target["observed"] is None else f"{target['observed']:.2f}"
        met = {True: "met", False: "missed", None: "not measured"}[target["met"]]
        lines.append(f"| {sign} {bound:g} {target['what']} | {observed} | {met} |")
    return "\n".join(lines)


def figures_table(lines: Sequence[Mapping[str, Any]], titles: Mapping[str, str] = _TITLES) -> str:
    """Medians, with least and greatest in brackets, and the ratio of each wall time to ours."""
    ours = next((line for line in lines if line["contestant"] == "mlbridge" and line["ok"]), None)
    table = [
        "| | wall time, s | CPU, s | peak, MB | wall time over ours | CPU over ours |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for line in lines:
        title = titles[line["contestant"]]
        if not line["ok"]:
            table.append(f"| {title} | did not finish | | | | |")
            continue
        wall, cpu, peak = (line[name] for name in ("wall_seconds", "cpu_seconds", "peak_bytes"))
        ratios = ["", ""]
        if ours is not None:
            ratios = [
                f"{line[name]['median'] / ours[name]['median']:.2f}"
                for name in ("wall_seconds", "cpu_seconds")
            ]
        table.append(
            f"| {title} | {_spread(wall, 2)} | {_spread(cpu, 2)} | {_spread(peak, 0, 1e6)} | "
            f"{' | '.join(ratios)} |"
        )
    return "\n".join(table)


def _spread(values: Mapping[str, float], digits: int, unit: float = 1) -> str:
    median, least, most = (f"{values[name] / unit:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def rows_title(rows: int) -> str:
    """A number of rows as people say it."""
    return f"{rows / 1e6:g} M rows" if rows >= 100_000 else f"{rows} rows"


def facts(results: Mapping[str, Any]) -> str:
    """What the figures depend on."""
    environment = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
    return (
        f"{environment['cpus']} CPUs ({environment['cpu']}), {environment['memory_bytes'] / 2**30:.0f} GiB "
        f"of memory, {environment['system']}, Python {environment['python']}. {results['repeats']} repeats. "
        f"Memory limit of mlbridge and of the DuckDB floor: {results['memory_limit']}.\n\n{versions}."
    )


if __name__ == "__main__":
    main()
