# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: plain lines with the time since it began, and tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

_STARTED = time.monotonic()


def elapsed() -> float:
    """Seconds since the demo began."""
    return time.monotonic() - _STARTED


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"[{elapsed():4.0f} s] {text}", flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """
    Columns of text, as wide as their widest cell.

    :param right: indexes of the columns that are aligned to the right.
    """
    cells = [list(header), ["-" * len(name) for name in header], *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    cells[1] = ["-" * width for width in widths]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)
