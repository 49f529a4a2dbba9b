# SPDX-License-Identifier: Apache-2.0
"""
Quality checks against their peers and their floors, in one run.

    python benchmarks/quality/run.py --rows 1e6 20e6 100e6 --repeats 5

Datamarts and the contestants' environments are kept below ``--data`` and made when they are not there (100 M
rows take 6 GB); Great Expectations on pandas takes 8 GB of memory at 20 M rows. Ends with status 1 when
contestants disagree on a verdict or a run failed; targets that are missed are printed and kept, and change
nothing else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import generate
import judgement
import measure
import report
from suite import COLUMNS, suite

MEMORY_LIMIT = "2GB"
_PROGRAMS = Path(__file__).with_name("contestants")
_MILLION = 1_000_000


@dataclass(frozen=True)
class Contestant:
    """
    One of those compared.

    :param program: its program.
    :param most_rows: the most rows it is tried on.
    :param requirements: what pins its own environment; the project's when None.
    :param most_failing_rows: the most rows of failing data that it is tried on.
    """

    program: str
    most_rows: int
    requirements: str | None = None
    most_failing_rows: int = 0


CONTESTANTS = {
    "mlbridge": Contestant("mlbridge.py", 100 * _MILLION, most_failing_rows=20 * _MILLION),
    "gx-pandas": Contestant("gx_pandas.py", 20 * _MILLION, most_failing_rows=20 * _MILLION),
    "gx-duckdb": Contestant("gx_duckdb.py", 20 * _MILLION, "requirements-gx-duckdb.txt", _MILLION),
    "pandera": Contestant("pandera_polars.py", 20 * _MILLION, "requirements-pandera.txt", _MILLION),
    "floor-duckdb": Contestant("floor_duckdb.py", 100 * _MILLION),
    "floor-pyarrow": Contestant("floor_pyarrow.py", 100 * _MILLION),
}
VARIANTS = ("clean", "failing")


class Benchmark:
    """All runs, and the file they are kept in as they come."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self._options = options
        self._work = work
        self._runs: list[dict[str, Any]] = []
        self._versions: dict[str, str] = {}
        self._pythons = {
            name: environments.python_for(CONTESTANTS[name].requirements, options.data)
            for name in options.contestants
        }

    def run_all(self) -> dict[str, Any]:
        """Measure everything that is asked for; the results so far are written after each size."""
        for rows in self._options.rows:
            for variant in self._options.variants:
                names = [name for name in self._options.contestants if _takes_part(name, rows, variant)]
                if names:
                    self._measure(names, rows, variant)
        return self._results()

    def _measure(self, names: list[str], rows: int, variant: str) -> None:
        print(f"\n{rows} rows, {variant}", flush=True)
        folder = generate.dataset(self._options.data, rows, bad=variant == "failing")
        # A small datamart first: compiles bytecode, and shows at once what does not run at all.
        small = generate.dataset(self._options.data, 10_000, bad=variant == "failing")
        for name in names:
            self._run(name, small, 10_000, variant)
        measure.warm(folder)
        failed: set[str] = set()
        for repeat in range(self._options.repeats):
            for name in names:
                if name in failed:
                    continue
                run = self._run(name, folder, rows, variant)
                self._runs.append(
                    {
                        "variant": variant,
                        "rows": rows,
                        "contestant": name,
                        "repeat": repeat,
                        "status": run.status,
                        "wall_seconds": round(run.wall_seconds, 4),
                        "cpu_seconds": round(run.cpu_seconds, 4),
                        "peak_bytes": run.peak_bytes,
                        "found": run.answer.get("found", {}),
                        "message": run.message,
                    }
                )
                self._versions |= run.answer.get("versions", {})
                print(
                    f"  {name:14} {run.status:9} {run.wall_seconds:8.2f} s wall {run.cpu_seconds:8.2f} s CPU "
                    f"{run.peak_bytes / 1e6:7.0f} MB",
                    flush=True,
                )
                if run.status != "ok":
                    print(run.message, flush=True)
                    failed.add(name)
            self._write()

    def _run(self, name: str, folder: Path, rows: int, variant: str) -> measure.Run:
        with tempfile.TemporaryDirectory(dir=self._work) as work:
            path = Path(work, "suite.json")
            path.write_text(json.dumps(suite(rows)))
            job = {
                "folder": str(folder),
                "suite": str(path),
                "columns": list(COLUMNS),
                "samples": variant == "failing",
                "memory_limit": MEMORY_LIMIT,
            }
            return measure.run(
                self._pythons[name],
                _PROGRAMS / CONTESTANTS[name].program,
                job,
                work=Path(work),
                timeout_seconds=self._options.timeout,
            )

    def _results(self) -> dict[str, Any]:
        summary = judgement.summarize(self._runs)
        return {
            "environment": environments.facts(),
            "versions": self._versions,
            "memory_limit": MEMORY_LIMIT,
            "repeats": self._options.repeats,
            "expectations": len(suite(1)["expectations"]),
            "columns_needed": len(COLUMNS),
            "targets": judgement.targets(summary),
            "disagreements": judgement.disagreements(self._runs),
            "summary": summary,
            "runs": self._runs,
        }

    def _write(self) -> None:
        path: Path = self._options.json
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        unfinished.write_text(json.dumps(self._results(), indent=1))
        unfinished.replace(path)


def _takes_part(name: str, rows: int, variant: str) -> bool:
    contestant = CONTESTANTS[name]
    return rows <= (contestant.most_failing_rows if variant == "failing" else contestant.most_rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=generate.whole_number, default=[_MILLION])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--data", type=Path, default=generate.default_data(), help="folder of the datamarts")
    parser.add_argument("--json", type=Path, default=report.RESULTS, help="where the results go")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that one run may take")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks/quality.md as well")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, and keep the results."""
    options = _options()
    options.data.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="runs-", dir=options.data))
    try:
        results = Benchmark(options, work).run_all()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n{report.targets_table(results['targets'])}\n\nResults: {options.json}")
    if options.report:
        report.write(results)
    for line in results["disagreements"]:
        print(f"DISAGREEMENT {line}")
    failed = sorted({run["contestant"] for run in results["runs"] if run["status"] != "ok"})
    if failed:
        print(f"FAILED {', '.join(failed)}")
    if failed or results["disagreements"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
