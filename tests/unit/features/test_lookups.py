# SPDX-License-Identifier: Apache-2.0
"""Numbers beside many categories, which stand in a table of one row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.features import Frequency, Recipe, Target
from airflow_provider_mlbridge.features.batch import transform_session
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.session import Session, open_session

CATEGORIES = 700
ROWS = 30_000


def written(path: Path, rows: int, *, first: int = 0) -> Path:
    """``id`` in order; ``c`` and ``d`` go through the categories at different paces; ``y`` leans on ``c``."""
    ids = range(first, first + rows)
    table = pa.table(
        {
            "id": list(ids),
            "c": [None if i % 97 == 0 else f"c{i * 31 % CATEGORIES}" for i in ids],
            "d": [i * 17 % (CATEGORIES + 1) for i in ids],
            "y": [(i * 31 % CATEGORIES + i % 7) % 5 == 0 for i in ids],
        },
        schema=pa.schema({"id": pa.int64(), "c": pa.string(), "d": pa.int64(), "y": pa.bool_()}),
    )
    pq.write_table(table, path, row_group_size=2_000)
    return path


@pytest.fixture(scope="module")
def datamart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("lookups") / "rows.parquet", ROWS)


@pytest.fixture(scope="module")
def fitted(datamart: Path) -> FittedRecipe:
    recipe = Recipe("many", steps=[Target("c"), Frequency("d")], keys=["id"], label="y")
    return recipe.fit(datamart)


def test_every_row_gets_the_numbers_of_its_own_categories(
    datamart: Path, fitted: FittedRecipe, tmp_path: Path
) -> None:
    fitted.transform(datamart, tmp_path / "out.parquet")
    rows = pq.read_table(datamart).to_pylist()
    features = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in features] == list(range(ROWS))
    for row, made in zip(rows[::13], features[::13], strict=True):
        assert {name: made[name] for name in fitted.feature_names} == fitted.transform_row(row)


def test_rows_are_streamed_past_the_lists_and_stay_in_order(
    datamart: Path, fitted: FittedRecipe, tmp_path: Path, mocker: MockerFixture
) -> None:
    plans = mocker.spy(Session, "row_by_row")
    made = []
    for threads in (1, 2, 8):
        path = tmp_path / f"{threads}.parquet"
        with open_session(datamart, threads=threads) as session:
            transform_session(session, fitted, path, fitted_on=True)
            ((tables,),) = session.connection.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE temporary AND estimated_size = 1"
            ).fetchall()
        assert tables == 1
        made.append(path.read_bytes())
    assert plans.spy_return_list == [True, True] * 3  # of the rows and of their keys
    assert made[0] == made[1] == made[2]


def test_datamart_smaller_than_the_lists(fitted: FittedRecipe, tmp_path: Path) -> None:
    # The engine may hold the rows and stream the lists then.
    for count in (0, 1, 3):
        some = written(tmp_path / f"{count}.parquet", count, first=5)
        fitted.transform(some, tmp_path / "out.parquet")
        rows = pq.read_table(some).to_pylist()
        features = pq.read_table(tmp_path / "out.parquet").to_pylist()
        expected = [{"id": row["id"], **fitted.transform_row(row)} for row in rows]
        assert [{name: row[name] for name in ("id", *fitted.feature_names)} for row in features] == expected


def test_only_rows_that_are_streamed_past_lists_keep_their_order(
    datamart: Path, mocker: MockerFixture
) -> None:
    # Plans as the engine writes them; it exchanges the sides by its own estimates.
    explained = mocker.patch("airflow_provider_mlbridge.features.session.json.loads")
    rows = {"name": "READ_PARQUET", "children": []}
    lists = {"name": "SEQ_SCAN", "children": [], "extra_info": {"Table": '"temp".main.mlbridge_lists_0'}}
    other = {"name": "SEQ_SCAN", "children": [], "extra_info": {"Table": '"temp".main.other'}}
    with open_session(datamart) as session:
        for sides, streamed in (([rows, lists], True), ([lists, rows], False), ([rows, other], False)):
            explained.return_value = [
                {"name": "PROJECTION", "children": [{"name": "CROSS_PRODUCT", "children": sides}]}
            ]
            assert session.row_by_row(session.table) is streamed
