# SPDX-License-Identifier: Apache-2.0
"""What an amount of memory means for an engine that is given a limit."""

from __future__ import annotations

import re

from airflow_provider_mlbridge.exceptions import ConfigurationError

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", re.IGNORECASE)
_LEAST_BUFFERS = 128 * 1000**2


def memory_bytes(limit: str) -> int:
    """
    A memory limit as a number.

    :param limit: for example ``"2GB"`` or ``"512MiB"``.
    :raises ConfigurationError: when it is not an amount of memory.
    """
    match = _AMOUNT.fullmatch(limit) if isinstance(limit, str) else None
    if match is None or float(match[1]) <= 0:
        raise ConfigurationError(f"memory_limit must be an amount such as '500MB' or '2GB', got {limit!r}")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))


def buffer_bytes(limit: str) -> int:
    """
    What DuckDB is told: half of the limit. It counts its buffers only, and a process has more to hold.

    A small limit is left to it, since it needs some memory to work at all.

    :raises ConfigurationError: when ``limit`` is not an amount of memory.
    """
    total = memory_bytes(limit)
    return max(total // 2, min(total, _LEAST_BUFFERS))
