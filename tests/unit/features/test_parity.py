# SPDX-License-Identifier: Apache-2.0
"""A row alone gives what it gives in a table."""

from __future__ import annotations

import datetime
import json
import math
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, FeatureValueError
from airflow_provider_mlbridge.features import (
    Bins,
    Clip,
    Cyclical,
    DateParts,
    FittedRecipe,
    Frequency,
    Hashing,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Robust,
    Standard,
    YeoJohnson,
)
from airflow_provider_mlbridge.features.steps.dates import PARTS

from .tables import equal, flights, read, write

LENIENT: list[Any] = [
    Passthrough(["dep_delay", "distance", "night", "carrier", "day", "scheduled"], output="{column}_raw"),
    QuantileBins(["dep_delay", "distance"], bins=5, output="{column}_bin"),
    Bins(["dep_delay", "seats"], edges=[-1, 0, 50, 1e9], out_of_range="null", output="{column}_place"),
    Robust(["dep_delay", "distance", "night"], upper_quantile=0.8, output="{column}_robust"),
    YeoJohnson(["dep_delay", "distance", "humid"], output="{column}_power"),
    YeoJohnson("dep_delay", standardize=False, output="dep_delay_raised"),
    Cyclical(["dep_delay", "distance", "humid"], period=360.5, invalid="null"),
    Cyclical("scheduled", parts=["month", "week", "dayofyear", "hour", "second"]),
    Cyclical("day", parts=["weekday", "day"]),
    Ordinal("carrier", unknown="other", missing="category", output="carrier_rank"),
    Ordinal("seats", order=[180, 150, 50], unknown="ignore", missing="ignore", output="seats_rank"),
    Ordinal("temp", order=[288, 289], unknown="other", output="temp_rank"),
    Frequency(["carrier", "temp", "seats", "night"], output="{column}_often"),
    Frequency("carrier", measure="count", unknown="ignore", missing="category", output="carrier_count"),
    Hashing(["carrier", "seats", "night", "day"], buckets=1_000, salt="s", output="{column}_bucket"),
    Hashing("carrier", buckets=4, one_hot=True, missing="category", output="carrier_is"),
    OneHot("carrier", unknown="other", missing="category"),
    OneHot("night", unknown="ignore"),
    OneHot("seats", unknown="ignore", output="seats_is"),
    Log1p(["dep_delay", "distance"], invalid="null", output="{column}_log"),
    Clip("temp", lower=288.14, upper_quantile=0.9, output="{column}_clip"),
    Impute(["dep_delay", "seats"], strategy="mean", indicator=True),
    Impute("night", strategy="mode", output="night_filled"),
    Clip(["dep_delay", "seats"], lower_quantile=0.05, upper=1e3),
    Standard(["dep_delay", "seats", "night"]),
    MinMax(["temp", "humid"], low=-1, high=2),
    DateParts("scheduled", parts=PARTS),
    DateParts("day", parts=["week", "weekday", "dayofyear"]),
]


def _random_rows(count: int, seed: int) -> pa.Table:
    """Rows that fit() never saw the like of: infinities, NaN, unknown categories, far-away dates."""
    rng = random.Random(seed)

    def some(*choices: Any) -> Any:
        choice = rng.choice(choices)
        return choice() if callable(choice) else choice

    def number() -> Any:
        return some(
            lambda: rng.gauss(0, 100), lambda: rng.gauss(288.15, 0.02),
            lambda: rng.uniform(-1, 1) * 10.0 ** rng.randint(-300, 300),
            math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 288.0, 1e-17,
        )  # fmt: skip

    def text() -> Any:
        return some(
            "UA", "AA", "\ue000x", "ua", "", "é'\"\\\n", lambda: "".join(rng.choices(string.printable, k=3))
        )

    def moment() -> datetime.datetime:
        start = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None)
        return start + datetime.timedelta(seconds=rng.randrange(9998 * 365 * 86_400))

    def column(kind: pa.DataType, make: Any) -> pa.Array:
        return pa.array([None if rng.random() < 0.1 else make() for _ in range(count)], kind)

    def whole() -> Any:
        return some(0, 1, 50, 150, -1, lambda: rng.randrange(-(2**31), 2**31))

    return pa.table(
        {
            "carrier": column(pa.string(), text),
            "dep_delay": column(pa.float64(), number),
            "distance": column(pa.int32(), whole),
            "temp": column(pa.float64(), number),
            "seats": column(pa.int64(), lambda: some(whole(), lambda: rng.randrange(-(2**63), 2**63))),
            "humid": column(pa.float32(), number),
            "scheduled": column(pa.timestamp("us"), moment),
            "day": column(pa.date32(), lambda: moment().date()),
            "night": column(pa.bool_(), lambda: rng.random() < 0.5),
        }
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedRecipe:
    source = write(flights(), tmp_path_factory.mktemp("fit") / "flights.parquet")
    return Recipe("r", LENIENT).fit(source)


def _differences(fitted: FittedRecipe, table: pa.Table, folder: Path) -> list[str]:
    fitted.transform(write(table, folder / "in.parquet"), folder / "out.parquet")
    again = FittedRecipe.from_json(fitted.to_json())
    found = []
    for row, expected in zip(table.to_pylist(), read(folder / "out.parquet"), strict=True):
        result = again.transform_row(row)
        assert list(result) == [name for name in expected if name != "split"]
        found += [
            f"{k}: {v!r} but {expected[k]!r} in {row}" for k, v in result.items() if not equal(v, expected[k])
        ]
    return found


def test_ten_thousand_random_rows(fitted: FittedRecipe, tmp_path: Path) -> None:
    assert _differences(fitted, _random_rows(10_000, seed=11), tmp_path)[:5] == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FittedRecipe:
    """Fewer steps, because each example compiles a query."""
    source = write(flights(), tmp_path_factory.mktemp("fit") / "flights.parquet")
    steps = [
        OneHot("carrier", unknown="other", missing="category"),
        QuantileBins("dep_delay", output="bin"),
        Log1p("dep_delay", invalid="null", output="log"),
        Standard("dep_delay"),
        MinMax("temp"),
    ]
    return Recipe("r", steps).fit(source)


@settings(derandomize=True, max_examples=20, deadline=None)
@given(
    values=st.lists(st.floats(width=64) | st.none(), min_size=1, max_size=20),
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
        min_size=20,
        max_size=20,
    ),
)
def test_random_floats_and_texts(
    small: FittedRecipe,
    values: list[float | None],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    table = _random_rows(len(values), seed=5)
    for name in ("dep_delay", "temp"):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.float64()))
    table = table.set_column(0, "carrier", pa.array(texts[: len(values)], pa.string()))
    assert _differences(small, table, tmp_path_factory.mktemp("rows")) == []


def test_fitting_on_random_texts(tmp_path: Path) -> None:
    """Categories, and so names of columns, that look like anything."""
    table = _random_rows(400, seed=3)
    recipe = Recipe("r", [OneHot("carrier"), Ordinal("carrier", output="place")])
    fitted = recipe.fit(write(table, tmp_path / "fit.parquet"))
    assert len({name.lower() for name in fitted.feature_names}) == len(fitted.feature_names) > 50
    assert _differences(fitted, table, tmp_path) == []


def test_nan_is_missing_and_infinity_is_a_value(tmp_path: Path) -> None:
    """Also where the file's statistics do not tell that there is a NaN, which DuckDB takes for a proof."""
    values = [1.0, math.nan, 3.0, math.inf, -math.inf, None]
    table = pa.table({"x": values, "finite": [1.0, math.nan, 3.0, 4.0, 5.0, math.nan]})
    recipe = Recipe(
        "r",
        [
            Impute("x", strategy="constant", value=-7, indicator=True),
            Clip("x", lower=-100, upper=100),
            Impute("finite", strategy="mean"),
        ],
    )
    source = write(table, tmp_path / "in.parquet")
    recipe.fit(source).transform(source, tmp_path / "out.parquet")
    rows = read(tmp_path / "out.parquet")
    assert [row["x"] for row in rows] == [1.0, -7.0, 3.0, 100.0, -100.0, -7.0]
    assert [row["x_missing"] for row in rows] == [0, 1, 0, 0, 0, 1]
    assert [row["finite"] for row in rows] == [1.0, 3.25, 3.0, 4.0, 5.0, 3.25]


def test_constants_reach_the_engine_to_the_last_bit(tmp_path: Path) -> None:
    rng = random.Random(4)
    values = [rng.uniform(-1, 1) * 10.0 ** rng.randint(-3, 20) for _ in range(60)]
    source = write(pa.table({"x": pa.array([None], pa.float64())}), tmp_path / "in.parquet")
    steps = [Impute("x", strategy="constant", value=value, output=f"x{i}") for i, value in enumerate(values)]
    Recipe("r", steps).fit(source).transform(source, tmp_path / "out.parquet")
    (row,) = read(tmp_path / "out.parquet")
    assert [row[f"x{i}"] for i in range(60)] == values


def test_clip_keeps_what_is_missing(tmp_path: Path) -> None:
    source = write(pa.table({"x": [None, 5.0, -5.0]}), tmp_path / "in.parquet")
    Recipe("r", [Clip("x", lower=0, upper=1)]).fit(source).transform(source, tmp_path / "out.parquet")
    assert [row["x"] for row in read(tmp_path / "out.parquet")] == [None, 1.0, 0.0]


def test_zones_dates_and_decimals(tmp_path: Path) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moments = [datetime.datetime(2024, 1, 1, 0, 30, tzinfo=zone), None]
    table = pa.table(
        {
            "t": pa.array(moments, pa.timestamp("us", tz="Europe/Berlin")),
            "n": pa.array([1, None], pa.timestamp("ns")),
            "d": pa.array([1, None], pa.decimal128(9, 2)),
        }
    )
    source = write(table, tmp_path / "in.parquet")
    recipe = Recipe("r", [DateParts("t", parts=["year", "hour", "minute"]), Standard("d"), Passthrough("n")])
    fitted = recipe.fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    first = read(tmp_path / "out.parquet")[0]
    assert (first["t_year"], first["t_hour"], first["t_minute"], first["d"]) == (2023, 22, 30, 0.0)
    online = fitted.transform_row(
        {"t": "2024-01-01T00:30:00+02:00", "d": 1, "n": "1970-01-01T00:00:00", "more": 0}
    )
    assert {**first, "split": "train"} == {"split": "train", **online}


@pytest.mark.parametrize(
    ("row", "error", "parts"),
    [
        ({}, ColumnNotFoundError, ["the row has no x, s, b", "None"]),
        ({"x": "1", "s": "a", "b": True}, FeatureValueError, ["'x' takes float values, got str"]),
        ({"x": 10**400, "s": "a", "b": True}, FeatureValueError, ["'x' takes float values, got int"]),
        ({"x": 1, "s": 2, "b": True}, FeatureValueError, ["'s' takes string values, got int"]),
        ({"x": 1, "s": "a", "b": 1}, FeatureValueError, ["'b' takes bool values, got int"]),
        (
            {"x": 1, "s": "c", "b": True},
            FeatureValueError,
            ["step 2 (one_hot), column 's'", "category is unknown", 'unknown="other"'],
        ),
        ({"x": 1, "s": None, "b": True}, FeatureValueError, ["step 2 (one_hot)", "missing", "Impute"]),
        ({"x": -1, "s": "a", "b": True}, FeatureValueError, ["step 1 (log1p), column 'x'", "x > -1"]),
    ],
)
def test_a_row_that_does_not_do(
    row: dict[str, Any], error: type[Exception], parts: list[str], tmp_path: Path
) -> None:
    source = write(pa.table({"x": [1.0, 2.0], "s": ["a", "b"], "b": [True, False]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Log1p("x"), OneHot("s", missing="error"), Passthrough("b")]).fit(source)
    with pytest.raises(error) as caught:
        fitted.transform_row(row)
    for part in parts:
        assert part in str(caught.value)


def test_serving_imports_no_engine(fitted: FittedRecipe, tmp_path: Path) -> None:
    state, row = tmp_path / "state.json", dict.fromkeys(fitted.inputs)
    state.write_text(fitted.to_json())
    code = (
        "import sys, json\nfrom airflow_provider_mlbridge.features import FittedRecipe\n"
        "fitted = FittedRecipe.from_json(open(sys.argv[1]).read())\n"
        "result = fitted.transform_row(json.loads(sys.argv[2]))\n"
        "heavy = ['airflow', 'boto3', 'duckdb', 'ibis', 'numpy', 'pandas', 'pyarrow', 'yaml']\n"
        "print(json.dumps([[name for name in heavy if name in sys.modules], result]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(state), json.dumps(row)], capture_output=True, text=True, timeout=60
    )
    loaded, result = json.loads(done.stdout or "[0, 0]")
    assert loaded == [], done.stderr
    assert result == fitted.transform_row(row)


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> tuple[FittedRecipe, dict[str, Any]]:
    row = {
        "b": True,
        "i": 3,
        "f": 0.5,
        "s": "a",
        "d": datetime.date(2024, 1, 6),
        "t": datetime.datetime(2024, 1, 6, 7, tzinfo=datetime.UTC).replace(tzinfo=None),
    }
    source = write(pa.Table.from_pylist([row]), tmp_path_factory.mktemp("kinds") / "in.parquet")
    steps = [
        Passthrough(["b", "f", "s", "d", "t"], output="{column}_raw"),
        Standard("i"),
        DateParts(["d", "t"], parts=["week", "is_weekend"]),
    ]
    return Recipe("r", steps).fit(source), row


@pytest.mark.parametrize("column", ["b", "i", "f", "s", "d", "t"])
def test_every_way_to_say_missing(
    every_kind: tuple[FittedRecipe, dict[str, Any]], column: str, tmp_path: Path
) -> None:
    import numpy as np
    import pandas as pd  # type: ignore[import-untyped]

    fitted, row = every_kind
    table = pa.Table.from_pylist([row])
    place = table.column_names.index(column)
    source = write(table.set_column(place, column, pa.nulls(1, table[column].type)), tmp_path / "in.parquet")
    fitted.transform(source, tmp_path / "out.parquet")
    stored = read(tmp_path / "out.parquet")[0]
    expected = {name: stored[name] for name in fitted.feature_names}
    for missing in (None, pd.NaT, pd.NA, math.nan, np.nan, np.float32("nan"), np.datetime64("NaT", "ns")):
        assert fitted.transform_row({**row, column: missing}) == expected, missing


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("i", 2**64),
        ("i", -(2**63) - 1),
        ("i", 1e300),
        ("i", 10**400),
        ("i", "secret"),
        ("d", "secret"),
        ("t", "secret"),
        ("s", b"secret"),
        ("f", [1.0, 2.0]),
    ],
)
def test_a_value_that_is_refused_is_not_repeated(
    every_kind: tuple[FittedRecipe, dict[str, Any]], column: str, value: Any
) -> None:
    fitted, row = every_kind
    with pytest.raises(FeatureValueError, match=f"column '{column}' takes") as caught:
        fitted.transform_row({**row, column: value})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("operations"),
        lambda document: document.pop("split"),
        lambda document: document.pop("train_rows"),
        lambda document: document.update(inputs=[1]),
        lambda document: document.update(features=[]),
        lambda document: document["operations"][0].update(step=99),
        lambda document: document["operations"][0].update(step=0),
        lambda document: document["operations"][0].update(kind="money"),
        lambda document: document["operations"][0].update(column="other"),
        lambda document: document["operations"][5].update(state={}),
        lambda document: document["operations"][5].update(state=None),
        lambda document: document["operations"].append(1),
    ],
)
def test_a_state_that_is_not_well_formed(
    every_kind: tuple[FittedRecipe, dict[str, Any]], change: Any
) -> None:
    from airflow_provider_mlbridge.exceptions import InvalidRecipeError
    from airflow_provider_mlbridge.features.fitted import _checksum

    document = json.loads(every_kind[0].to_json())
    del document["checksum"]
    change(document)
    document["checksum"] = _checksum(document)
    with pytest.raises(InvalidRecipeError, match="not well formed"):
        FittedRecipe.from_json(json.dumps(document))
