# SPDX-License-Identifier: Apache-2.0
"""Columns that are folders: what they are called, hold, and are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.quality import QualityReport, validate
from tests.unit.quality.quarantine_support import expect

Writer = Callable[..., Path]


def test_hive_partitions_are_columns(write_parquet: Writer, tmp_path: Path) -> None:
    for day, ids in (("2024-01-01", [1, 2]), ("2024-01-02", [2, 3])):
        write_parquet(f"mart/day={day}/hour=07/p.parquet", {"id": ids, "text": ["a", "b"]})
    report = validate(
        f"{tmp_path}/mart/",
        [
            expect("column_values_to_be_between", column="day", min_value="2024-01-02"),
            expect("column_values_to_be_in_set", column="hour", value_set=["07"]),
            expect("column_distinct_values_to_equal_set", column="hour", value_set=["07"]),
        ],
        schema={"day": "date", "hour": "string"},
        unique=["id", ["id", "day"]],
        not_null=["day"],
    )
    assert report.rows == 4
    by_type = {result.description.split(" ")[0]: result for result in report.results}
    assert by_type["expect_column_values_to_be_between(day)"].unexpected_count == 2
    assert [result.type for result in report.failed] == [
        "expect_column_values_to_be_unique",
        "expect_column_values_to_be_between",
    ]
    assert by_type["expect_column_distinct_values_to_equal_set(hour)"].engine == "duckdb"


def partition_values(report: QualityReport) -> list[Any]:
    return [result.result["partial_unexpected_list"] for result in report.results]


def test_a_partition_means_what_its_folder_says(write_parquet: Writer, tmp_path: Path) -> None:
    values = ["NULL", "null", "it's", "a%20b", "c%2Fd", "__HIVE_DEFAULT_PARTITION__", ""]
    for position, value in enumerate(values):
        write_parquet(f"mart/p'q={value}/{position}.parquet", {"file_index": [position]})
    suite = [
        expect("column_values_to_not_be_in_set", column="p'q", value_set=["NULL", "null", "it's", "a b"]),
        expect("column_values_to_not_be_in_set", column="file_index", value_set=[0, 6]),
        expect("column_values_to_not_be_in_set", column="p'q", value_set=["c/d", ""]),
    ]
    report = validate(f"{tmp_path}/mart/", suite, unmasked_columns=["p'q", "file_index"])
    assert [sorted(shown) for shown in partition_values(report)] == [
        ["NULL", "a b", "it's", "null"],
        [0, 6],
        ["", "c/d"],
    ]
    assert report.results[0].missing_count == 1


def test_folders_above_the_datamart_are_no_partitions(write_parquet: Writer, tmp_path: Path) -> None:
    for day in (1, 2):
        write_parquet(f"env=prod/id=9/mart/day={day}/p.parquet", {"id": [day]})
    report = validate(
        f"{tmp_path}/env=prod/id=9/mart/",
        [
            expect("table_columns_to_match_ordered_list", column_list=["id", "day"]),
            expect("column_values_to_be_in_set", column="id", value_set=[1, 2]),
            expect("column_pair_values_a_to_be_greater_than_b", column_A="id", column_B="day", or_equal=True),
        ],
    )
    assert report.success


def test_a_column_in_the_files_wins_over_its_folder_alone(write_parquet: Writer, tmp_path: Path) -> None:
    write_parquet("mart/Y=7/q=8/p.parquet", {"y": [1]})
    suite = [
        expect("table_columns_to_match_ordered_list", column_list=["y", "q"]),
        expect("column_values_to_be_in_set", column="y", value_set=[1]),
        expect("column_values_to_be_in_set", column="q", value_set=[8]),
        expect("column_median_to_be_between", column="q", min_value=8, max_value=8),
    ]
    assert validate(f"{tmp_path}/mart/", suite).success


def test_no_day_of_the_calendar_is_text(write_parquet: Writer, tmp_path: Path) -> None:
    write_parquet("mart/day=2024-02-31/p.parquet", {"a": [1]})
    report = validate(f"{tmp_path}/mart/", unique=["day"], schema={"day": "string"})
    assert report.success
