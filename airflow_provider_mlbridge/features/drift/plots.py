# SPDX-License-Identifier: Apache-2.0
"""
Small pictures as inline SVG: no script, no font, no network.

One path per distribution, so that hundreds stay light. Colours are classes of the page's style. Every picture
says in its title what it shows, for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 240, 64
_BINS = 24
_GAP = 0.6


def equal_bins(
    edges: Sequence[float], counts: Sequence[int], others: Sequence[int] | None
) -> tuple[float, float, list[float], list[float] | None]:
    """
    Shares in bins of equal width, from counts between quantiles: least and greatest end, this, the other.

    Values between two edges are taken to be spread evenly. Of long tails only what is near the second and the
    98th percentile is shown; what lies beyond counts in the outermost bins.
    """
    near: Sequence[int] = others if others is not None and any(others) else counts
    low, high = _at(edges, near, 0.015), _at(edges, near, 0.975)
    margin = (high - low) / 2
    low, high = max(edges[0], low - margin), min(edges[-1], high + margin)
    if not low < high:
        low, high = edges[0], edges[-1]
    return (
        low,
        high,
        _spread(edges, counts, low, high),
        (None if others is None else _spread(edges, others, low, high)),
    )


def _at(edges: Sequence[float], counts: Sequence[int], share: float) -> float:
    total: int = sum(counts)
    wanted, seen = share * total, 0
    for edge, count in zip(edges, counts[:-1], strict=False):
        seen += count
        if seen >= wanted:
            return edge
    return edges[-1]


def _spread(edges: Sequence[float], counts: Sequence[int], low: float, high: float) -> list[float]:
    total = sum(counts) or 1
    width = (high - low) / _BINS
    shares = [0.0] * _BINS
    if not width > 0:
        return shares

    def place(value: float) -> float:
        return min(max((value - low) / width, 0.0), float(_BINS))

    shares[min(int(place(edges[0])), _BINS - 1)] += (counts[0] + counts[1]) / total
    shares[min(int(place(edges[-1])), _BINS - 1)] += counts[-1] / total
    for begin, end, count in zip(edges, edges[1:], counts[2:-1], strict=False):
        left, right = place(begin), place(end)
        if right - left < 1e-9:
            shares[min(int(left), _BINS - 1)] += count / total
            continue
        for index in range(int(left), min(int(right), _BINS - 1) + 1):
            part = min(right, index + 1) - max(left, index)
            shares[index] += count / total * max(part, 0.0) / (right - left)
    return shares


def bars(current: Sequence[float], reference: Sequence[float] | None, title: str) -> str:
    """Shares of the current feature set as bars, those of the reference as an outline over them."""
    top = max([*current, *(reference or ())], default=0.0)
    if not top:
        return ""
    step = WIDTH / len(current)
    gap = min(_GAP, step / 6)
    body = ""
    for index, share in enumerate(current):
        if share:
            height = max(1.0, (HEIGHT - 6) * share / top)
            body += f"M{_n(index * step + gap)} {HEIGHT}v{_n(-height)}h{_n(step - 2 * gap)}V{HEIGHT}z"
    drawn = f'<path class="bar" d="{body}"/>'
    if reference is not None:
        line = f"M0 {HEIGHT}"
        for index, share in enumerate(reference):
            line += f"V{_n(HEIGHT - (HEIGHT - 6) * share / top)}H{_n((index + 1) * step)}"
        drawn += f'<path class="outline" d="{line}V{HEIGHT}"/>'
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" preserveAspectRatio="none">'
        f'<title>{escape(title)}</title>{drawn}<path class="axis" d="M0 {HEIGHT}H{WIDTH}"/></svg>'
    )


def meter(ratio: float, title: str) -> str:
    """A figure against its band, whose end is the mark in the middle."""
    length = min(ratio, 2.0) * 40
    kind = "bad" if ratio > 1 else "ok"
    return (
        f'<svg class="meter" viewBox="0 0 80 10" role="img"><title>{escape(title)}</title>'
        f'<rect class="track" y="3" width="80" height="4"/>'
        f'<rect class="{kind}" y="3" width="{_n(length)}" height="4"/>'
        f'<rect class="mark" x="39.5" width="1.5" height="10"/></svg>'
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
