# SPDX-License-Identifier: Apache-2.0
"""What the quality operator adds to a check: inputs beside the DAG file, history, quarantine, signals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.operators import DatamartQualityOperator, FeatureBuildOperator
from airflow_provider_mlbridge.operators._places import places
from airflow_provider_mlbridge.results import FeatureSet, QualitySummary

WriteParquet = Callable[..., Path]
EMAIL = "ada.lovelace@example.org"


@pytest.fixture
def mart(write_parquet: WriteParquet) -> str:
    """A datamart of 50 rows; x is missing in ten, and one row has an e-mail address."""
    columns = {
        "id": list(range(50)),
        "x": [None, 1.0, 2.0, 3.0, 4.0] * 10,
        "mail": [EMAIL, *(None for _ in range(49))],
    }
    return str(write_parquet("mart/a.parquet", columns).parent) + "/"


@pytest.fixture
def beside(tmp_path: Path, context: Any) -> Path:
    """The folder of the DAG file."""
    folder = tmp_path / "dags"
    folder.mkdir()
    context["dag"] = SimpleNamespace(fileloc=str(folder / "bridge.py"))
    return folder


def quality(datamart: Any, **changes: Any) -> DatamartQualityOperator:
    return DatamartQualityOperator(task_id="check", datamart=datamart, aws_conn_id=None, **changes)


def test_a_contract_and_a_manifest_lie_beside_the_dag_file(
    mart: str, context: Any, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "orders.odcs.yaml").write_text(
        """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - name: id
        logicalType: integer
        required: true
        unique: true
    quality:
      - type: sql
        query: SELECT count(*) FROM orders
        mustBe: 50
"""
    )
    task = quality(mart, contract="orders.odcs.yaml", report_uri=f"{beside.parent}/report/")
    summary = QualitySummary.from_dict(task.execute(context))
    assert summary.success
    assert summary.passed >= 2
    # What cannot be judged is told wherever one may look.
    assert summary.unsupported == 1
    assert "Not checked, for no expectation stands for it" in capsys.readouterr().out
    report = json.loads(Path(str(summary.report_uri)).read_text())
    assert "schema[0].quality[0]" in report["meta"]["mlbridge"]["unsupported"][0]
    assert "schema[0].quality[0]" in Path(str(summary.report_uri)).with_suffix(".html").read_text()


def test_a_callable_makes_the_suite_when_the_task_runs(mart: str, context: Any) -> None:
    def suite(context: Any) -> dict[str, Any]:
        return {
            "name": context["ti"].run_id,
            "expectations": [
                {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
            ],
        }

    task = quality(mart, suite=suite)
    # Airflow renders the fields before it runs the task.
    task.render_template_fields(context)
    assert task.execute(context)["passed"] == 1
    report = task._report
    assert report is not None
    assert report.suite_name == "manual__1"


def test_history_is_kept_beside_the_report_and_judged_against(
    write_parquet: WriteParquet, tmp_path: Path, context: Any
) -> None:
    def run(rows: int, number: int, **changes: Any) -> dict[str, Any]:
        path = write_parquet(f"mart{number}/a.parquet", {"id": list(range(rows))})
        anomaly = {"type": "mlbridge_row_count_anomaly", "kwargs": {"min_history": 4}}
        return quality(
            f"{path.parent}/", expectations=[anomaly], report_uri=f"{tmp_path}/report/", **changes
        ).execute(context)

    for number, rows in enumerate((100, 101, 99, 102)):
        # Not enough history is no pass, but it does not stop anybody either.
        summary = run(rows, number, fail_on="error")
        assert (summary["success"], summary["passed"]) == (True, 0)
        assert "not enough history" in summary["failed_expectations"][0]
    with pytest.raises(AirflowFailException, match="mlbridge_row_count_anomaly"):
        run(50, 4)
    assert run(101, 5)["passed"] == 1
    assert len(list((tmp_path / "report" / "history").iterdir())) == 6


def test_mapped_instances_keep_a_history_per_datamart(mart: str, context: Any, tmp_path: Path) -> None:
    for index in (3, 8):
        # The same datamart may have another index in the next run.
        context["ti"].map_index = index
        quality(mart, unique=["id"], report_uri=f"{tmp_path}/report/").execute(context)
    (history,) = (tmp_path / "report").glob("datamart-*/history")
    assert len(list(history.iterdir())) == 2


def test_features_are_built_from_the_rows_that_broke_nothing(mart: str, context: Any, tmp_path: Path) -> None:
    not_null = {
        "type": "expect_column_values_to_not_be_null",
        "kwargs": {"column": "x"},
        "severity": "warning",
    }
    task = quality(mart, expectations=[not_null], quarantine_uri=f"{tmp_path}/bad/")
    document = task.execute(context)
    summary = QualitySummary.from_dict(document)
    assert summary.quarantined_rows == 10
    bad = pq.read_table(summary.quarantine_uri)
    assert bad.num_rows == 10
    assert bad["_mlbridge_reasons"][0].as_py() == ["expect_column_values_to_not_be_null(x), warning"]

    recipe = {"name": "r", "keys": ["id"], "steps": [{"type": "standard", "columns": ["x"]}]}
    build = FeatureBuildOperator(
        task_id="features", datamart=document, recipe=recipe, output_uri=f"{tmp_path}/f/", aws_conn_id=None
    )
    features = FeatureSet.from_dict(build.execute(context))
    assert (features.rows, features.datamart_uri) == (40, summary.clean_uri)

    # What was set aside as clean is what is built from, or nothing is.
    victim = next(Path(str(summary.clean_uri)).glob("*.parquet"))
    victim.write_bytes(victim.read_bytes())
    with pytest.raises(AirflowFailException, match="SnapshotChangedError"):
        build.execute(context)


def test_a_quarantine_that_is_refused_fails_after_the_report(mart: str, context: Any, tmp_path: Path) -> None:
    unknown = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "nope"}}
    task = quality(
        mart,
        expectations=[unknown],
        fail_on="never",
        quarantine_uri=f"{tmp_path}/bad/",
        report_uri=f"{tmp_path}/report/",
    )
    with pytest.raises(AirflowFailException, match="(?s)no column 'nope'.*Nothing was put into quarantine"):
        task.execute(context)
    assert not (tmp_path / "bad" / "_latest.json").exists()
    report = json.loads((tmp_path / "report" / "quality_report.json").read_text())
    assert "nope" in report["meta"]["mlbridge"]["quarantine_error"]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [({}, False), ({"masking": {"mail": "hash"}}, False), ({"masking": {"*": "plain"}}, True)],
)
def test_a_planted_address_reaches_nothing_unless_it_may(
    mart: str,
    context: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    shown: bool,
) -> None:
    expectations = [
        {"type": "expect_column_values_to_be_null", "kwargs": {"column": "mail"}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "mail", "regex": "^nobody$"}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "mail", "value_set": ["x"]}},
        {"type": "expect_column_distinct_values_to_equal_set",
         "kwargs": {"column": "mail", "value_set": ["x"]}},
        {"type": "expect_column_values_to_be_json_parseable", "kwargs": {"column": "mail"}},
        {"type": "expect_column_values_to_match_strftime_format",
         "kwargs": {"column": "mail", "strftime_format": "%Y"}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "mail", "max_value": 1}},
    ]  # fmt: skip
    task = quality(
        mart,
        expectations=expectations,
        report_uri=f"{tmp_path}/report/",
        result_format="COMPLETE",
        key_columns=["mail"],
        **changes,
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(AirflowFailException) as raised:
        task.execute(context)
    report = "".join(path.read_text() for path in (tmp_path / "report").rglob("*.*") if path.is_file())
    elsewhere = f"{raised.value}{json.dumps(context['ti'].xcoms)}{caplog.text}{''.join(capsys.readouterr())}"
    assert "lovelace" not in elsewhere
    assert (EMAIL in report) is shown
    assert shown or "lovelace" not in report


def test_metrics_are_sent_also_for_a_check_that_fails(mart: str, context: Any, mocker: MockerFixture) -> None:
    from airflow.sdk.observability import stats

    gauge, timing = mocker.patch.object(stats, "gauge"), mocker.patch.object(stats, "timing")
    context["ti"].dag_id, context["ti"].map_index = "a dag: one", 7
    with pytest.raises(AirflowFailException):
        quality(mart, unique=["id"], not_null=["x"]).execute(context)
    tags = {"dag_id": "a_dag__one", "task_id": "train", "map_index": "7"}
    sent = {
        (call.args[0].removeprefix("mlbridge.quality."), call.kwargs["tags"].pop("result", None)): call
        for call in gauge.call_args_list
    }
    values = {key: call.args[1] for key, call in sent.items()}
    assert values.pop(("published", None)) > 1_700_000_000
    assert values.pop(("bytes", None)) > 0
    assert values == {
        ("pass_ratio", None): 0.5,
        ("rows", None): 50,
        ("checks", "passed"): 1,
        ("checks", "failed"): 1,
        ("checks", "not_checked"): 0,
    }
    assert all(call.kwargs["tags"] == tags for call in sent.values())
    assert timing.call_args.args[0] == "mlbridge.quality.duration"


def test_assets_are_told_what_was_checked(mart: str, context: Any) -> None:
    asset = Asset(name="mart", uri="s3://lake/mart/")
    context["outlet_events"] = {asset: SimpleNamespace(extra=None)}
    summary = quality(mart, unique=["id"], outlets=[asset]).execute(context)
    fingerprint = summary["snapshot"]["fingerprint"]
    assert context["outlet_events"][asset].extra == {
        "fingerprint": fingerprint,
        "rows": 50,
        "pass_ratio": 1.0,
    }


def test_lineage_has_the_verdicts_also_of_a_check_that_fails(mart: str, context: Any) -> None:
    task = quality(mart, unique=["id"], not_null=["x"])
    assert task.get_openlineage_facets_on_complete(None) is None
    with pytest.raises(AirflowFailException):
        task.execute(context)
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    (dataset,) = lineage.inputs
    assert (dataset.namespace, dataset.name) == ("file", mart.rstrip("/"))
    assertions = dataset.inputFacets["dataQualityAssertions"].assertions
    assert {(item.column, item.success) for item in assertions} == {("id", True), ("x", False)}


def test_a_hash_key_without_a_password_is_refused(mart: str, context: Any, mocker: MockerFixture) -> None:
    from airflow.sdk import BaseHook

    connection = mocker.patch.object(BaseHook, "get_connection", return_value=SimpleNamespace(password=None))
    with pytest.raises(AirflowFailException, match="hash_key_conn_id='keys': the connection has no password"):
        quality(mart, unique=["id"], hash_key_conn_id="keys").execute(context)
    connection.assert_called_once_with("keys")


@pytest.mark.parametrize("argument", ["report_uri", "history_uri", "quarantine_uri"])
@pytest.mark.parametrize("place", ["", "reports/", "s3://lake/" + "x" * 300])
def test_a_place_that_is_none_is_refused_before_anything_is_read(
    context: Any, argument: str, place: str
) -> None:
    with pytest.raises(AirflowFailException, match=argument):
        quality("/no/such/mart/", unique=["id"], **{argument: place}).execute(context)


def test_instances_over_partitions_have_quarantine_and_history_of_their_own(
    write_parquet: WriteParquet, tmp_path: Path, context: Any
) -> None:
    for country in ("de", "fr"):
        write_parquet(f"mart/country={country}/a.parquet", {"id": [1, None]})
    present = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "severity": "info"}
    found = []
    for index, country in enumerate(("de", "fr", "de")):
        context["ti"].map_index = index
        task = quality(
            f"{tmp_path}/mart/",
            partitions={"country": country},
            expectations=[present],
            report_uri=f"{tmp_path}/report/",
            quarantine_uri=f"{tmp_path}/bad/",
            quarantine_severities=["info"],
        )
        found.append(QualitySummary.from_dict(task.execute(context)))
    bases = [str(summary.clean_uri).split("/versions/")[0] for summary in found]
    assert bases[0] == bases[2] != bases[1]
    histories = sorted(len(list(path.iterdir())) for path in (tmp_path / "report").glob("*/history"))
    assert histories == [1, 2]


def test_the_output_of_a_sensor_has_the_history_of_its_datamart(mart: str, context: Any) -> None:
    snapshot = quality(mart, unique=["id"]).execute(context)["snapshot"]
    later = {**snapshot, "pinned_at": "later"}
    named: dict[str, Any] = {
        "map_index": 3,
        "report_uri": "/r/",
        "history_uri": None,
        "quarantine_uri": "/q/",
    }
    found = {places(value, None, **named) for value in (mart, mart.rstrip("/"), snapshot, later)}
    ((reports, runs, quarantine),) = found
    assert reports == "/r/3/"
    assert str(runs).startswith("/r/datamart-")
    assert str(quarantine).startswith("/q/datamart-")


def test_the_page_names_dag_task_and_run(mart: str, context: Any, tmp_path: Path) -> None:
    quality(mart, unique=["id"], report_uri=f"{tmp_path}/report/").execute(context)
    page = (tmp_path / "report" / "quality_report.html").read_text()
    assert "<dt>DAG</dt><dd>bridge</dd><dt>Task</dt><dd>train</dd><dt>Run</dt><dd>manual__1</dd>" in page


def test_a_quarantine_that_the_store_refuses_fails_after_the_report(
    mart: str, context: Any, tmp_path: Path, mocker: MockerFixture
) -> None:
    from airflow_provider_mlbridge.exceptions import StorageUnavailableError

    mocker.patch(
        "airflow_provider_mlbridge.quality.evaluation.write_quarantine",
        side_effect=StorageUnavailableError("503 from the store"),
    )
    task = quality(mart, unique=["id"], quarantine_uri=f"{tmp_path}/bad/", report_uri=f"{tmp_path}/report/")
    # A retry may help, so it is not an AirflowFailException.
    with pytest.raises(StorageUnavailableError, match="503"):
        task.execute(context)
    report = json.loads((tmp_path / "report" / "quality_report.json").read_text())
    assert report["meta"]["mlbridge"]["quarantine_error"] == "503 from the store"
    assert context["ti"].xcoms["quality"]["success"] is False


def test_a_history_that_cannot_be_written_costs_no_verdict(
    mart: str, context: Any, tmp_path: Path, mocker: MockerFixture
) -> None:
    from airflow_provider_mlbridge.exceptions import StorageUnavailableError

    mocker.patch(
        "airflow_provider_mlbridge.quality.history.append", side_effect=StorageUnavailableError("503")
    )
    assert quality(mart, unique=["id"], report_uri=f"{tmp_path}/report/").execute(context)["success"]


@pytest.mark.parametrize(("as_snapshot", "retried"), [(False, True), (True, False)])
def test_a_datamart_replaced_while_it_is_read_is_pinned_anew_by_a_retry(
    mart: str, context: Any, mocker: MockerFixture, *, as_snapshot: bool, retried: bool
) -> None:
    from airflow_provider_mlbridge.exceptions import SnapshotChangedError

    datamart: Any = mart
    if as_snapshot:
        datamart = quality(mart, unique=["id"]).execute(context)["snapshot"]
    mocker.patch(
        "airflow_provider_mlbridge.quality.validation.read_table",
        side_effect=SnapshotChangedError("replaced"),
    )
    with pytest.raises(SnapshotChangedError if retried else AirflowFailException, match="replaced"):
        quality(datamart, unique=["id"]).execute(context)


def test_a_killed_task_leaves_nothing_of_the_datamart_behind(
    mart: str, context: Any, tmp_path: Path, mocker: MockerFixture
) -> None:
    from airflow.sdk.exceptions import AirflowTaskTerminated

    scratch = tmp_path / "scratch"
    task = quality(mart, unique=["id"], scratch_dir=str(scratch), quarantine_uri=f"{tmp_path}/bad/")

    def kill(*_: Any, **__: Any) -> None:
        assert list(scratch.iterdir()) != []
        task.on_kill()

    # Airflow's signal handler runs in the middle of execute.
    mocker.patch("airflow_provider_mlbridge.quality.evaluation.write_quarantine", side_effect=kill)
    with pytest.raises(AirflowTaskTerminated):
        task.execute(context)
    assert list(scratch.iterdir()) == []
    # After a time-out Airflow calls it when execute has ended.
    task.on_kill()


def test_the_result_fits_into_xcom_with_the_longest_places(
    write_parquet: WriteParquet, tmp_path: Path, context: Any
) -> None:
    from airflow_provider_mlbridge.results import XCOM_LIMIT_BYTES

    columns = {f"a column of the datamart with a long name {number}": [None] for number in range(30)}
    # 240 characters each, wherever the test has its folder.
    long = f"{tmp_path}/{'d' * (239 - len(str(tmp_path)))}"
    path = write_parquet(f"{'e' * 150}/{'f' * 50}/a.parquet", columns)
    expectations = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}, "severity": "warning"}
        for column in columns
    ]
    task = quality(
        f"{path.parent}/", expectations=expectations, report_uri=f"{long}/r/", quarantine_uri=f"{long}/q/"
    )
    document = task.execute(context)
    assert len(json.dumps(document)) < XCOM_LIMIT_BYTES
    assert QualitySummary.from_dict(document).failed == 30


def test_a_connection_that_does_not_exist_is_named(context: Any) -> None:
    task = DatamartQualityOperator(
        task_id="check", datamart="s3://lake/mart/", unique=["id"], aws_conn_id="mistyped"
    )
    with pytest.raises(AirflowFailException, match="aws_conn_id='mistyped': there is no such Airflow"):
        task.execute(context)


def test_what_is_let_pass_is_told(
    mart: str, context: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = quality(mart, not_null=["x"], fail_on="never", report_uri=f"{tmp_path}/report/")
    task.execute(context)
    assert "Let pass: expect_column_values_to_not_be_null(x)" in capsys.readouterr().out
    page = (tmp_path / "report" / "quality_report.html").read_text()
    assert "let pass with 1 failed (fail_on=never)" in page
    assert "fit for use<" not in page
