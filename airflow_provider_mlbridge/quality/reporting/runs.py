# SPDX-License-Identifier: Apache-2.0
"""This run beside earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

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
    dates = [*(entry.checked_at for entry in entries), report.checked_at]
    failed = [*(not entry.success for entry in entries), not report.success]
    ratio = len(report.passed) / report.evaluated if report.evaluated else None
    figures = "".join(
        (
            _figure("Rows", [*(entry.rows for entry in entries), report.rows], dates, failed, "{:,.0f}"),
            _figure(
                "Bytes",
                [*(entry.bytes for entry in entries), report.snapshot.total_bytes],
                dates,
                failed,
                "{:,.0f}",
            ),
            _figure("Pass ratio", [*(entry.pass_ratio for entry in entries), ratio], dates, failed, "{:.1%}"),
        )
    )
    return (
        f'<p class="soft">The last {len(entries) + 1} runs, in UTC. The last point is this run; red '
        f'ones were not fit for use.{skipped}</p>\n<div class="runs">{figures}</div>\n'
    )


def _figure(
    name: str,
    values: Sequence[float | None],
    dates: Sequence[datetime],
    failed: Sequence[bool],
    form: str,
) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    last = "unknown" if values[-1] is None else form.format(values[-1])
    low, high = form.format(min(known)), form.format(max(known))
    text = f"{name}: now {last}, from {low} to {high}"
    labels = [
        f"{moment:%Y-%m-%d %H:%M}: {'unknown' if value is None else form.format(value)}"
        for moment, value in zip(dates, values, strict=True)
    ]
    ends = "".join(f"<span>{end}</span>" for end in _ends(dates[0], dates[-1]))
    return (
        f'<figure>{plots.sparkline(values, failed, text, labels)}<div class="ends">{ends}</div>'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _ends(first: datetime, last: datetime) -> tuple[str, str]:
    """The ends of the axis of time; with the time of day when all runs are of one day."""
    form = "%Y-%m-%d" if first.date() != last.date() else "%Y-%m-%d %H:%M"
    return first.strftime(form), last.strftime(form)
