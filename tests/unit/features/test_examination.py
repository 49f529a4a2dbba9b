# SPDX-License-Identifier: Apache-2.0
"""What a build looks at before it publishes: leaks, and drift from a reference."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, DriftError, LeakageError
from airflow_provider_mlbridge.features import HashSplit, Recipe, Standard, build_feature_set
from airflow_provider_mlbridge.results import FeatureSet

from .tables import write

STEPS = [Standard(["size", "copied"])]
RECIPE = Recipe("watched", STEPS, keys=["id"], label="late", split=HashSplit(train=0.8))
HONEST = Recipe("watched", [Standard(["size"])], keys=["id"], label="late", split=HashSplit(train=0.8))


def mart(path: Path, *, seed: int = 1, shift: float = 0.0, rows: int = 1500) -> str:
    rng = random.Random(seed)
    late = [int(rng.random() < 0.3) for _ in range(rows)]
    columns = {
        "id": [rng.randrange(10**9) for _ in range(rows)],
        "size": [rng.gauss(shift, 1) for _ in range(rows)],
        "copied": [2.0 * value for value in late],
        "late": late,
    }
    return write(pa.table(columns), path / "part.parquet")


def build(source: str, output: Path, recipe: Recipe = HONEST, **options: Any) -> FeatureSet:
    return build_feature_set(source, recipe, f"{output}/features", **options)


def published(output: Path) -> list[Path]:
    return sorted((output / "features").glob("versions/*/manifest.json"))


def document(built: FeatureSet, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(built.uri) / name).read_text())
    return found


def test_a_version_says_what_was_looked_at(tmp_path: Path) -> None:
    built = build(mart(tmp_path / "mart"), tmp_path)
    assert document(built, "lint.json")["findings"] == []
    page = (Path(built.uri) / "statistics.html").read_text()
    assert "watched" in page
    assert "size" in page
    assert document(built, "statistics.json")["distributions"]["features"].keys() == {"size"}
    assert not (Path(built.uri) / "drift.json").exists()


def test_a_leak_is_told_and_with_error_nothing_is_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = mart(tmp_path / "mart")
    with pytest.raises(LeakageError, match=r"(?s)label_copy.*'copied'.*allow:"):
        build(source, tmp_path, RECIPE, lint="error")
    assert not published(tmp_path)
    with caplog.at_level(logging.WARNING):
        built = build(source, tmp_path, RECIPE)
    assert "label_copy" in caplog.text
    assert "To allow it: allow:" in caplog.text
    assert [item["column"] for item in document(built, "lint.json")["findings"]] == ["copied"]
    # The same features are there by now, and what is known of them counts as before.
    with pytest.raises(LeakageError, match=r"label_copy of 'copied'.*allow:"):
        build(source, tmp_path, RECIPE, lint="error")


def test_a_leak_on_purpose_is_published(tmp_path: Path) -> None:
    allow = [{"code": "label_copy", "column": "copied", "reason": "it is known before the flight"}]
    recipe = Recipe.from_dict({**RECIPE.to_dict(), "allow": allow})
    source = mart(tmp_path / "mart")
    built = build(source, tmp_path, recipe, lint="error")
    assert build(source, tmp_path, recipe, lint="error").uri == built.uri


def test_what_nobody_looked_at_is_no_pass(tmp_path: Path) -> None:
    source = mart(tmp_path / "mart")
    built = build(source, tmp_path, lint="off")
    assert not (Path(built.uri) / "lint.json").exists()
    with pytest.raises(LeakageError, match="nothing is known of leaks"):
        build(source, tmp_path, lint="error")


def test_drift_from_the_previous_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched: dict[str, Any] = {"drift_reference": "previous", "fail_on_drift": True}
    first = build(mart(tmp_path / "1"), tmp_path, **watched)
    # Scaled by what the first version has learned, the second one lies elsewhere.
    state: dict[str, Any] = {"state_uri": first.uri}
    same = build(mart(tmp_path / "2", seed=2), tmp_path, **state, **watched)
    assert (document(same, "drift.json")["verdict"], document(same, "drift.json")["reference"]) == (
        "no_drift",
        first.uri,
    )
    shifted = mart(tmp_path / "3", seed=3, shift=1.0)
    with pytest.raises(DriftError, match=r"1 of 1 features drifted: 'size'.*fail_on_drift=False"):
        build(shifted, tmp_path, **state, **watched)
    assert len(published(tmp_path)) == 2
    with caplog.at_level(logging.WARNING):
        built = build(shifted, tmp_path, drift_reference="previous", **state)
    assert "Drift against" in caplog.text
    assert document(built, "drift.json")["verdict"] == "drift"
    # Who asks again is not told that all is well because nothing was built.
    with pytest.raises(DriftError, match=r"of 1 features 1 drifted"):
        build(shifted, tmp_path, **state, **watched)


def test_drift_of_a_partition_from_the_one_before_it(tmp_path: Path) -> None:
    for day, shift in (("01", 0.0), ("02", 0.0), ("03", 1.0)):
        mart(tmp_path / "mart" / f"day=2026-11-{day}", seed=int(day), shift=shift)
    recipe = Recipe.from_dict({**HONEST.to_dict(), "refit": "never"})

    def partition(day: str) -> FeatureSet:
        return build(
            f"{tmp_path}/mart/",
            tmp_path,
            recipe,
            partitions={"day": f"2026-11-{day}"},
            partitioned=True,
            drift_reference="previous",
            fail_on_drift=True,
        )

    partition("01")
    second = partition("02")
    assert document(second, "day=2026-11-02/drift.json")["reference"].endswith("/day=2026-11-01/")
    with pytest.raises(DriftError, match="'size'"):
        partition("03")
    assert partition("02").uri == second.uri
    assert len(published(tmp_path)) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lint": "loud"}, r"lint='loud' is not valid; use one of off, warn, error"),
        ({"fail_on_drift": True}, "fail_on_drift needs drift_reference"),
        ({"drift_reference": 7}, r"drift_reference=7 is not valid; use \"previous\""),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build(mart(tmp_path / "mart"), tmp_path, **options)
    assert not published(tmp_path)
