# SPDX-License-Identifier: Apache-2.0
"""A build whose features are there already is judged by the reference it names, not by another or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import DriftError
from airflow_provider_mlbridge.features import HashSplit, Passthrough, Recipe, Standard, build_feature_set
from airflow_provider_mlbridge.results import FeatureSet

from .tables import write

PLAIN = Recipe("plain", [Passthrough("size")], keys=["id"], split=HashSplit())
LEARNED = Recipe("learned", [Standard("size")], keys=["id"], split=HashSplit())


def mart(path: Path, seed: int, shift: float = 0.0) -> str:
    random = np.random.default_rng(seed)
    return write(
        pa.table({"id": range(1500), "size": random.normal(shift, 1, 1500)}), path / f"{seed}.parquet"
    )


def build(source: str, output: Path, recipe: Recipe, **options: Any) -> FeatureSet:
    return build_feature_set(source, recipe, str(output), lint="off", **options)


@pytest.mark.parametrize("recipe", [PLAIN, LEARNED], ids=["plain", "learned anew"])
def test_a_repeat_is_compared_with_its_own_reference(tmp_path: Path, recipe: Recipe) -> None:
    shifted = build(mart(tmp_path, 1, shift=5.0), tmp_path / "shifted", recipe).uri
    alike = build(mart(tmp_path, 2), tmp_path / "alike", recipe).uri
    source = mart(tmp_path, 3)
    # Built without a reference, and against another one: neither is a pass.
    build(source, tmp_path / "none", recipe)
    build(source, tmp_path / "other", recipe, drift_reference=alike, fail_on_drift=True)
    for output in ("none", "other"):
        with pytest.raises(DriftError, match=r"1 of 1 features drifted: 'size'"):
            build(source, tmp_path / output, recipe, drift_reference=shifted, fail_on_drift=True)
        told: list[Mapping[str, Any]] = []
        options: dict[str, Any] = {"drift_reference": alike, "fail_on_drift": True, "on_drift": told.append}
        build(source, tmp_path / output, recipe, **options)
        assert [(item["verdict"], item["reference"]) for item in told] == [("no_drift", alike)]


def test_a_first_version_may_be_repeated(tmp_path: Path) -> None:
    source = mart(tmp_path, 1)
    watched: dict[str, Any] = {"drift_reference": "previous", "fail_on_drift": True}
    first = build(source, tmp_path / "out", PLAIN, **watched)
    drift = json.loads(Path(first.uri, "drift.json").read_text())
    assert drift == {"verdict": "no_reference", "asked": {"version": "previous", "split": None}}
    assert build(source, tmp_path / "out", PLAIN, **watched).uri == first.uri


def test_what_was_never_compared_with_the_version_before_it_is_no_pass(tmp_path: Path) -> None:
    build(mart(tmp_path, 1), tmp_path / "out", PLAIN)
    source = mart(tmp_path, 2, shift=5.0)
    build(source, tmp_path / "out", PLAIN)
    with pytest.raises(DriftError, match=r"was not compared with the version before it.*drift_reference"):
        build(source, tmp_path / "out", PLAIN, drift_reference="previous", fail_on_drift=True)


def test_a_split_of_the_reference_is_part_of_the_question(tmp_path: Path) -> None:
    reference = build(mart(tmp_path, 1), tmp_path / "reference", PLAIN).uri
    source = mart(tmp_path, 2)
    build(source, tmp_path / "out", PLAIN, drift_reference=reference)
    told: list[Mapping[str, Any]] = []
    of_train = {"version": reference, "split": "train"}
    build(source, tmp_path / "out", PLAIN, drift_reference=of_train, on_drift=told.append)
    assert [item["reference_split"] for item in told] == ["train"]


def test_a_partition_that_is_repeated_is_compared_with_the_one_before_it(tmp_path: Path) -> None:
    for day in (1, 2):
        mart(tmp_path / "mart" / f"day={day}", day, shift=5.0 * day)

    def partition(day: int, **options: Any) -> FeatureSet:
        where: dict[str, Any] = {"partitions": {"day": str(day)}, "partitioned": True}
        return build(f"{tmp_path}/mart", tmp_path / "out", PLAIN, **where, **options)

    watched: dict[str, Any] = {"drift_reference": "previous", "fail_on_drift": True}
    partition(1, **watched)
    partition(2)
    # It was built without, and it is known which partition is before it.
    with pytest.raises(DriftError, match=r"day=1/.*'size'"):
        partition(2, **watched)
    partition(1, **watched)
