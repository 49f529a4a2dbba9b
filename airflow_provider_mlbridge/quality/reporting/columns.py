# SPDX-License-Identifier: Apache-2.0
"""The profile of the columns, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from airflow_provider_mlbridge.quality.profile import ColumnProfile, SampleProfile
from airflow_provider_mlbridge.quality.reporting import plots
from airflow_provider_mlbridge.quality.reporting.describe import number_text
from airflow_provider_mlbridge.quality.reporting.names import breakable

SHOWN = 200
"""Columns on the page, and in the JSON."""
_HEAD = ("Column", "Type", "Nulls", "Least", "Greatest", "Distinct", "Mean", "Values")
_TOP = 5


def columns_section(profiles: Sequence[ColumnProfile], rows: int) -> str:
    """The table; nothing when there is no profile."""
    if not profiles:
        return ""
    sampled = max((item.sample.rows for item in profiles if item.sample), default=0)
    notes = [f"{SHOWN} of {len(profiles):,} columns shown."] if len(profiles) > SHOWN else []
    notes.append(
        "Type, nulls, least and greatest value are those that the files' footers state for all rows."
    )
    if sampled:
        whole = "all" if sampled == rows else "a sample of"
        notes.append(
            f"Distinct values, mean (± standard deviation) and pictures are from {whole} {sampled:,} rows"
            f"{'.' if sampled == rows else f' of {rows:,}, spread over the files, not drawn at random.'}"
        )
    rows_of_texts = [_texts(item) for item in profiles[:SHOWN]]
    # A column of the table that would be empty throughout is left out.
    used = [position for position in range(len(_HEAD)) if any(texts[position] for texts in rows_of_texts)]
    head = "".join(f'<th scope="col">{_HEAD[position]}</th>' for position in used)
    body = "\n".join(_row(texts, used) for texts in rows_of_texts)
    return (
        f'<p class="soft">{" ".join(notes)}</p>\n<div class="scroll"><table class="columns cards">'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n"
    )


def _row(texts: Sequence[str], used: Sequence[int]) -> str:
    cells = (
        f'<td data-name="{_HEAD[position]}"{"" if texts[position] else " class=empty"}>{texts[position]}</td>'
        for position in used
    )
    return f"<tr>{''.join(cells)}</tr>"


def _texts(item: ColumnProfile) -> tuple[str, ...]:
    sample = item.sample
    return (
        f'<code class="name">{breakable(item.name)}</code>',
        f"<div>{escape(item.type_name)}</div>",
        _nulls(item),
        _value(item.minimum),
        _value(item.maximum),
        "" if sample is None else f"{sample.distinct:,}",
        _mean(sample),
        _picture(item.name, sample),
    )


def _nulls(item: ColumnProfile) -> str:
    if item.null_count is None:
        return '<span class="soft">not stated</span>'
    if not item.null_count or item.null_ratio is None:
        return f"{item.null_count:,}"
    percent = 100 * item.null_ratio
    return f"<div>{item.null_count:,} ({percent:.3g} %){plots.null_bar(percent)}</div>"


def _value(value: Any) -> str:
    # A blank between date and time lets the line break there.
    return "" if value is None else f"<div>{escape(_number(value).replace('T', ' '))}</div>"


def _number(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return str(value)


def _mean(sample: SampleProfile | None) -> str:
    if sample is None or sample.mean is None:
        return ""
    spread = f" ± {number_text(sample.stdev, 5)}" if sample.stdev is not None else ""
    return f"<div>{number_text(sample.mean)}{spread}</div>"


def _short_ends(low: Any, high: Any) -> tuple[str, str]:
    """The ends of an axis, as short as they are still told apart."""
    if isinstance(low, str) and isinstance(high, str) and "T" in low:
        (day, time), (last_day, last_time) = low.split("T", 1), high.split("T", 1)
        return (day, last_day) if day != last_day else (time[:8], last_time[:8])
    first, last = (
        number_text(value, 4) if isinstance(value, float) else _number(value) for value in (low, high)
    )
    return first, last


def _picture(name: str, sample: SampleProfile | None) -> str:
    if sample is None:
        return ""
    if sample.histogram is not None:
        ends = (sample.histogram.low, sample.histogram.high)
        low, high = map(_number, ends)
        title = f"Values of {name} from {low} to {high} in {len(sample.histogram.counts)} bins"
        picture = plots.histogram(sample.histogram.counts, title)
        texts = "".join(f"<span>{escape(text)}</span>" for text in _short_ends(*ends))
        return f'<div>{picture}<div class="ends">{texts}</div></div>'
    if not sample.top:
        return ""
    items = ""
    for value, count in sample.top[:_TOP]:
        share = 100 * count / sample.rows
        texts = f"<span>{escape(str(value))}</span><span>{share:.3g} %</span>"
        items += f'<li style="--share:{share:.3g}%">{texts}</li>'
    return f'<ol class="top">{items}</ol>'
