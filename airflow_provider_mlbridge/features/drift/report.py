# SPDX-License-Identifier: Apache-2.0
"""What a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_mlbridge.features.options import shown

FigureName = Literal["psi", "jensen_shannon", "wasserstein", "nulls", "new_values"]

DRIFT_VERSION = 1


@dataclass(frozen=True)
class Figure:
    """
    One figure of one feature.

    :param name: ``psi``; ``jensen_shannon`` (the distance, base 2, 0 to 1); ``wasserstein`` (in units of the
        feature; seconds for timestamps, days for dates); ``nulls`` and ``new_values`` (differences of shares,
        current minus reference, -1 to 1).
    :param value: the figure.
    :param band: what its size exceeds under no drift with the probability :attr:`DriftReport.level`.
    :param scaled: the Wasserstein distance divided by the reference's standard deviation, where there is one.
    """

    name: FigureName
    value: float
    band: float
    scaled: float | None = None

    @property
    def ratio(self) -> float:
        """Size of the figure over its band; above 1 is drift."""
        return abs(self.value) / self.band

    @property
    def exceeded(self) -> bool:
        """Whether it is outside the band."""
        return abs(self.value) > self.band

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        document: dict[str, Any] = {"value": self.value, "band": self.band, "exceeded": self.exceeded}
        if self.scaled is not None:
            document["scaled"] = self.scaled
        return document


@dataclass(frozen=True)
class FeatureDrift:
    """
    One feature.

    :param name: the feature.
    :param kind: its kind in the current feature set; in the reference, when it is there only.
    :param drifted: whether a figure is outside its band; None when none is, but the values could not be
        compared. None is not "no drift".
    :param reason: what could not be compared, and why; None when everything could.
    :param figures: those that could be computed.
    :param reference_rows: rows of the reference that were looked at.
    :param current_rows: rows of the current feature set that were looked at.
    :param source: the column that was compared in its place, of those that it is made from the one with the
        greatest figure; None when the feature itself was compared. See :mod:`~.sources`.
    """

    name: str
    kind: str
    drifted: bool | None
    reason: str | None
    figures: Sequence[Figure] = ()
    reference_rows: int = 0
    current_rows: int = 0
    source: str | None = None

    @property
    def severity(self) -> float:
        """The greatest figure in units of its band; 0 when there is none."""
        return max((figure.ratio for figure in self.figures), default=0.0)

    def figure(self, name: FigureName) -> Figure | None:
        """The figure of that name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "drifted": self.drifted,
            "severity": self.severity,
            "reason": self.reason,
            "source": self.source,
            "reference_rows": self.reference_rows,
            "current_rows": self.current_rows,
            "figures": {figure.name: figure.to_dict() for figure in self.figures},
        }


@dataclass(frozen=True)
class DriftReport:
    """
    All features: those that drifted first, then those that could not be compared, each by severity.

    :param alpha: how probable it is at most that any figure of any feature is outside its band under no
        drift.
    :param level: the same for one figure: ``alpha`` divided by their number.
    :param features: the features.
    :param reference: URI of the reference, when it is known.
    :param reference_split: the split of the reference that was compared; None for all rows.
    :param current_split: the same of the current feature set.
    """

    alpha: float
    level: float
    features: Sequence[FeatureDrift]
    reference: str | None = None
    reference_split: str | None = None
    current_split: str | None = None

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """Features with a figure outside its band."""
        return tuple(feature for feature in self.features if feature.drifted)

    @property
    def not_compared(self) -> tuple[FeatureDrift, ...]:
        """Features of which nothing is known."""
        return tuple(feature for feature in self.features if feature.drifted is None)

    @property
    def verdict(self) -> Literal["drift", "not_compared", "no_drift"]:
        """``no_drift`` only when every feature could be compared."""
        if self.drifted:
            return "drift"
        return "not_compared" if self.not_compared or not self.features else "no_drift"

    def problem(self) -> str | None:
        """What is to be said when drift is not accepted; None when there is none and all was compared."""
        if self.verdict == "no_drift":
            return None
        parts = []
        if self.drifted:
            worst = (
                f"{feature.name!r} ({_worst(feature)}{_of(feature)}, {feature.severity:.3g} times its band)"
                for feature in self.drifted
            )
            parts.append(f"{len(self.drifted)} of {len(self.features)} features drifted: {shown(worst)}")
        if self.not_compared:
            reasons = (f"{feature.name!r} ({feature.reason})" for feature in self.not_compared)
            parts.append(f"{len(self.not_compared)} could not be compared: {shown(reasons)}")
        if not self.features:
            parts.append("there is no feature to compare")
        return f"against {self.reference or 'the reference'}: {'; '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "version": DRIFT_VERSION,
            "verdict": self.verdict,
            "alpha": self.alpha,
            "level": self.level,
            "reference": self.reference,
            "reference_split": self.reference_split,
            "current_split": self.current_split,
            "drifted": len(self.drifted),
            "not_compared": len(self.not_compared),
            "features": [feature.to_dict() for feature in self.features],
        }


def _worst(feature: FeatureDrift) -> str:
    return max(feature.figures, key=lambda figure: figure.ratio).name


def _of(feature: FeatureDrift) -> str:
    return "" if feature.source is None else f" of {feature.source!r}"
