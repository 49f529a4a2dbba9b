# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Whole checks of small datamarts: who judges what, what is said, and what is never a pass."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DataQualityFailedError,
    DatasetEmptyError,
    DatasetNotFoundError,
    ExpectationNotCheckedError,
    InvalidExpectationError,
    InvalidParquetError,
)
from airflow_provider_mlbridge.quality import QualityReport, validate
from airflow_provider_mlbridge.results import QualitySummary

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

Writer = Callable[..., Path]


def expect(type_: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs, "severity": severity}


def verdicts(report: QualityReport) -> list[tuple[str, bool | None]]:
    return [(result.engine, result.success) for result in report.results]


@pytest.fixture
def flights(write_parquet: Writer) -> Path:
    return write_parquet(
        "flights/part.parquet",
        {
            "id": [1, 2, 3, 4],
            "carrier": ["AA", "UA", None, "AA"],
            "delay": [1.5, -2.0, math.nan, 40.0],
            "day": [date(2024, 1, day) for day in (1, 2, 3, 4)],
            "at": pa.array([datetime(2024, 1, day) for day in (1, 2, 3, 4)], pa.timestamp("ns", "UTC")),
        },
    )


def test_a_clean_datamart(flights: Path) -> None:
    report = validate(
        f"file://{flights.parent}/",
        [
            expect("column_values_to_be_between", column="delay", min_value=-60, max_value=60),
            expect("column_values_to_be_in_set", column="carrier", value_set=["AA", "UA"]),
            expect("column_values_to_match_regex", column="carrier", regex="^[A-Z]{2}$"),
            expect("column_max_to_be_between", column="at", max_value="2024-01-04T01:00:00+01:00"),
        ],
        schema={"id": "int64", "carrier": "string", "at": "timestamp"},
        not_null=["id"],
        unique=["id", ["carrier", "day"]],
        min_rows=4,
    )
    assert report.success
    assert (report.evaluated, len(report.passed), report.rows) == (11, 11, 4)
    assert [engine for engine, _ in verdicts(report)] == ["footer"] * 4 + ["duckdb"] * 2 + ["footer"] + [
        "duckdb"
    ] * 3 + ["footer"]
    report.raise_for_verdict()
    assert report.snapshot.file_count == 1


def test_failures_are_counted_and_explained(flights: Path) -> None:
    report = validate(
        str(flights),
        [expect("column_values_to_be_between", "warning", column="delay", min_value=0)],
        not_null=["carrier", "delay"],
        unique=["carrier"],
        min_rows=5,
    )
    with pytest.raises(DataQualityFailedError) as caught:
        report.raise_for_verdict("s3://reports/quality_report.json")
    message = str(caught.value)
    assert "5 of 5 expectations failed" in message
    assert (
        "expect_column_values_to_be_unique(carrier) [critical]: 2 of 4 unexpected (66.67 %), 1 without"
        in message
    )
    assert "expect_table_row_count_to_be_between() [critical]: observed 4; expected min_value=5" in message
    assert "expect_column_values_to_not_be_null(delay) [critical]: 1 of 4 unexpected (25 %)" in message
    assert "column_values_to_be_between(delay)" not in message, "a warning does not count for fail_on='error'"
    assert message.endswith("Full report: s3://reports/quality_report.json")


@pytest.mark.parametrize(
    ("severity", "fail_on", "success"),
    [
        ("critical", "error", False), ("warning", "error", True), ("info", "error", True),
        ("critical", "warn", False), ("warning", "warn", False), ("info", "warn", True),
        ("critical", "never", True), ("warning", "never", True), ("info", "never", True),
    ],
)  # fmt: skip
def test_what_counts(flights: Path, severity: str, fail_on: str, success: bool) -> None:
    failing = expect("table_row_count_to_equal", severity, value=5)
    report = validate(str(flights), [failing], fail_on=fail_on)
    assert report.success is success
    assert len(report.failed) == 1


def test_what_could_not_be_checked_fails_whatever_fail_on_says(flights: Path) -> None:
    report = validate(str(flights), not_null=["carier"], fail_on="never")
    assert verdicts(report) == [("footer", None)]
    assert not report.success
    with pytest.raises(
        ExpectationNotCheckedError, match="no column 'carier'. Did you mean 'carrier'.*'delay'"
    ):
        report.raise_for_verdict()
    assert report.to_gx_json()["results"][0]["exception_info"]["raised_exception"] is True


def test_a_missing_column_fails_where_existence_is_the_question(flights: Path) -> None:
    report = validate(
        str(flights), [expect("column_to_exist", column="nope")], schema={"nope": "int64", "id": "int32"}
    )
    assert verdicts(report) == [("footer", False)] * 3
    assert report.results[0].observed == "observed null (there is no such column.)"
    assert report.results[1].observed_value == "int64"


def test_a_column_of_the_wrong_kind_is_not_checked(flights: Path) -> None:
    report = validate(
        str(flights),
        [
            expect("column_values_to_be_between", column="carrier", min_value=1),
            expect("column_values_to_be_between", column="day", min_value="2024-01-01T00:00:00+02:00"),
        ],
        max_age={"column": "id", "max_age": 60},
    )
    assert [result.success for result in report.results] == [None, None, None]
    assert "'carrier' is string" in str(report.results[1].exception_message)
    assert "has no time zone" in str(report.results[2].exception_message)
    assert "needs a date or a timestamp" in str(report.results[0].exception_message)


def test_ages(flights: Path) -> None:
    modified = datetime.fromisoformat(validate(str(flights), min_rows=1).snapshot.modified_at)
    fresh = validate(str(flights), max_age=timedelta(hours=1), now=modified + timedelta(minutes=59))
    stale = validate(str(flights), max_age=3600, now=modified + timedelta(minutes=61))
    assert (fresh.success, stale.success) == (True, False)
    assert stale.results[0].observed_value == 3660
    for column in ("day", "at"):
        for now, success in (
            (datetime(2024, 1, 4, 5, tzinfo=UTC), True),
            (datetime(2024, 1, 4, 7, tzinfo=UTC), False),
        ):
            max_age = {"column": column, "max_age": timedelta(hours=6)}
            assert validate(str(flights), max_age=max_age, now=now).success is success


def test_nothing_unnecessary_is_imported_or_read(flights: Path, write_parquet: Writer) -> None:
    write_parquet("flights2/t.parquet", {"id": [1]})
    script = f"""
import sys
import airflow_provider_mlbridge.quality as quality
assert not {{"duckdb", "pyarrow", "pandas", "numpy", "great_expectations"}} & set(sys.modules), "import"
report = quality.validate({str(flights)!r}, not_null=["id"], min_rows=1, schema={{"id": "int64"}})
assert report.success and "duckdb" not in sys.modules, "footers"
between = {{"type": "expect_column_values_to_be_between", "kwargs": {{"column": "delay", "min_value": -9}}}}
report = quality.validate({str(flights)!r}, [between], unique=["id"])
assert report.success and "duckdb" in sys.modules, "duckdb"
assert not {{"pandas", "great_expectations", "airflow", "pytz"}} & set(sys.modules), "fast path"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_suite_that_footers_answer_reads_no_data(flights: Path, mocker: MockerFixture) -> None:
    read = mocker.patch("airflow_provider_mlbridge.quality.evaluation.local_files")
    assert validate(str(flights), not_null=["id"], schema={"id": "int64"}, min_rows=1, max_age=1e9).success
    read.assert_not_called()


def test_null_counts_missing_from_a_footer_are_counted(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": [1, None], "b": [1, 2]}, write_statistics=False)
    report = validate(str(path), not_null=["a", "b"])
    assert verdicts(report) == [("duckdb", False), ("duckdb", True)]


def test_several_files_and_nested_columns(write_parquet: Writer, tmp_path: Path) -> None:
    for part in (1, 2):
        columns = {
            "list": [[1], None],
            "s": [{"x": 1, "y": None}, {"x": None, "y": None}],
            "id": [part, None],
        }
        write_parquet(f"mart/{part}.parquet", columns)
    report = validate(f"{tmp_path}/mart/", not_null=["list", "s", "id"], unique=["id"])
    assert [result.unexpected_count for result in report.results] == [2, 0, 2, 0]
    assert [result.engine for result in report.results] == ["duckdb", "duckdb", "footer", "duckdb"]


@pytest.mark.filterwarnings(
    # The text form of a condition, which suites in use still have.
    "ignore:The condition_parser parameter:DeprecationWarning",
    "ignore:Passing a string to the row_condition:DeprecationWarning",
)
def test_great_expectations_judges_the_rest(flights: Path) -> None:
    report = validate(
        str(flights),
        [
            expect("column_values_to_match_regex", column="carrier", regex="^(?=A)"),
            expect("column_median_to_be_between", column="day", min_value="2024-01-01"),
            expect("column_values_to_be_increasing", column="id"),
            expect("column_value_lengths_to_equal", column="id", value=1),
            expect("column_values_to_be_increasing", column="carrier"),
            expect(
                "column_values_to_not_be_null",
                column="carrier",
                row_condition="id != 3",
                condition_parser="pandas",
            ),
        ],
    )
    assert [result.engine for result in report.results] == ["gx"] * 3 + ["duckdb", "gx", "duckdb"]
    assert [result.success for result in report.results] == [False, None, True, True, None, True]
    assert report.results[0].unexpected_count == 1
    assert "Great Expectations could not evaluate it" in str(report.results[4].exception_message)


def test_great_expectations_runs_quietly(flights: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("home", "temporary", "work")]
    for folder in folders:
        folder.mkdir()
    script = f"""
from airflow_provider_mlbridge.quality import validate
rising = {{"type": "expect_column_values_to_be_increasing", "kwargs": {{"column": "id"}}}}
(result,) = validate({str(flights)!r}, [rising]).results
assert (result.engine, result.success) == ("gx", True)
"""
    environment = {**os.environ, "HOME": str(folders[0]), "TMPDIR": str(folders[1])}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folders[2], env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [list(folder.iterdir()) for folder in folders] == [[], [], []]


def test_great_expectations_is_given_no_more_than_the_memory_limit(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": list(range(100_000))})
    rising = expect("column_values_to_be_increasing", column="a")
    report = validate(str(path), [rising], memory_limit="1MB")
    assert report.results[0].success is None
    assert "100000 rows of 'a'" in str(report.results[0].exception_message)
    assert "Raise memory_limit" in str(report.results[0].exception_message)


def test_great_expectations_refusals_come_before_any_data(flights: Path, mocker: MockerFixture) -> None:
    read = mocker.patch("airflow_provider_mlbridge.quality.evaluation.local_files")
    with pytest.raises(InvalidExpectationError, match="refuses expect_column_kl_divergence_to_be_less_than"):
        validate(str(flights), [expect("column_kl_divergence_to_be_less_than", column="id", threshold="low")])
    read.assert_not_called()


def test_one_measure_that_fails_does_not_take_the_others(
    write_parquet: Writer, mocker: MockerFixture
) -> None:
    from airflow_provider_mlbridge.quality import compiled

    broken = compiled.Check(lambda _: pytest.fail("judged without a value"), ("nonsense(c0)",))
    mocker.patch.dict(compiled.COMPILERS, {"expect_column_mean_to_be_between": lambda *_: broken})
    path = write_parquet("t.parquet", {"a": [1, 2, None]})
    report = validate(
        str(path),
        [
            expect("column_sum_to_be_between", column="a", min_value=3, max_value=3),
            expect("column_values_to_be_between", column="a", min_value=2),
            expect("column_mean_to_be_between", column="a", min_value=0),
        ],
    )
    assert [result.success for result in report.results] == [True, False, None]
    assert "DuckDB could not evaluate it" in str(report.results[2].exception_message)


def test_a_subset_that_is_unique_proves_the_whole_key(write_parquet: Writer, mocker: MockerFixture) -> None:
    from airflow_provider_mlbridge.quality.engines.duckdb_session import Session

    query = mocker.spy(Session, "query")
    path = write_parquet("t.parquet", {"a": ["1", "2", "3"], "b": [1, 1, None], "c": ["1", "2", None]})
    report = validate(str(path), unique=[["b", "a"], "a", ["b", "c"]])
    assert [result.success for result in report.results] == [True, True, True]
    # One for a, one for b and c: a is unique by itself, and so is every key that holds it.
    assert sum("GROUP BY" in call.args[1] for call in query.call_args_list) == 2
    # Unique but with nulls, it proves nothing: the rows without a value may still be the same.
    path = write_parquet("u.parquet", {"a": [1, None, None], "b": [1, 2, 2]})
    assert [result.success for result in validate(str(path), unique=["a", ["a", "b"]]).results] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "nothing to check"),
        ({"min_rows": 1, "fail_on": "critical"}, "fail_on must be 'error', 'warn' or 'never'"),
        ({"min_rows": 1, "engine": "spark"}, "engine must be 'duckdb'"),
        ({"min_rows": 1, "memory_limit": "lots"}, "memory_limit must be an amount"),
        ({"min_rows": 1, "threads": 0}, "threads"),
        ({"min_rows": 1, "now": datetime(2024, 1, 1)}, "time zone"),
        ({"min_rows": 1, "unmasked_columns": "id"}, "unmasked_columns"),
        ({"expectations": {"type": "x"}}, "expectations must be a list"),
    ],
)
def test_wrong_arguments(flights: Path, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        validate(str(flights), **kwargs)


def test_bad_tables(write_parquet: Writer, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        validate(f"{tmp_path}/nowhere/", min_rows=1)

    whole = write_parquet("cut.parquet", {"a": list(range(1000))})
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InvalidParquetError, match=r"cut\.parquet"):
        validate(str(whole), min_rows=1)

    twice = tmp_path / "twice.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), twice)
    with pytest.raises(InvalidParquetError, match="2 columns named 'a'"):
        validate(str(twice), min_rows=1)

    write_parquet("mixed/1.parquet", {"a": [1], "b": [1]})
    write_parquet("mixed/2.parquet", {"a": ["x"], "c": [1]})
    with pytest.raises(InvalidParquetError, match="'b' is missing, 'c' is new, 'a' is string, not int64"):
        validate(f"{tmp_path}/mixed/", min_rows=1)


def test_no_rows(write_parquet: Writer) -> None:
    path = write_parquet("none.parquet", {"a": pa.array([], pa.int64()), "s": pa.array([], pa.string())})
    with pytest.raises(DatasetEmptyError, match="has no rows"):
        validate(str(path), not_null=["a"])
    assert not validate(str(path), min_rows=1).success
    report = validate(str(path), min_rows=0, not_null=["a"], unique=["s", ["a", "s"]])
    assert report.success
    assert report.results[1].unexpected_percent is None


def test_a_corrupt_page_is_never_a_pass(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": [f"value {i}" for i in range(50_000)]}, use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[200:4000] = b"\xff" * 3800
    path.write_bytes(raw)
    report = validate(
        str(path), [expect("column_value_lengths_to_be_between", column="a", max_value=99)], unique=["a"]
    )
    assert [result.success for result in report.results] == [None, None]


def test_the_summary_always_fits_into_xcom(write_parquet: Writer) -> None:
    names = [f"column with a name of some length and an \u00fcmlaut {i}" for i in range(40)]
    path = write_parquet("t.parquet", {name: [1, 1] for name in names})
    report = validate(str(path), unique=names)
    summary = report.summary("s3://bucket/" + "reports/" * 20)
    document = summary.to_json()
    assert len(document.encode()) < 2048
    assert QualitySummary.from_dict(summary.to_dict()) == summary
    assert (summary.failed, summary.success, summary.rows) == (40, False, 2)
    assert summary.failed_expectations[-1].startswith("and ")
    assert summary.failed_expectations[-1].endswith(" more")
