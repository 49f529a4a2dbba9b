# SPDX-License-Identifier: Apache-2.0
"""
The statistics of a version as one page that needs nothing else: no script, no font, no network.

Values of strings are not shown, only how many there are of each: a page is passed on more easily than data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

from airflow_provider_mlbridge.features.drift import plots
from airflow_provider_mlbridge.features.drift.distributions import edges_digest
from airflow_provider_mlbridge.features.drift.report import DriftReport, FeatureDrift, Figure
from airflow_provider_mlbridge.features.drift.sources import SOURCES, sources_digest
from airflow_provider_mlbridge.features.drift.style import STYLE

SHOWN = 1_000
"""Features with a card; ``statistics.json`` has them all."""
_INDEXED = 100

_VERDICTS = {
    "drift": ("bad", "drifted"),
    "not_compared": ("unknown", "not fully compared"),
    "no_drift": ("ok", "no drift found"),
}
_NAMES = {
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "wasserstein": "Wasserstein",
    "nulls": "nulls",
    "new_values": "new values",
}


def to_html(
    statistics: Mapping[str, Any],
    report: DriftReport | None = None,
    *,
    reference_statistics: Mapping[str, Any] | None = None,
    title: str = "Features",
    facts: Mapping[str, str] | None = None,
) -> str:
    """
    The page.

    :param statistics: those of the version, with its distributions.
    :param report: the comparison with a reference, if there was one.
    :param reference_statistics: those of the reference, drawn over the current ones.
    :param title: heading, usually the name of the recipe.
    :param facts: what else to say about the version, by name, such as its URI.
    """
    features: Mapping[str, Any] = statistics.get("features", {})
    by_name = {} if report is None else {item.name: item for item in report.features}
    names = [name for name in by_name if name in features]
    names += [name for name in features if name not in by_name]
    drawn = _Drawn(statistics, reference_statistics, report)
    positions = {name: index for index, name in enumerate(names)}
    cards = "\n".join(
        _card(index, name, features[name], by_name.get(name), drawn)
        for index, name in enumerate(names[:SHOWN])
    )
    more = (
        f'<p class="soft">{SHOWN:,} of {len(names):,} features shown; statistics.json has all.</p>\n'
        if len(names) > SHOWN
        else ""
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Statistics of {_text(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<header>{_head(statistics, report, title, facts or {})}</header>\n"
        f"<main>\n{_drift_section(report, positions)}"
        f"<section><h2>Features</h2>\n{_legend(drawn)}{more}"
        f'<div class="cards">\n{cards}\n</div></section>\n</main>\n</body></html>\n'
    )


class _Drawn:
    """Which counts belong to which feature."""

    def __init__(
        self,
        statistics: Mapping[str, Any],
        reference: Mapping[str, Any] | None,
        report: DriftReport | None,
    ) -> None:
        self.own = statistics.get("distributions", {}).get("features", {})
        self.old: Mapping[str, Any] = {}
        self.over: Mapping[str, Any] = {}
        self.splits = (None, None) if report is None else (report.reference_split, report.current_split)
        over = statistics.get("over_reference") or {}
        if reference is not None and over and over.get("digest") == edges_digest(reference):
            self.old = reference["distributions"]["features"]
            self.over = over["features"]
        self.sources: Mapping[str, Any] = {}
        self.over_sources: Mapping[str, Any] = {}
        over = (statistics.get(SOURCES) or {}).get("over_reference") or {}
        if reference is not None and over and over.get("digest") == sources_digest(reference):
            self.sources = reference[SOURCES]["columns"]
            self.over_sources = over["columns"]

    def counts(
        self, name: str, source: str | None
    ) -> tuple[Mapping[str, Any], list[int], list[int] | None] | None:
        """
        The distribution whose edges count, the current counts, those of the reference.

        :param source: what is shown instead of the feature, if that was compared.
        """
        if source is not None:
            old = self.sources.get(source)
            if old is None or source not in self.over_sources or not old["edges"]:
                return None
            current = _sum(self.over_sources[source], self.splits[1])
            return old, current, _sum(old["splits"], self.splits[0])
        if name in self.over and self.old[name]["edges"]:
            old = self.old[name]
            return old, _sum(self.over[name], self.splits[1]), _sum(old["splits"], self.splits[0])
        if name in self.own and self.own[name]["edges"]:
            return self.own[name], _sum(self.own[name]["splits"], self.splits[1]), None
        return None


def _sum(splits: Mapping[str, Any], split: str | None) -> list[int]:
    parts = [entry["counts"] for name, entry in splits.items() if split is None or name == split]
    return [sum(column) for column in zip(*parts, strict=True)]


def _head(
    statistics: Mapping[str, Any], report: DriftReport | None, title: str, facts: Mapping[str, str]
) -> str:
    verdict = ""
    rows = statistics.get("rows", 0)
    tiles = [("Rows", f"{rows:,}"), ("Features", f"{len(statistics.get('features', {})):,}")]
    tiles += [
        (f"Rows of {name}", f"{count:,}") for name, count in (statistics.get("split_rows") or {}).items()
    ]
    listed = list(facts.items())
    if report is not None:
        kind, words = _VERDICTS[report.verdict]
        verdict = f'<p><span class="verdict big {kind}">{words}</span></p>\n'
        tiles.append(("Drifted", f"{len(report.drifted):,} of {len(report.features):,}"))
        if report.not_compared:
            tiles.append(("Not compared", f"{len(report.not_compared):,}"))
        split = f" (split {report.reference_split})" if report.reference_split else ""
        listed.append(("Compared with", f"{report.reference or 'a reference'}{split}"))
        listed.append(
            ("False alarms", f"in at most {100 * report.alpha:.3g} % of feature sets that have not changed")
        )
    if statistics.get("distributions", {}).get("sampled"):
        listed.append(("Pictures and drift", "from a sample of the rows, spread evenly over all"))
    return (
        f"{verdict}<h1>{_text(title)}</h1>\n"
        f'<dl class="tiles">{_pairs(tiles, "<div>", "</div>")}</dl>\n<dl class="facts">{_pairs(listed)}</dl>'
    )


def _drift_section(report: DriftReport | None, positions: Mapping[str, int]) -> str:
    if report is None:
        return ""
    body = ""
    for words, items in (("Drifted", report.drifted), ("Could not be compared", report.not_compared)):
        if not items:
            continue
        links = "".join(_link(item, positions) for item in items[:_INDEXED])
        rest = f"<li>and {len(items) - _INDEXED:,} more</li>" if len(items) > _INDEXED else ""
        body += f'<h2>{words}: {len(items):,}</h2>\n<ul class="index">{links}{rest}</ul>\n'
    return f"<section>{body}</section>\n" if body else ""


def _link(item: FeatureDrift, positions: Mapping[str, int]) -> str:
    index = positions.get(item.name)
    if index is None or index >= SHOWN:
        reason = f" ({_text(item.reason)})" if item.reason else ""
        return f"<li>{_text(item.name)}{reason}</li>"
    return f'<li><a href="#f{index}">{_text(item.name)}</a></li>'


def _legend(drawn: _Drawn) -> str:
    if not drawn.over and not drawn.over_sources:
        return ""
    return (
        '<p class="legend soft"><span><i class="current"></i>this version</span>'
        '<span><i class="reference"></i>reference</span>The mark of a bar is the end of its band: what lies '
        "to the left may be chance.</p>\n"
    )


def _card(
    index: int, name: str, described: Mapping[str, Any], drift: FeatureDrift | None, drawn: _Drawn
) -> str:
    kind, words = _state(drift)
    chip = f'<span class="verdict {kind}">{words}</span>' if words else ""
    reason = ""
    if drift is not None and drift.reason:
        reason = f'<p class="reason">{_text(drift.reason)}</p>'
    return (
        f'<article class="card {kind}" id="f{index}"><div class="head"><h3>{_text(name)}</h3>{chip}</div>'
        f'<p class="kind soft">{_text(str(described.get("kind", "")))}</p>'
        f"{_picture(name, drawn, drift)}{_numbers(described)}"
        f"{_figures(drift.figures) if drift is not None else ''}{reason}</article>"
    )


def _state(drift: FeatureDrift | None) -> tuple[str, str]:
    if drift is None:
        return "", ""
    if drift.drifted is None:
        return "unknown", "not compared"
    return ("bad", "drifted") if drift.drifted else ("ok", "no drift")


def _picture(name: str, drawn: _Drawn, drift: FeatureDrift | None) -> str:
    source = None if drift is None else drift.source
    found = drawn.counts(name, source)
    if source is not None:
        # Learned anew, the feature itself is no longer what it was in the reference.
        name = source
        shown = f'<p class="soft">compared, and drawn, by its source {_text(source)}</p>'
        return shown if found is None else shown + _plot(name, found)
    return '<p class="soft">no finite values</p>' if found is None else _plot(name, found)


def _plot(name: str, found: tuple[Mapping[str, Any], list[int], list[int] | None]) -> str:
    distribution, counts, others = found
    edges, kind = distribution["edges"], distribution["kind"]
    if kind == "string":
        return _categories(distribution, counts, others)
    if distribution["complete"]:
        current, reference = _bars(counts), None if others is None else _bars(others)
        words = f"{len(edges)} different values" if len(edges) > 1 else "one value only"
        ends = (_value(edges[0], kind), _value(edges[-1], kind) if len(edges) > 1 else "")
        if others is not None and (counts[0] or counts[-1]):
            words += f"; {counts[0] + counts[-1]:,} outside"
    else:
        low, high, current, reference = plots.equal_bins(edges, counts, others)
        words = "histogram"
        ends = (_value(low, kind), _value(high, kind))
    title = f"{name}: {words}, from {ends[0]} to {ends[1] or ends[0]}"
    picture = plots.bars(current, reference, _printable(title))
    return f'{picture}<div class="ends"><span>{ends[0]}</span><span>{ends[1]}</span></div>'


def _bars(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    inner = [count / total for count in counts[1:-1]]
    inner[0] += counts[0] / total
    inner[-1] += counts[-1] / total
    return inner


def _categories(distribution: Mapping[str, Any], counts: Sequence[int], others: Sequence[int] | None) -> str:
    current, reference = _bars(counts), None if others is None else _bars(others)
    order = sorted(range(len(current)), key=lambda index: -(reference or current)[index])
    current = [current[index] for index in order]
    reference = None if reference is None else [reference[index] for index in order]
    what = "values" if distribution["complete"] else "groups of values"
    words = f"shares of {len(current):,} {what}, not shown themselves"
    return f'{plots.bars(current, reference, words)}<div class="ends"><span>{words}</span></div>'


def _numbers(described: Mapping[str, Any]) -> str:
    kind = str(described.get("kind", ""))
    count, nulls = described.get("count", 0), described.get("nulls", 0)
    share = f" ({100 * nulls / (count + nulls):.3g} %)" if nulls and count + nulls else ""
    pairs = [("count", f"{count:,}"), ("nulls", f"{nulls:,}{share}")]
    if described.get("infinite"):
        pairs.append(("infinite", f"{described['infinite']:,}"))
    for key in ("mean", "std", "min", "max"):
        if described.get(key) is not None and kind != "string":
            value = described[key]
            pairs.append((key, _number(value) if isinstance(value, int | float) else str(value)))
    if described.get("distinct") is not None:
        pairs.append(("distinct", f"{described['distinct']:,}"))
    return f'<dl class="numbers">{_pairs(pairs)}</dl>'


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    rows = ""
    for figure in figures:
        value = _number(figure.value, 3)
        if figure.scaled is not None:
            value = f"{value}<small>{_number(figure.scaled, 2)} std</small>"
        out = ' class="out"' if figure.exceeded else ""
        words = f"{figure.ratio:.3g} times its band"
        rows += (
            f"<tr><td>{_NAMES[figure.name]}</td><td{out}>{value}</td><td>{_number(figure.band, 3)}</td>"
            f"<td>{plots.meter(figure.ratio, words)}</td></tr>"
        )
    return (
        '<table><thead><tr><th scope="col">drift</th><th scope="col">figure</th><th scope="col">band</th>'
        f"<th></th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _value(value: float, kind: str) -> str:
    if kind in ("date", "timestamp"):
        seconds = value * 86_400 if kind == "date" else value
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        except OverflowError:
            return _number(value)
        return f"{moment:%Y-%m-%d}" if kind == "date" else f"{moment:%Y-%m-%d %H:%M}"
    return _number(value, 4)


def _number(value: float, digits: int = 5) -> str:
    if isinstance(value, int) or (abs(value) < 1e15 and math.isfinite(value) and value == int(value)):
        whole = int(value)
        return f"{whole:,}" if abs(whole) < 10**9 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def _pairs(pairs: Iterable[tuple[str, str]], before: str = "", after: str = "") -> str:
    return "".join(f"{before}<dt>{_text(name)}</dt><dd>{_text(text)}</dd>{after}" for name, text in pairs)


def _printable(text: str) -> str:
    """Without characters that turn a line around, break it, or have no form in UTF-8."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _text(text: str) -> str:
    return escape(_printable(text))
