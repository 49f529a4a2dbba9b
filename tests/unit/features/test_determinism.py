# SPDX-License-Identifier: Apache-2.0
"""The same inputs give the same fingerprint and the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mlbridge.features import (
    Clip,
    DateParts,
    HashSplit,
    Impute,
    OneHot,
    QuantileBins,
    Recipe,
    Standard,
    build_feature_set,
)
from airflow_provider_mlbridge.storage import read_manifest

from .tables import flights, write

RECIPE = Recipe(
    "flights",
    [
        Impute(["dep_delay", "seats"], indicator=True),
        Clip("dep_delay", lower_quantile=0.01, upper_quantile=0.99),
        QuantileBins("temp", bins=8, output="{column}_bin"),
        Standard(["dep_delay", "temp"]),
        OneHot("carrier", missing="category", unknown="other", min_frequency=0.01),
        DateParts("scheduled", parts=["month", "weekday"]),
    ],
    keys=["flight_id"],
    label="late",
    split=HashSplit(train=0.7, validation=0.1),
    refit="never",
)


@pytest.mark.parametrize("partitioned", [False, True])
def test_threads_do_not_matter(partitioned: bool, tmp_path: Path) -> None:
    # More row groups than threads, in several files, so that the engine shares them out.
    for part in range(4):
        table = flights(40_000, seed=part)
        write(table, tmp_path / "mart" / "day=1" / f"part-{part}.parquet", row_group_size=4_000)
    found = set()
    for threads in (1, 2, 8):
        built = build_feature_set(
            f"{tmp_path}/mart",
            RECIPE,
            f"{tmp_path}/out-{threads}",
            partitions={"day": 1},
            partitioned=partitioned,
            threads=threads,
        )
        files = read_manifest(built.uri).files
        found.add((built.fingerprint, tuple(sorted((file.name, file.sha256) for file in files))))
        assert len(files) == 7
    assert len(found) == 1
