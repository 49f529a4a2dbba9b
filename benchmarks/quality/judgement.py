# SPDX-License-Identifier: Apache-2.0
"""What the figures say: medians, whether the contestants agree, and which targets are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BROKEN = frozenset(
    {
        "id_unique",
        "amount_not_null",
        "quantity_range",
        "status_known",
        "email_form",
        "shipped_after_ordered",
    }
)
"""Ids of the expectations that do not hold on the datamart with bad values."""
MEASURES = ("wall_seconds", "cpu_seconds", "peak_bytes")
FLOORS = ("floor-duckdb", "floor-pyarrow")

_MILLION = 1_000_000


def summarize(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median, least and greatest of every measure, for each contestant, number of rows and variant."""
    groups: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["variant"], run["rows"], run["contestant"]), []).append(run)
    summary = []
    for (variant, rows, contestant), members in groups.items():
        good = [run for run in members if run["status"] == "ok"]
        line: dict[str, Any] = {
            "variant": variant,
            "rows": rows,
            "contestant": contestant,
            "runs": len(members),
            "ok": len(good),
        }
        for measure in MEASURES if good else ():
            values = [run[measure] for run in good]
            line[measure] = {
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
            }
        summary.append(line)
    return summary


def disagreements(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    Where a verdict is not the right one, or contestants count differently; empty when all agree.

    The right verdicts are known: everything holds on the clean datamart, :data:`BROKEN` fails on the other.
    """
    found: dict[str, None] = {}
    counts: dict[tuple[str, int, str], dict[Any, str]] = {}
    for run in runs:
        for name, verdict in run["found"].items():
            where = f"{run['variant']}, {run['rows']} rows, {name}"
            expected = not (run["variant"] == "failing" and name in BROKEN)
            if verdict["success"] is not expected:
                said = (
                    f"{verdict['success']} ({verdict['error']})" if verdict["error"] else verdict["success"]
                )
                found[f"{where}: {run['contestant']} says {said}, which should be {expected}"] = None
            if verdict["unexpected_count"] is not None:
                seen = counts.setdefault((run["variant"], run["rows"], name), {})
                seen.setdefault(verdict["unexpected_count"], run["contestant"])
                if len(seen) > 1:
                    differing = ", ".join(f"{who} {count}" for count, who in seen.items())
                    found[f"{where}: unexpected values counted differently: {differing}"] = None
    return list(found)


def targets(summary: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    The targets, each with the observed figure, and ``met`` true, false, or None when it was not measured.

    The floor is the cheaper of the two.
    """
    figures = _Figures(summary)
    small, middle, large = _MILLION, 20 * _MILLION, 100 * _MILLION
    return [
        target("times faster than GX on pandas, 20 M rows", figures.speedup(middle, "gx-pandas"), 8),
        target("times the CPU of the floor, 20 M rows", figures.over_floor(middle), 2.5, most=True),
        target("GB at the peak, 20 M rows, limit 2 GB", figures.peak(middle), 1.2, most=True),
        target(
            "times the peak at 20 M rows, 100 M rows",
            _ratio(figures.peak(large), figures.peak(middle)),
            1.2,
            most=True,
        ),
        target("times faster than GX on pandas, 1 M rows", figures.speedup(small, "gx-pandas"), 8),
        target("times faster than GX on DuckDB, 1 M rows", figures.speedup(small, "gx-duckdb"), 8),
        target(
            "times faster than GX on pandas, 1 M rows, failing",
            figures.speedup(small, "gx-pandas", "failing"),
            8,
        ),
        target(
            "times faster than GX on pandas, 20 M rows, failing",
            figures.speedup(middle, "gx-pandas", "failing"),
            8,
        ),
        target(
            "GB at the peak, 20 M rows, limit 2 GB, failing", figures.peak(middle, "failing"), 1.2, most=True
        ),
    ]


class _Figures:
    def __init__(self, summary: Sequence[Mapping[str, Any]]) -> None:
        self._lines = {
            (line["variant"], line["rows"], line["contestant"]): line for line in summary if line["ok"]
        }

    def median(self, contestant: str, rows: int, measure: str, variant: str = "clean") -> float | None:
        line = self._lines.get((variant, rows, contestant))
        return None if line is None else float(line[measure]["median"])

    def speedup(self, rows: int, peer: str, variant: str = "clean") -> float | None:
        return _ratio(
            self.median(peer, rows, "wall_seconds", variant),
            self.median("mlbridge", rows, "wall_seconds", variant),
        )

    def over_floor(self, rows: int) -> float | None:
        floors = [self.median(floor, rows, "cpu_seconds") for floor in FLOORS]
        measured = [floor for floor in floors if floor is not None]
        return _ratio(self.median("mlbridge", rows, "cpu_seconds"), min(measured, default=None))

    def peak(self, rows: int, variant: str = "clean") -> float | None:
        # A limit on memory is one for the worst run, not for the usual one.
        line = self._lines.get((variant, rows, "mlbridge"))
        return None if line is None else float(line["peak_bytes"]["max"]) / 1e9


def _ratio(upper: float | None, lower: float | None) -> float | None:
    return upper / lower if upper is not None and lower else None


def target(what: str, observed: float | None, bound: float, *, most: bool = False) -> dict[str, Any]:
    """One target, with whether it is met; ``most`` when less is better."""
    met = None if observed is None else observed <= bound if most else observed >= bound
    return {"what": what, "observed": observed, "at_most" if most else "at_least": bound, "met": met}
