# SPDX-License-Identifier: Apache-2.0
"""One expectation that cannot be evaluated never takes the others with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, DataQualityFailedError
from airflow_provider_mlbridge.quality import validate, write_report

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

Writer = Callable[..., Path]
QUALITY = "airflow_provider_mlbridge.quality"


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def test_a_corrupt_page_leaves_the_other_columns(write_parquet: Writer) -> None:
    columns = {"x": list(range(100_000)), "y": [1] * 100_000}
    path = write_parquet("t.parquet", columns, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(raw)
    report = validate(
        str(path),
        [
            expect("column_values_to_be_between", column="x", min_value=1),
            expect("column_values_to_be_between", column="y", min_value=0),
            expect("column_values_to_be_unique", column="x"),
            expect("column_median_to_be_between", column="x", min_value=0),
            expect("column_median_to_be_between", column="y", max_value=0),
        ],
    )
    assert [result.success for result in report.results] == [None, True, None, None, False]
    assert "t.parquet" in str(report.results[3].exception_message)
    with pytest.raises(DataQualityFailedError, match="1 of 5 expectations failed, 3 could not be checked"):
        report.raise_for_verdict()


def test_an_error_of_our_own_stays_with_its_expectation(write_parquet: Writer, mocker: MockerFixture) -> None:
    path = write_parquet("t.parquet", {"a": [1.0, 2.0], "b": [1, 2]})
    suite = [expect("column_values_to_be_in_set", column=name, value_set=[1, 2]) for name in "ab"]
    suite.append(expect("column_max_to_be_between", column="a", max_value=2))
    suite.append(expect("column_sum_to_be_between", column="a", max_value=3))
    mocker.patch(f"{QUALITY}.compiled.rows.member", side_effect=[OverflowError("too far"), "TRUE", "TRUE"])
    mocker.patch(f"{QUALITY}.compiled.aggregates._observed", side_effect=RuntimeError("secret value 4711"))
    report = validate(str(path), suite)
    assert [result.success for result in report.results] == [None, True, None, True]
    assert "OverflowError: a number lies beyond" in str(report.results[0].exception_message)
    assert "too far" not in str(report.results[0].exception_message)
    assert "4711" not in str(report.results[2].exception_message)


def test_half_a_surrogate_pair_is_written_escaped(write_parquet: Writer, tmp_path: Path) -> None:
    path = write_parquet("t.parquet", {"s": ["a"]})
    suite = [
        expect("column_values_to_be_in_set", column="s", value_set=["\ud800"]),
        expect("column_values_to_match_regex", column="s", regex="\ud800"),
        expect("column_value_lengths_to_equal", column="s", value=1),
    ]
    report = validate(str(path), suite)
    assert report.results[0].success is False
    assert not report.results[1].success
    assert report.results[2].success is True
    uri = write_report(report, f"{tmp_path}/report")
    document = json.loads(Path(uri).read_bytes())
    assert document["results"][0]["expectation_config"]["kwargs"]["value_set"] == ["\ud800"]
    assert b"\\ud800" in (tmp_path / "report" / "quality_report.html").read_bytes()


@pytest.mark.parametrize("threads", [True, 0, 1.5])
def test_threads_are_counted(write_parquet: Writer, threads: Any) -> None:
    with pytest.raises(ConfigurationError, match="threads"):
        validate(str(write_parquet("t.parquet", {"a": [1]})), unique=["a"], threads=threads)


@pytest.mark.parametrize(
    ("type_", "tolerated", "refused"),
    [
        (pa.timestamp("us", "UTC"), timedelta(minutes=4), timedelta(minutes=6)),
        (pa.timestamp("ns"), timedelta(minutes=4), timedelta(minutes=6)),
        (pa.date32(), timedelta(hours=23), timedelta(hours=25)),
    ],
)
def test_an_age_that_lies_in_the_future_fails(
    write_parquet: Writer, type_: Any, tolerated: timedelta, refused: timedelta
) -> None:
    newest = datetime(2024, 1, 2, tzinfo=UTC)
    values = pa.array([newest if pa.types.is_timestamp(type_) else newest.date()], type_)
    path = write_parquet("t.parquet", {"at": values})

    def result(ahead: timedelta) -> Any:
        max_age = {"column": "at", "max_age": timedelta(hours=1)}
        return validate(str(path), max_age=max_age, now=newest - ahead).results[0]

    assert result(tolerated).success
    assert not result(refused).success
    assert "lies in the future" in result(refused).observed


def test_objects_written_in_the_future_fail(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": [1]})
    now = datetime.now(UTC)
    assert validate(str(path), max_age=60, now=now).success
    assert not validate(str(path), max_age=60, now=now - timedelta(hours=1)).success


def test_great_expectations_does_not_fill_the_log_of_a_task(write_parquet: Writer) -> None:
    # In a process of its own, where nothing has imported it yet.
    path = write_parquet("t.parquet", {"s": ["a"]})
    code = (
        "import logging, sys\n"
        "logging.basicConfig(level=logging.INFO, format='%(name)s', stream=sys.stdout)\n"
        "from airflow_provider_mlbridge.quality import validate\n"
        "item = {'type': 'expect_column_values_to_be_json_parseable', 'kwargs': {'column': 's'}}\n"
        f"print(validate({str(path)!r}, [item]).results[0].engine)\n"
        "print(logging.getLogger('great_expectations').level, logging.getLogger().level)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["gx", "0 20"]
