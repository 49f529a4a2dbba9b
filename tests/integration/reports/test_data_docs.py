# SPDX-License-Identifier: Apache-2.0
"""Great Expectations' own Data Docs show our results."""

from __future__ import annotations

import json
import re
import warnings
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate, write_report
from airflow_provider_mlbridge.quality.catalog import OWN
from airflow_provider_mlbridge.quality.engines.gx import import_gx
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.reporting.gx_document import expectation_config

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
ODD = "<script>alert(1)</script> $x $$ \"'\n"


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


SUITE = [
    expect("column_values_to_be_between", column="n", max_value=1.5) | {"severity": "warning"},
    expect("column_max_to_be_between", column="n", max_value=3, strict_max=True),
    expect("column_mean_to_be_between", column="n", min_value=0),
    expect("column_median_to_be_between", column="s", min_value=1),
    expect("column_distinct_values_to_be_in_set", column="s", value_set=["q"]),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="n", column_B="i"),
    expect("column_quantile_values_to_be_between", column="n",
           quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, 1]]}),
    expect("column_to_exist", column="nowhere"),
    expect("column_value_lengths_to_equal", column="s", value=2),
    expect("column_values_to_be_in_set", column="s", value_set=["x", "<b>"]),
    expect("column_values_to_be_unique", column="nowhere"),
    expect("column_values_to_match_regex", column="s", regex="^(?<!a)x$"),
    expect("column_values_to_not_be_null", column=ODD),
    expect("column_values_to_be_null", column="s", mostly=0.5),
    expect("multicolumn_sum_to_equal", column_list=["n", "i"], sum_total=3),
    expect("table_columns_to_match_ordered_list", column_list=["n"]),
    expect("table_columns_to_match_set", column_set=["n"]),
    expect("table_row_count_to_equal", value=4),
]  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that was written, of a datamart with names that are hard to show."""
    folder = tmp_path_factory.mktemp("report")
    columns = {"n": [1.0, 2.0, float("inf")], "i": [1, 1, 3], "s": ["x", "y", None], ODD: [1, None, 3]}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    report = validate(
        str(folder / "t.parquet"),
        SUITE,
        schema={"n": "int64", ODD: "string"},
        unique=["i", ["n", "s"]],
        max_age=60,
        now=NOW,
    )
    assert report.not_checked
    return Path(write_report(report, str(folder / "report")))


@pytest.fixture
def page(stored: Path, tmp_path: Path) -> str:
    """The page that a site of Data Docs builds from the stored JSON."""
    gx = import_gx()
    from great_expectations.core import ExpectationSuiteValidationResultSchema, RunIdentifier
    from great_expectations.core.batch import LegacyBatchDefinition  # noqa: F401 - registers its schema
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    document = json.loads(stored.read_text())
    result = ExpectationSuiteValidationResultSchema().load(document)
    context = gx.get_context(mode="file", project_root_dir=str(tmp_path))
    run = document["meta"]["run_id"]
    key = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(name="suite"),
        run_id=RunIdentifier(run["run_name"], run["run_time"]),
        batch_identifier="datamart",
    )
    context.validation_results_store.set(key=key, value=result)
    with warnings.catch_warnings():
        # Of its own dependencies.
        warnings.simplefilter("ignore")
        context.build_data_docs()
    (built,) = tmp_path.rglob("local_site/validations/**/*.html")
    return built.read_text()


def text_of(page: str) -> str:
    bare = re.sub(r"(?s)<(style|script)\b.*?</\1>", "", page)
    return unescape(unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", bare))))


def test_a_site_of_data_docs_shows_every_expectation(page: str, stored: Path) -> None:
    text = text_of(page)
    document = json.loads(stored.read_text())
    statistics = document["statistics"]
    assert f"Evaluated Expectations {statistics['evaluated_expectations']} " in text
    assert f"Successful Expectations {statistics['successful_expectations']} " in text
    for shown in (
        "2024-01-02T03:04:05Z",
        "age of the newest file: an age of at most 60 seconds",
        "type of the column in n: type int64",
        "values must be less than or equal to 1.5",
        "maximum value must be less than 3",
        "Values for given compound columns must be unique together",
        "raised an exception: there is no column 'nowhere'",
        "values must belong to this set: x <b>",
        "Must have exactly 4 rows",
        "^(?<!a)x$",
    ):
        assert shown in text, shown
    # Great Expectations escapes values, but not descriptions, so that ours come escaped.
    assert "type of the column in &lt;script&gt;alert(1)" in page


def test_every_type_that_is_written_is_known_to_great_expectations(stored: Path) -> None:
    import_gx()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    for result in json.loads(stored.read_text())["results"]:
        config = result["expectation_config"]
        assert not config["type"].startswith("mlbridge_")
        ExpectationConfiguration(**config).to_domain_obj()
    for type_ in OWN:
        kwargs = {"column": "a", "type_": "int64", "max_age_seconds": 1.0}
        known = {name: kwargs[name] for name in OWN[type_].required}
        ExpectationConfiguration(**expectation_config(Expectation(type_, known))).to_domain_obj()
