# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.training.api import APITarget


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_url": "ftp://host"}, "http(s)://"),
        ({"base_url": "host:8080"}, "http(s)://"),
        ({"base_url": "http://host/?a=b"}, "query"),
        ({"auth": "digest"}, "bearer"),
        ({"auth": "bearer"}, "needs a secret"),
        ({"auth": "basic", "secret": "pass"}, "needs a username"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        APITarget(**{"base_url": "http://host", **fields})
    assert said in str(caught.value)


def test_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        APITarget(base_url="http://user:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"auth": "bearer", "secret": "tok"}, {"Authorization": "Bearer tok"}),
        (
            {"auth": "basic", "username": "ü", "secret": "p:w"},
            {"Authorization": "Basic " + base64.b64encode("ü:p:w".encode()).decode()},
        ),
        ({"auth": "api_key", "secret": "k", "api_key_header": "X-Key"}, {"X-Key": "k"}),
        ({"headers": {"X-Team": "a"}}, {"X-Team": "a"}),
    ],
)
def test_request_headers_by_auth_kind(fields: dict[str, Any], expected: dict[str, str]) -> None:
    assert APITarget("http://host", **fields).request_headers() == expected


def test_secrets_are_neither_shown_nor_passed_on() -> None:
    target = APITarget(
        "http://host", auth="basic", username="me", secret="hunter2", headers={"X-Extra": "extra-secret"}
    )
    assert "hunter2" not in repr(target)
    assert "extra-secret" not in repr(target)
    pair = base64.b64encode(b"me:hunter2").decode()
    assert target.redact(f"bad hunter2, bad {pair}, bad extra-secret") == "bad ***, bad ***, bad ***"


def test_label_names_the_connection() -> None:
    assert APITarget("http://host").label == "http://host"
    assert APITarget("http://host", name="trainer").label == "'trainer' (http://host)"
