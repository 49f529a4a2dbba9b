# SPDX-License-Identifier: Apache-2.0
"""The SQL of `where` and of check constraints: simple comparisons are read, all else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.inputs.dbt_sql import Predicate, predicates, row_condition
from airflow_provider_mlbridge.quality.inputs.thresholds import NotExpressibleError

TABLE: dict[str, list[Any]] = {
    "n": [1, 2, None, 4, 5, 0],
    "s": ["a", "b", None, "it's", "", "a"],
    "Odd Name": [1.5, None, 2.5, -1.0, 0.0, 3.0],
}


@pytest.mark.parametrize(
    "sql",
    [
        "n > 1",
        "n >= 2 AND s = 'a'",
        "n != 2",
        "n <> 2 and s is not null",
        "s != 'a'",
        "s is null",
        "s in ('a', 'it''s')",
        "s not in ('a', 'b')",
        "n not in (1, 2)",
        '"Odd Name" < 2.5',
        "n=-1",
        "`n` <= 4",
    ],
)
def test_the_same_rows_are_meant_as_in_sql(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table(TABLE), path)
    query = f"SELECT count(*) FROM '{path}' WHERE {sql.replace('`', '')}"
    [(rows,)] = duckdb.connect().execute(query).fetchall()
    kwargs = {"value": rows, "row_condition": row_condition(sql)}
    report = validate(str(path), [{"type": "expect_table_row_count_to_equal", "kwargs": kwargs}])
    assert report.success, (rows, report.results)


@pytest.mark.parametrize(
    "sql",
    [
        "", "n", "n >", "n > 1 or n < 0", "not n > 1", "n > m", "lower(s) = 'a'", "n > 1 and", "n in ()",
        "n in (1, 'a')", "n in (select 1)", "s > 'a'", "d = '2024-01-31'", "n = null", "n is 1", "1 = 1",
        "n > 1; drop table x", "n > 1 -- and", "{{ var('x') }}", "n between 1 and 2", "s like 'a%'", 3, None,
    ],
)  # fmt: skip
def test_all_other_sql_is_refused(sql: object) -> None:
    with pytest.raises(NotExpressibleError):
        row_condition(sql)


def test_predicates() -> None:
    assert predicates("a = 1 and b not in ('x', 'y')") == [
        Predicate("a", "==", 1),
        Predicate("b", "not in", ["x", "y"]),
    ]
