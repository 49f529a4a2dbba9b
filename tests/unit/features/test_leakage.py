# SPDX-License-Identifier: Apache-2.0
"""Nothing of the rows that a model is tested on, and nothing of a row's own label, gets into its features."""

from __future__ import annotations

import datetime
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from airflow_provider_mlbridge.features import Passthrough, Recipe, build_feature_set
from airflow_provider_mlbridge.features.steps import STEP_TYPES

from .tables import flights, read, write

ROWS, CATEGORIES = 40_000, 4_000


@pytest.fixture(scope="module")
def noise() -> pa.Table:
    """Labels by the toss of a coin, and a column with about ten rows for each category."""
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "shop": [f"shop {number}" for number in rng.integers(0, CATEGORIES, ROWS)],
            "label": rng.random(ROWS) < 0.5,
        }
    )


@pytest.mark.parametrize("smoothing", [10.0, 0.0, "auto"])
def test_noise_stays_noise(noise: pa.Table, smoothing: float | str, tmp_path: Path) -> None:
    features = ["mean", "often", "bucket"]
    recipe = Recipe.from_dict(
        {
            "name": "noise",
            "keys": ["id"],
            "label": "label",
            "split": {"by": "hash", "train": 0.7},
            "steps": [
                {"type": "target", "columns": "shop", "smoothing": smoothing, "output": "mean"},
                {"type": "frequency", "columns": "shop", "output": "often"},
                {"type": "hashing", "columns": "shop", "buckets": 64, "output": "bucket"},
            ],
        }
    )
    source = write(noise, tmp_path / "datamart" / "in.parquet", row_group_size=ROWS)
    built = build_feature_set(source, recipe, (tmp_path / "out").as_uri())
    table = pq.read_table(Path(built.uri.removeprefix("file://")) / "features.parquet")
    label = table["label"].to_numpy()
    train = table["split"].to_numpy() == "train"
    values = np.column_stack([table[name].to_numpy() for name in features])
    model = LogisticRegression().fit(
        StandardScaler().fit(values[train]).transform(values[train]), label[train]
    )
    scores = model.predict_proba(StandardScaler().fit(values[train]).transform(values[~train]))[:, 1]
    assert abs(roc_auc_score(label[~train], scores) - 0.5) < 0.03
    assert abs(roc_auc_score(label[train], values[train, 0]) - 0.5) < 0.03

    # What it would be without folds: a row's own label is in its feature; and without a split, in its test.
    shop = np.unique(noise["shop"].to_numpy(), return_inverse=True)[1]
    for learned in (train, np.ones(ROWS, dtype=bool)):
        sums = np.bincount(shop[learned], label[learned], CATEGORIES)
        means = (sums / np.maximum(np.bincount(shop[learned], minlength=CATEGORIES), 1))[shop]
        assert roc_auc_score(label[learned], means[learned]) > 0.65


STEPS: list[dict[str, Any]] = [
    {"type": "passthrough", "columns": ["humid"]},
    {"type": "ordinal", "columns": "carrier", "unknown": "other", "output": "carrier_place"},
    {"type": "one_hot", "columns": "carrier", "unknown": "other", "missing": "category"},
    {"type": "frequency", "columns": "carrier", "output": "carrier_often"},
    {"type": "target", "columns": "carrier", "output": "carrier_late"},
    {"type": "target", "columns": "seats", "smoothing": "auto", "output": "seats_late"},
    {"type": "standard", "columns": "carrier_late"},
    {"type": "hashing", "columns": "carrier", "buckets": 8, "output": "carrier_bucket"},
    {"type": "log1p", "columns": "distance", "invalid": "null", "output": "distance_log"},
    {"type": "quantile_bins", "columns": "distance", "output": "distance_bin"},
    {"type": "bins", "columns": "distance", "edges": [0, 1000, 2000], "output": "distance_edges"},
    {"type": "impute", "columns": ["dep_delay"], "strategy": "median", "indicator": True},
    {"type": "impute", "columns": ["seats"], "strategy": "mode"},
    {"type": "clip", "columns": ["dep_delay"], "lower_quantile": 0.01, "upper_quantile": 0.99},
    {"type": "standard", "columns": ["dep_delay"]},
    {"type": "min_max", "columns": ["temp"]},
    {"type": "robust", "columns": ["distance"], "output": "distance_robust"},
    {"type": "yeo_johnson", "columns": ["distance"], "output": "distance_power"},
    {"type": "date_parts", "columns": "scheduled", "parts": ["month", "hour"]},
    {"type": "cyclical", "columns": "scheduled", "parts": ["hour"]},
]
STEPS_ON_OTHERS: list[dict[str, Any]] = [
    {"type": "lag", "columns": "distance", "by": ["carrier"]},
    {"type": "rolling", "columns": "distance", "by": ["carrier"], "window": "7d"},
    {"type": "group_aggregate", "columns": "distance", "by": ["carrier"]},
    {"type": "expression", "expression": "distance / seats", "output": "distance_by_seat"},
    {"type": "interaction", "columns": ["distance", "humid"]},
    {"type": "standard", "columns": ["distance_by_seat", "distance_lag1"]},
]


def test_every_step_is_looked_at() -> None:
    assert {step["type"] for step in (*STEPS, *STEPS_ON_OTHERS)} == set(STEP_TYPES)


def _changed(table: pa.Table, rows: np.ndarray, seed: int, times: list[Any]) -> pa.Table:
    """The table with other values in these rows, whatever they mean; keys stay, and what splits by hash."""
    rng = random.Random(seed)
    makers: dict[str, Any] = {
        "carrier": lambda: rng.choice(["UA", "new", "", None]),
        "dep_delay": lambda: rng.choice([math.inf, -math.inf, math.nan, None, 1e308, rng.gauss(0, 9)]),
        "distance": lambda: rng.choice([None, -(2**31), 2**31 - 1, 7]),
        "temp": lambda: rng.choice([math.nan, -1e300, 1e300]),
        "seats": lambda: rng.choice([None, 2**62, -5]),
        "humid": lambda: rng.choice([math.inf, 0.5]),
        "scheduled": lambda: rng.choice(times),
        "night": lambda: rng.choice([None, True]),
        "late": lambda: rng.choice([None, 0, 1, 2, 3, 10**9]),
    }
    for name, make in makers.items():
        values = table[name].to_pylist()
        for row in rows:
            values[row] = make()
        column = pa.array(values, table[name].type)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


ANY_TIME = [datetime.datetime(year, 5, 6) for year in range(1, 9999, 100)]  # noqa: DTZ001 - UTC
LATER = [datetime.datetime(2013, 12, 31, 23, 59, 59), datetime.datetime(9998, 5, 6), None]  # noqa: DTZ001
SPLITS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "column": ({"by": "column", "column": "part"}, ANY_TIME),
    "hash": ({"by": "hash", "train": 0.7}, ANY_TIME),
    "group": ({"by": "group", "keys": ["crew"], "train": 0.6, "validation": 0.2}, ANY_TIME),
    "time": ({"by": "time", "train": 0.7, "gap": "2d"}, LATER),
    "cutoff": ({"by": "time", "cutoff": "2013-09-01"}, LATER),
}
"""And the times that a test row may have without becoming another one."""


@pytest.mark.parametrize("steps", [STEPS, STEPS_ON_OTHERS], ids=["own values", "other rows and columns"])
@pytest.mark.parametrize("by", SPLITS)
def test_the_state_knows_nothing_of_test_rows(by: str, steps: list[dict[str, Any]], tmp_path: Path) -> None:
    """Byte for byte, whether they are changed in every column or taken out."""
    table = flights(600)
    crew = np.random.default_rng(4).integers(0, 80, 600)
    part = np.where(np.random.default_rng(2).random(600) < 0.3, "test", "train")
    table = table.append_column("part", pa.array(part)).append_column("crew", pa.array(crew))
    split, times = SPLITS[by]
    recipe = Recipe.from_dict(
        {
            "name": "r",
            "keys": ["flight_id"],
            "label": "late",
            "event_time": "scheduled",
            "split": split,
            "steps": steps,
        }
    )

    def state(rows: pa.Table) -> str:
        return recipe.fit(write(rows, tmp_path / "in.parquet")).to_json()

    expected = state(table)
    where = _splits(table, recipe, tmp_path)
    # The rows of a gap are no test rows: where a share of the rows ends depends on them.
    test = np.array([where[key] not in ("train", "gap") for key in table["flight_id"].to_pylist()])
    assert 60 < test.sum() < 400
    (places,) = np.nonzero(test)
    assert state(_changed(table, places, 1, times)) == expected
    if by != "time":  # with fewer rows, a share of them is another one
        assert state(table.filter(pa.array(~test))) == expected
    distances = table["distance"].to_pylist()
    distances[int(np.argmin(test))] += 1
    column = pa.array(distances, table["distance"].type)
    assert state(table.set_column(table.column_names.index("distance"), "distance", column)) != expected


def _splits(table: pa.Table, recipe: Recipe, tmp_path: Path) -> dict[int, str]:
    """The split of each row, by its key."""
    source = write(table, tmp_path / "in.parquet")
    plain = Recipe("r", [Passthrough("constant")], keys=["flight_id"], split=recipe.resolved_split())
    plain.fit(source).transform(source, tmp_path / "split.parquet")
    return {row["flight_id"]: row["split"] for row in read(tmp_path / "split.parquet")}
