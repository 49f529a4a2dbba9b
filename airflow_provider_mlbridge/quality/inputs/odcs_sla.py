# SPDX-License-Identifier: Apache-2.0
"""Service-level agreements of the Open Data Contract Standard: how old data may be."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE, DATAMART_MAX_AGE
from airflow_provider_mlbridge.quality.inputs.documents import list_at, mapping_at, shown, text_at
from airflow_provider_mlbridge.quality.inputs.imported import Collector
from airflow_provider_mlbridge.storage.durations import SECONDS

_AGES = ("latency", "ly", "freshness")


def add_agreements(
    collector: Collector,
    document: Mapping[str, Any],
    *,
    names: Collection[str],
    columns: Mapping[str, str],
    only_one: bool,
) -> None:
    """
    ``slaProperties``: latency (or freshness) becomes the greatest age of a column's newest value, or of the
    datamart's newest object where no column is named. All others are about the service.

    :param names: what the chosen schema object is called.
    :param columns: names of its properties, and what their columns are called.
    :param only_one: whether it is the only object, which then need not be named.
    :raises ConfigurationError: for an entry that is not well formed.
    """
    default = text_at(document.get("slaDefaultElement"), "slaDefaultElement")
    for position, item in enumerate(list_at(document.get("slaProperties"), "slaProperties")):
        path = f"slaProperties[{position}]"
        agreement = mapping_at(item, path)
        kind = text_at(agreement.get("property"), f"{path}.property")
        if kind is None:
            raise ConfigurationError(f"{path}.property is missing")
        if kind.lower() not in _AGES:
            collector.refuse(
                path, agreement, f"{shown(kind)!r} is about the service, not about what the data holds"
            )
            continue
        seconds = _seconds(collector, path, agreement)
        if seconds is None:
            continue
        elements = text_at(agreement.get("element"), f"{path}.element") or default
        for element in [None] if elements is None else [part.strip() for part in elements.split(",")]:
            _add_age(
                collector, path, agreement, element, seconds, names=names, columns=columns, only_one=only_one
            )


def _seconds(collector: Collector, path: str, agreement: Mapping[str, Any]) -> float | None:
    value, unit = agreement.get("value"), agreement.get("unit")
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{path}.value must be a positive number, got {shown(value)}")
    factor = SECONDS.get(unit.strip().lower()) if isinstance(unit, str) else None
    if factor is None:
        collector.refuse(
            path,
            agreement,
            f"{'without a unit' if unit is None else f'the unit {shown(unit)}'} it is no fixed time; give "
            "seconds, minutes, hours, days or weeks",
        )
        return None
    return value * factor


def _add_age(
    collector: Collector,
    path: str,
    agreement: Mapping[str, Any],
    element: str | None,
    seconds: float,
    *,
    names: Collection[str],
    columns: Mapping[str, str],
    only_one: bool,
) -> None:
    owner, dot, name = (element or "").rpartition(".")
    if not dot and name in columns and (only_one or name not in names):
        owner = next(iter(names))
    elif not dot and (name in names or (element is None and only_one)):
        owner, name = next(iter(names)), ""
    if owner not in names or (name and name not in columns):
        why = (
            f"{shown(name)!r} is no property of the schema object"
            if owner in names
            else "it is about another schema object"
            if owner or name
            else "it names no element, and the contract has several schema objects"
        )
        collector.refuse(path, agreement, why)
        return
    meta = {"sla": {key: agreement[key] for key in ("driver", "valueExt") if key in agreement}}
    collector.keep(
        path,
        agreement,
        COLUMN_MAX_AGE if name else DATAMART_MAX_AGE,
        {**({"column": columns[name]} if name else {}), "max_age_seconds": seconds},
        meta=meta if meta["sla"] else None,
        notes=text_at(agreement.get("description"), f"{path}.description"),
    )
