# SPDX-License-Identifier: Apache-2.0
"""The table of expectations, with observed against expected and the rows that failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.instants import nanoseconds
from airflow_provider_mlbridge.quality.reporting import plots
from airflow_provider_mlbridge.quality.reporting.describe import printable
from airflow_provider_mlbridge.quality.reporting.names import breakable
from airflow_provider_mlbridge.quality.result import ExpectationResult
from airflow_provider_mlbridge.quality.values import parse_bound

_ROWS = 5000
"""Failing rows on the page, over all expectations."""
_PLACES = {"row": "row", "file": "file", "file_row": "row in file"}
_HEAD = ("Verdict", "Expectation", "Expected", "Observed", "Judged by")


def expectations_table(results: Sequence[ExpectationResult]) -> str:
    """One row for each result, and one more for the rows that failed it where they are known."""
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
    limit = max(5, _ROWS // max(1, len(results)))
    rows = "\n".join(_row(result, limit) for result in results)
    return f'<table class="results cards"><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>'


def _row(result: ExpectationResult, limit: int) -> str:
    if result.success is None:
        verdict = ("bad", "not checked")
    elif result.success:
        verdict = ("ok", "held")
    else:
        kinds = {"critical": "bad", "warning": "warn", "info": "note"}
        verdict = (kinds[result.severity], f"failed ({result.severity})")
    description = result.expectation.extra.get("description")
    words = f'<p class="soft">{escape(str(description))}</p>' if description else ""
    texts = (
        f'<span class="verdict {verdict[0]}">{verdict[1]}</span>',
        f"<div><code>{_breakable(result.expectation)}</code>{words}</div>",
        f"<div>{escape(result.expected)}</div>",
        f"<div>{escape(result.observed)}{_plot(result)}</div>",
        escape(result.engine),
    )
    cells = (f'<td data-name="{name}">{text}</td>' for name, text in zip(_HEAD, texts, strict=True))
    rows = _failing_rows(result, limit)
    return f"<tr{' class=open' if rows else ''}>{''.join(cells)}</tr>{rows}"


def _breakable(expectation: Expectation) -> str:
    """Type and columns; a line may break between the words of the type, and before every column."""
    names = expectation.columns or ("",)
    last = len(names) - 1
    spans = (
        f'<span class="name">{"" if position else "("}{breakable(name)}'
        f"{',' if position < last else ')'}</span>"
        for position, name in enumerate(names)
    )
    return f"{breakable(expectation.type)}<wbr>{' '.join(spans)}"


def _plot(result: ExpectationResult) -> str:
    if result.success is None:
        return ""
    percent = result.unexpected_percent
    if isinstance(percent, int | float) and (percent or not result.success):
        return plots.share_bar(float(percent), 100 * (1 - result.expectation.mostly))
    return _range(result)


def _range(result: ExpectationResult) -> str:
    details = result.result.get("details")
    bounds: Mapping[str, Any] = result.kwargs
    names: tuple[str | None, str | None] = ("min_value", "max_value")
    if isinstance(details, Mapping) and "runs" in details:
        bounds, names = details, ("low", "high")
    elif "max_age_seconds" in bounds:
        names = (None, "max_age_seconds")
    elif result.type in ("expect_table_row_count_to_equal", "expect_table_column_count_to_equal"):
        names = ("value", "value")
    observed = _number(result.observed_value)
    low, high = (_number(bounds.get(name)) if name else None for name in names)
    if observed is None or (low is None and high is None):
        return ""
    return plots.range_plot(observed, low, high, f"{result.observed}; expected {result.expected}")


def _number(value: object) -> float | None:
    """A number, or a date or timestamp as one; None for what has no place on an axis."""
    if value is None or isinstance(value, bool | list | Mapping):
        return None
    try:
        bound = parse_bound(value, "value", instants=isinstance(value, str))
        number = (
            float(nanoseconds(bound) if not isinstance(bound, int | float) else bound)
            if bound is not None
            else None
        )
    except (InvalidExpectationError, OverflowError, ValueError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _failing_rows(result: ExpectationResult, limit: int) -> str:
    """
    The rows that failed, as far as they were kept; see :func:`~..failing_rows.FailingRows`.

    What may not be shown is masked there already.
    """
    found = result.result.get("failing_rows")
    if not isinstance(found, Mapping):
        return ""
    kept: Sequence[Mapping[str, Any]] = found.get("shown") or ()
    shown = kept[:limit]
    beside = f"; {len(kept):,} in quality_report.json" if len(kept) > len(shown) else ""
    note = f'<p class="soft">{escape(str(found["note"]))}</p>' if found.get("note") else ""
    if not shown and not note:
        return ""
    return (
        f'<tr><td class="empty"></td><td class="wide" colspan="{len(_HEAD) - 1}"><details class="rows">'
        f"<summary>Failing rows: {len(shown):,} of {found.get('total', len(kept)):,} shown{beside}</summary>"
        f"{note}{_rows_table(shown) if shown else ''}</details></td></tr>"
    )


def _rows_table(shown: Sequence[Mapping[str, Any]]) -> str:
    columns: dict[tuple[str, str], None] = {}
    for row in shown:
        for kind in ("keys", "values"):
            # What an expectation judges may be its key; one masking policy makes both the same text.
            names = (name for name in row.get(kind) or {} if kind == "keys" or ("keys", name) not in columns)
            columns.update(dict.fromkeys((kind, name) for name in names))
    places = [name for name in _PLACES if any(row.get(name) is not None for row in shown)]
    titles = (*(printable(name) for _, name in columns), *(_PLACES[name] for name in places))
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{_cell((row.get(kind) or {}).get(name))}</td>" for kind, name in columns)
        + "".join(f"<td>{_cell(row.get(name))}</td>" for name in places)
        + "</tr>"
        for row in shown
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    if value is None:
        return '<span class="soft">null</span>'
    text = str(value)
    return escape(text if len(text) <= 200 else f"{text[:199]}…")
