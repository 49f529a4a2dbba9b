# SPDX-License-Identifier: Apache-2.0
"""
Small pictures as inline SVG: no script, no font, no network.

Colours are classes of the page's style, so that they follow light and dark. Every picture says in its title
what it shows, for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_ROUND = 2


def _svg(kind: str, width: int, height: int, title: str, body: str, *, stretch: bool = False) -> str:
    ratio = ' preserveAspectRatio="none"' if stretch else ""
    return (
        f'<svg class="plot {kind}" viewBox="0 0 {width} {height}" role="img"{ratio}>'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title></rect>" if title else "</rect>"
    return (
        f'<rect class="{kind}" x="{round(x, _ROUND)}" y="{round(y, _ROUND)}" '
        f'width="{round(width, _ROUND)}" height="{round(height, _ROUND)}">{inside}'
    )


def stacked_bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """Counts beside each other; ``(name, count, class)`` each."""
    total = sum(count for _, count, _ in parts)
    if not total:
        return ""
    width, x = 600.0, 0.0
    # What there is one of among thousands must still be seen.
    least = 6.0
    shown = [(name, count, kind) for name, count, kind in parts if count]
    sizes = [max(least, width * count / total) for _, count, _ in shown]
    scale = width / sum(sizes)
    body = ""
    for (name, count, kind), size in zip(shown, sizes, strict=True):
        body += _rect(x, 0, size * scale, 14, kind, f"{count:,} {name}")
        x += size * scale
    title = ", ".join(f"{count:,} {name}" for name, count, _ in shown)
    return _svg("stacked", int(width), 14, f"{counted(total, 'expectation')}: {title}", body, stretch=True)


def share_bar(percent: float, tolerated: float) -> str:
    """
    A share of rows.

    :param percent: share that is not as expected, 0 to 100.
    :param tolerated: share that would be allowed.
    """
    percent = min(100.0, max(0.0, percent))
    body = _rect(0, 3, 120, 8, "track")
    if percent:
        kind = "bad" if percent > tolerated else "warn"
        body += _rect(0, 3, max(1.5, 1.2 * percent), 8, kind)
    title = f"{percent:.4g} % unexpected"
    if 0 < tolerated < 100:
        body += _rect(1.2 * tolerated - 0.75, 0, 1.5, 14, "mark")
        title += f", {tolerated:.4g} % tolerated"
    return _svg("share", 120, 14, title, body)


def null_bar(percent: float) -> str:
    """Share of rows without a value, 0 to 100."""
    body = _rect(0, 3, 120, 8, "track") + _rect(0, 3, max(1.5, 1.2 * percent), 8, "bar")
    return _svg("share", 120, 14, f"{percent:.3g} % nulls", body)


def range_plot(observed: float, low: float | None, high: float | None, text: str) -> str:
    """
    One observed value against its bounds.

    :param text: the observation and its bounds in words.
    """
    known = [value for value in (observed, low, high) if value is not None]
    start, end = min(known), max(known)
    span = (end - start) or abs(end) or 1.0
    start, end = start - 0.15 * span, end + 0.15 * span
    if not 0 < end - start < float("inf"):
        return ""

    def x(value: float) -> float:
        return 120 * (value - start) / (end - start)

    left, right = 0.0 if low is None else x(low), 120.0 if high is None else x(high)
    inside = (low is None or observed >= low) and (high is None or observed <= high)
    body = _rect(0, 6, 120, 2, "track") + _rect(left, 3, max(1.0, right - left), 8, "band")
    body += "".join(_rect(x(bound) - 0.75, 0, 1.5, 14, "edge") for bound in (low, high) if bound is not None)
    body += f'<circle class="{"ok" if inside else "bad"}" cx="{round(x(observed), _ROUND)}" cy="7" r="4"/>'
    return _svg("range", 120, 14, text, body)


def histogram(counts: Sequence[int], title: str) -> str:
    """Counts of bins of the same width."""
    top = max(counts, default=0)
    if not top:
        return ""
    step = 120 / len(counts)
    body = ""
    for position, count in enumerate(counts):
        height = max(0.8, 30 * count / top) if count else 0
        if height:
            body += _rect(position * step + 0.3, 31 - height, max(0.4, step - 0.6), height, "bar")
    return _svg("histogram", 120, 32, title, body + _rect(0, 31, 120, 0.7, "axis"))


def counted(count: int, noun: str) -> str:
    """A number of things in words: ``1 run``, ``1,200 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sparkline(
    values: Sequence[float | None],
    failed: Sequence[bool],
    title: str,
    labels: Sequence[str],
    *,
    floor: float | None = None,
) -> str:
    """
    A value over runs, the oldest first; the last one is this run.

    :param values: one per run; None where it is not known.
    :param failed: whether the verdict of the run was a failure.
    :param labels: one per run: what its point is, such as date and value.
    :param floor: the lower end of the axis; the least value when None.
    """
    known = [(position, value) for position, value in enumerate(values) if value is not None]
    if not known:
        return ""
    low = min(value for _, value in known) if floor is None else floor
    high = max(value for _, value in known)
    span = (high - low) or 1.0
    width, height = 300, 56
    step = (width - 16) / max(1, len(values) - 1)
    points = [
        (round(8 + position * step, _ROUND), round(height - 8 - (height - 16) * (value - low) / span, _ROUND))
        for position, value in known
    ]
    if high == low:
        points = [(x, height / 2) for x, _ in points]
    path = " ".join(f"{x},{y}" for x, y in points)
    body = f'<polyline class="line" points="{path}"/>'
    last = known[-1][0]
    for (x, y), (position, _) in zip(points, known, strict=True):
        kind = "bad" if failed[position] else "ok" if position == last else "dot"
        radius = 4 if position == last else 2.2
        body += (
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}">'
            f"<title>{escape(labels[position])}</title></circle>"
        )
    return _svg("spark", width, height, title, body)
