# SPDX-License-Identifier: Apache-2.0
"""The same recipe on Spark gives what it gives on DuckDB."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, FeatureError, FeatureValueError
from airflow_provider_mlbridge.features import (
    Expression,
    FittedRecipe,
    GroupAggregate,
    Interaction,
    Lag,
    Passthrough,
    Recipe,
    Rolling,
    Standard,
    Target,
    YeoJohnson,
)
from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.features.steps import STEP_TYPES
from airflow_provider_mlbridge.storage import read_manifest
from tests.unit.features.tables import flights, read, write
from tests.unit.features.test_parity import LENIENT, _random_rows

EXPRESSIONS = [
    "x / y", "x // y", "x % y", "n / n", "abs(x) + sqrt(y)", "log(x)", "log1p(y)", "exp(y)", "pow(y, 2.5)",
    "pow(x, y)", "sin(x)", "cos(n)", "floor(x)", "ceil(y)", "round(y)", "least(x, y, n)", "greatest(x, y)",
    "coalesce(x, y, 7)", "nullif(n, 0)", "if_else(x > y, x, null)", "is_null(x)", "days_between(at, known)",
    "seconds_between(day, at)", "n > 3 and b", "b or x < 0", "not b", "s == 'a'", "coalesce(s, 'z')",
    'if_else(b, day, date("2024-12-31"))', "0 < x <= 1", "log(x - 3) > 1", "1 / (x - x)", "big * 2",
]  # fmt: skip

STEPS: dict[str, list[Any]] = {
    "expressions": [
        *(Expression(text, output=f"e{number}") for number, text in enumerate(EXPRESSIONS)),
        Interaction(["x", "y", "n"], degree=3),
    ],
    "types": [
        Passthrough(
            ["big", "u64", "u8", "dec", "ns", "nstz", "ms", "tz", "day", "b", "f32", "part"],
            output="{column}_raw",
        ),
        Standard(["big", "u64", "u8", "dec", "f32", "part"]),
    ],
    "target": [Target(["s", "h", "b"]), Standard("x")],
    "windows": [
        Lag(["x", "s"], by=["h"], periods=[1, 3]),
        Rolling(["x", "b"], by=["h"], window="7d", functions=["count", "sum", "mean", "std", "min"][:4]),
        GroupAggregate("late", by=["s"], functions=["mean"]),
    ],
}  # fmt: skip


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= 1e-9 * max(abs(left), abs(right))
    return type(left) is type(right) and left == right


def _everything(rows: int = 400) -> pa.Table:
    """Every type of column that recipes read and some that they do not, with what goes wrong in each."""
    rng = random.Random(3)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None)

    def column(kind: pa.DataType, make: Any, missing: float = 0.05) -> pa.Array:
        return pa.array([None if rng.random() < missing else make() for _ in range(rows)], kind)

    at = [start + datetime.timedelta(minutes=rng.randrange(40_000)) for _ in range(rows)]
    delay = datetime.timedelta(minutes=1)
    return pa.table(
        {
            "id": pa.array(rng.sample(range(3 * rows), rows)),
            "s": column(pa.string(), lambda: rng.choice("abcdefghijk") + rng.choice(["", "\\", "'", '"'])),
            "h": column(pa.int16(), lambda: rng.randrange(3)),
            "at": pa.array([None if rng.random() < 0.05 else time for time in at], pa.timestamp("us")),
            "known": pa.array([time + delay * rng.randrange(2_000) for time in at], pa.timestamp("us")),
            "x": column(
                pa.float64(), lambda: rng.choice([rng.gauss(0, 10), rng.gauss(0, 1e6), math.nan, 0.0, -0.0])
            ),
            "y": column(pa.float64(), lambda: rng.choice([rng.gauss(0, 10), 0.0, 3.0, -2.5, 1e-9])),
            "n": column(pa.int32(), lambda: rng.randrange(-5, 1_000)),
            "big": column(pa.int64(), lambda: rng.randrange(-(2**63), 2**63)),
            "u64": column(pa.uint64(), lambda: rng.choice([0, 2**64 - 1, rng.randrange(2**64)])),
            "u8": column(pa.uint8(), lambda: rng.randrange(256)),
            "dec": column(
                pa.decimal128(12, 2), lambda: decimal.Decimal(rng.randrange(-(10**8), 10**8)).scaleb(-2)
            ),
            "ns": column(pa.timestamp("ns"), lambda: rng.randrange(-(10**18), 10**18)),
            "nstz": column(pa.timestamp("ns", "Europe/Berlin"), lambda: rng.randrange(-(10**18), 10**18)),
            "ms": column(pa.timestamp("ms"), lambda: rng.randrange(-(10**12), 10**12)),
            "tz": column(pa.timestamp("us", "Europe/Berlin"), lambda: rng.randrange(-(10**15), 10**15)),
            "day": column(pa.date32(), lambda: rng.randrange(-30_000, 30_000)),
            "b": column(pa.bool_(), lambda: rng.random() < 0.3),
            "f32": column(pa.float32(), lambda: rng.gauss(0, 1)),
            "list": column(pa.list_(pa.int64()), lambda: [1, 2]),
            "clock": column(pa.time32("s"), lambda: rng.randrange(86_400)),
            "binary": column(pa.binary(), lambda: b"x"),
            "S": column(pa.float64(), lambda: 1.5),
            "late": column(pa.int64(), lambda: int(rng.random() < 0.3), 0.02),
        }
    )


@pytest.fixture(scope="module")
def datamart(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two partitions, with names that Spark would take for patterns, or for something encoded."""
    root = tmp_path_factory.mktemp("datamart") / "we ird[1]%20é"
    table = _everything()
    for part, rows, name in ((1, table.slice(0, 150), "a b.parquet"), (2, table.slice(150), "c{d}*.parquet")):
        (root / f"part={part}").mkdir(parents=True)
        pq.write_table(rows, root / f"part={part}" / name, row_group_size=40)
    return str(root)


def _compare(fitted: FittedRecipe, source: str, spark: Any, folder: Path) -> None:
    """The features of both engines, and what is said about them."""
    embedded = fitted.transform(source, folder / "duckdb.parquet")
    distributed = fitted.transform(source, folder / "spark.parquet", engine="spark", spark=spark)
    assert list(distributed.schema.items()) == list(embedded.schema.items())
    assert distributed.split_rows == embedded.split_rows
    assert distributed.statistics["policies"] == embedded.statistics["policies"]
    pairs = zip(read(folder / "duckdb.parquet"), read(folder / "spark.parquet"), strict=True)
    found = [
        f"{name}: {value!r} but {row[name]!r}"
        for expected, row in pairs
        for name, value in expected.items()
        if not _close(value, row[name])
    ]
    assert found[:5] == []


def test_most_steps(spark: Any, tmp_path: Path) -> None:
    """Fitted alike to the last byte; the power transform is apart, for Java rounds logarithms differently."""
    source = write(flights(400), tmp_path / "flights.parquet")
    strange = write(_random_rows(300, seed=11), tmp_path / "strange.parquet")
    steps = [step for step in LENIENT if not isinstance(step, YeoJohnson)]
    fitted = Recipe("r", steps).fit(source)
    assert Recipe("r", steps).fit(source, engine="spark", spark=spark).to_json() == fitted.to_json()
    _compare(fitted, strange, spark, tmp_path)


def test_powers(spark: Any, tmp_path: Path) -> None:
    source = write(flights(300), tmp_path / "flights.parquet")
    recipe = Recipe("r", [YeoJohnson("dep_delay")])
    fitted = recipe.fit(source)
    (expected,) = fitted.states
    (found,) = recipe.fit(source, engine="spark", spark=spark).states
    assert found == pytest.approx(expected, rel=1e-10)
    _compare(fitted, source, spark, tmp_path)


@pytest.mark.parametrize("name", ["expressions", "types"])
def test_values_of_every_type(name: str, datamart: str, spark: Any, tmp_path: Path) -> None:
    recipe = Recipe("r", STEPS[name], keys=["id"], split={"by": "hash", "train": 0.5, "validation": 0.2})  # type: ignore[arg-type]
    fitted = recipe.fit(datamart, engine="spark", spark=spark)
    assert fitted.to_json() == recipe.fit(datamart).to_json()
    _compare(fitted, datamart, spark, tmp_path)


def test_earlier_rows(datamart: str, spark: Any, tmp_path: Path) -> None:
    recipe = Recipe(
        "r",
        STEPS["windows"],
        keys=["id"],
        event_time="at",
        known_time="known",
        label="late",
        split={"by": "time", "train": 0.6, "validation": 0.2, "gap": "1d"},  # type: ignore[arg-type]
    )
    fitted = recipe.fit(datamart)
    assert recipe.fit(datamart, engine="spark", spark=spark).to_json() == fitted.to_json()
    _compare(fitted, datamart, spark, tmp_path)


def test_a_build_is_published(datamart: str, spark: Any, tmp_path: Path) -> None:
    """With the label's mean cross-fitted, in the same folds; and the parts of Spark leave no trace."""
    recipe = Recipe("r", STEPS["target"], keys=["id"], label="late", split={"by": "hash"})  # type: ignore[arg-type]
    documents: dict[str, list[Any]] = {}
    for engine, options in (("duckdb", {}), ("spark", {"spark": spark})):
        made = build_feature_set(datamart, recipe, str(tmp_path / engine), engine=engine, **options)
        version = Path(made.uri.removeprefix("file://"))
        version = version.parent if version.suffix == ".parquet" else version
        documents[engine] = [
            json.loads((version / "state.json").read_text()),
            read(version / "features.parquet"),
        ]
    (state, rows), (spark_state, spark_rows) = documents["duckdb"], documents["spark"]
    assert spark_state == state
    assert [row["id"] for row in spark_rows] == sorted(row["id"] for row in rows)
    assert all(
        _close(value, row[name])
        for old, row in zip(rows, spark_rows, strict=True)
        for name, value in old.items()
    )


def test_a_partition_is_added_to_those_of_the_other_engine(datamart: str, spark: Any, tmp_path: Path) -> None:
    recipe = Recipe("r", [Standard("x"), Passthrough("s")], keys=["id"], refit="never")
    options: dict[str, Any] = {"partitioned": True, "drift_reference": "previous"}
    build_feature_set(datamart, recipe, str(tmp_path), partitions={"part": "1"}, **options)
    made = build_feature_set(
        datamart, recipe, str(tmp_path), partitions={"part": "2"}, engine="spark", spark=spark, **options
    )
    details = read_manifest(made.uri).details
    assert [item["engine"] for item in details["partitions"]] == ["duckdb", "spark"]
    assert "engine" not in details
    assert (Path(made.uri) / "part=2" / "drift.json").exists()


def test_the_number_of_parts_does_not_matter(spark: Any, tmp_path: Path) -> None:
    source = write(flights(400), tmp_path / "flights.parquet", row_group_size=50)
    fitted = Recipe("r", [Standard("temp"), Passthrough("carrier")], keys=["flight_id"]).fit(source)
    many = spark.newSession()
    outputs = []
    for name, session, parts in (("one", spark, "1"), ("many", many, "7")):
        session.conf.set("spark.sql.shuffle.partitions", parts)
        session.conf.set("spark.sql.adaptive.enabled", "false")
        fitted.transform(source, tmp_path / f"{name}.parquet", engine="spark", spark=session)
        outputs.append((tmp_path / f"{name}.parquet").read_bytes())
    assert outputs[0] == outputs[1]


def test_a_policy_refuses_rows_and_nothing_is_written(spark: Any, tmp_path: Path) -> None:
    known = write(pa.table({"s": ["a", "b"]}), tmp_path / "known.parquet")
    other = write(pa.table({"s": ["a", "secret"]}), tmp_path / "other.parquet")
    fitted = Recipe("r", [STEP_TYPES["one_hot"]("s")]).fit(known, engine="spark", spark=spark)
    with pytest.raises(FeatureValueError, match="1 rows are unknown") as caught:
        fitted.transform(other, tmp_path / "out.parquet", engine="spark", spark=spark)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_an_error_of_spark_quotes_no_value(
    spark: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from airflow_provider_mlbridge.features.engines import open_engine

    source = write(pa.table({"s": ["secret"]}), tmp_path / "in.parquet")
    with open_engine(source, engine="spark", spark=spark) as session:
        table = session.table
        with pytest.raises(FeatureError, match="CAST_INVALID_INPUT") as caught:
            session.query(table.select(n=table["s"].cast("int64")))
    assert "secret" not in str(caught.value)
    assert "secret" not in "".join(capfd.readouterr())


def test_every_step_was_compared() -> None:
    compared = {step.TYPE for step in [*LENIENT, *(step for steps in STEPS.values() for step in steps)]}
    assert compared == set(STEP_TYPES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, "valid are duckdb, spark"),
        ({"spark": "local[2]"}, "the engine is duckdb"),
        ({"engine": "spark", "spark": "local[2]"}, "has a session of Spark already"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str, spark: Any, tmp_path: Path) -> None:
    source = write(pa.table({"x": [1.0, 2.0]}), tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match=message):
        Recipe("r", [Standard("x")]).fit(source, **options)
