# SPDX-License-Identifier: Apache-2.0
"""
Compare a feature set with a reference, from the statistics of both.

Every figure has a band of its own. The probability ``alpha`` is divided by the number of all figures of all
features (Bonferroni), which needs no independence: features of one table hardly ever are. Features that their
steps have learned anew are compared by what they are made of, see :mod:`~.sources`; what several are made of
is compared once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features.drift import bands, figures
from airflow_provider_mlbridge.features.drift.distributions import edges_digest, total_counts
from airflow_provider_mlbridge.features.drift.report import DriftReport, FeatureDrift, Figure, FigureName
from airflow_provider_mlbridge.features.drift.sources import SOURCES, Basis, basis_of, sources_digest
from airflow_provider_mlbridge.features.options import shown

_ORDER = {True: 0, None: 1, False: 2}
"""Of verdicts: what drifted first."""

LEAST_VALUES = 2 * figures.LEAST_EXPECTED
"""Values that both sides must have for their distributions to be compared."""


@dataclass(frozen=True)
class _Candidate:
    """A figure whose band waits for the number of all figures."""

    name: FigureName
    value: float
    band: Callable[[float], float]
    scaled: float | None = None


@dataclass
class _Pair:
    """One feature, or one source of features, on both sides, in the making."""

    name: str
    kind: str
    reason: str | None = None
    candidates: list[_Candidate] = field(default_factory=list)
    reference_rows: int = 0
    current_rows: int = 0

    def add(
        self, name: FigureName, value: float, band: Callable[[float], float], scaled: float | None = None
    ) -> None:
        self.candidates.append(_Candidate(name, value, band, scaled))


@dataclass(frozen=True)
class _Side:
    """Counts of one side, summed over its splits."""

    rows: int
    nulls: int
    counts: Sequence[int]
    new: int | None = None

    @property
    def values(self) -> int:
        return self.rows - self.nulls


def compare(
    reference_statistics: Mapping[str, Any],
    current_statistics: Mapping[str, Any],
    *,
    alpha: float = 0.05,
    reference_split: str | None = None,
    current_split: str | None = None,
    reference: str | None = None,
) -> DriftReport:
    """
    What has drifted.

    :param reference_statistics: ``statistics.json`` of the reference version.
    :param current_statistics: the same of the current one, counted over the edges of that reference; see
        :func:`~.distributions.measure`. Without those counts nothing can be compared, and the report says so.
    :param alpha: the probability of any alarm under no drift, at most; above 0, below 0.5.
    :param reference_split: compare with this split of the reference only, such as ``train``.
    :param current_split: compare this split of the current feature set only.
    :param reference: what to call the reference in messages, usually its URI.
    :raises ConfigurationError: for an ``alpha`` that is none, or a split that no feature has.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 0.5:
        raise ConfigurationError(f"alpha={alpha!r} must be a number above 0 and below 0.5")
    old: Mapping[str, Any] = reference_statistics.get("distributions", {}).get("features", {})
    new: Mapping[str, Any] = current_statistics.get("distributions", {}).get("features", {})
    _check_split("reference_split", reference_split, old)
    _check_split("current_split", current_split, new)
    digest = edges_digest(reference_statistics)
    over = current_statistics.get("over_reference") or {}
    if digest is not None and over.get("digest") == digest:
        counted: Mapping[str, Any] | None = over["features"]
    elif digest is not None and digest == edges_digest(current_statistics):
        # A version over its own edges, such as one split of it compared with another.
        counted = {name: _as_counted(item) for name, item in new.items()}
    else:
        counted = None
    names = list(dict.fromkeys([*new, *old, *_names(current_statistics), *_names(reference_statistics)]))
    bases = {name: basis_of(name, reference_statistics, current_statistics) for name in names}
    splits = (reference_split, current_split)
    pairs: dict[str, _Pair] = {}
    for name in names:
        if bases[name].sources:
            continue
        pair = pairs[name] = _Pair(name, _kind(name, new, old), bases[name].reason or _absent(name, old, new))
        if name not in old and name in _names(reference_statistics):
            pair.reason = "the reference was published without distributions: build it again"
        if pair.reason is None:
            std = (reference_statistics.get("features", {}).get(name) or {}).get("std")
            _fill(pair, old[name], new[name], counted and counted.get(name), splits, std)
    sources = _source_pairs(bases.values(), reference_statistics, current_statistics, splits)
    count = sum(len(pair.candidates) for pair in (*pairs.values(), *sources.values()))
    level = alpha / max(1, count)
    features = []
    for name, basis in bases.items():
        if basis.sources:
            found = [_finish(sources[key], level) for key in basis.sources]
            features.append(_by_sources(name, _kind(name, new, old), found))
        else:
            features.append(_finish(pairs[name], level))
    features.sort(key=lambda item: (_ORDER[item.drifted], -item.severity, item.name))
    return DriftReport(alpha, level, tuple(features), reference, reference_split, current_split)


def _absent(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    if name not in old:
        return "the reference does not have it"
    return None if name in new else "the current feature set does not have it"


def _source_pairs(
    bases: Iterable[Basis],
    reference_statistics: Mapping[str, Any],
    current_statistics: Mapping[str, Any],
    splits: tuple[str | None, str | None],
) -> dict[str, _Pair]:
    """The sources that are compared, by key."""
    keys = dict.fromkeys(key for basis in bases for key in basis.sources)
    if not keys:
        return {}
    before, after = reference_statistics[SOURCES], current_statistics[SOURCES]
    old, new = before["columns"], after["columns"]
    digest, over = sources_digest(reference_statistics), after.get("over_reference") or {}
    counted: Mapping[str, Any] = {}
    if over.get("digest") == digest:
        counted = over["columns"]
    elif digest == sources_digest(current_statistics):
        counted = {key: _as_counted(item) for key, item in new.items()}
    pairs = {}
    for key in keys:
        pair = pairs[key] = _Pair(key, _kind(key, new, old), _absent(key, old, new))
        if pair.reason is None:
            _fill(pair, old[key], new[key], counted.get(key), splits, _deviation(old[key], splits[0]))
    return pairs


def _deviation(distribution: Mapping[str, Any], split: str | None) -> float | None:
    edges, side = distribution["edges"], _side(distribution, _as_counted(distribution), split)
    return figures.deviation(side.counts, edges, complete=distribution["complete"]) if edges else None


def _by_sources(name: str, kind: str, found: Sequence[FeatureDrift]) -> FeatureDrift:
    """The verdict on a feature from those on its sources: that of the one that says the most."""
    worst = min(found, key=lambda item: (_ORDER[item.drifted], -item.severity))
    reason = worst.reason and f"of {worst.name!r}, which it is made from: {worst.reason}"
    return replace(worst, name=name, kind=kind, reason=reason, source=worst.name)


def _check_split(argument: str, split: str | None, features: Mapping[str, Any]) -> None:
    known = sorted({name for item in features.values() for name in item["splits"]})
    if split is not None and features and split not in known:
        raise ConfigurationError(
            f"{argument}={split!r} is no split of that feature set; it has {shown(known)}"
        )


def _names(statistics: Mapping[str, Any]) -> list[str]:
    return list(statistics.get("features") or ())


def _kind(name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    return str((new.get(name) or old.get(name) or {}).get("kind", "unknown"))


def _as_counted(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        group: {"counts": entry["counts"], "new": 0 if item["complete"] else None}
        for group, entry in item["splits"].items()
    }


def _side(item: Mapping[str, Any], counted: Mapping[str, Any], split: str | None) -> _Side:
    parts = list(total_counts(item["splits"], split))
    over = list(total_counts(counted, split))
    new = [entry["new"] for entry in over]
    return _Side(
        sum(part["rows"] for part in parts),
        sum(part["nulls"] for part in parts),
        [sum(column) for column in zip(*(entry["counts"] for entry in over), strict=True)],
        None if None in new else sum(new),
    )


def _fill(
    pair: _Pair,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    counted: Mapping[str, Any] | None,
    splits: tuple[str | None, str | None],
    std: float | None,
) -> None:
    """
    :param counted: the current side over the edges of the reference, by split.
    :param splits: which of the reference, which of the current side.
    :param std: standard deviation in the reference, when it is known.
    """
    if old["kind"] != new["kind"]:
        pair.reason = f"it was {old['kind']} in the reference and is {new['kind']} now"
        return
    if counted is None:
        pair.reason = (
            "the current feature set was not counted over the edges of this reference: build it with this "
            "drift_reference"
        )
        return
    before = _side(old, _as_counted(old), splits[0])
    after = _side(new, counted, splits[1])
    pair.reference_rows, pair.current_rows = before.rows, after.rows
    if not before.rows or not after.rows:
        pair.reason = f"the {'reference' if not before.rows else 'current feature set'} has no rows"
        return
    _nulls(pair, before, after)
    if not before.values and not after.values:
        return
    if min(before.values, after.values) < LEAST_VALUES:
        pair.reason = (
            f"its values were not compared: the reference has {before.values:,}, the current feature set "
            f"{after.values:,}, at least {LEAST_VALUES} each are needed"
        )
        return
    if not old["edges"]:
        pair.reason = "its values were not compared: the reference has no finite one"
        return
    _distribution(pair, old, before, after, std)


def _nulls(pair: _Pair, before: _Side, after: _Side) -> None:
    n, m = before.rows, after.rows
    pooled = (before.nulls + after.nulls) / (n + m)
    pair.add(
        "nulls",
        after.nulls / m - before.nulls / n,
        lambda alpha: bands.share_band(alpha, pooled, n, m),
    )


def _distribution(
    pair: _Pair, distribution: Mapping[str, Any], before: _Side, after: _Side, std: float | None
) -> None:
    n, m = before.values, after.values
    edges, complete = distribution["edges"], distribution["complete"]
    old, new = figures.cells(before.counts, after.counts)
    count = len(old)
    if count > 1:
        pair.add("psi", figures.psi(old, new), lambda alpha: bands.psi_band(alpha, count, n, m))
        pair.add(
            "jensen_shannon",
            figures.jensen_shannon(old, new),
            lambda alpha: bands.jensen_shannon_band(alpha, count, n, m),
        )
    weights = figures.edge_weights(edges, complete=complete)
    both = figures.shares_below([a + b for a, b in zip(before.counts, after.counts, strict=True)])
    if pair.kind != "string" and 0 < sum(weights) < math.inf:
        value = figures.wasserstein(before.counts, after.counts, weights)
        pair.add(
            "wasserstein",
            value,
            lambda alpha: bands.wasserstein_band(alpha, weights, both, n, m),
            value / std if std and math.isfinite(value / std) else None,
        )
    if complete and after.new is not None:
        once, twice = (sum(1 for part in before.counts[1:-1] if part == size) for size in (1, 2))
        fresh = after.new
        pair.add(
            "new_values", fresh / m, lambda alpha: bands.new_values_band(alpha, fresh, once, twice, n, m)
        )
    elif count == 1 and pair.kind == "string":
        pair.reason = "its values were not compared: one hash range holds nearly all of them"


def _finish(pair: _Pair, level: float) -> FeatureDrift:
    found = tuple(Figure(item.name, item.value, item.band(level), item.scaled) for item in pair.candidates)
    drifted: bool | None = any(figure.exceeded for figure in found)
    if not drifted and pair.reason is not None:
        drifted = None
    return FeatureDrift(
        pair.name, pair.kind, drifted, pair.reason, found, pair.reference_rows, pair.current_rows
    )
