# SPDX-License-Identifier: Apache-2.0
"""Where expectations come from: arguments and suites of Great Expectations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetNotFoundError,
    InvalidExpectationError,
)
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.storage import open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def parse_expectations(items: Sequence[object], source: str) -> list[Expectation]:
    """
    Check a list of expectations.

    :param source: what the list is called in messages.
    :raises InvalidExpectationError: for the first entry that is wrong.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ConfigurationError(
            f"{source} must be a list of expectations, each with 'type' and 'kwargs', got {items!r}"
        )
    return [parse_expectation(item, f"{source}[{position}]") for position, item in enumerate(items)]


def load_suite(suite: object, *, s3_client: S3Client | None = None) -> tuple[str, list[Expectation]]:
    """
    Name and expectations of a suite.

    :param suite: the suite as a mapping, as an object of Great Expectations, or where its JSON is: a local
        path, or a ``file://`` or ``s3://`` URI.
    :raises ConfigurationError: when there is no suite there, or it is no JSON.
    :raises InvalidExpectationError: for an expectation that is wrong.
    """
    source = "suite"
    if isinstance(suite, str):
        source = f"suite {suite}"
        suite = _read(suite, s3_client)
    elif hasattr(suite, "to_json_dict"):
        suite = suite.to_json_dict()
    if not isinstance(suite, Mapping) or not isinstance(suite.get("expectations"), list | tuple):
        raise InvalidExpectationError(
            f"{source} must be a mapping with 'name' and a list 'expectations', as Great Expectations "
            f"writes it, got {_kind(suite)}"
        )
    name = str(suite.get("name") or "suite")
    return name, parse_expectations(suite["expectations"], f"{source}: expectations")


def _read(uri: str, s3_client: S3Client | None) -> Any:
    try:
        raw = open_store(uri, s3_client=s3_client).read(uri)
    except DatasetNotFoundError as error:
        # Unlike a datamart, a suite that is not there does not come by waiting.
        raise ConfigurationError(f"suite={uri!r}: {error}") from error
    try:
        return json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"suite {uri} is no JSON: {error}") from None


def _kind(suite: object) -> str:
    if isinstance(suite, Mapping):
        return f"a mapping with {', '.join(map(repr, sorted(map(str, suite)))) or 'nothing'}"
    return type(suite).__name__
