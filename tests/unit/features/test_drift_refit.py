# SPDX-License-Identifier: Apache-2.0
"""Drift of features whose steps learn anew at every build: judged by what the features are made of."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import (
    Clip,
    Expression,
    Frequency,
    HashSplit,
    Impute,
    Log1p,
    OneHot,
    QuantileBins,
    Recipe,
    Robust,
    Standard,
    Target,
    build_feature_set,
)
from airflow_provider_mlbridge.features.drift import compare_versions, to_html
from airflow_provider_mlbridge.features.steps.base import Step
from airflow_provider_mlbridge.results import FeatureSet

from .tables import write

LEARNING: Mapping[str, Sequence[Step]] = {
    "standard of few values": [Standard("seats")],
    "the usual": [Impute("size", strategy="median", indicator=True), Standard("size")],
    "clipped": [Clip("size", lower_quantile=0.01, upper_quantile=0.99), Robust("size")],
    "bins": [QuantileBins("size", bins=4)],
    "target": [Target("city")],
    "frequency": [Frequency("city")],
    "one-hot of rare ones": [OneHot("city", min_frequency=0.02, unknown="other")],
    "made of two": [Expression("size / seats", output="each"), Log1p("each"), Standard("each")],
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def mart(path: Path, seed: int, *, rows: int = 1000, shift: float = 0.0, factor: float = 1.0) -> str:
    """:param shift: of ``size``, in its standard deviations."""
    rng = random.Random(seed)
    columns: dict[str, list[Any]] = {
        "id": list(range(rows)),
        "size": [
            None if rng.random() < 0.1 else factor * (50 + 9 * (rng.gauss(0, 1) + shift)) for _ in range(rows)
        ],
        "seats": [rng.choice([2, 4, 5]) for _ in range(rows)],
        "city": [rng.choice("abcdefgh") if rng.random() < 0.99 else "rare" for _ in range(rows)],
        "late": [int(rng.random() < 0.3) for _ in range(rows)],
    }
    return write(pa.table(columns), path / f"{seed}-{shift}" / "part.parquet")


def recipe(steps: Sequence[Step], **options: Any) -> Recipe:
    return Recipe("r", steps, keys=["id"], label="late", split=HashSplit(train=0.8), **options)


def build(source: str, output: Path, wanted: Recipe, **options: Any) -> FeatureSet:
    return build_feature_set(source, wanted, f"{output}", lint="off", **options)


def document(built: FeatureSet, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(built.uri) / name).read_text())
    return found


def verdicts(path: Path, steps: Sequence[Step], pairs: int, **second: Any) -> list[dict[str, Any]]:
    """drift.json of pairs of builds, the second one compared with the first."""
    found = []
    for pair in range(pairs):
        output, wanted = path / f"out{pair}", recipe(steps)
        build(mart(path, 2 * pair), output, wanted)
        again = build(mart(path, 2 * pair + 1, **second), output, wanted, drift_reference="previous")
        found.append(document(again, "drift.json"))
    return found


@pytest.mark.parametrize("name", LEARNING)
def test_two_draws_of_one_distribution_are_no_drift(tmp_path: Path, name: str) -> None:
    # At most 5 % may alarm: of four pairs none with these seeds.
    assert [item["verdict"] for item in verdicts(tmp_path, LEARNING[name], 4)] == ["no_drift"] * 4


@pytest.mark.parametrize("name", ["the usual", "clipped", "bins", "made of two"])
def test_a_shift_that_learning_takes_away_is_found(tmp_path: Path, name: str) -> None:
    # Standardised anew, a column that has moved lies where it was.
    for item in verdicts(tmp_path, LEARNING[name], 4, shift=0.5):
        assert item["verdict"] == "drift"
        (feature,) = (found for found in item["features"] if found["name"] != "size_missing")
        assert feature["drifted"]
        assert feature["source"].split(" ")[0] in ("size", "each")


def test_the_message_names_the_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.NOTSET)
    verdicts(tmp_path, [Standard("size")], 1, shift=1.0)
    assert "of 'size'" in caplog.text


def test_a_state_that_stays_is_compared_by_the_features_themselves(tmp_path: Path) -> None:
    wanted = recipe([Impute("size"), Standard("size")], refit="never")
    build(mart(tmp_path, 0), tmp_path / "out", wanted)
    again = build(mart(tmp_path, 1, shift=1.0), tmp_path / "out", wanted, drift_reference="previous")
    (feature,) = document(again, "drift.json")["features"]
    assert (feature["name"], feature["drifted"], feature["source"]) == ("size", True, None)


def test_other_steps_of_the_same_name_are_not_compared(tmp_path: Path) -> None:
    build(mart(tmp_path, 0), tmp_path / "out", recipe([Standard("size")]))
    other = recipe([Log1p("size"), Standard("size")])
    again = build(mart(tmp_path, 1), tmp_path / "out", other, drift_reference="previous")
    drift = document(again, "drift.json")
    assert drift["verdict"] != "no_drift"
    assert drift["features"][0]["reason"] == "it is made by other steps than in the reference"


def test_a_version_without_sources_is_not_compared(tmp_path: Path) -> None:
    wanted = recipe([Standard("size")])
    first = build(mart(tmp_path, 0), tmp_path / "out", wanted)
    old = document(first, "statistics.json")
    del old["sources"]
    again = build(mart(tmp_path, 1), tmp_path / "out", wanted, drift_reference="previous")
    from airflow_provider_mlbridge.features.drift import compare

    report = compare(old, document(again, "statistics.json"))
    assert [item.drifted for item in report.features] == [None]
    assert "build the reference again" in str(report.features[0].reason)


def test_versions_that_were_not_counted_over_the_reference_are_not_compared(tmp_path: Path) -> None:
    # Their sources are no features, so they cannot be read again from the version.
    wanted = recipe([Standard("size")])
    first = build(mart(tmp_path, 0), tmp_path / "out", wanted)
    second = build(mart(tmp_path, 1), tmp_path / "out", wanted)
    report = compare_versions(second.uri, first.uri)
    assert [item.drifted for item in report.features] == [None]
    assert "build it with this drift_reference" in str(report.features[0].reason)


def test_the_page_draws_the_source(tmp_path: Path) -> None:
    wanted = recipe([Standard("size")])
    first = build(mart(tmp_path, 0), tmp_path / "out", wanted)
    again = build(mart(tmp_path, 1, shift=1.0), tmp_path / "out", wanted, drift_reference="previous")
    page = (Path(again.uri) / "statistics.html").read_text()
    assert "compared, and drawn, by its source size (after step" not in page
    assert "compared, and drawn, by its source size" in page
    statistics = document(again, "statistics.json")
    assert statistics["sources"]["over_reference"]["columns"].keys() == {"size"}
    # The page of a version that was compared with nothing shows the feature itself.
    assert "by its source" not in to_html(document(first, "statistics.json"), title="r")


def test_what_learns_nothing_has_no_sources(tmp_path: Path) -> None:
    built = build(mart(tmp_path, 0), tmp_path / "out", recipe([Log1p("size")]))
    assert "sources" not in document(built, "statistics.json")
