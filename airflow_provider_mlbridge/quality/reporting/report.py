# SPDX-License-Identifier: Apache-2.0
"""The report as files: JSON in Great Expectations' shape, and a page for people."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.quality.reporting.describe import label
from airflow_provider_mlbridge.quality.result import ExpectationResult, QualityReport
from airflow_provider_mlbridge.storage import open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JSON_NAME = "quality_report.json"
HTML_NAME = "quality_report.html"


def write_report(report: QualityReport, report_uri: str, *, s3_client: S3Client | None = None) -> str:
    """
    Write ``quality_report.json`` and ``quality_report.html`` below a prefix.

    :param report_uri: the prefix: ``s3://``, ``file://`` or an absolute path.
    :return: URI of the JSON, which is the full result; the page lies beside it.
    :raises StorageError: when the store refuses or does not answer.
    """
    prefix = report_uri if report_uri.endswith("/") else f"{report_uri}/"
    store = open_store(prefix, s3_client=s3_client)
    document = json.dumps(report.to_gx_json(), allow_nan=False, ensure_ascii=False, indent=1)
    page = to_html(report)
    store.put(prefix + HTML_NAME, _bytes(page), content_type="text/html; charset=utf-8")
    # Last, so that whoever finds the full result finds its page too.
    store.put(prefix + JSON_NAME, _bytes(document), content_type="application/json")
    return prefix + JSON_NAME


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair, as an argument may hold it, has no form in UTF-8; in JSON it keeps its escape.
    return text.encode(errors="backslashreplace")


_STYLE = """
:root{color-scheme:light dark;--ok:#1a7f37;--bad:#c62828;--warn:#b26a00;--line:#8884}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:84rem;overflow-wrap:break-word}
h1{font-size:1.25rem;margin:.2rem 0}
.verdict{display:inline-block;padding:.15rem .6rem;border-radius:.3rem;color:#fff;font-weight:600}
.ok{background:var(--ok)}.bad{background:var(--bad)}.warn{background:var(--warn)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0;overflow-wrap:anywhere}
dt{opacity:.7}dd{margin:0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.4rem .5rem;border-bottom:1px solid var(--line)}
code{font-size:.9em}td:nth-child(1),td:nth-child(5){white-space:nowrap}
@media(max-width:45rem){
thead{display:none}tr{display:block;padding:.5rem 0;border-bottom:2px solid var(--line)}
td{display:grid;grid-template-columns:6.5rem minmax(0,1fr);border:0;padding:.15rem 0;overflow-wrap:anywhere}
.verdict{justify-self:start}
td::before{content:attr(data-name);opacity:.7}}
"""


def to_html(report: QualityReport) -> str:
    """The report as one page that needs nothing else: no script, no font, no network."""
    snapshot = report.snapshot
    verdict = ("ok", "fit for use") if report.success else ("bad", "not fit for use")
    facts = (
        ("Datamart", snapshot.uri),
        ("Fingerprint", snapshot.fingerprint),
        ("Files", f"{snapshot.file_count}, {snapshot.total_bytes:,} bytes, modified {snapshot.modified_at}"),
        ("Rows", f"{report.rows:,}"),
        ("Expectations", _counts(report)),
        ("Fails on", report.fail_on),
        ("Checked", f"{report.checked_at.isoformat(timespec='seconds')}, {report.duration_seconds:.2f} s"),
    )
    rows = "\n".join(_row(result) for result in (*report.not_checked, *report.failed, *report.passed))
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Quality of {escape(snapshot.uri)}</title><style>{_STYLE}</style></head><body>\n"
        f'<p><span class="verdict {verdict[0]}">{verdict[1]}</span></p>\n'
        f"<h1>{escape(report.suite_name)}</h1>\n<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
        + "</dl>\n<table><thead><tr>"
        + "".join(f"<th>{name}</th>" for name in ("Verdict", "Expectation", "Expected", "Observed", "Engine"))
        + f"</tr></thead><tbody>\n{rows}\n</tbody></table>\n</body></html>\n"
    )


def _counts(report: QualityReport) -> str:
    return (
        f"{report.evaluated}: {len(report.passed)} held, {len(report.failed)} failed, "
        f"{len(report.not_checked)} could not be checked"
    )


def _row(result: ExpectationResult) -> str:
    if result.success is None:
        verdict = ("bad", "not checked")
    elif result.success:
        verdict = ("ok", "held")
    else:
        verdict = ("bad" if result.severity == "critical" else "warn", f"failed ({result.severity})")
    cells = (
        ("Verdict", f'<span class="verdict {verdict[0]}">{verdict[1]}</span>'),
        ("Expectation", f"<code>{escape(label(result.expectation))}</code>"),
        ("Expected", escape(result.expected)),
        ("Observed", escape(result.observed)),
        ("Engine", escape(result.engine)),
    )
    return "<tr>" + "".join(f'<td data-name="{name}">{text}</td>' for name, text in cells) + "</tr>"
