# SPDX-License-Identifier: Apache-2.0
"""What of the rows reaches a report, a log or an error: nothing, unless a policy lets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.foreign_errors import first_class, without_values
from airflow_provider_mlbridge.quality.masking import DROPPED, MASK, MaskingPolicy

KEY = "0123456789abcdef"


def test_the_default_shows_no_value() -> None:
    policy = MaskingPolicy.parse()
    assert policy.shown("email", "string", "ada@example.org") == MASK
    assert policy.shown("age", "int64", 36) == "*** (int64)"
    assert policy.shown("age", "int64", None) is None
    assert not policy.needs_value("email")
    assert not policy.is_plain("email")


def test_each_policy() -> None:
    policy = MaskingPolicy.parse(
        {"*": "drop", "email": "hash", "carrier": "mask", "day": "plain"}, ["delay"], KEY
    )
    assert policy.shown("other", "string", "x") is DROPPED
    assert policy.shown("other", "string", None) is DROPPED
    assert policy.is_dropped("other")
    assert policy.shown("carrier", "string", "AA") == MASK
    assert policy.shown("day", "date32", date(2024, 1, 2)) == "2024-01-02"
    assert policy.shown("delay", "double", 1.5) == 1.5
    assert [policy.needs_value(name) for name in ("other", "email", "carrier", "day")] == [
        False, True, False, True,
    ]  # fmt: skip
    hashed = policy.shown("email", "string", "ada@example.org")
    assert hashed.startswith("hash:")
    assert len(hashed) == len("hash:") + 16
    json.dumps(hashed)


def test_hashes_compare_values_within_a_report_and_not_between_reports() -> None:
    one, other = (MaskingPolicy.parse({"a": "hash"}) for _ in range(2))
    assert one.shown("a", "string", "x") == one.shown("a", "string", "x")
    assert one.shown("a", "string", "x") != one.shown("a", "string", "y")
    assert one.shown("a", "string", "x") != other.shown("a", "string", "x")
    kept, again = (MaskingPolicy.parse({"a": "hash"}, (), KEY) for _ in range(2))
    assert kept.shown("a", "string", "x") == again.shown("a", "string", "x")
    assert KEY not in repr(kept)
    assert repr(KEY.encode()) not in repr(kept)


@pytest.mark.parametrize(
    ("type_name", "left", "right", "equal"),
    [
        ("int64", 1, 1.0, True),  # pandas holds integers beside nulls as doubles
        ("int64", 2**53, 2**53 + 1, False),
        ("decimal128(38, 2)", Decimal("1.10"), Decimal("1.1"), True),
        ("decimal128(38, 0)", Decimal(10**30), Decimal(10**30 + 1), False),
        ("string", "1", 1, False),
        ("string", "\ud800", "\ud801", False),
    ],
)
def test_a_hash_stands_for_the_value(type_name: str, left: Any, right: Any, equal: bool) -> None:
    policy = MaskingPolicy.parse({"a": "hash"})
    assert (policy.hashed(type_name, left) == policy.hashed(type_name, right)) is equal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": "hide"},), "column 'a' must be 'drop', 'hash', 'mask' or 'plain', got 'hide'"),
        (({"a": None},), "got None"),
        ((["a"],), "must be a mapping of columns"),
        ((None, "email"), "unmasked_columns must be a list of names, got 'email'"),
        (({"a": "drop"}, ["a"]), "'a' is in unmasked_columns, but its masking policy is 'drop'"),
        ((None, (), "secret"), "hash_key has 6 bytes"),
        ((None, (), 5), "hash_key must be text or bytes, got int"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        MaskingPolicy.parse(*arguments)
    assert "secret" not in str(caught.value)


def test_a_policy_for_a_column_that_does_not_exist_is_refused() -> None:
    policy = MaskingPolicy.parse({"emial": "drop", "*": "plain"}, ["gone"])
    with pytest.raises(ConfigurationError, match=r"name 'emial', which the datamart does not have.*'email'"):
        policy.check_columns(["id", "email"])
    policy.check_columns(["id", "emial"])


@pytest.mark.parametrize(
    ("class_name", "message", "told"),
    [
        ("TypeError", "'<' not supported between instances of 'str' and 'int'", None),
        ("TypeError", "Invalid comparison between dtype=str and int", None),
        ("TypeError", "Invalid comparison between dtype=datetime64[us, UTC] and Timestamp", None),
        ("TypeError", "Cannot perform reduction 'mean' with string dtype", None),
        ("ArrowNotImplementedError", "Function 'quantile' has no kernel matching input types (string)", None),
        ("AttributeError", "'StringMethods' object has no attribute 'foo'", None),
        ("UndefinedVariableError", "name 'foo' is not defined", None),
        (
            "BinderException",
            (
                "Binder Error: No function matches the given name and argument types 'avg(VARCHAR)'. You "
                "might need to add explicit type casts.\n\tCandidate functions:"
            ),
            None,
        ),
        (
            "OutOfMemoryException",
            "Out of Memory Error: failed to allocate data of size 2.0 MiB (36.0 KiB/976.5 KiB used)\n\nSee",
            None,
        ),
        ("AttributeError", "'str' object has no attribute 'ada'", "values of this type do not have"),
        ("TypeError", "Invalid comparison between dtype=str and ada", "do not go together"),
        ("TypeError", "Invalid comparison between dtype=str and int: ada", "do not go together"),
        ("ValueError", "could not convert string to float: 'ada'", "cannot be converted"),
        ("ValueError", "Unknown datetime string format, unable to parse: ada", "cannot be read as a date"),
        ("KeyError", "'ada'", "what is looked up is not there"),
        ("KeyError", "4111111111111111", "what is looked up is not there"),
        ("ConversionException", "Conversion Error: Could not convert string 'a' to INT32", "cannot be conv"),
        ("InvalidInputException", "Invalid Input Error: missing ): (ada", "a regular expression"),
        ("InvalidInputException", 'Invalid Input Error: Malformed JSON "ada"', "does not accept a value"),
        ("SomethingNew", "ada", "SomethingNew"),
        ("ValueError", "", "a value is not of the form"),
    ],
)
def test_errors_over_rows_are_told_without_their_values(
    class_name: str, message: str, told: str | None
) -> None:
    shown = without_values(class_name, message, ["email.str.foo() > 3"])
    if told is None:
        assert shown == f"{class_name}: {message.splitlines()[0]}"
    else:
        assert told in shown
        assert not any(value in shown for value in ("ada", "4111", "'a'"))


def test_the_class_of_an_error_is_no_word_of_a_row() -> None:
    lines = [
        "Traceback (most recent call last):",
        "AdaLovelaceError: x",
        "pandas.errors.DateParseError: ada",
        "The above exception was the direct cause of the following exception:",
        "great_expectations.exceptions.MetricResolutionError: ada",
    ]
    traceback = "\n".join(lines)
    assert first_class(traceback, "other") == "DateParseError"
    assert first_class("AdaLovelaceError: x", "other") == "other"


def test_what_cannot_be_prepared_does_not_tell_a_value_of_a_footer(
    write_parquet: Callable[..., Path], mocker: MockerFixture
) -> None:
    path = write_parquet("t.parquet", {"id": [1, 2]})
    mocker.patch(
        "airflow_provider_mlbridge.quality.planning.footers.judge",
        side_effect=ValueError("ada@example.com is out of range"),
    )
    report = validate(str(path), not_null=["id"])
    (result,) = report.not_checked
    assert "could not be prepared for this column: ValueError: a value is not of the form" in result.observed
    assert "ada" not in f"{report.to_gx_json()}{result.description}"
