# SPDX-License-Identifier: Apache-2.0
"""This run beside earlier ones."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.reporting import plots
from airflow_provider_mlbridge.quality.result import QualityReport

SHOWN = 60


def runs_section(report: QualityReport, history: History) -> str:
    """Rows, bytes and pass ratio over runs; in words when there are none yet."""
    entries = [entry for entry in history.entries if entry.checked_at < report.checked_at][1 - SHOWN :]
    skipped = f" Passed over as unreadable: {history.skipped}." if history.skipped else ""
    if not entries:
        return f'<p class="soft">This is the first run.{skipped}</p>\n'
    failed = [*(not entry.success for entry in entries), not report.success]
    ratio = len(report.passed) / report.evaluated if report.evaluated else None
    figures = "".join(
        (
            _figure("Rows", [*(entry.rows for entry in entries), report.rows], failed, "{:,.0f}"),
            _figure(
                "Bytes", [*(entry.bytes for entry in entries), report.snapshot.total_bytes], failed, "{:,.0f}"
            ),
            _figure("Pass ratio", [*(entry.pass_ratio for entry in entries), ratio], failed, "{:.1%}"),
        )
    )
    first = entries[0].checked_at.date().isoformat()
    return (
        f'<p class="soft">The last {len(entries) + 1} runs, since {first}. The last point is this run; red '
        f'ones were not fit for use.{skipped}</p>\n<div class="runs">{figures}</div>\n'
    )


def _figure(name: str, values: Sequence[float | None], failed: Sequence[bool], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    last = "unknown" if values[-1] is None else form.format(values[-1])
    low, high = form.format(min(known)), form.format(max(known))
    text = f"{name}: now {last}, from {low} to {high}"
    return f"<figure>{plots.sparkline(values, failed, text)}<figcaption>{text}</figcaption></figure>"
