# SPDX-License-Identifier: Apache-2.0
"""What is written: Great Expectations' shape, strict JSON, a page on its own, and no values of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import DataQualityFailedError
from airflow_provider_mlbridge.quality import QualityReport, validate, write_report
from airflow_provider_mlbridge.quality.engines.gx import import_gx
from airflow_provider_mlbridge.quality.reporting.page import to_html
from airflow_provider_mlbridge.quality.values import json_value

Writer = Callable[..., Path]


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def everything(column: str) -> list[dict[str, Any]]:
    """Expectations of every kind that fail on text, or that cannot be evaluated on it."""
    return [
        expect("column_values_to_be_in_set", column=column, value_set=["other"]),
        expect("column_values_to_match_regex", column=column, regex="^never$"),
        expect("column_values_to_match_regex", column=column, regex="^(?=never)"),
        expect("column_value_lengths_to_equal", column=column, value=99),
        expect("column_values_to_be_null", column=column),
        expect("column_values_to_be_between", column=column, min_value=1),
        expect("column_distinct_values_to_be_in_set", column=column, value_set=["other"]),
        expect("column_distinct_values_to_equal_set", column=column, value_set=["other"]),
        expect("column_most_common_value_to_be_in_set", column=column, value_set=["other"]),
        expect("column_values_to_be_dateutil_parseable", column=column),
        expect("column_values_to_be_increasing", column=column),
        expect("column_max_to_be_between", column=column, max_value=1),
        expect("column_sum_to_be_between", column=column, max_value=1),
        expect("column_pair_values_to_be_equal", column_A=column, column_B="id"),
        expect("select_column_values_to_be_unique_within_record", column_list=[column, "same"]),
        expect("column_median_to_be_between", column=column, min_value=1),
    ]


def texts(report: QualityReport) -> list[str]:
    try:
        report.raise_for_verdict()
    except DataQualityFailedError as error:
        message = str(error)
    return [
        json.dumps(report.to_gx_json(), ensure_ascii=False, allow_nan=False),
        to_html(report),
        report.summary().to_json(),
        message,
    ]


# Making a failure smaller would take minutes, each one being a run of Great Expectations.
@settings(phases=(Phase.explicit, Phase.generate))
@given(st.lists(st.from_regex(r"[b-z]{8}[0-9]@plant\.ed", fullmatch=True), min_size=1, max_size=4))
def test_planted_values_leak_nowhere(write_parquet: Writer, planted: list[str]) -> None:
    columns = {"mail": planted * 2, "same": planted * 2, "id": list(range(2 * len(planted)))}
    path = write_parquet("t.parquet", columns)
    report = validate(str(path), everything("mail"), unique=["mail", ["mail", "same"]])
    assert len(report.failed) >= 12
    for text in texts(report):
        assert "plant.ed" not in text
        assert not any(value in text or value[:9] in text for value in planted)


def test_values_are_shown_when_asked_for(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"mail": ["a@b.c", "d@e.f", "a@b.c", None], "n": [1, 2, 1, 4]})
    expectations = [
        expect("column_values_to_match_regex", column="mail", regex="^d"),
        expect("column_values_to_match_regex", column="mail", regex="^(?=d)"),
        expect("column_values_to_be_between", column="n", max_value=3),
        expect("column_pair_values_a_to_be_greater_than_b", column_A="n", column_B="n"),
    ]
    report = validate(
        str(path), expectations, unique=["mail", ["mail", "n"]], not_null=["mail"], unmasked_columns=["mail"]
    )
    null, unique, compound, regex, by_gx, masked, pair = (
        result.result["partial_unexpected_list"] for result in report.results
    )
    assert null == [None]
    assert unique == regex == by_gx == ["a@b.c", "a@b.c"]
    assert compound == [{"mail": "a@b.c", "n": "*** (int64)"}] * 2
    assert masked == ["*** (int64)"]
    assert pair == [["*** (int64)", "*** (int64)"]] * 4
    assert report.results[3].result["partial_unexpected_counts"] == [{"value": "a@b.c", "count": 2}]


def test_the_json_has_the_shape_of_great_expectations(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"n": [1.0, 2.0, float("inf")], "s": ["x", "y", None]})
    entry = expect("column_values_to_be_between", column="n", max_value=1.5) | {
        "severity": "warning",
        "meta": {"a": 1},
    }
    entries = [
        entry,
        expect("column_max_to_be_between", column="n", max_value=3),
        expect("column_to_exist", column="s"),
    ]
    document = validate(str(path), entries, suite={"name": "mine", "expectations": []}).to_gx_json()

    gx = import_gx()
    from great_expectations.core import ExpectationSuiteValidationResultSchema
    from great_expectations.data_context.types.base import ProgressBarsConfig

    loaded = ExpectationSuiteValidationResultSchema().load(json.loads(json.dumps(document, allow_nan=False)))
    assert loaded["results"][0].success is False

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    frame = pq.read_table(path).to_pandas()
    asset = context.data_sources.add_pandas("shape").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="mine", expectations=entries)
    theirs = batch.validate(suite, result_format="SUMMARY").to_json_dict()

    assert document.keys() == theirs.keys()
    assert document["statistics"] == theirs["statistics"]
    assert (document["success"], document["suite_name"]) == (False, "mine")
    for ours in document["results"]:
        type_ = ours["expectation_config"]["type"]
        (other,) = (item for item in theirs["results"] if item["expectation_config"]["type"] == type_)
        assert ours.keys() == other.keys()
        # The rows with their keys and places are ours alone.
        assert ours["result"].keys() - {"failing_rows"} == other["result"].keys()
        assert ours["exception_info"] == other["exception_info"]
        other["expectation_config"]["kwargs"].pop("batch_id")
        assert ours["expectation_config"] == other["expectation_config"]


def test_files_are_written(write_parquet: Writer, tmp_path: Path) -> None:
    path = write_parquet("t.parquet", {"<b>&": [float("inf"), 1.0], "x": [1, 1]})
    report = validate(
        str(path),
        [expect("column_max_to_be_between", column="<b>&", max_value=3)],
        unique=["x"],
        not_null=["<i>"],
    )
    uri = write_report(report, f"file://{tmp_path}/reports/run 1")
    folder = tmp_path / "reports" / "run 1"
    assert uri == f"file://{folder}/quality_report.json"

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    document = json.loads((folder / "quality_report.json").read_text(), parse_constant=refuse)
    assert document["results"][2]["result"] == {"observed_value": "Infinity"}
    assert document["meta"]["mlbridge"]["not_checked"] == 1
    page = (folder / "quality_report.html").read_text()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "&lt;i&gt;" in page
    for outside in ("http", "<script", "<link", "src="):
        assert outside not in page.replace(str(tmp_path), "")
    assert page.index("not checked</span>") < page.index("failed (critical)</span>")


def test_values_in_messages_of_great_expectations_are_masked(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"born": [date(1987, 6, 5)], "mail": ["ann@x.org"]})
    report = validate(
        str(path),
        [
            expect("column_mean_to_be_between", column="born", min_value=0),
            expect("column_stdev_to_be_between", column="mail", min_value=0),
        ],
    )
    assert [(result.engine, result.success) for result in report.results] == [("gx", None)] * 2
    message = str(report.results[0].exception_message)
    assert "a value cannot be converted to the type that is needed" in message
    assert "1987" not in message


def test_json_values_are_strict() -> None:
    values = [
        math.nan,
        -math.inf,
        Decimal("1.5"),
        date(2024, 1, 2),
        {3, 1},
        b"\xff",
        timedelta(minutes=1),
        None,
    ]
    assert json_value(values) == ["NaN", "-Infinity", 1.5, "2024-01-02", [1, 3], "ff", 60.0, None]


@pytest.mark.parametrize("count", [0, 3])
def test_the_message_shows_ten_and_says_how_many_more(write_parquet: Writer, count: int) -> None:
    names = [f"c{i}" for i in range(10 + count)]
    path = write_parquet("t.parquet", {name: [1, 1] for name in names})
    with pytest.raises(DataQualityFailedError) as caught:
        validate(str(path), unique=names).raise_for_verdict()
    lines = str(caught.value).splitlines()
    assert sum(line.startswith("  - ") for line in lines) == 10
    assert (lines[-1] == "  and 3 more") is bool(count)


def test_a_description_is_no_markup_in_the_json(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"a": [1]})
    entry = {**expect("column_to_exist", column="a"), "description": "<img src=x onerror=alert(1)> & more"}
    (result,) = validate(str(path), [entry]).results
    assert result.to_gx_json()["expectation_config"]["description"] == (
        "&lt;img src=x onerror=alert(1)&gt; &amp; more"
    )
