# SPDX-License-Identifier: Apache-2.0
"""E-mail addresses planted in a datamart: under the defaults they appear nowhere outside of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import ConfigurationError, MLBridgeError
from airflow_provider_mlbridge.quality import QualityReport, validate
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, Session, errors, open_session
from airflow_provider_mlbridge.quality.reporting.report import HTML_NAME, JSON_NAME, write_report
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.storage import local_files, pin_snapshot
from tests.unit.quality.quarantine_support import expect, write

SECRET = "zqx"
"""Part of every address and of nothing else."""
ROWS = 24

FAST = [
    expect("column_values_to_match_regex", column="email", regex="^x"),
    expect("column_values_to_be_in_set", column="category", value_set=["fine"]),
    expect("column_values_to_be_unique", column="email"),
    expect("compound_columns_to_be_unique", column_list=["same", "email"]),
    expect("column_value_lengths_to_be_between", column="email", max_value=2),
    expect("column_values_to_be_null", column="tags"),
    expect("column_values_to_be_null", column="record"),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="email", column_B="other"),
    expect("column_pair_values_to_be_equal", column_A="email", column_B="other"),
    expect(
        "column_pair_values_to_be_in_set", column_A="email", column_B="other", value_pairs_set=[["a", "b"]]
    ),
    expect("select_column_values_to_be_unique_within_record", column_list=["same", "again"]),
    expect("column_distinct_values_to_be_in_set", column="email", value_set=["a"]),
    expect("column_distinct_values_to_equal_set", column="category", value_set=["a"]),
    expect("column_distinct_values_to_contain_set", column="email", value_set=["a"]),
    expect("column_most_common_value_to_be_in_set", column="same", value_set=["a"]),
    expect("column_values_to_match_like_pattern", column="email", like_pattern="a%"),
    # These make no sense for text: what is raised for them must not quote it.
    expect("column_values_to_be_between", column="email", min_value=0, max_value=3),
    expect("column_values_to_be_between", column="email", min_value="2024-01-01"),
    expect(
        "column_values_to_be_between",
        column="number",
        max_value=3,
        row_condition='col("email") != "q"',
        condition_parser="great_expectations",
    ),
]
SLOW = [
    # pandas raises: could not convert string to float: '...'
    expect(
        "column_values_to_be_between",
        column="number",
        max_value=3,
        row_condition='email.astype("float64") > 3',
        condition_parser="pandas",
    ),
    expect("column_values_to_be_in_set", column="binary", value_set=["fine"]),
    expect("column_values_to_be_json_parseable", column="email"),
    expect("column_values_to_match_json_schema", column="json", json_schema={"type": "object"}),
    expect("column_values_to_be_dateutil_parseable", column="email"),
    expect("column_values_to_match_strftime_format", column="email", strftime_format="%Y"),
    expect("column_values_to_be_increasing", column="email"),
    expect("column_values_to_be_unique", column="tags"),
    expect("column_unique_value_count_to_be_between", column="record", max_value=1),
    expect("column_max_to_be_between", column="email", max_value=3),
    expect("column_mean_to_be_between", column="email", max_value=1),
    expect("column_value_z_scores_to_be_less_than", column="email", threshold=1, double_sided=True),
    expect("column_values_to_match_regex_list", column="email", regex_list=["^a(?=b)"]),
    expect("multicolumn_sum_to_equal", column_list=["email", "other"], sum_total=3),
    expect(
        "column_kl_divergence_to_be_less_than",
        column="category",
        partition_object={"values": ["fine", "b"], "weights": [0.5, 0.5]},
        threshold=0.1,
    ),
]


pytestmark = [
    # The text forms of a condition, which suites in use still have.
    pytest.mark.filterwarnings("ignore:The condition_parser parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing a string to the row_condition:DeprecationWarning"),
]


@pytest.fixture
def mart(tmp_path: Path) -> str:
    """Addresses as text, categories, bytes, inside of lists and structs, and in broken JSON."""
    addresses = [f"{SECRET}{number}@secret.example" for number in range(ROWS)]
    addresses[5] = addresses[6]
    columns = {
        "id": list(range(ROWS)),
        "email": addresses,
        "category": pa.array(addresses[: ROWS - 4] + ["fine"] * 4).dictionary_encode(),
        "tags": [[address] for address in addresses],
        "record": [{"address": address} for address in addresses],
        "binary": [address.encode() for address in addresses],
        "json": [f'{{"address": "{address}"' for address in addresses],
        "other": addresses[::-1],
        "same": [f"{SECRET}@secret.example"] * ROWS,
        "again": [f"{SECRET}@secret.example"] * ROWS,
        "number": [float(number) for number in range(ROWS)],
    }
    write(tmp_path / "mart/a.parquet", pa.table(columns))
    return str(tmp_path / "mart")


def everything_said(report: QualityReport, folder: Path, log: str) -> dict[str, str]:
    """All texts that leave a check."""
    write_report(report, str(folder))
    try:
        report.raise_for_verdict()
        message = ""
    except MLBridgeError as error:
        message = f"{error} {error.__cause__} {error.__context__}"
    return {
        "json": (folder / JSON_NAME).read_text(),
        "page": (folder / HTML_NAME).read_text(),
        "summary": report.summary("uri").to_json(),
        "error": message,
        "log": log,
        "repr": repr(report),
    }


def leaks(texts: dict[str, str]) -> list[str]:
    """The texts with an address, also as bytes in hexadecimal form."""
    return [name for name, text in texts.items() if SECRET in text or SECRET.encode().hex() in text]


@pytest.mark.parametrize("level", ["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"])
def test_no_address_under_the_defaults(
    mart: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    caplog.set_level(logging.DEBUG)
    shape: dict[str, Any] = {"result_format": level, "unexpected_index_column_names": ["email", "id"]}
    report = validate(mart, FAST, result_format=shape, key_columns=["email"], describe_columns=True)
    assert [result.type for result in report.results if result.engine == "gx"] == []
    assert leaks(everything_said(report, tmp_path / "report", caplog.text)) == []


def test_values_of_rows_that_are_not_shown_are_not_even_read(mart: str, mocker: MockerFixture) -> None:
    read = mocker.spy(Session, "query")
    # Distinct values are another matter: they are what is judged.
    about_rows = [item for item in FAST if "distinct" not in item["type"] and "common" not in item["type"]]
    validate(mart, about_rows, result_format="COMPLETE", key_columns=["email"])
    assert read.call_count > len(about_rows) / 2
    assert SECRET not in repr(read.spy_return_list)


def test_no_address_from_great_expectations(
    mart: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shape = {"result_format": "COMPLETE", "include_unexpected_rows": True}
    report = validate(mart, [*FAST, *SLOW], result_format=shape, key_columns=["email"], describe_columns=True)
    assert sum(result.engine == "gx" for result in report.results) > 8
    assert any(result.engine == "gx" and result.success is None for result in report.results)
    assert leaks(everything_said(report, tmp_path / "report", caplog.text)) == []


def test_no_address_in_the_errors_of_the_engine(mart: str) -> None:
    snapshot = pin_snapshot(mart)
    table = read_table(snapshot)
    alias = table.by_name["email"].alias
    with local_files(snapshot) as paths, open_session(table, paths, Limits("500MB", 1)) as session:
        with pytest.raises(errors()) as caught:
            session.query(f"SELECT sum({alias}::INTEGER) FROM {session.source}")
        assert SECRET in str(caught.value)
        assert leaks({"error": session.explain(caught.value)}) == []
        for form in FORMS:
            literal = form.replace("'", "''")
            with pytest.raises(errors()) as caught:
                session.query(f"SELECT (SELECT '{literal}')::INTEGER")
            assert form in str(caught.value)
            assert session.explain(caught.value) == (
                "DuckDB could not evaluate it: ConversionException: a value cannot be converted to the type "
                "that it is compared with"
            )


FORMS = [f'"Ada {SECRET}" <a@{SECRET}.example>', f"`{SECRET}", f"it's {SECRET}", SECRET, SECRET[0]]
"""Ways of writing an address that end quotes, or that are too short to be looked for."""


@pytest.mark.parametrize("condition", [
    'email.astype("datetime64[ns]") > "2020-01-01"', 'email.astype("float64") > 1', "number[email] > 3",
    'card.astype("datetime64[D]") > "2020-01-01"',
])  # fmt: skip
def test_no_value_in_the_errors_of_conditions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, condition: str
) -> None:
    caplog.set_level(logging.DEBUG)
    wanted = [
        expect(
            "column_values_to_be_null", column="number", row_condition=condition, condition_parser="pandas"
        )
    ]
    for position, form in enumerate(FORMS):
        columns = {"email": [form] * 3, "number": [1.0] * 3, "card": [4111111111111111] * 3}
        path = str(write(tmp_path / f"{position}/a.parquet", pa.table(columns)))
        (result,) = validate(path, wanted).results
        assert result.success is None
        said = str(result.exception_message)
        assert f"'{form}'" not in said
        assert SECRET not in said + caplog.text
        assert "11255839919589" not in said + caplog.text
        assert "'number' (float64)" in said
    (plain,) = validate(path, wanted, masking={"*": "plain"}).results
    assert "unmasked_columns" not in str(plain.exception_message)
    assert SECRET not in caplog.text


def test_no_address_in_the_errors_of_a_quarantine(mart: str, tmp_path: Path) -> None:
    report = validate(mart, FAST, quarantine_uri=str(tmp_path / "q"))
    assert "could not be checked" in str(report.quarantine_error)
    with pytest.raises(MLBridgeError) as caught:
        report.raise_for_verdict()
    assert "Nothing was put into quarantine" in str(caught.value)
    assert leaks({"error": f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"}) == []


def test_what_the_other_policies_show(mart: str, tmp_path: Path) -> None:
    wanted = [
        expect("column_values_to_match_regex", column=name, regex="^x")
        for name in ("email", "other", "category", "same")
    ]
    policies = {"email": "hash", "other": "plain", "category": "drop"}
    report = validate(
        mart, wanted, masking=policies, key_columns=["category", "email"], result_format="COMPLETE"
    )
    hashed, plain, dropped, masked = (json.dumps(result.to_gx_json()["result"]) for result in report.results)
    assert SECRET not in hashed + dropped + masked
    assert SECRET in plain
    assert "hash:" in hashed
    assert "***" not in hashed
    assert "***" not in dropped.replace("hash:", "")
    assert "***" in masked
    rows = report.results[0].result["failing_rows"]["shown"]
    assert rows[5]["values"] == rows[6]["values"] != rows[7]["values"]
    assert all(list(row["keys"]) == ["email"] for row in rows)
    assert all(row["values"] == {} for row in report.results[2].result["failing_rows"]["shown"])


def test_a_policy_for_no_column(mart: str) -> None:
    with pytest.raises(ConfigurationError, match="'emial', which the datamart does not have"):
        validate(mart, FAST, masking={"emial": "drop"})
