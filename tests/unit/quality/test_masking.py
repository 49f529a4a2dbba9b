# SPDX-License-Identifier: Apache-2.0
"""What of the rows reaches a report, a log or an error: nothing, unless a policy lets it."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
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
