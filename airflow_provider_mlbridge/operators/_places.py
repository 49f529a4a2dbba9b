# SPDX-License-Identifier: Apache-2.0
"""Where a quality check leaves what it writes, and whose it is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.storage.uris import check_uri

LONGEST_PLACE = 250
"""Bytes of a report's or a quarantine's prefix in JSON."""


def places(
    datamart: Any,
    partitions: Any,
    *,
    map_index: int | None,
    report_uri: str | None,
    history_uri: str | None,
    quarantine_uri: str | None,
) -> tuple[str | None, str | None, str | None]:
    """
    Where the report, the history and the quarantine are.

    The instances of a mapped task must not overwrite one another's. The index of an instance is not the
    same datamart in every run, so what lasts longer than a run is told apart by datamart and partitions.
    A ``history_uri`` is taken as it is: whoever names it says what belongs together.

    :raises ConfigurationError: when a prefix is none, or too long for the result to name it.
    """
    _check_place("report_uri", report_uri)
    _check_place("history_uri", history_uri)
    _check_place("quarantine_uri", quarantine_uri)
    if map_index is None or map_index < 0:
        return report_uri, history_uri or report_uri, quarantine_uri
    own = f"datamart-{_short_hash(datamart, partitions)}"
    return _below(report_uri, map_index), history_uri or _below(report_uri, own), _below(quarantine_uri, own)


def named_run(ti: Any) -> dict[str, str]:
    """DAG, task and run of a task instance, as the report's page names them."""
    index = f" [{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
    return {"DAG": ti.dag_id, "Task": f"{ti.task_id}{index}", "Run": ti.run_id}


def _short_hash(datamart: Any, partitions: Any) -> str:
    from airflow_provider_mlbridge.storage.snapshot import earlier_snapshot

    earlier = earlier_snapshot(datamart)
    uri = str(datamart) if earlier is None else earlier.uri
    selected = partitions or (earlier.partitions if earlier else None) or {}
    identity = json.dumps([uri.rstrip("/"), selected], sort_keys=True, default=str)
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _below(prefix: str | None, name: object) -> str | None:
    return prefix and f"{prefix.rstrip('/')}/{name}/"


def _check_place(argument: str, uri: str | None) -> None:
    if uri is None:
        return
    check_uri(uri, argument=argument)
    length = len(json.dumps(uri))
    if length > LONGEST_PLACE:
        raise ConfigurationError(
            f"{argument} takes {length} bytes, at most {LONGEST_PLACE} are possible: results name it, and "
            f"must fit into XCom"
        )
