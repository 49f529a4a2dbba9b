# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    ColumnNotFoundError,
    ConfigurationError,
    FeatureValueError,
    FitError,
    InvalidParquetError,
    InvalidRecipeError,
)
from airflow_provider_mlbridge.features import (
    Clip,
    ColumnSplit,
    DateParts,
    FittedRecipe,
    HashSplit,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Selector,
    Standard,
    TimeSplit,
)

from .tables import flights, read, write

STEPS: list[Any] = [
    Impute("dep_delay", strategy="mean", indicator=True),
    Impute("seats", strategy="mode"),
    Clip("dep_delay", lower_quantile=0.01, upper_quantile=0.99),
    Standard(Selector(type="float", exclude=("humid",))),
    MinMax("humid"),
    QuantileBins("distance", bins=10),
    OneHot("carrier", min_frequency=0.01, unknown="other"),
    Ordinal("seats", unknown="other"),
    DateParts("scheduled", parts=["hour", "weekday"]),
]


def _recipe(**changes: Any) -> Recipe:
    options = {
        "keys": ["flight_id"],
        "label": "late",
        "event_time": "scheduled",
        "split": HashSplit(train=0.7),
    }
    return Recipe("flights", STEPS, **{**options, **changes})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_threads_memory_files_and_order_of_rows_change_no_byte(tmp_path: Path) -> None:
    table = flights(300_000)  # more than two row groups of the output
    rng = np.random.default_rng(2)
    shuffled = table.take(pa.array(rng.permutation(table.num_rows)))
    write(table, tmp_path / "one" / "part.parquet", row_group_size=20_000)
    for index in range(3):
        write(
            shuffled.slice(index * 100_000, 100_000),
            tmp_path / "three" / f"{index}.parquet",
            row_group_size=7_000,
        )
    found = set()
    for number, (folder, threads, memory) in enumerate(
        [("one", 1, "2GB"), ("one", 2, "200MB"), ("one", 7, "2GB"), ("three", 2, "2GB")]
    ):
        out = tmp_path / f"{number}.parquet"
        fitted = _recipe().fit(f"{tmp_path}/{folder}/", threads=threads, memory_limit=memory)
        result = fitted.transform(f"{tmp_path}/{folder}/", out, threads=threads, memory_limit=memory)
        found.add((fitted.to_json(), json.dumps(result.statistics), _sha256(out)))
    assert len(found) == 1
    written = pq.ParquetFile(tmp_path / "0.parquet")
    assert [written.metadata.row_group(i).num_rows for i in range(3)] == [122_880, 122_880, 54_240]
    assert written.read(["flight_id"])["flight_id"].to_pylist() == list(range(300_000))


def test_without_keys_rows_keep_the_order_of_the_files(tmp_path: Path) -> None:
    table = flights(5_000)
    for index in range(5):
        write(table.slice(index * 1_000, 1_000), tmp_path / "in" / f"{index}.parquet")
    recipe = Recipe("r", [Passthrough("flight_id")])
    recipe.fit(f"{tmp_path}/in/").transform(f"{tmp_path}/in/", tmp_path / "out.parquet", threads=2)
    assert pq.read_table(tmp_path / "out.parquet")["flight_id"] == table["flight_id"]


@pytest.mark.parametrize(
    "split",
    [
        HashSplit(train=0.7, validation=0.1),
        TimeSplit(cutoff="2013-09-01"),
        TimeSplit(train=0.7, validation=0.2),
        ColumnSplit("fold", train=[0], validation=[1]),
    ],
)
def test_no_row_outside_the_training_split_leaves_a_trace(split: Any, tmp_path: Path) -> None:
    table = flights().append_column("fold", pa.array(np.arange(2_000) % 3))
    source = write(table, tmp_path / "in.parquet")
    recipe = _recipe(split=split)
    fitted = recipe.fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    where = {row["flight_id"]: row["split"] for row in read(tmp_path / "out.parquet")}
    assert {"train", "test"} <= set(where.values())

    rows = table.to_pylist()
    for row in rows:
        if where[row["flight_id"]] == "test":
            row.update(
                carrier="ZZ", dep_delay=1e12, distance=2**30, temp=math.inf, seats=-9, humid=math.nan, late=7
            )
            row["scheduled"] += datetime.timedelta(days=400)
    changed = write(pa.Table.from_pylist(rows, table.schema), tmp_path / "changed.parquet")
    assert recipe.fit(changed).to_json() == fitted.to_json()

    next(row for row in rows if where[row["flight_id"]] == "train")["distance"] = 2**30
    touched = write(pa.Table.from_pylist(rows, table.schema), tmp_path / "touched.parquet")
    assert recipe.fit(touched).to_json() != fitted.to_json()


def _splits(recipe: Recipe, table: pa.Table, folder: Path) -> list[str]:
    source = write(table, folder / "in.parquet")
    recipe.fit(source).transform(source, folder / "out.parquet")
    return [row["split"] for row in read(folder / "out.parquet")]


def test_the_hash_split_is_what_the_documentation_says(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", None, "é", "x"] * 500, "b": list(range(1_000)) * 2})
    recipe = Recipe("r", [Passthrough("b")], split=HashSplit(["a", "b"], train=0.6, validation=0.2, salt="s"))
    expected = []
    for row in table.to_pylist():
        digest = hashlib.md5(f"s:{row['a'] or ''}\x1f{row['b']}".encode()).hexdigest()
        bucket = int(digest[:13], 16) / 16**13
        expected.append("train" if bucket < 0.6 else "validation" if bucket < 0.8 else "test")
    assert _splits(recipe, table, tmp_path) == expected
    assert 1_100 < Counter(expected)["train"] < 1_300


def test_time_splits(tmp_path: Path) -> None:
    days = [datetime.date(2013, 1, day) for day in (3, 1, 2, 2, 5, 4)]
    table = pa.table({"t": pa.array([*days, None]), "x": [1.0] * 7})
    by_cutoff = Recipe(
        "r",
        [Passthrough("x")],
        event_time="t",
        split=TimeSplit(cutoff="2013-01-03", validation_cutoff="2013-01-04"),
    )
    assert _splits(by_cutoff, table, tmp_path) == [
        "validation",
        "train",
        "train",
        "train",
        "test",
        "test",
        "test",
    ]
    a_sixth = Recipe("r", [Passthrough("x")], split=TimeSplit("t", train=1 / 6))
    assert _splits(a_sixth, table, tmp_path).count("train") == 1
    by_share = Recipe("r", [Passthrough("x")], split=TimeSplit("t", train=1 / 3))
    # The second of six days is the boundary, and the other row of that day goes with it.
    assert _splits(by_share, table, tmp_path) == ["test", "train", "train", "train", "test", "test", "test"]
    assert by_share.fit(str(tmp_path / "in.parquet")).split_state == {"train_until": "2013-01-02T00:00:00"}


def test_a_column_split_and_partitions_below_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "run=7" / "datamart"
    for fold in ("train", "hold=out", "valid"):
        name = fold.replace("=", "%3D")
        write(pa.table({"x": [1.0 if fold == "train" else 100.0]}), root / f"fold={name}" / "part.parquet")
    recipe = Recipe(
        "r",
        [Standard(Selector(type="numeric"))],
        split=ColumnSplit("fold", train=["train"], validation=["valid"]),
    )
    fitted = recipe.fit(str(root) + "/")
    assert (fitted.train_rows, fitted.feature_names) == (1, ("x",))
    result = fitted.transform(str(root) + "/", tmp_path / "out")
    assert result.uri == f"{tmp_path}/out/features.parquet"
    assert result.split_rows == {"test": 1, "train": 1, "validation": 1}
    alone = Recipe("r", [Standard(Selector(type="numeric"))]).fit(f"{root}/fold=valid/")
    assert alone.feature_names == ("x",)


def test_constant_columns_and_single_rows_are_divided_by_one(tmp_path: Path) -> None:
    source = write(flights(1), tmp_path / "in.parquet")
    fitted = Recipe(
        "r", [Standard("constant"), MinMax("temp", low=5, high=6), QuantileBins("distance", bins=3)]
    ).fit(source)
    assert fitted.transform_row(
        {"constant": 4.25, "temp": flights(1)["temp"][0].as_py(), "distance": 99}
    ) == {
        "constant": 1.0,
        "temp": 5.0,
        "distance": 0,
    }


def test_steps_chain_and_outputs_follow_the_rule(tmp_path: Path) -> None:
    steps = [
        Impute("dep_delay", strategy="median", indicator=True),
        Standard("dep_delay", output="z"),
        QuantileBins("z", bins=3),
        OneHot("z"),
        Clip("dep_delay", lower=0),
        DateParts("scheduled", parts=["hour"]),
        MinMax("scheduled_hour"),
    ]
    fitted = Recipe("r", steps, event_time="scheduled").fit(write(flights(), tmp_path / "in.parquet"))
    assert fitted.feature_names == ("dep_delay", "dep_delay_missing", "z_0", "z_1", "z_2", "scheduled_hour")


@pytest.mark.parametrize(
    ("steps", "parts"),
    [
        ([Impute("nothing")], ["step 1 (impute), column 'nothing'", "all 4 values", "missing"]),
        ([Impute("nothing", strategy="mode")], ["all 4 values"]),
        ([Standard("nothing")], ["all 4 values"]),
        ([MinMax("nothing")], ["all 4 values"]),
        ([QuantileBins("nothing")], ["all 4 values"]),
        ([OneHot("nothing")], ["all 4 values"]),
        ([Ordinal("nothing")], ["all 4 values"]),
        ([Clip("nothing", upper_quantile=0.5)], ["all 4 values"]),
        ([Standard("infinite")], ["'infinite'", "1 of 4 values", "clip"]),
        ([MinMax("infinite")], ["1 of 4 values", "clip"]),
        ([Impute("infinite", strategy="mean")], ["1 of 4 values", "clip"]),
        ([QuantileBins("infinite")], ["quantile", "infinite"]),
        ([Standard("huge")], ["too large"]),
        ([MinMax("huge")], ["too large"]),
    ],
)
def test_nothing_to_learn_from(steps: list[Any], parts: list[str], tmp_path: Path) -> None:
    table = pa.table(
        {
            "nothing": pa.array([None, None, None, math.nan]),
            "infinite": [0.0, 1.0, 2.0, math.inf],
            "huge": [-1.7e308, 1.7e308, 0.0, 1.0],
        }
    )
    with pytest.raises(FitError) as caught:
        Recipe("r", steps).fit(write(table, tmp_path / "in.parquet"))
    for part in parts:
        assert part in str(caught.value)


def test_an_empty_training_split(tmp_path: Path) -> None:
    source = write(flights(100), tmp_path / "in.parquet")
    with pytest.raises(FitError, match=r"none of its 100 rows is in the training split .*'cutoff'"):
        _recipe(split=TimeSplit(cutoff="1999-01-01")).fit(source)


def test_too_many_categories(tmp_path: Path) -> None:
    source = write(
        pa.table({"s": [str(i) for i in range(20_000)], "t": [str(i % 5_000) for i in range(20_000)]}),
        tmp_path / "in.parquet",
    )
    with pytest.raises(FitError, match=r"step 1 \(ordinal\), column 's'.*identifier"):
        Recipe("r", [Ordinal("s")]).fit(source)
    with pytest.raises(FitError, match=r"column 't': 5000 categories .* 1000 are allowed"):
        Recipe("r", [OneHot("t")]).fit(source)
    fitted = Recipe("r", [Ordinal("t", unknown="other")]).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    order = sorted(str(i) for i in range(5_000))
    assert [row["t"] for row in read(tmp_path / "out.parquet")][:5_000] == [
        order.index(str(i)) for i in range(5_000)
    ]


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        (
            OneHot("carrier"),
            ["step 1 (one_hot), column 'carrier'", "2 rows are unknown. ", "state.json", 'unknown="other"'],
        ),
        (Ordinal("carrier"), ["step 1 (ordinal)", "2 rows are unknown. ", "state.json"]),
        (OneHot("carrier", unknown="other", missing="error"), ["rows are missing", "Impute"]),
        (Log1p("temp"), ["step 1 (log1p), column 'temp'", "1 rows are invalid", "x > -1"]),
    ],
)
def test_values_against_the_policy_stop_the_transform(step: Any, parts: list[str], tmp_path: Path) -> None:
    table = flights()
    fitted = Recipe("r", [step]).fit(
        write(table.filter(pc.is_valid(table["carrier"])), tmp_path / "fit.parquet")
    )
    rows = table.to_pylist()[:20]
    rows[0]["carrier"], rows[1]["carrier"], rows[2]["temp"] = "YY", "XX", -1.0
    rows[3]["carrier"] = None
    source = write(pa.Table.from_pylist(rows, table.schema), tmp_path / "new.parquet")
    with pytest.raises(FeatureValueError) as caught:
        fitted.transform(source, tmp_path / "out.parquet")
    for part in parts:
        assert part in str(caught.value)
    # Values of rows have no place in logs.
    assert "XX" not in str(caught.value)
    assert "YY" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_policies_are_counted(tmp_path: Path) -> None:
    fit = write(pa.table({"s": ["a", "b"]}), tmp_path / "fit.parquet")
    new = write(pa.table({"s": ["a", "c", "c", None, "b"]}), tmp_path / "new.parquet")
    fitted = Recipe("r", [OneHot("s", unknown="ignore"), Ordinal("s", unknown="ignore", output="o")]).fit(fit)
    result = fitted.transform(new, tmp_path / "out.parquet")
    assert result.statistics["policies"] == [
        {"step": 1, "type": "one_hot", "column": "s", "unknown": 2, "missing": 1},
        {"step": 2, "type": "ordinal", "column": "s", "unknown": 2, "missing": 1},
    ]
    assert [(row["s_a"], row["s_b"], row["o"]) for row in read(tmp_path / "out.parquet")] == [
        (1, 0, 0), (0, 0, None), (0, 0, None), (0, 0, None), (0, 1, 1),
    ]  # fmt: skip


def test_statistics_say_what_numpy_says(tmp_path: Path) -> None:
    source = write(flights(), tmp_path / "in.parquet")
    steps = [Passthrough(["dep_delay", "carrier", "day", "night"]), QuantileBins("distance", bins=4)]
    result = Recipe("r", steps, label="late").fit(source).transform(source, tmp_path / "out.parquet")
    found, delay = result.statistics["features"], flights()["dep_delay"].to_numpy()
    known = delay[~np.isnan(delay)]
    assert found["dep_delay"] == {
        "kind": "float",
        "count": known.size,
        "nulls": 2_000 - known.size,
        "infinite": 0,
        "mean": pytest.approx(known.mean(), rel=1e-12),
        "std": pytest.approx(known.std(), rel=1e-12),
        "min": known.min(),
        "max": known.max(),
    }
    missing = flights()["carrier"].null_count
    assert found["carrier"] == {"kind": "string", "count": 2_000 - missing, "nulls": missing, "distinct": 6}
    assert found["day"] == {
        "kind": "date",
        "count": 2_000,
        "nulls": 0,
        "min": "2013-01-01",
        "max": "2013-12-31",
    }
    assert found["night"]["mean"] == pytest.approx(pc.mean(flights()["night"]).as_py())
    assert found["distance"]["distinct"] == 4
    assert result.statistics["label"]["nulls"] == flights()["late"].null_count
    json.dumps(result.statistics, allow_nan=False)


def test_rows_without_label_stay_and_data_without_label_can_be_scored(tmp_path: Path) -> None:
    source = write(flights(), tmp_path / "in.parquet")
    fitted = _recipe().fit(source)
    assert fitted.transform(source, tmp_path / "all.parquet").rows == 2_000
    columns = [name for name in flights().column_names if name != "late"]
    unlabelled = write(flights().select(columns), tmp_path / "new.parquet")
    assert fitted.transform(unlabelled, tmp_path / "scored.parquet").rows == 2_000
    assert pq.read_table(tmp_path / "scored.parquet") == pq.read_table(tmp_path / "all.parquet").drop_columns(
        "late"
    )


def test_data_of_another_shape_than_the_fitted(tmp_path: Path) -> None:
    source = write(flights(), tmp_path / "in.parquet")
    fitted = Recipe("r", [Standard(["dep_delay", "distance"])]).fit(source)
    table = flights()
    whole = table.set_column(2, "dep_delay", pa.array([5] * 2_000))
    fitted.transform(write(whole, tmp_path / "whole.parquet"), tmp_path / "out.parquet")
    assert (
        read(tmp_path / "out.parquet")[0]["dep_delay"]
        == fitted.transform_row({"dep_delay": 5, "distance": 1})["dep_delay"]
    )
    texts = table.set_column(2, "dep_delay", pa.array(["5"] * 2_000))
    with pytest.raises(FeatureValueError, match="'dep_delay' is string, but the recipe was fitted on float"):
        fitted.transform(write(texts, tmp_path / "texts.parquet"), tmp_path / "out.parquet")
    with pytest.raises(ColumnNotFoundError, match="'dep_delay' does not exist"):
        fitted.transform(
            write(table.drop_columns("dep_delay"), tmp_path / "less.parquet"), tmp_path / "out.parquet"
        )


def test_what_is_no_parquet_and_what_is_no_setting(tmp_path: Path) -> None:
    source = Path(write(flights(), tmp_path / "in.parquet"))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(source.read_bytes()[:-300])
    with pytest.raises(InvalidParquetError, match=r"broken\.parquet does not end with"):
        _recipe().fit(str(broken))
    with pytest.raises(ConfigurationError, match="memory_limit must be an amount"):
        _recipe().fit(source, memory_limit="lots")
    with pytest.raises(ConfigurationError, match="threads=0"):
        _recipe().fit(source, threads=0)


def test_the_state_survives_json_to_the_last_bit(tmp_path: Path) -> None:
    fitted = _recipe().fit(write(flights(), tmp_path / "in.parquet"))
    again = FittedRecipe.from_json(fitted.to_json())
    assert again == fitted
    assert again.to_json() == fitted.to_json()


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"train_rows": ', '"train_rows": 1', "changed after it was written"),
        ('"mean": ', '"mean": 1', "changed after it was written"),
        ('"version": 1,\n "features', '"version": 2,\n "features', "version 2, this provider computes 1"),
        ('"features_version": 4', '"features_version": 9', "features_version 9"),
        ("mlbridge.features.state", "sklearn", "not a feature state"),
        ("{", "[", "not JSON"),
    ],
)
def test_a_state_that_was_tampered_with(old: str, new: str, part: str, tmp_path: Path) -> None:
    text = _recipe().fit(write(flights(), tmp_path / "in.parquet")).to_json()
    assert old in text
    with pytest.raises(InvalidRecipeError, match=part):
        FittedRecipe.from_json(text.replace(old, new, 1))
