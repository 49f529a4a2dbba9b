# SPDX-License-Identifier: Apache-2.0
"""Names of columns and files, and values of suites, that read like SQL or patterns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_mlbridge.quality import validate
from tests.unit.quality.quarantine_support import expect

Writer = Callable[..., Path]


NAMES = [
    "a",
    "A",
    'quo"te',
    "new\nline",
    "semi;--",
    "'",
    "naïve\u2028",
    "sp ace",
    "drop table t",
    "c0",
    "*",
    "a.b",
]


def test_column_names_are_never_sql(tmp_path: Path) -> None:
    path = tmp_path / "od[d] *'?.parquet"
    pq.write_table(pa.table({name: [position, None] for position, name in enumerate(NAMES)}), path)
    report = validate(
        str(path),
        [
            expect("column_max_to_be_between", column=name, min_value=i, max_value=i)
            for i, name in enumerate(NAMES)
        ]
        + [expect("column_median_to_be_between", column='quo"te', min_value=2, max_value=2)],
        not_null=NAMES,
        unique=NAMES,
        schema=dict.fromkeys(NAMES, "int64"),
    )
    assert {result.type for result in report.failed} == {"expect_column_values_to_not_be_null"}
    assert not report.not_checked
    assert len(report.failed) == len(NAMES)


def test_a_name_that_reads_like_a_pattern_is_one_file(write_parquet: Writer) -> None:
    write_parquet("ab.parquet", {"n": [1, 1]})
    path = write_parquet("a[b].parquet", {"n": [1, 2]})
    assert validate(str(path), unique=["n"]).success


def test_values_are_never_sql(write_parquet: Writer) -> None:
    values = ["it's", "x'); DROP TABLE t; --", "\\", "a\x00b", "€", '"']
    path = write_parquet("t.parquet", {"s": values})
    report = validate(
        str(path), [expect("column_values_to_be_in_set", column="s", value_set=[*values, "\ud800"])]
    )
    assert report.results[0].unexpected_count == 0
