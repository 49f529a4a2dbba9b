# SPDX-License-Identifier: Apache-2.0
"""The report as one page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.reporting import plots
from airflow_provider_mlbridge.quality.reporting.columns import columns_section
from airflow_provider_mlbridge.quality.reporting.expectations import expectations_table
from airflow_provider_mlbridge.quality.reporting.plots import counted
from airflow_provider_mlbridge.quality.reporting.runs import runs_section
from airflow_provider_mlbridge.quality.reporting.style import STYLE
from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport

SHOWN = 500
"""Expectations of one kind on the page; the JSON has them all."""
_OPEN = 30
_LISTED = 100


def to_html(
    report: QualityReport, *, history: History | None = None, run: Mapping[str, str] | None = None
) -> str:
    """
    The page.

    Not checked and failed expectations come first; those that held are folded when there are others or many.

    :param history: earlier runs, which are drawn beside this one.
    :param run: what made the report, by name, such as ``{"DAG": "flights", "Run": "manual__1"}``.
    """
    sections = [
        ("attention", "Not as expected", _attention(report)),
        ("unsupported", "Constraints that no expectation stands for", _unsupported(report)),
        ("held", "Held", _held(report)),
        ("history", "Earlier runs", runs_section(report, history) if history is not None else ""),
        ("columns", "Columns", columns_section(report.profile, report.rows)),
    ]
    present = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in present)
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>\n{content}</section>\n' for name, title, content in present
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Quality of {escape(report.snapshot.uri)}</title><style>{STYLE}</style></head><body>\n"
        f"<header>{_head(report, run or {})}</header>\n<nav>{links}</nav>\n"
        f"<main>\n{body}</main>\n</body></html>\n"
    )


def _head(report: QualityReport, run: Mapping[str, str]) -> str:
    snapshot = report.snapshot
    verdict = _verdict(report)
    passed = f"{100 * len(report.passed) / report.evaluated:.4g} %" if report.evaluated else "none"
    tiles = (
        ("Rows", f"{report.rows:,}"),
        ("Expectations held", f"{len(report.passed):,} of {report.evaluated:,}"),
        ("Pass ratio", passed),
        ("Size", _size(snapshot.total_bytes)),
        ("Files", f"{snapshot.file_count:,}"),
        ("Time taken", f"{report.duration_seconds:.2f} s"),
    )
    engines = Counter(result.engine for result in report.results)
    facts = (
        ("Datamart", snapshot.uri),
        ("Fingerprint", snapshot.fingerprint),
        ("Modified", snapshot.modified_at),
        ("Checked", report.checked_at.isoformat(timespec="seconds")),
        *run.items(),
        ("Fails on", report.fail_on),
        ("Judged by", ", ".join(f"{name}: {count:,}" for name, count in engines.items())),
        *_quarantine(report),
    )
    return (
        f'<p><span class="verdict big {verdict[0]}">{verdict[1]}</span></p>\n'
        f"<h1>{escape(report.suite_name)}</h1>\n"
        f'<dl class="tiles">{_pairs(tiles, "<div>", "</div>")}</dl>\n{_counts(report)}\n'
        f'<dl class="facts">{_pairs(facts)}</dl>'
    )


def _verdict(report: QualityReport) -> tuple[str, str]:
    if not report.success:
        return "bad", "not fit for use"
    if report.failed:
        return "warn", f"let pass with {len(report.failed):,} failed (fail_on={report.fail_on})"
    return "ok", "fit for use"


def _quarantine(report: QualityReport) -> list[tuple[str, str]]:
    if report.quarantine_error is not None:
        return [("Quarantine", f"nothing was set aside: {report.quarantine_error}")]
    parts = report.quarantined
    if parts is None:
        return []
    return [
        ("Quarantine", f"{counted(parts.quarantined_rows, 'row')}: {parts.quarantined_uri}"),
        ("Clean", f"{counted(parts.clean_rows, 'row')}: {parts.clean_uri}"),
    ]


def _pairs(pairs: Iterable[tuple[str, str]], before: str = "", after: str = "") -> str:
    return "".join(f"{before}<dt>{escape(name)}</dt><dd>{escape(text)}</dd>{after}" for name, text in pairs)


def _counts(report: QualityReport) -> str:
    failed = Counter(result.severity for result in report.failed)
    parts = [
        ("held", len(report.passed), "ok"),
        ("could not be checked", len(report.not_checked), "gone"),
        ("failed (critical)", failed["critical"], "bad"),
        ("failed (warning)", failed["warning"], "warn"),
        ("failed (info)", failed["info"], "note"),
    ]
    legend = "".join(
        f'<li><i class="{kind}"></i>{count:,} {name}</li>' for name, count, kind in parts if count
    )
    return f'{plots.stacked_bar(parts)}<ul class="legend">{legend}</ul>'


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def _attention(report: QualityReport) -> str:
    return _capped((*report.not_checked, *report.failed))


def _held(report: QualityReport) -> str:
    held = report.passed
    if not held:
        return ""
    few = len(held) <= _OPEN and len(held) == report.evaluated
    return (
        f"<details{' open' if few else ''}><summary>Show {counted(len(held), 'expectation')}</summary>"
        f"{_capped(held)}</details>"
    )


def _capped(results: Sequence[ExpectationResult]) -> str:
    if not results:
        return ""
    note = ""
    if len(results) > SHOWN:
        note = (
            f'<p class="soft">{SHOWN:,} of {len(results):,} shown; quality_report.json beside this page has '
            f"all.</p>\n"
        )
    return note + expectations_table(results[:SHOWN])


def _unsupported(report: QualityReport) -> str:
    listed = report.unsupported
    if not listed:
        return ""
    items = "".join(f"<li>{escape(str(text))}</li>" for text in listed[:_LISTED])
    more = f"<li>and {len(listed) - _LISTED:,} more</li>" if len(listed) > _LISTED else ""
    return f"<ul>{items}{more}</ul>\n"
