# SPDX-License-Identifier: Apache-2.0
"""Distributions of published features, and what a comparison says of every odd case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, FeatureError, InvalidManifestError
from airflow_provider_mlbridge.features.drift import (
    DriftReport,
    FeatureDrift,
    compare,
    compare_versions,
    load_reference,
    measure,
    read_statistics,
)
from airflow_provider_mlbridge.storage import publish_version

KINDS: Any = {"int64": "int", "double": "float", "bool": "bool", "string": "string", "date32[day]": "date"}
Statistics = dict[str, Any]


def measured(
    table: pa.Table,
    folder: Path,
    reference: Mapping[str, Any] | None = None,
    *,
    threads: int = 2,
    **options: Any,
) -> Statistics:
    """The statistics of a table, as they come back from a file."""
    path = folder / "features.parquet"
    pq.write_table(table, path, row_group_size=1_000)
    kinds = {
        name: KINDS.get(str(kind), "timestamp")
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if name != "split"
    }
    connection = duckdb.connect(":memory:", config={"threads": threads})
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    split = "split" if "split" in table.column_names else None
    found = measure(connection, path, kinds, split_column=split, reference=reference, **options)
    found["features"] = {name: {"kind": kind} for name, kind in kinds.items()}
    result: Statistics = json.loads(json.dumps(found, allow_nan=False))
    return result


def compared(before: Any, after: Any, folder: Path, **options: Any) -> DriftReport:
    """The report of two columns ``x``, or tables."""
    old, new = (
        item if isinstance(item, pa.Table) else pa.table({"x": pa.array(item)}) for item in (before, after)
    )
    reference = measured(old, folder)
    return compare(reference, measured(new, folder, reference), **options)


def only(report: DriftReport) -> FeatureDrift:
    (feature,) = report.features
    return feature


def test_counts_are_those_of_the_rows_by_split(tmp_path: Path) -> None:
    values = [None, float("nan"), 1.0, 2.0, 2.0, 5.0, float("inf"), float("-inf")]
    split = ["train", "train", "train", "train", "test", "test", "test", "test"]
    found = measured(pa.table({"x": values, "split": split}), tmp_path)["distributions"]["features"]["x"]
    assert found["edges"] == [1.0, 2.0, 5.0]
    # Infinities are values, but none of the edges.
    assert found["complete"] is False
    assert found["splits"] == {
        "test": {"rows": 4, "nulls": 0, "counts": [1, 0, 1, 1, 1]},
        "train": {"rows": 4, "nulls": 2, "counts": [0, 1, 1, 0, 0]},
    }


def test_counts_over_the_reference_are_those_of_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    old, new = random.normal(size=3_000), random.normal(1, 2, 4_000)
    reference = measured(pa.table({"x": old}), tmp_path)
    found = measured(pa.table({"x": new}), tmp_path, reference)["over_reference"]["features"]["x"]["all"]
    edges = np.array(reference["distributions"]["features"]["x"]["edges"])
    assert len(edges) == 53
    expected = [
        int((new < edges[0]).sum()),
        int((new == edges[0]).sum()),
        *(int(((new > low) & (new <= high)).sum()) for low, high in pairwise(edges)),
        int((new > edges[-1]).sum()),
    ]
    assert found == {"counts": expected, "new": None}


def test_threads_and_row_groups_change_nothing_and_samples_are_even(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    columns = {f"x{index}": random.normal(size=20_000) for index in range(55)}
    table = pa.table({**columns, "s": [f"v{index % 70}" for index in range(20_000)]})
    one, many = (measured(table, tmp_path, threads=threads, sample_rows=5_000) for threads in (1, 8))
    assert one == many
    assert one["distributions"]["sampled"] is True
    rows = one["distributions"]["features"]["x7"]["splits"]["all"]["rows"]
    assert rows == pytest.approx(5_000, rel=0.01)
    # Every value of a period, whatever its length.
    counts = one["distributions"]["features"]["s"]["splits"]["all"]["counts"]
    assert sum(counts) == rows
    assert len(one["distributions"]["features"]) == 56


def test_no_string_is_written_down(tmp_path: Path) -> None:
    secret = [f"person-{index % 60}" for index in range(600)]
    few = [f"name-{index % 3}" for index in range(600)]
    text = json.dumps(measured(pa.table({"x": secret, "y": few}), tmp_path))
    assert "person" not in text
    assert "name-" not in text


def test_a_shift_is_drift_and_the_worst_feature_comes_first(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    before = pa.table({name: random.normal(size=1_000) for name in ("a", "b", "c")})
    after = pa.table(
        {"a": random.normal(0.5, 1, 1_000), "b": random.normal(size=1_000), "c": random.normal(2, 1, 1_000)}
    )
    report = compared(before, after, tmp_path)
    assert [(feature.name, feature.drifted) for feature in report.features] == [
        ("c", True),
        ("a", True),
        ("b", False),
    ]
    assert report.verdict == "drift"
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [item["name"] for item in document["features"]] == ["c", "a", "b"]
    assert document["drifted"] == 2
    problem = report.problem()
    assert problem is not None
    assert "2 of 3 features drifted: 'c' (" in problem


N = 1_000
NAN = float("nan")
CASES: list[tuple[str, Any, Any, bool | None, str | None]] = [
    ("same constant", [3.0] * N, [3.0] * N, False, None),
    ("another constant", [3.0] * N, [4.0] * N, True, "new_values"),
    ("constant no more", [3.0] * N, [3.0] * 900 + [2.0] * 100, True, "new_values"),
    ("a constant, once something else", [3.0] * N, [3.0] * 999 + [2.0], False, None),
    ("a constant string", ["a"] * N, ["b"] * N, True, "new_values"),
    ("a new category", ["a", "b"] * 500, ["a", "b"] * 450 + ["c"] * 100, True, "new_values"),
    ("categories by other shares", ["a", "b"] * 500, ["a"] * 700 + ["b"] * 300, True, "psi"),
    ("one category has gone", ["a", "b", "c", "d"] * 250, ["a", "b", "c"] * 330, True, "psi"),
    ("a flag", [False] * 500 + [True] * 500, [False] * 700 + [True] * 300, True, "wasserstein"),
    ("a rare flag", [0] * 995 + [1] * 5, [0] * 950 + [1] * 50, True, "wasserstein"),
    ("codes", [0, 1, 2, 3] * 250, [0, 1, 2, 3, 3, 3] * 167, True, "psi"),
    ("nulls", list(map(float, range(N))), [*map(float, range(900)), *[None] * 100], True, "nulls"),
    ("NaN", list(map(float, range(N))), [*map(float, range(900)), *[NAN] * 100], True, "nulls"),
    ("all null on both sides", pa.nulls(N, pa.float64()), pa.nulls(N, pa.float64()), False, None),
    ("all null now", list(map(float, range(N))), pa.nulls(N, pa.float64()), True, "nulls"),
    ("all null before", pa.nulls(N, pa.float64()), list(map(float, range(N))), True, "nulls"),
    ("infinities", list(map(float, range(N))), [*map(float, range(500)), *[np.inf] * 500], True, "psi"),
    ("only infinities", [np.inf] * N, [np.inf] * N, None, None),
    ("too few now", list(map(float, range(N))), list(map(float, range(0, N, 25))), None, None),
    ("too few before", [1.0, 2.0], list(map(float, range(N))), None, None),
    ("no rows now", list(map(float, range(N))), pa.nulls(0, pa.float64()), None, None),
    ("identifiers", [f"{index}" for index in range(N)], [f"n{index}" for index in range(N)], False, None),
    ("another kind", [1, 2] * 500, ["1", "2"] * 500, None, None),
]


@pytest.mark.parametrize(
    ("before", "after", "drifted", "by"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_every_odd_case_has_a_documented_result(
    before: Any, after: Any, drifted: bool | None, by: str | None, tmp_path: Path
) -> None:
    report = compared(before, after, tmp_path)
    feature = only(report)
    assert feature.drifted is drifted
    assert by is None or by in {figure.name for figure in feature.figures if figure.exceeded}
    if drifted is None:
        assert feature.reason
        assert report.verdict == "not_compared"
        assert report.problem() is not None
    if drifted is False:
        assert report.verdict == "no_drift"
        assert report.problem() is None


def test_features_of_one_side_only_are_not_compared(tmp_path: Path) -> None:
    before = pa.table({"x": [1.0, 2.0] * 100, "gone": [1.0, 2.0] * 100})
    after = pa.table({"x": [1.0, 2.0] * 100, "came": [1.0, 2.0] * 100})
    report = compared(before, after, tmp_path)
    assert {feature.name: feature.reason for feature in report.features} == {
        "came": "the reference does not have it",
        "gone": "the current feature set does not have it",
        "x": None,
    }
    assert report.verdict == "not_compared"


def test_without_counts_over_the_reference_nothing_is_called_no_drift(tmp_path: Path) -> None:
    reference = measured(pa.table({"x": [1.0, 2.0] * 100}), tmp_path)
    other = measured(pa.table({"x": [1.0, 2.0, 3.0] * 100}), tmp_path)
    feature = only(compare(reference, other))
    assert feature.drifted is None
    assert "not counted over the edges of this reference" in str(feature.reason)
    # What an earlier version of the package published has no distributions at all.
    bare = {"features": {"x": {"kind": "float"}}}
    current = measured(pa.table({"x": [1.0, 2.0] * 100}), tmp_path, bare)
    assert only(compare(bare, current)).reason == (
        "the reference was published without distributions: build it again"
    )


def test_a_split_of_the_reference(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    split = ["train"] * 1_000 + ["test"] * 1_000
    values = np.concatenate([random.normal(size=1_000), random.normal(1, 1, 1_000)])
    reference = measured(pa.table({"x": values, "split": split}), tmp_path)
    current = measured(pa.table({"x": random.normal(size=1_000)}), tmp_path, reference)
    assert compare(reference, current, reference_split="train").verdict == "no_drift"
    assert compare(reference, current, reference_split="test").verdict == "drift"
    # The splits of one version with each other need no other counts.
    within = compare(reference, reference, reference_split="train", current_split="test")
    assert within.verdict == "drift"
    with pytest.raises(ConfigurationError, match="reference_split='valid' is no split.*test, train"):
        compare(reference, current, reference_split="valid")
    with pytest.raises(ConfigurationError, match="alpha=0.7"):
        compare(reference, current, alpha=0.7)


def test_an_engine_that_fails_does_not_tell_values(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    pq.write_table(pa.table({"x": ["secret"] * 10}), path)
    with pytest.raises(FeatureError) as caught:
        measure(duckdb.connect(), path, {"x": "float"})
    assert "secret" not in str(caught.value)


def publish(base: str, table: pa.Table, folder: Path, reference: Mapping[str, Any] | None = None) -> str:
    statistics = measured(table, folder, reference)
    with publish_version(base, fingerprint="0123456789abcdef") as version:
        version.add(folder / "features.parquet", "features.parquet")
        version.add_bytes("statistics.json", json.dumps(statistics).encode())
        details = {"kind": "mlbridge.features", "split_rows": {}}
        return version.commit(details).version_uri


def test_references_are_found_and_checked(tmp_path: Path) -> None:
    base = f"{tmp_path}/features"
    random = np.random.default_rng(5)
    assert load_reference(None, base) is None
    assert load_reference("previous", base) is None
    first = publish(base, pa.table({"x": random.normal(size=500)}), tmp_path)
    previous = load_reference("previous", base)
    assert previous is not None
    assert previous.uri == first
    assert previous.statistics == read_statistics(first)
    named = load_reference({"version": first, "split": "all"}, base)
    assert named is not None
    assert named.split == "all"
    current = measured(pa.table({"x": random.normal(size=500)}), tmp_path, previous.statistics)
    assert previous.compare(current).verdict == "no_drift"
    for wrong in (3, {"split": "train"}, {"version": first, "part": "train"}, "", "features/v1"):
        with pytest.raises(ConfigurationError):
            load_reference(wrong, base)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no split 'train'; it has all"):
        load_reference({"version": first, "split": "train"}, base)
    with pytest.raises(InvalidManifestError):
        load_reference(f"{tmp_path}/nothing", base)
    statistics = Path(first) / "statistics.json"
    statistics.write_text(statistics.read_text().replace("float", "int"))
    with pytest.raises(InvalidManifestError, match="not the file that was published"):
        load_reference("previous", base)


def test_any_two_versions_can_be_compared_without_the_rows_of_the_reference(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    tables = [pa.table({"x": random.normal(shift, 1, 1_000)}) for shift in (0, 0, 1)]
    first, second, third = (
        publish(f"{tmp_path}/{index}", table, tmp_path) for index, table in enumerate(tables)
    )
    (Path(first) / "features.parquet").unlink()
    assert compare_versions(second, first).verdict == "no_drift"
    report = compare_versions(third, first)
    assert report.verdict == "drift"
    assert report.reference == first
