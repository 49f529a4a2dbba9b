# SPDX-License-Identifier: Apache-2.0
"""SQL of fitted recipes: which steps in which dialect, and what is said of rows that policies refuse."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features import (
    Bins,
    Clip,
    Cyclical,
    DateParts,
    Expression,
    FittedRecipe,
    Frequency,
    GroupAggregate,
    Hashing,
    Impute,
    Interaction,
    Lag,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Robust,
    Rolling,
    Standard,
    Target,
    YeoJohnson,
)
from airflow_provider_mlbridge.features.exports.sql import ALLOWED
from airflow_provider_mlbridge.features.steps import STEP_TYPES

from .tables import write

GOLDEN = Path(__file__).parent / "golden"

ONE_OF_EACH: dict[str, Any] = {
    "bins": Bins("x", edges=[0, 1, 2], out_of_range="null"),
    "clip": Clip("x", lower=0, upper=2),
    "cyclical": Cyclical("at", parts=["hour"]),
    "date_parts": DateParts("at", parts=["year", "week", "weekday", "is_weekend", "dayofyear"]),
    "expression": Expression("x / nullif(n, 0)", output="ratio"),
    "frequency": Frequency("s"),
    "group_aggregate": GroupAggregate("x", by="s", functions=["mean"]),
    "hashing": Hashing("s", buckets=10),
    "impute": Impute("x", indicator=True),
    "interaction": Interaction(["x", "n"]),
    "lag": Lag("x", by="s", periods=[1]),
    "log1p": Log1p("x", invalid="null"),
    "min_max": MinMax("x"),
    "one_hot": OneHot("s", unknown="other", missing="category"),
    "ordinal": Ordinal("n", unknown="other"),
    "passthrough": Passthrough(["s", "at"]),
    "quantile_bins": QuantileBins("x", bins=2),
    "robust": Robust("x"),
    "rolling": Rolling("x", by="s", window="7d", functions=["count"]),
    "standard": Standard("x"),
    "target": Target("s"),
    "yeo_johnson": YeoJohnson("x"),
}


def _source(folder: Path) -> str:
    table = pa.table(
        {
            "id": list(range(12)),
            "y": [0, 1] * 6,
            "x": [0.0, 1.5, None, 2.25, 3.0, 7.0, 0.5, 1.0, 2.0, 0.25, 4.0, 1.75],
            "n": list(range(1, 13)),
            "s": ["a", "b", None, "a", "c", "a", "b", "b", "c", "a", "a", "b"],
            "at": pa.array(range(0, 12 * 10**12, 10**12), pa.timestamp("us")),
        }
    )
    return write(table, folder / "in.parquet")


def _fitted(steps: list[Any], folder: Path) -> FittedRecipe:
    return Recipe("r", steps, keys=["id"], label="y", event_time="at").fit(_source(folder))


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FittedRecipe]:
    folder = tmp_path_factory.mktemp("each")
    return {name: _fitted([step], folder) for name, step in ONE_OF_EACH.items()}


def test_there_is_one_of_each() -> None:
    assert set(ONE_OF_EACH) == set(STEP_TYPES)


@pytest.mark.parametrize("dialect", ALLOWED)
def test_every_step_in_every_dialect(each: dict[str, FittedRecipe], dialect: str) -> None:
    for name, fitted in each.items():
        if name in ALLOWED[dialect]:
            assert fitted.to_sql(dialect).startswith("SELECT"), name
            continue
        with pytest.raises(ConfigurationError) as caught:
            fitted.to_sql(dialect)
        for part in (f"step 1 ({name})", f"{dialect} SQL", "transform_row()"):
            assert part in str(caught.value)


@pytest.mark.parametrize("dialect", ["athena", "trino", "spark"])
def test_golden_queries(dialect: str, tmp_path: Path) -> None:
    """
    Queries that were read, for engines that these tests do not have (tests/spark has Spark).

    After a change that is meant, write them anew with MLBRIDGE_WRITE_GOLDEN=1 and read the difference.
    """
    steps = []
    for name in sorted(ALLOWED[dialect] - {"passthrough"}):
        document = ONE_OF_EACH[name].to_dict()
        if type(ONE_OF_EACH[name]).REPLACES and name not in ("impute", "ordinal"):
            document["output"] = f"{{column}}_{name}"
        steps.append(document)
    sql = _fitted(steps, tmp_path).to_sql(dialect, table="sales.flights")
    path = GOLDEN / f"{dialect}.sql"
    if os.environ.get("MLBRIDGE_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(sql)
    assert sql == path.read_text()


def test_spark_tells_infinities(each: dict[str, FittedRecipe]) -> None:
    """So that a product that overflows is missing, and a circle refuses what is infinite."""
    assert "IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE))" in each["interaction"].to_sql("spark")
    assert "FALSE OR FALSE" not in "".join(each[name].to_sql("spark") for name in ALLOWED["spark"])


def test_another_dialect_is_refused(each: dict[str, FittedRecipe]) -> None:
    with pytest.raises(
        ConfigurationError, match="'mysql' is not known; valid are duckdb, athena, trino, spark"
    ):
        each["clip"].to_sql("mysql")


@pytest.mark.parametrize("table", ["", "a..b", "a.b.c.d", None])
def test_a_table_without_a_name(each: dict[str, FittedRecipe], table: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a name"):
        each["clip"].to_sql("duckdb", table=table)


def test_names_are_quoted(tmp_path: Path) -> None:
    name = 'a"; DROP TABLE t; --'
    source = write(pa.table({name: [1.0, 3.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [MinMax(name)]).fit(source)
    with duckdb.connect() as connection:
        connection.execute(f'CREATE SCHEMA "s\'"; CREATE TABLE "s\'"."the table" AS FROM \'{source}\'')
        result = connection.sql(fitted.to_sql("duckdb", table="s'.the table"))
        assert result.columns == [name]
        assert sorted(result.fetchall()) == [(0.0,), (1.0,)]


def test_any_number_will_do(tmp_path: Path) -> None:
    """A table may have the values in another type than the files did."""
    fitted = _fitted([Passthrough(["x", "n"])], tmp_path)
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE datamart AS SELECT 7 AS id, 0.1::DECIMAL(5, 2) AS x, 3::UTINYINT AS n"
        )
        result = connection.sql(fitted.to_sql("duckdb"))
        assert [str(kind) for kind in result.types] == ["INTEGER", "DOUBLE", "BIGINT"]
        assert result.fetchall() == [(7, 0.1, 3)]


def test_rows_that_a_policy_refuses_are_marked(tmp_path: Path) -> None:
    fitted = _fitted([OneHot("s"), Log1p("x")], tmp_path)
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE datamart AS FROM (VALUES (1, 'a', 1.0), (2, 'zzz', 1.0), (3, 'a', -1.0), "
            "(4, NULL, NULL)) AS t(id, s, x)"
        )
        rows = connection.sql(
            f"SELECT id, mlbridge_refused, s_a FROM ({fitted.to_sql('duckdb')}) ORDER BY id"
        ).fetchall()
    assert rows == [(1, False, 1), (2, True, 0), (3, True, 1), (4, False, 0)]


def test_a_key_with_the_name_of_the_mark(tmp_path: Path) -> None:
    source = write(pa.table({"mlbridge_refused": [1, 2], "x": [1.0, 2.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Log1p("x")], keys=["mlbridge_refused"]).fit(source)
    with pytest.raises(ConfigurationError, match="'mlbridge_refused': the name is taken by the export"):
        fitted.to_sql("duckdb")


def test_no_mark_without_such_a_policy(each: dict[str, FittedRecipe]) -> None:
    assert "mlbridge_refused" not in each["one_hot"].to_sql("duckdb")


def test_nothing_but_the_table_is_read(each: dict[str, FittedRecipe]) -> None:
    """No place in a file, no split, no label: a table to be scored has none."""
    sql = each["target"].to_sql("duckdb")
    assert not re.search(r"__mlbridge|\"y\"|split\"", sql)


def test_more_categories_than_a_dialect_unnests(tmp_path: Path) -> None:
    table = pa.table({"s": [f"c{number}" for number in range(10_001)]})
    fitted = Recipe("r", [Frequency("s")]).fit(write(table, tmp_path / "in.parquet"))
    with pytest.raises(ConfigurationError, match="it has 10,001 categories, and athena takes 10,000"):
        fitted.to_sql("athena")
    assert "c10000" in fitted.to_sql("spark")
