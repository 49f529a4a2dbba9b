# SPDX-License-Identifier: Apache-2.0
"""What is asked of a training's metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError

_SHOWN = 10


def minimums_of(given: Any) -> dict[str, float]:
    """
    The least values that are asked for, of templates too.

    :raises ConfigurationError: when one is no finite number.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"min_metrics must be a mapping of metrics to the least values, got {type(given).__name__}"
        )
    return {str(name): _number(name, value) for name, value in given.items()}


def _number(name: Any, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"min_metrics[{name!r}]={value!r} is not valid; valid is a finite number")
    return number


def shortfall(metrics: Mapping[str, float], minimums: Mapping[str, float]) -> str:
    """Which metrics are below what was asked for, or missing, in words; empty when none is."""
    found = []
    for name, least in minimums.items():
        if name not in metrics:
            found.append(f"{name} was not reported, at least {least:g} was asked for")
        elif not metrics[name] >= least:
            found.append(f"{name} is {metrics[name]:.6g}, at least {least:g} was asked for")
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    reported = ", ".join(f"{name}={value:.6g}" for name, value in list(metrics.items())[:_SHOWN])
    return f"{'; '.join(found[:_SHOWN])}{more}. Reported: {reported or 'no metric'}"
