# SPDX-License-Identifier: Apache-2.0
"""The figures and their bands, by simulation: how often there is an alarm without drift, and with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]
from scipy.stats import chi2, wasserstein_distance  # type: ignore[import-untyped]

from airflow_provider_mlbridge.features.drift import bands, compare, figures
from airflow_provider_mlbridge.features.drift.distributions import edges_digest

SHARES = [0, 0.01, *(step / 50 for step in range(1, 50)), 0.99, 1]
Drawn = dict[str, np.ndarray]


def edges_of(values: np.ndarray) -> tuple[list[float], bool]:
    different = np.unique(values)
    if len(different) <= 50:
        return different.tolist(), True
    return np.unique(np.quantile(values, SHARES, method="inverted_cdf")).tolist(), False


def counts_of(values: np.ndarray, edges: list[float]) -> list[int]:
    bins = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    below = int((values < edges[0]).sum())
    return [below, int(bins[0]) - below, *bins[1:].tolist()]


def statistics(drawn: Drawn, reference: dict[str, Any] | None = None) -> dict[str, Any]:
    """What ``measure`` makes, without the engine: a thousand draws of it must not take minutes."""
    features, over = {}, {}
    for name, values in drawn.items():
        if reference is None:
            edges, complete = edges_of(values)
        else:
            # Its own edges are of no use here.
            edges, complete = [0.0], False
        own = {"rows": len(values), "nulls": 0, "counts": counts_of(values, edges)}
        features[name] = {"kind": "float", "edges": edges, "complete": complete, "splits": {"all": own}}
        if reference is not None:
            old = reference["distributions"]["features"][name]
            new = int((~np.isin(values, old["edges"])).sum()) if old["complete"] else None
            over[name] = {"all": {"counts": counts_of(values, old["edges"]), "new": new}}
    result: dict[str, Any] = {
        "features": {name: {"std": float(values.std())} for name, values in drawn.items()},
        "distributions": {"features": features},
    }
    if reference is not None:
        result["over_reference"] = {"digest": edges_digest(reference), "features": over}
    return result


def fifty_features(random: np.random.Generator, rows: int) -> Drawn:
    """Normal, heavy-tailed, discrete, nearly constant, mostly zero: five of each."""
    kinds: list[Any] = [
        lambda: random.normal(size=rows),
        lambda: random.lognormal(0, 2, rows),
        lambda: random.standard_cauchy(rows),
        lambda: (random.random(rows) < 0.3).astype(float),
        lambda: (random.random(rows) < 0.002).astype(float),
        lambda: random.integers(0, 20, rows).astype(float),
        lambda: random.integers(0, 200, rows).astype(float),
        lambda: random.poisson(1.0, rows).astype(float),
        lambda: np.where(random.random(rows) < 0.6, 0.0, random.gamma(2, 1, rows)),
        lambda: random.choice([-3.0, 3.0], rows) + random.normal(0, 0.1, rows),
    ]
    return {f"f{index}": kinds[index % 10]() for index in range(50)}


@pytest.mark.parametrize(
    ("reference_rows", "current_rows", "draws", "allowed"),
    # Fewer than 5 % without any margin for chance: as the bands of Wasserstein are wide, the true rate is
    # about 1.7 % (17 of 1,000 draws that share no reference).
    [(1_000, 1_000, 1_000, 50), (5_000, 200, 100, 11), (200, 5_000, 100, 11)],
)
def test_one_false_alarm_in_twenty_at_most_over_fifty_features(
    reference_rows: int, current_rows: int, draws: int, allowed: int
) -> None:
    random = np.random.default_rng(20240131)
    alarms, reference = 0, None
    for draw in range(draws):
        # A new reference for every tenth draw keeps the test short.
        if draw % 10 == 0 or reference is None:
            reference = statistics(fifty_features(random, reference_rows))
        report = compare(reference, statistics(fifty_features(random, current_rows), reference))
        assert report.not_compared == ()
        alarms += report.verdict == "drift"
    assert alarms <= allowed


def test_half_a_standard_deviation_is_found_at_a_thousand_rows() -> None:
    random = np.random.default_rng(5)
    found = 0
    for draw in range(100):
        reference = statistics(fifty_features(random, 1_000))
        current = fifty_features(random, 1_000)
        current["f0"] = current["f0"] + 0.5
        report = compare(reference, statistics(current, reference))
        found += "f0" in {feature.name for feature in report.drifted}
        if draw == 0:
            shifted = next(feature for feature in report.features if feature.name == "f0")
            distance = shifted.figure("wasserstein")
            assert distance is not None
            assert distance.scaled == pytest.approx(0.5, abs=0.12)
    assert found >= 95


@pytest.mark.parametrize("figure", ["psi", "jensen_shannon", "wasserstein"])
def test_each_figure_finds_the_shift_by_itself(figure: Any) -> None:
    random = np.random.default_rng(6)
    found = 0
    for _ in range(100):
        old, new = random.normal(size=1_000), random.normal(0.5, 1, 1_000)
        reference = statistics({"x": old})
        # The band of one figure among the two hundred of fifty features.
        report = compare(reference, statistics({"x": new}, reference), alpha=0.05 * 4 / 200)
        value = report.features[0].figure(figure)
        found += value is not None and value.exceeded
    assert found >= 95


def test_quantiles_of_chi_square_are_scipys() -> None:
    for alpha in (1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5):
        for degrees in (1, 2, 3, 5, 9, 10, 20, 49, 100):
            expected = chi2.isf(alpha, degrees)
            assert bands.chi_square_quantile(alpha, degrees) == pytest.approx(expected, rel=1e-9)


def test_figures_are_those_of_scipy_and_of_the_definition() -> None:
    old, new = [100, 250, 50, 0, 600], [120, 200, 80, 5, 595]
    assert figures.jensen_shannon(old, new) == pytest.approx(jensenshannon(old, new, base=2), rel=1e-12)
    assert figures.jensen_shannon([5, 0], [0, 9]) == 1
    assert figures.jensen_shannon(old, [2 * count for count in old]) == 0
    # By hand: (0.2 - 0.4) ln(0.2 / 0.4) + (0.8 - 0.6) ln(0.8 / 0.6), nearly, as half a value is added.
    expected = -0.2 * np.log(0.5) + 0.2 * np.log(4 / 3)
    assert figures.psi([40_000, 60_000], [20_000, 80_000]) == pytest.approx(expected, rel=1e-3)
    assert figures.psi(old, old) == 0


@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0])
def test_wasserstein_is_close_to_that_of_the_values(shift: float) -> None:
    random = np.random.default_rng(8)
    for values, step in ((random.normal(size=20_000), shift), (random.integers(0, 30, 20_000), 10 * shift)):
        edges, complete = edges_of(values)
        # Clamped to the range of the reference, as documented.
        moved = np.clip(values + step, edges[0], edges[-1])
        weights = figures.edge_weights(edges, complete=complete)
        found = figures.wasserstein(counts_of(values, edges), counts_of(moved, edges), weights)
        # Exact where the values are few, by the trapezoidal rule otherwise.
        expected = wasserstein_distance(values, moved)
        assert found == pytest.approx(expected, rel=1e-9 if complete else 0.05)


def test_cells_are_deciles_when_there_are_enough_values_and_fewer_otherwise() -> None:
    random = np.random.default_rng(9)
    values = random.normal(size=1_000)
    edges, _ = edges_of(values)
    old, new = figures.cells(counts_of(values, edges), counts_of(random.normal(size=1_000), edges))
    assert len(old) == len(new) == 10
    assert min(old) >= 98
    small = counts_of(random.normal(size=100), edges)
    assert len(figures.cells(counts_of(values, edges), small)[0]) == 3
    assert sum(figures.cells(counts_of(values, edges), small)[1]) == 100
