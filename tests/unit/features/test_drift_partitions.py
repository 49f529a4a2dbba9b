# SPDX-License-Identifier: Apache-2.0
"""Drift of and against feature sets that have partitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidManifestError
from airflow_provider_mlbridge.features import HashSplit, Passthrough, Recipe, build_feature_set
from airflow_provider_mlbridge.features.drift import compare_versions, load_reference, read_statistics
from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.storage import read_manifest

from .tables import write

DAYS = ("2026-11-01", "2026-11-02", "2026-11-03")
RECIPE = Recipe("r", [Passthrough("x")], keys=["id"], split=HashSplit(train=0.5))


@pytest.fixture
def mart(tmp_path: Path) -> str:
    """Three days, the last of which is shifted."""
    for seed, day in enumerate(DAYS):
        table(tmp_path / "mart" / f"day={day}" / "part.parquet", seed, shift=float(day == DAYS[2]))
    return f"{tmp_path}/mart"


def table(path: Path, seed: int, shift: float = 0.0) -> str:
    random = np.random.default_rng(seed)
    return write(pa.table({"id": range(1000), "x": random.normal(shift, 1, 1000)}), path)


def build(mart: str, output: str, day: str, **options: Any) -> FeatureSet:
    return build_feature_set(mart, RECIPE, output, partitions={"day": day}, partitioned=True, **options)


def drift(built: FeatureSet, day: str) -> dict[str, Any]:
    file = read_manifest(built.uri).file(f"day={day}/drift.json")
    document: dict[str, Any] = json.loads(Path(file.uri).read_text())
    return document


def test_a_partition_is_compared_with_the_one_before_it_of_another_feature_set(
    mart: str, tmp_path: Path
) -> None:
    versions = [build(mart, f"{tmp_path}/old", day) for day in DAYS]
    second = build(mart, f"{tmp_path}/new", DAYS[1], drift_reference=f"{tmp_path}/old")
    assert drift(second, DAYS[1])["reference"] == f"{versions[0].uri}day={DAYS[0]}/"
    assert drift(second, DAYS[1])["verdict"] == "no_drift"
    third = build(mart, f"{tmp_path}/new", DAYS[2], drift_reference=versions[2].uri)
    assert drift(third, DAYS[2])["reference"] == f"{versions[1].uri}day={DAYS[1]}/"
    assert drift(third, DAYS[2])["verdict"] == "drift"
    with pytest.raises(ConfigurationError, match=f"no partition before day={DAYS[0]}; name the one"):
        build(mart, f"{tmp_path}/new", DAYS[0], drift_reference=f"{tmp_path}/old")
    # One that is named is taken as it is, by the version that wrote it or by one that carries it.
    for version in (versions[2], versions[1]):
        named = {"version": f"{version.uri}day={DAYS[1]}", "split": "train"}
        first = build(mart, f"{tmp_path}/{version.fingerprint[:9]}", DAYS[0], drift_reference=named)
        assert drift(first, DAYS[0])["reference"] == f"{versions[1].uri}day={DAYS[1]}/"
        assert drift(first, DAYS[0])["reference_split"] == "train"


def test_the_partition_before_one_goes_by_number(tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    for seed, month in enumerate((8, 9, 10)):
        table(tmp_path / "months" / f"month={month}" / "part.parquet", seed, shift=float(month == 10))
    # Built out of order: which is before which does not depend on that.
    for month in (9, 8, 10):
        built = build_feature_set(
            f"{tmp_path}/months", RECIPE, output, partitions={"month": str(month)}, partitioned=True,
            drift_reference="previous",
        )  # fmt: skip
    drift = json.loads(Path(read_manifest(built.uri).file("month=10/drift.json").uri).read_text())
    assert drift["reference"].endswith("/month=9/")
    assert drift["verdict"] == "drift"
    # The last one is that of the greatest number.
    last = load_reference(output, f"{tmp_path}/other")
    assert last is not None
    assert last.uri.endswith("/month=10/")


def test_a_feature_set_of_one_file_is_compared_with_the_last_partition(mart: str, tmp_path: Path) -> None:
    versions = [build(mart, f"{tmp_path}/days", day) for day in (DAYS[2], DAYS[0])]
    whole = build_feature_set(
        table(tmp_path / "day.parquet", 8, shift=1.0), RECIPE, f"{tmp_path}/whole",
        drift_reference=f"{tmp_path}/days",
    )  # fmt: skip
    found = json.loads(Path(whole.uri, "drift.json").read_text())
    assert (found["reference"], found["verdict"]) == (f"{versions[0].uri}day={DAYS[2]}/", "no_drift")
    # And a partition with a feature set of one file.
    shifted = build(mart, f"{tmp_path}/more", DAYS[0], drift_reference=whole.uri)
    assert (drift(shifted, DAYS[0])["reference"], drift(shifted, DAYS[0])["verdict"]) == (whole.uri, "drift")


def test_any_two_partitions_can_be_compared(mart: str, tmp_path: Path) -> None:
    for day in DAYS:
        last = build(mart, f"{tmp_path}/out", day)
    calm = compare_versions(f"{last.uri}day={DAYS[1]}/", f"{last.uri}day={DAYS[0]}/")
    assert calm.verdict == "no_drift"
    shifted = compare_versions(f"{tmp_path}/out", f"{last.uri}day={DAYS[0]}")
    assert shifted.verdict == "drift"
    # As the reports name them: below the version that wrote them.
    assert calm.reference == shifted.reference
    assert calm.reference is not None
    assert Path(calm.reference, "statistics.json").exists()
    train = compare_versions(
        last.uri, f"{last.uri}day={DAYS[0]}", reference_split="train", current_split="test"
    )
    assert 300 < train.features[0].current_rows < 700
    assert read_statistics(last.uri) == read_statistics(f"{last.uri}day={DAYS[2]}/")


def test_partitions_that_are_not_there_or_not_whole(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    first, second = (build(mart, output, day) for day in DAYS[:2])
    with pytest.raises(ConfigurationError, match=f"no partition 'day=2020-01-01/'; it has day={DAYS[0]}/, d"):
        load_reference(f"{second.uri}day=2020-01-01/", output)
    whole = build_feature_set(f"{mart}/day={DAYS[0]}", RECIPE, f"{tmp_path}/whole")
    with pytest.raises(ConfigurationError, match="has no partitions; give that version itself"):
        load_reference(f"{whole.uri}day={DAYS[0]}/", output)
    with pytest.raises(ConfigurationError, match="no split 'validation'; it has test, train"):
        build(mart, output, DAYS[2], drift_reference={"version": "previous", "split": "validation"})
    statistics = Path(first.uri, f"day={DAYS[0]}", "statistics.json")
    statistics.write_text(statistics.read_text().replace("float", "int"))
    for reference in (f"{second.uri}day={DAYS[0]}", f"{first.uri}day={DAYS[0]}"):
        with pytest.raises(InvalidManifestError, match="not the file that was published"):
            load_reference(reference, output)
    table(tmp_path / "mart" / f"day={DAYS[1]}" / "part.parquet", 9)
    with pytest.raises(InvalidManifestError, match="not the file that was published"):
        build(mart, output, DAYS[1], drift_reference="previous")
