# SPDX-License-Identifier: Apache-2.0
"""The demo's training program trains exactly what it was asked for, or says why not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo.services.process import REPOSITORY
from demo.training_program.feature_set import FeatureSetError, load_features

PROGRAM = REPOSITORY / "demo" / "training_program" / "train.py"


def publish(folder: Path, **columns: Any) -> str:
    """A feature set whose label depends on the first feature."""
    random = np.random.default_rng(0)
    signal = random.normal(size=400)
    table = {
        "id": np.arange(400),
        "signal": np.where(np.arange(400) % 50 == 0, np.nan, signal),
        "noise": random.normal(size=400),
        "late": signal + random.normal(size=400) > 0,
        "split": np.where(np.arange(400) < 300, "train", "test"),
        **columns,
    }
    folder.mkdir()
    path = folder / "features.parquet"
    pq.write_table(pa.table(table), path)
    manifest = {
        "schema_version": 1,
        "fingerprint": "f1",
        "files": [
            {"name": path.name, "size": path.stat().st_size, "sha256": digest(path), "etag": "e"},
        ],
        "details": {
            "label": "late" if "late" in table else None,
            "features": [name for name in table if name not in ("id", "late", "split")],
            "split_column": "split",
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder.as_uri() + "/"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(tmp_path: Path, uri: str, request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MLBRIDGE_REQUEST": json.dumps(request),
        "MLBRIDGE_FEATURES_URI": uri,
        "MLBRIDGE_FEATURES_FINGERPRINT": "f1",
        "MLBRIDGE_RESULT_FILE": str(tmp_path / "result.json"),
        "MLBRIDGE_JOB_KEY": "key",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(PROGRAM), "--models", str(tmp_path / "models")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_it_trains_writes_the_model_and_reports(tmp_path: Path) -> None:
    uri = publish(tmp_path / "features")
    request = {"model_type": "logistic_regression", "params": {"C": 0.5}, "experiment_name": "flights"}
    done = run(tmp_path, uri, request)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["metrics"]["auc"] > 0.75
    assert 0.6 < result["metrics"]["accuracy"] < 1
    assert result["extra"]["rows"] == {"test": 100, "train": 300}
    model = Path(result["model_uri"].removeprefix("file://"))
    assert model.is_relative_to(tmp_path / "models" / "flights")
    about = json.loads(model.with_suffix(".json").read_text())
    assert (about["features_fingerprint"], about["features"]) == ("f1", ["signal", "noise"])
    assert "fitting logistic_regression on 300 rows x 2 features" in done.stdout


@pytest.mark.parametrize(
    ("model_type", "params", "message"),
    [
        ("svm", {}, "unknown model_type 'svm'; this program trains hist_gradient_boosting"),
        ("logistic_regression", {"depth": 3}, r"has no parameters ['depth']; valid are C,"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_read(
    tmp_path: Path, model_type: str, params: dict[str, Any], message: str
) -> None:
    done = run(tmp_path, "s3://nowhere/at-all/", {"model_type": model_type, "params": params})
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "result.json").exists()


def test_features_with_another_fingerprint_are_refused(tmp_path: Path) -> None:
    uri = publish(tmp_path / "features")
    with pytest.raises(FeatureSetError, match="has the fingerprint 'f1', but the training was asked for"):
        load_features(uri, "f2", tmp_path)


def test_a_replaced_file_is_refused(tmp_path: Path) -> None:
    uri = publish(tmp_path / "features")
    publish(tmp_path / "other", extra=np.zeros(400))
    (tmp_path / "other" / "features.parquet").replace(tmp_path / "features" / "features.parquet")
    with pytest.raises(FeatureSetError, match="it was replaced or cut short"):
        load_features(uri, "f1", tmp_path)


def test_a_missing_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureSetError, match=r"features/manifest\.json: No such file"):
        load_features((tmp_path / "features").as_uri(), "f1", tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"noise": ["x"] * 400}, "feature 'noise' is string; this program needs numbers"),
        ({"split": ["train"] * 400}, "the split 'test' must have rows of both classes"),
        ({"late": np.arange(400)}, "the label 'late' must be 0 or 1"),
    ],
)
def test_features_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    uri = publish(tmp_path / "features", **columns)
    with pytest.raises(FeatureSetError, match=message):
        load_features(uri, "f1", tmp_path)


def partitions(folder: Path) -> str:
    """A version that has written one partition, and names another one where an earlier version has put it."""
    entries = []
    for number, version in enumerate(("20260101T000000Z-aaaa-1", "20260102T000000Z-bbbb-2")):
        part = folder / "versions" / version / f"day=2026-01-0{number + 1}"
        part.parent.mkdir(parents=True)
        publish(part, noise=np.full(400, float(number)))
        manifest = json.loads((part / "manifest.json").read_text())
        (part / "manifest.json").unlink()
        entry = {**manifest["files"][0], "name": f"{part.name}/features.parquet"}
        entries.append(entry if number else {**entry, "version": version})
    manifest |= {"schema_version": 2, "files": [{"name": "state.json"}, *reversed(entries)]}
    (part.parent / "manifest.json").write_text(json.dumps(manifest))
    return part.parent.as_uri() + "/"


def test_all_partitions_are_learned_from_wherever_they_are(tmp_path: Path) -> None:
    features = load_features(partitions(tmp_path / "feature set"), "f1", tmp_path)
    assert {name: len(split.labels) for name, split in features.splits.items()} == {"test": 200, "train": 600}
    # One after the other, by the names of the partitions.
    assert features.splits["train"].features[:, 1].tolist() == [0.0] * 300 + [1.0] * 300


def test_a_partition_of_no_version_is_refused(tmp_path: Path) -> None:
    uri = partitions(tmp_path / "features")
    path = Path(uri.removeprefix("file://"), "manifest.json")
    path.write_text(path.read_text().replace("20260101T000000Z-aaaa-1", ".."))
    with pytest.raises(FeatureSetError, match=r"as of '\.\.', no version"):
        load_features(uri, "f1", tmp_path)


def test_missing_values_reach_the_model_as_missing(tmp_path: Path) -> None:
    features = load_features(publish(tmp_path / "features"), "f1", tmp_path)
    assert np.isnan(features.splits["train"].features[:, 0]).sum() == 6
