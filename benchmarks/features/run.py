# SPDX-License-Identifier: Apache-2.0
"""
Feature builds against their peers and their floor, in one run.

    python benchmarks/features/run.py --rows 1e6 20e6 100e6 --repeats 3 --report

Datamarts and the contestants' environments are kept below ``--data`` and made when they are not there (100 M
rows take 5 GB); scikit-learn takes some 12 GB of memory at 20 M rows. Ends with status 1 when contestants
wrote different values or a run failed; targets that are missed are printed and kept, and change nothing
else.
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

sys.path.append(str(Path(__file__).resolve().parents[1] / "quality"))

import agreement
import environments
import figures
import generate
import measure
import transactions

MEMORY_LIMIT = "2GB"
HERE = Path(__file__).resolve().parent
_MILLION = 1_000_000

KEY, LABEL = "transaction_id", "is_fraud"
INPUTS = [
    "created_at",
    "amount",
    "fee",
    "balance",
    "age",
    "items",
    "distance_km",
    "rating",
    "tenure_days",
    "channel",
    "country",
    "device",
    "merchant_id",
    "is_member",
    "signup_on",
]
FEATURES = [
    "amount_bin",
    "amount",
    "fee",
    "balance",
    "balance_missing",
    "age",
    "items",
    "distance_km",
    "distance_km_missing",
    "rating",
    "tenure_days",
    "channel_app",
    "channel_phone",
    "channel_store",
    "channel_web",
    "country",
    "device",
    "merchant_id",
    "is_member",
    "created_at_month",
    "created_at_weekday",
    "created_at_hour",
    "created_at_is_weekend",
    "signup_on_year",
]


@dataclass(frozen=True)
class Contestant:
    """
    One of those compared.

    :param program: its program.
    :param most_rows: the most rows it is tried on.
    :param requirements: what pins its own environment; the project's when None.
    :param compared: whether what it writes is to be the same as what the others write.
    """

    program: str
    most_rows: int
    requirements: str | None = None
    compared: bool = True


CONTESTANTS = {
    "mlbridge": Contestant("mlbridge.py", 100 * _MILLION),
    "scikit-learn": Contestant("sklearn_pandas.py", 20 * _MILLION),
    "polars": Contestant("polars_streaming.py", 20 * _MILLION, "requirements-polars.txt"),
    "floor-duckdb": Contestant("floor_duckdb.py", 100 * _MILLION, compared=False),
}


class Benchmark:
    """All runs, and the file they are kept in as they come."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self._options = options
        self._work = work
        self._runs: list[dict[str, Any]] = []
        self._versions: dict[str, str] = {}
        self._disagreements: list[str] = []
        self._pythons: dict[str, Path] = {}
        for name in options.contestants:
            pins = CONTESTANTS[name].requirements
            path = None if pins is None else str(HERE / pins)
            self._pythons[name] = environments.python_for(path, options.data)

    def run_all(self) -> dict[str, Any]:
        """Measure everything that is asked for; the results so far are written after each round."""
        for rows in self._options.rows:
            names = [name for name in self._options.contestants if rows <= CONTESTANTS[name].most_rows]
            if names:
                self._measure(names, rows)
        return self._results()

    def _measure(self, names: list[str], rows: int) -> None:
        print(f"\n{rows} rows", flush=True)
        folder = transactions.dataset(self._options.data, rows)
        # A small datamart first: compiles bytecode, and shows at once what does not run at all.
        small = transactions.dataset(self._options.data, 10_000)
        for name in names:
            self._run(name, small, 10_000, {})
        measure.warm(folder)
        samples: dict[str, agreement.Sample] = {}
        failed: set[str] = set()
        for repeat in range(self._options.repeats):
            for name in names:
                if name in failed:
                    continue
                run = self._run(name, folder, rows, samples)
                self._runs.append(
                    {
                        "rows": rows,
                        "contestant": name,
                        "repeat": repeat,
                        "status": run.status,
                        "wall_seconds": round(run.wall_seconds, 4),
                        "cpu_seconds": round(run.cpu_seconds, 4),
                        "peak_bytes": run.peak_bytes,
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
        for name, found in samples.items():
            if "mlbridge" in samples and name != "mlbridge":
                lines = agreement.disagreements(samples["mlbridge"], found, name)
                self._disagreements += [f"{rows} rows: {line}" for line in lines]

    def _run(self, name: str, folder: Path, rows: int, samples: dict[str, agreement.Sample]) -> measure.Run:
        with tempfile.TemporaryDirectory(dir=self._work) as work:
            output = Path(work, "features.parquet")
            job = {
                "folder": str(folder),
                "output": str(output),
                "key": KEY,
                "label": LABEL,
                "inputs": INPUTS,
                "features": FEATURES,
                "memory_limit": MEMORY_LIMIT,
            }
            run = measure.run(
                self._pythons[name],
                HERE / "contestants" / CONTESTANTS[name].program,
                job,
                work=Path(work),
                timeout_seconds=self._options.timeout,
            )
            if run.status == "ok" and CONTESTANTS[name].compared and name not in samples:
                samples[name] = agreement.sample(output, KEY, rows)
        return run

    def _results(self) -> dict[str, Any]:
        summary = figures.summarize(self._runs)
        return {
            "environment": environments.facts(),
            "versions": self._versions,
            "memory_limit": MEMORY_LIMIT,
            "repeats": self._options.repeats,
            "inputs": len(INPUTS),
            "features": len(FEATURES),
            "targets": figures.targets(summary),
            "disagreements": self._disagreements,
            "summary": summary,
            "runs": self._runs,
        }

    def _write(self) -> None:
        path: Path = self._options.json
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        unfinished.write_text(json.dumps(self._results(), indent=1))
        unfinished.replace(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=generate.whole_number, default=[_MILLION])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--data", type=Path, default=generate.default_data(), help="folder of the datamarts")
    parser.add_argument("--json", type=Path, default=figures.RESULTS, help="where the results go")
    parser.add_argument("--timeout", type=float, default=1_800, help="seconds that one run may take")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks/features.md as well")
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
    options.json.write_text(json.dumps(results, indent=1))
    print(f"\n{figures.targets_table(results['targets'])}\n\nResults: {options.json}")
    if options.report:
        figures.write(results)
    for line in results["disagreements"]:
        print(f"DISAGREEMENT {line}")
    failed = sorted({run["contestant"] for run in results["runs"] if run["status"] != "ok"})
    if failed:
        print(f"FAILED {', '.join(failed)}")
    if failed or results["disagreements"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
