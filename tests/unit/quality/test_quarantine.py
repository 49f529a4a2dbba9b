# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Quarantine: good and bad rows are all rows, with their reasons, in order, and of their exact types."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetEmptyError,
    ExpectationNotCheckedError,
    QualityError,
    ScratchLimitError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.quality import quarantine, row_split, split_identity, validate
from airflow_provider_mlbridge.storage import pin_snapshot, read_manifest
from tests.unit.iceberg.tables import catalog_in, data_files, delete_positions
from tests.unit.quality.quarantine_support import expect, judge_and_quarantine, quarantine_of, rows_of, write

BETWEEN = expect("column_values_to_be_between", column="v", min_value=0, max_value=100)
UNIQUE = expect("column_values_to_be_unique", severity="warning", column="id")


@pytest.fixture
def months(tmp_path: Path) -> str:
    """A hive-partitioned datamart: rows 1 and 3 of month 1 are bad, none of month 2."""
    for month, values in ((1, [1.0, -5.0, math.nan, 500.0]), (2, [1.0, None, 3.0])):
        ids = [month * 10 + number for number in range(len(values))]
        write(
            tmp_path / f"mart/month={month}/a.parquet", pa.table({"id": ids, "v": values}), row_group_size=2
        )
    return f"file://{tmp_path}/mart"


def same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    return left.equals(right) or (
        pa.types.is_floating(left.type) and repr(left.to_pylist()) == repr(right.to_pylist())
    )


def published(uri: str) -> list[str]:
    return sorted(file["name"] for file in read_manifest(uri).document["files"])


def test_good_and_bad_are_all_rows(months: str, tmp_path: Path) -> None:
    result = judge_and_quarantine(months, [BETWEEN, UNIQUE], f"file://{tmp_path}/q")
    assert (result.clean_rows, result.quarantined_rows, result.reused) == (5, 2, False)
    assert [row["id"] for row in rows_of(result.clean_uri)] == [10, 12, 20, 21, 22]
    reasons = ["expect_column_values_to_be_between(v), critical"]
    origin = {"_mlbridge_reasons": reasons, "_mlbridge_file": "month=1/a.parquet"}
    assert rows_of(result.quarantined_uri) == [
        {"id": 11, "v": -5.0, **origin, "_mlbridge_row": 1},
        {"id": 13, "v": 500.0, **origin, "_mlbridge_row": 3},
    ]
    details = read_manifest(result.manifest_uri).details
    assert details["reasons"] == [{"reason": reasons[0], "rows": 2}]
    assert published(f"file://{tmp_path}/q") == [
        "clean/month=1/part-00000.parquet",
        "clean/month=2/part-00001.parquet",
        "quarantined/month=1/part-00000.parquet",
    ]
    # The clean rows are a datamart of their own, with the partition column of the first.
    again = validate(result.clean_uri, [BETWEEN], schema={"id": "int64", "v": "double", "month": "int64"})
    assert again.success
    assert again.rows == 5


def test_a_file_without_bad_rows_is_not_written_anew(months: str, tmp_path: Path) -> None:
    result = judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q")
    copied = Path(result.clean_uri.removeprefix("file://"), "month=2/part-00001.parquet")
    assert copied.read_bytes() == (tmp_path / "mart/month=2/a.parquet").read_bytes()


def test_several_reasons_and_keys(tmp_path: Path) -> None:
    table = pa.table({"id": [7, 1, 7, None, None], "v": [1, -1, 101, 5, 6], "w": [1, 1, 1, 1, 1]})
    write(tmp_path / "mart.parquet", table)
    wanted = [
        BETWEEN,
        {**BETWEEN, "kwargs": {**BETWEEN["kwargs"], "min_value": None}},
        UNIQUE,
        expect("column_values_to_not_be_null", column="id"),
        expect("compound_columns_to_be_unique", column_list=["w", "id"]),
        expect("column_values_to_be_in_set", severity="info", column="w", value_set=[2]),
        expect("column_max_to_be_between", column="v", max_value=50),
    ]
    result = judge_and_quarantine(str(tmp_path / "mart.parquet"), wanted, f"{tmp_path}/q")
    between = "expect_column_values_to_be_between(v), critical"
    compound = "expect_compound_columns_to_be_unique(w, id), critical"
    unique = "expect_column_values_to_be_unique(id), warning"
    null = "expect_column_values_to_not_be_null(id), critical"
    names = ("_mlbridge_row", "_mlbridge_file", "_mlbridge_reasons")
    found = [tuple(row[name] for name in names) for row in rows_of(result.quarantined_uri)]
    assert found == [
        (0, "mart.parquet", [unique, compound]),
        (1, "mart.parquet", [f"{between} #1"]),
        (2, "mart.parquet", [f"{between} #1", f"{between} #2", unique, compound]),
        (3, "mart.parquet", [null, compound]),
        (4, "mart.parquet", [null, compound]),
    ]
    assert result.clean_rows == 0


def test_more_reasons_than_anyone_reads(tmp_path: Path) -> None:
    write(tmp_path / "mart.parquet", pa.table({"v": [0, 130, 1000]}))
    wanted = [expect("column_values_to_be_between", column="v", max_value=260 - 2 * n) for n in range(1, 131)]
    result = judge_and_quarantine(str(tmp_path / "mart.parquet"), wanted, f"{tmp_path}/q")
    some, all_of_them = (row["_mlbridge_reasons"] for row in rows_of(result.quarantined_uri))
    text = "expect_column_values_to_be_between(v), critical #"
    # 130 is more than 128, the bound of the 66th, and all after that.
    assert some == [f"{text}{number}" for number in range(66, 131)]
    assert all_of_them == [*(f"{text}{number}" for number in range(1, 101)), "and 30 more"]
    rows = [entry["rows"] for entry in read_manifest(result.manifest_uri).details["reasons"]]
    assert rows == [1] * 65 + [2] * 65


def test_mostly_and_severities(months: str, tmp_path: Path) -> None:
    tolerated = {**BETWEEN, "kwargs": {**BETWEEN["kwargs"], "mostly": 0.1}, "severity": "info"}
    report = validate(months, [tolerated])
    assert report.success
    assert quarantine_of(report, f"file://{tmp_path}/q").quarantined_rows == 0
    both = quarantine_of(report, f"file://{tmp_path}/q", severities=("critical", "info"))
    assert both.quarantined_rows == 2


def test_types_are_kept_exactly(tmp_path: Path) -> None:
    columns = {
        "v": pa.array([1, 200, 3]),
        "second": pa.array([1, None, 3], pa.timestamp("s")),
        "zoned": pa.array([1, 2, None], pa.timestamp("ns", "Europe/Berlin")),
        "early": pa.array([-(2**62), 2, None], pa.timestamp("us")),
        "byte": pa.array([1, 2, 3], pa.uint8()),
        "unsigned": pa.array([2**63 + 1, 2, None], pa.uint64()),
        "category": pa.array(["a", "b", "a"]).dictionary_encode(),
        "large": pa.array(["a", None, "b"], pa.large_string()),
        "view": pa.array(["a", None, "a long text that is not inline"], pa.string_view()),
        "time": pa.array([1, 2, 3], pa.time64("ns")),
        "decimal": pa.array([Decimal("1.10"), None, Decimal(2)], pa.decimal256(50, 2)),
        "small_decimal": pa.array([Decimal("1.10"), None, Decimal(2)], pa.decimal32(5, 2)),
        "struct": pa.array(
            [{"a": 1, "b": [1, 2]}, None, {"a": None, "b": []}],
            pa.struct([("a", pa.int8()), ("b", pa.list_(pa.int16()))]),
        ),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        "binary": pa.array([b"\x00\xff", None, b""], pa.binary()),
        "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "duration": pa.array([1, None, 3], pa.duration("us")),
        "half": pa.array([1.5, None, 2.0], pa.float16()),
        "day": pa.array([0, None, 86_400_000], pa.date64()),
        "flag": pa.array([True, None, False]),
        "not_a_number": pa.array([math.nan, 1.0, -0.0], pa.float32()),
    }
    fields = [pa.field("v", pa.int64(), nullable=False, metadata={"unit": "m"})]
    fields += [pa.field(name, values.type) for name, values in columns.items() if name != "v"]
    schema = pa.schema(fields, metadata={"producer": "test"})
    path = write(
        tmp_path / "mart.parquet", pa.table(list(columns.values()), schema=schema), compression="zstd"
    )
    result = judge_and_quarantine(str(path), [BETWEEN], f"{tmp_path}/q")
    source = pq.ParquetFile(path)
    (clean,) = Path(result.clean_uri).iterdir()
    (bad,) = Path(result.quarantined_uri).iterdir()
    kept, aside = pq.ParquetFile(clean), pq.ParquetFile(bad)
    assert kept.schema_arrow.equals(source.schema_arrow, check_metadata=True)
    assert kept.schema.equals(source.schema)
    assert kept.metadata.row_group(0).column(0).compression == "ZSTD"
    original = source.read()
    expected = pa.concat_tables([original.slice(0, 1), original.slice(2)])
    assert [name for name in columns if not same(kept.read()[name], expected[name])] == []
    assert aside.schema_arrow.names[-3:] == ["_mlbridge_reasons", "_mlbridge_file", "_mlbridge_row"]
    assert [name for name in columns if not same(aside.read()[name], original.slice(1, 1)[name])] == []
    assert kept.schema_arrow.equals(pa.schema(list(aside.schema_arrow)[:-3]))


def test_spark_timestamps_keep_their_form(tmp_path: Path) -> None:
    at = pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2)], pa.timestamp("ns"))
    table = pa.table({"v": [1, 200], "at": at})
    path = write(tmp_path / "mart.parquet", table, use_deprecated_int96_timestamps=True)
    result = judge_and_quarantine(str(path), [BETWEEN], f"{tmp_path}/q")
    (clean,) = Path(result.clean_uri).iterdir()
    assert pq.ParquetFile(clean).schema.column(1).physical_type == "INT96"


def test_no_bad_row(months: str, tmp_path: Path) -> None:
    result = judge_and_quarantine(months, [UNIQUE], f"file://{tmp_path}/q")
    assert (result.clean_rows, result.quarantined_rows) == (7, 0)
    with pytest.raises(DatasetEmptyError, match="none is a Parquet file"):
        pin_snapshot(result.quarantined_uri)


def test_no_good_row(months: str, tmp_path: Path) -> None:
    wanted = [expect("column_values_to_be_null", column="id")]
    result = judge_and_quarantine(months, wanted, f"file://{tmp_path}/q")
    assert (result.clean_rows, result.quarantined_rows) == (0, 7)
    with pytest.raises(DatasetEmptyError, match="none is a Parquet file"):
        pin_snapshot(result.clean_uri)


def test_no_row_at_all(tmp_path: Path) -> None:
    write(tmp_path / "mart.parquet", pa.table({"v": pa.array([], pa.int64())}))
    rows = expect("table_row_count_to_equal", value=0)
    result = judge_and_quarantine(str(tmp_path / "mart.parquet"), [BETWEEN, rows], f"{tmp_path}/q")
    assert (result.clean_rows, result.quarantined_rows) == (0, 0)
    assert validate(result.clean_uri, [rows], schema={"v": "int64"}).success


def test_an_expectation_that_could_not_be_checked(months: str, tmp_path: Path) -> None:
    broken = expect("column_values_to_be_between", column="gone", min_value=0)
    with pytest.raises(
        ExpectationNotCheckedError, match=r"between\(gone\) \[critical\] could not be checked"
    ):
        judge_and_quarantine(months, [BETWEEN, broken], f"file://{tmp_path}/q")
    assert not (tmp_path / "q").exists()
    # One that does not decide about rows, or is not to, is another matter.
    others = [{**broken, "severity": "info"}, expect("column_mean_to_be_between", column="gone", min_value=0)]
    assert judge_and_quarantine(months, [BETWEEN, *others], f"file://{tmp_path}/q").quarantined_rows == 2


def test_a_repeat_publishes_nothing_new(months: str, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/q"
    first = judge_and_quarantine(months, [BETWEEN, UNIQUE], uri)
    again = judge_and_quarantine(months, [UNIQUE, BETWEEN], uri)
    assert again == replace(first, reused=True)
    other = judge_and_quarantine(months, [{**BETWEEN, "kwargs": {**BETWEEN["kwargs"], "max_value": 9}}], uri)
    assert other.uri != first.uri
    assert len(list((tmp_path / "q/versions").iterdir())) == 2


def test_what_another_run_needs_is_kept_for_a_week(months: str, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/q"

    def split(bound: int, **options: Any) -> Any:
        wanted = expect("column_values_to_be_between", column="v", max_value=bound)
        return judge_and_quarantine(months, [wanted], uri, **options)

    results = [split(bound) for bound in range(5)]
    assert [Path(result.clean_uri.removeprefix("file://")).is_dir() for result in results] == [True] * 5
    split(9, keep_versions=2, keep_at_least=timedelta(0))
    assert len(list((tmp_path / "q/versions").iterdir())) == 2


def test_other_rows_found_by_the_same_expectation(months: str, tmp_path: Path) -> None:
    # As when the code of an expectation was changed, which its type and arguments do not show.
    report = validate(months, [BETWEEN])
    (result,) = report.results
    found = []
    for position in (1, 3):
        outcome = replace(
            result.outcome,
            engine="gx",
            result={**result.outcome.result, "unexpected_count": 1},
            unexpected_positions=np.array([position]),
        )
        changed = replace(report, results=(replace(result, outcome=outcome),))
        found.append(quarantine_of(changed, f"file://{tmp_path}/q"))
    assert [[row["id"] for row in rows_of(item.quarantined_uri)] for item in found] == [[11], [13]]
    assert quarantine_of(changed, f"file://{tmp_path}/q").reused


@pytest.mark.parametrize("key", ["rows", "reasons"])
def test_a_version_that_counted_otherwise_is_not_taken(months: str, tmp_path: Path, key: str) -> None:
    first = judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q")
    path = Path(first.manifest_uri.removeprefix("file://"))
    manifest = json.loads(path.read_text())
    if key == "rows":
        manifest["details"]["rows"] += 1
    else:
        manifest["details"]["reasons"][0]["rows"] = 1
    path.write_text(json.dumps(manifest))
    again = judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q")
    assert not again.reused
    assert again.uri != first.uri


def test_another_release_judges_anew(months: str, tmp_path: Path, mocker: MockerFixture) -> None:
    judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q")
    mocker.patch.object(split_identity, "__version__", "0.0.0")
    assert not judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q").reused


def test_a_disk_that_fills_up_while_rows_are_split(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", pa.table({"v": list(range(100_000))}))
    (tmp_path / "clean.parquet").symlink_to("/dev/full")
    with (
        row_split.BadRows(None, 0) as bad_rows,
        pytest.raises(ScratchLimitError, match=r"a\.parquet: the disk of .* became full"),
    ):
        row_split.split_file(source, 0, bad_rows, [], "a.parquet", tmp_path)


def test_a_split_that_disagrees_with_the_verdict_is_not_published(months: str, tmp_path: Path) -> None:
    report = validate(months, [BETWEEN])
    (result,) = report.results
    outcome = replace(result.outcome, result={**result.result, "unexpected_count": 3})
    wrong = replace(report, results=(replace(result, outcome=outcome),))
    with pytest.raises(QualityError, match=r"found 3 unexpected rows, but 2 were set aside.*Nothing"):
        quarantine_of(wrong, f"file://{tmp_path}/q")
    assert not list((tmp_path / "q").rglob("*.*"))


def test_a_datamart_that_changes_meanwhile(months: str, tmp_path: Path) -> None:
    report = validate(months, [BETWEEN])
    write(tmp_path / "mart/month=2/a.parquet", pa.table({"id": [1, 2, 3], "v": [1.0, 2.0, 3.0]}))
    with pytest.raises(SnapshotChangedError, match="was replaced since it was pinned"):
        quarantine_of(report, f"file://{tmp_path}/q")
    assert not (tmp_path / "q").exists()


def test_a_datamart_that_changes_while_it_is_split(
    months: str, tmp_path: Path, mocker: MockerFixture
) -> None:
    report = validate(months, [BETWEEN])
    real = quarantine._Split.find_bad_rows

    def replaced(split: Any) -> None:
        real(split)
        write(tmp_path / "mart/month=2/a.parquet", pa.table({"id": [1, 2, 3], "v": [1.0, 2.0, 3.0]}))

    mocker.patch.object(quarantine._Split, "find_bad_rows", replaced)
    with pytest.raises(SnapshotChangedError, match="was replaced since it was pinned"):
        quarantine_of(report, f"file://{tmp_path}/q")
    # Not even for a moment: nothing was made current.
    assert not list((tmp_path / "q").rglob("*.json"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quarantine_uri": "{mart}/bad"}, ConfigurationError, "lies inside of the datamart"),
        ({"quarantine_uri": "q"}, ConfigurationError, "quarantine_uri='q' is not a URI"),
        ({"severities": ["fatal"]}, ConfigurationError, "one of 'critical', 'warning', 'info'"),
        ({"severities": []}, ConfigurationError, "at least one"),
        ({"keep_versions": 0}, ConfigurationError, "keep_versions must be at least 1"),
        ({"scratch_limit_bytes": 100}, ScratchLimitError, "only 100 may be used"),
    ],
)
def test_arguments_and_limits(
    months: str, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    report = validate(months, [BETWEEN])
    place = options.pop("quarantine_uri", f"file://{tmp_path}/q").format(mart=months)
    with pytest.raises(error, match=message):
        quarantine_of(report, place, **options)
    assert not (tmp_path / "q").exists()


def test_rows_in_quarantine_cannot_be_set_aside_again(months: str, tmp_path: Path) -> None:
    result = judge_and_quarantine(months, [BETWEEN], f"file://{tmp_path}/q")
    with pytest.raises(ConfigurationError, match="already has a column '_mlbridge_reasons'"):
        judge_and_quarantine(result.quarantined_uri, [BETWEEN], f"file://{tmp_path}/q2")


def test_rows_that_great_expectations_judges(tmp_path: Path) -> None:
    files: list[list[str | None]] = [["{}", "{", None], [], ["[1]", "x", "1", "{"]]
    for number, texts in enumerate(files):
        write(tmp_path / f"mart/{number}.parquet", pa.table({"text": pa.array(texts, pa.string())}))
    wanted = [
        expect("column_values_to_be_json_parseable", column="text", mostly=0.5),
        expect("column_values_to_be_in_set", severity="warning", column="text", value_set=["{}", "[1]", "x"]),
    ]
    report = validate(str(tmp_path / "mart"), wanted, quarantine_uri=str(tmp_path / "q"))
    assert [result.engine for result in report.results] == ["gx", "duckdb"]
    assert report.quarantined is not None
    found = [
        (row["_mlbridge_file"], row["_mlbridge_row"], len(row["_mlbridge_reasons"]))
        for row in rows_of(report.quarantined.quarantined_uri)
    ]
    expected = [("0.parquet", 1, 2), ("2.parquet", 1, 1), ("2.parquet", 2, 1), ("2.parquet", 3, 2)]
    assert found == expected


def test_files_of_an_evolving_schema(tmp_path: Path) -> None:
    write(tmp_path / "mart/month=1/old.parquet", pa.table({"v": pa.array([1, 200], pa.int32())}))
    new = pa.table({"v": pa.array([3, 400], pa.int64()), "note": ["a", "b"]})
    write(tmp_path / "mart/month=2/new.parquet", new)
    report = validate(f"file://{tmp_path}/mart", [BETWEEN], schema_evolution="union")
    result = quarantine_of(report, str(tmp_path / "q"))
    # The files are of one schema now; where the rows came from is said of those that were pinned.
    clean = pq.ParquetDataset(result.clean_uri, partitioning="hive").read()
    assert clean.select(["v", "note"]).to_pylist() == [{"v": 1, "note": None}, {"v": 3, "note": "a"}]
    origins = [row["_mlbridge_file"] for row in rows_of(result.quarantined_uri)]
    assert origins == ["month=1/old.parquet", "month=2/new.parquet"]


def test_the_rows_of_an_iceberg_table(tmp_path: Path) -> None:
    catalog = catalog_in(tmp_path)
    rows = pa.table({"id": [1, 2, 3, 4], "v": [1, 200, 300, 4]})
    table = catalog.create_table("shop.sales", rows.schema)
    table.append(rows)
    delete_positions(table, {data_files(table)[0].file_path: [0, 1]})
    result = judge_and_quarantine(table.metadata_location, [BETWEEN], str(tmp_path / "q"))
    catalog.close()
    # Rows that were deleted are on neither side.
    assert rows_of(result.clean_uri) == [{"id": 4, "v": 4}]
    assert [(row["id"], row["v"]) for row in rows_of(result.quarantined_uri)] == [(3, 300)]


def test_columns_that_are_called_like_ours(tmp_path: Path) -> None:
    names = ["file_index", "file_row_number", "position", "w0", "c0", "filename"]
    for part in (1, 2):
        columns = {name: [part * 100, 7, 7, part] for name in names}
        write(tmp_path / f"mart/part={part}/a.parquet", pa.table(columns))
    wanted = [expect("column_values_to_be_between", column=name, max_value=50) for name in names]
    wanted.append(expect("compound_columns_to_be_unique", column_list=["file_row_number", "part"]))
    report = validate(str(tmp_path / "mart"), wanted)
    assert [row["file_row"] for row in report.results[1].result["failing_rows"]["shown"]] == [0, 0]
    result = quarantine_of(report, str(tmp_path / "q"))
    bad = rows_of(result.quarantined_uri)
    assert [(row["_mlbridge_row"], row["w0"], len(row["_mlbridge_reasons"])) for row in bad] == [
        (0, 100, 6), (1, 7, 1), (2, 7, 1), (0, 200, 6), (1, 7, 1), (2, 7, 1),
    ]  # fmt: skip
    assert [row["w0"] for row in rows_of(result.clean_uri)] == [1, 2]


def test_odd_names(tmp_path: Path) -> None:
    mart = tmp_path / "a 100% mart"
    for city in ("São Paulo", "50%", "O'Hare"):
        write(mart / f"city={city}" / "x y.parquet", pa.table({"v'; DROP TABLE t; --": [1, 200]}))
    wanted = [expect("column_values_to_be_between", column="v'; DROP TABLE t; --", max_value=100)]
    for number, uri in enumerate((str(mart), f"file://{str(mart).replace('%', '%25')}")):
        for place in (f"{tmp_path}/plain {number}", f"file://{tmp_path}/quoted{number}"):
            result = judge_and_quarantine(uri, wanted, place)
            clean = pin_snapshot(place)
            assert clean.file_count == 6
            cities = ["São Paulo", "50%", "O'Hare"]
            known = expect("column_values_to_be_in_set", column="city", value_set=cities)
            again = validate(result.clean_uri, [known])
            assert [item.exception_message for item in again.results] == [None]
            assert again.success
