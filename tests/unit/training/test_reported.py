# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import InvalidTrainingResultError
from airflow_provider_mlbridge.training.reported import RESULT_LIMIT_BYTES, parse_reported_result
from airflow_provider_mlbridge.training.state import ReportedResult


def test_reads_every_field_from_text_bytes_and_mapping() -> None:
    document = {
        "metrics": {"accuracy": 0.91, "rows": 1000},
        "model_uri": "s3://models/m.joblib",
        "mlflow_run_id": "abc",
        "extra": {"classes": ["a", "b"], "nothing": None},
    }
    expected = ReportedResult(
        metrics={"accuracy": 0.91, "rows": 1000.0},
        model_uri="s3://models/m.joblib",
        mlflow_run_id="abc",
        extra={"classes": ["a", "b"], "nothing": None},
    )
    text = json.dumps(document)
    assert parse_reported_result(document) == expected
    assert parse_reported_result(text) == expected
    assert parse_reported_result(text.encode()) == expected


@pytest.mark.parametrize("nothing", [None, "", b"", " \n", "{}", "null", {}])
def test_a_training_may_report_nothing(nothing: Any) -> None:
    assert parse_reported_result(nothing) == ReportedResult()


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("[1]", "must be a JSON object, found an array"),
        ('"done"', "must be a JSON object, found a string"),
        ("accuracy=0.9", "is not JSON.*begins with 'accuracy=0.9'"),
        ('{"metrics": {"a": 1', "is not JSON"),
        (b'{"model_uri": "\xff"}', "is not UTF-8.*at byte 15"),
        ('{"metric": {"a": 1}}', r"unknown fields \['metric'\].*valid are \['metrics'"),
        ('{"metrics": [1]}', "'metrics' must be an object of name to number, found an array"),
        ('{"metrics": {"auc": "0.9"}}', "metric 'auc' must be a number, found a string"),
        ('{"metrics": {"auc": true}}', "metric 'auc' must be a number, found a boolean"),
        ('{"metrics": {"auc": null}}', "metric 'auc' must be a number, found null"),
        ('{"metrics": {"auc": NaN}}', "contains NaN, which is not JSON"),
        ('{"extra": {"x": -Infinity}}', "contains -Infinity"),
        ('{"metrics": {"auc": 1e999}}', "metric 'auc' must be finite, found inf"),
        ('{"metrics": {"auc": 1' + "0" * 400 + "}}", "metric 'auc' is too large"),
        ('{"extra": {"x": 1e999}}', "cannot be kept as strict JSON"),
        ('{"extra": {"x": "\\ud800"}}', "cannot be kept as strict JSON"),
        ('{"model_uri": 7}', "'model_uri' must be a string or null, found a number"),
        ('{"mlflow_run_id": {}}', "'mlflow_run_id' must be a string or null, found an object"),
        ('{"extra": "free text"}', "'extra' must be an object, found a string"),
        ("[" * 60_000, "nested too deeply"),
        ({"metrics": {"auc": float("nan")}}, "metric 'auc' must be finite, found nan"),
        ({"extra": {"x": object()}}, "cannot be kept as strict JSON"),
        ("{" + " " * RESULT_LIMIT_BYTES + "}", "has 65,538 bytes, more than the 65,536 allowed"),
        ({"extra": {"x": "y" * RESULT_LIMIT_BYTES}}, "more than the 65,536 allowed"),
    ],
)
def test_refuses_what_is_not_a_result_and_says_why(report: Any, message: str) -> None:
    with pytest.raises(InvalidTrainingResultError, match=message) as caught:
        parse_reported_result(report, source="file /jobs/1/result.json")
    assert str(caught.value).startswith("file /jobs/1/result.json ")


def test_names_at_most_ten_unknown_fields() -> None:
    with pytest.raises(InvalidTrainingResultError, match="and 5 more; valid are"):
        parse_reported_result({f"field{number}": 1 for number in range(15)})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused_but_never_breaks(document: Any) -> None:
    for report in (document, json.dumps(document), {"metrics": document}, {"extra": document}):
        try:
            result = parse_reported_result(report)
        except InvalidTrainingResultError:
            continue
        json.dumps([dict(result.metrics), dict(result.extra)], allow_nan=False)
