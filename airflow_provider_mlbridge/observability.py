# SPDX-License-Identifier: Apache-2.0
"""
Names and tags of all metrics, in one place.

Metrics go to whatever Airflow sends its own to (StatsD, OpenTelemetry). Every one has the tags ``dag_id`` and
``task_id``, and ``map_index`` for an instance of a mapped task. Plain StatsD drops tags; see
:doc:`/guides/quality` for the settings that keep them.

==================================  =====  ================================================================
metric                              kind   value
==================================  =====  ================================================================
mlbridge.quality.pass_ratio         gauge  share of the expectations that held, 0 to 1
mlbridge.quality.checks             gauge  expectations, by tag ``result``: passed, failed, not_checked
mlbridge.quality.rows               gauge  rows of the datamart
mlbridge.quality.bytes              gauge  bytes of the datamart
mlbridge.quality.quarantined_rows   gauge  rows that were quarantined, where that was asked for
mlbridge.quality.duration           timer  wall time of the check, milliseconds
mlbridge.quality.published          gauge  when the datamart was written last, seconds since 1970 (UTC)
mlbridge.features.rows              gauge  rows of the feature set
mlbridge.features.train_rows        gauge  rows of them that were learned from
mlbridge.features.count             gauge  feature columns
mlbridge.features.duration          timer  wall time of the build, milliseconds
mlbridge.features.drifted           gauge  features that drifted from ``drift_reference``
mlbridge.features.not_compared      gauge  features that could not be compared with it
mlbridge.features.drift             gauge  by tag ``feature``: the largest distance over its band, where above
                                           1 is drift; of the ten features (``drift_metrics``) where it is
                                           largest
mlbridge.training.submitted         count  submissions, by tags ``mode`` and ``attached``: true when the
                                           training was there already
mlbridge.training.ended             count  trainings that ended, by tags ``mode`` and ``outcome``: succeeded,
                                           failed, cancelled, timed_out, lost, unreachable (the wait was given
                                           up), below_minimum, unusable_result, reused
mlbridge.training.duration          timer  from start to end of a training by its own clock, milliseconds,
                                           by tags ``mode`` and ``outcome``
==================================  =====  ================================================================

Gauges hold the last run's value, so that an alert reads them as they are; ``time() - published`` is the age
of the data, whenever the task ran. Counts are of one task each: with OpenTelemetry, let its counters be
deltas. Which features are the ten changes from build to build, and StatsD keeps
the last value of a gauge that is sent no more: alert on ``drifted``, look into ``drift``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mlbridge.results import FeatureSet, QualitySummary

if TYPE_CHECKING:
    from airflow.sdk import Context

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]")
_TAG_LENGTH = 200

DRIFT_FEATURES = 10
"""Features whose drift is told, unless somebody says otherwise."""


@dataclass(frozen=True)
class Metric:
    """
    One value to send.

    :param name: its name, below Airflow's own prefix.
    :param value: the value; milliseconds for a timer, how many more for a counter.
    :param kind: ``gauge``, ``timer`` or ``counter``.
    :param tags: tags besides those that every metric has.
    """

    name: str
    value: float
    kind: Literal["gauge", "timer", "counter"] = "gauge"
    tags: Mapping[str, str] = field(default_factory=dict)


def quality_metrics(summary: QualitySummary) -> list[Metric]:
    """What a quality check has to say."""
    counts = {"passed": summary.passed, "failed": summary.failed, "not_checked": summary.not_checked}
    published = datetime.fromisoformat(summary.snapshot.modified_at).timestamp()
    metrics = [
        Metric("mlbridge.quality.pass_ratio", summary.pass_ratio),
        *(
            Metric("mlbridge.quality.checks", count, tags={"result": result})
            for result, count in counts.items()
        ),
        Metric("mlbridge.quality.rows", summary.rows),
        Metric("mlbridge.quality.bytes", summary.snapshot.total_bytes),
        Metric("mlbridge.quality.duration", summary.duration_seconds * 1000, "timer"),
        Metric("mlbridge.quality.published", published),
    ]
    if summary.quarantined_rows is not None:
        metrics.append(Metric("mlbridge.quality.quarantined_rows", summary.quarantined_rows))
    return metrics


def feature_metrics(features: FeatureSet) -> list[Metric]:
    """What a feature build has to say."""
    return [
        Metric("mlbridge.features.rows", features.rows),
        Metric("mlbridge.features.train_rows", features.train_rows),
        Metric("mlbridge.features.count", features.feature_count),
        Metric("mlbridge.features.duration", features.duration_seconds * 1000, "timer"),
    ]


def drift_metrics(comparison: Mapping[str, Any], *, features: int = DRIFT_FEATURES) -> list[Metric]:
    """
    What a comparison with a reference has to say.

    :param comparison: :meth:`~airflow_provider_mlbridge.features.drift.DriftReport.to_dict`.
    :param features: of how many features the distance is told, at most; every feature is a series of its own.
    """
    compared = [item for item in comparison["features"] if item["figures"]]
    compared.sort(key=lambda item: (-item["severity"], item["name"]))
    distances: dict[str, float] = {}
    for item in compared[: max(0, features)]:
        # Of two names that only differ in what a tag cannot have, the larger distance counts.
        distances.setdefault(tag_value(item["name"]), item["severity"])
    return [
        Metric("mlbridge.features.drifted", comparison["drifted"]),
        Metric("mlbridge.features.not_compared", comparison["not_compared"]),
        *(
            Metric("mlbridge.features.drift", distance, tags={"feature": name})
            for name, distance in distances.items()
        ),
    ]


def submission_metrics(mode: str, *, attached: bool) -> list[Metric]:
    """What a submission has to say."""
    tags = {"mode": mode, "attached": str(attached).lower()}
    return [Metric("mlbridge.training.submitted", 1, "counter", tags)]


def training_metrics(mode: str, outcome: str, duration_seconds: float | None) -> list[Metric]:
    """What the end of a training has to say."""
    tags = {"mode": mode, "outcome": outcome}
    metrics = [Metric("mlbridge.training.ended", 1, "counter", tags)]
    if duration_seconds is not None:
        metrics.append(Metric("mlbridge.training.duration", duration_seconds * 1000, "timer", tags))
    return metrics


def emit(metrics: Iterable[Metric], context: Context) -> None:
    """Send metrics, tagged with the task instance they come from."""
    from airflow.sdk.observability import stats

    shared = _task_tags(context)
    for metric in metrics:
        tags = {**shared, **metric.tags}
        if metric.kind == "timer":
            stats.timing(metric.name, metric.value, tags=tags)
        elif metric.kind == "counter":
            stats.incr(metric.name, int(metric.value), tags=tags)
        else:
            stats.gauge(metric.name, metric.value, tags=tags)


def _task_tags(context: Context) -> dict[str, Any]:
    instance = context["ti"]
    tags = {"dag_id": tag_value(instance.dag_id), "task_id": tag_value(instance.task_id)}
    if instance.map_index is not None and instance.map_index >= 0:
        tags["map_index"] = str(instance.map_index)
    return tags


def tag_value(text: str) -> str:
    """A tag's value without what makes a StatsD server drop the whole metric: colons, spaces, commas."""
    return _NOT_IN_TAGS.sub("_", text)[:_TAG_LENGTH]
