# SPDX-License-Identifier: Apache-2.0
"""Suites of Great Expectations: as JSON, as a mapping, as its objects, or from a callable that makes them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    DatasetNotFoundError,
    InvalidExpectationError,
    MLBridgeError,
)
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.quality.inputs.imported import from_gx_suite
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


def load_suite(
    suite: object, *, s3_client: S3Client | None = None, context: object = None
) -> tuple[str, list[Expectation]]:
    """
    Name and expectations of a suite.

    :param suite: the suite as a mapping, as an object of Great Expectations or a list of its expectations,
        where its JSON is (a local path, or a ``file://`` or ``s3://`` URI), or a callable that returns one of
        these. It is called with ``context`` when it has a parameter without a default, else without
        arguments. A list with nothing but a callable is that callable: Airflow calls by itself what is a
        callable in a templated field, with arguments of its own.
    :param context: what to call a callable with, such as the context of an Airflow task.
    :raises ConfigurationError: when there is no suite there, or it is no JSON, or the callable fails.
    :raises InvalidExpectationError: for an expectation that is wrong.
    """
    source = "suite"
    if isinstance(suite, list | tuple) and len(suite) == 1 and callable(suite[0]):
        suite = suite[0]
    if callable(suite):
        source = f"suite {_name(suite)}()"
        suite = _call(suite, context)
    if isinstance(suite, str):
        source = f"suite {suite}"
        suite = _read(suite, s3_client)
    elif hasattr(suite, "to_json_dict"):
        suite = suite.to_json_dict()
    elif hasattr(suite, "configuration"):
        suite = [suite]
    if isinstance(suite, list | tuple):
        return "suite", parse_expectations(suite, source)
    if not isinstance(suite, Mapping) or not isinstance(suite.get("expectations"), list | tuple):
        raise InvalidExpectationError(
            f"{source} must be a mapping with 'name' and a list 'expectations', as Great Expectations "
            f"writes it, got {_kind(suite)}"
        )
    name = str(suite.get("name") or "suite")
    expectations = from_gx_suite(suite["expectations"], suite.get("meta"))
    return name, parse_expectations(expectations, f"{source}: expectations")


def _call(suite: Callable[..., Any], context: object) -> object:
    try:
        made = suite(context) if _takes_context(suite) else suite()
    except MLBridgeError:
        raise
    # Whatever the user's code raises, the message says whose code it was.
    except Exception as error:
        raise ConfigurationError(
            f"suite={_name(suite)}: the callable raised {type(error).__name__}: {error}"
        ) from error
    if callable(made):
        raise ConfigurationError(f"suite={_name(suite)}: the callable returned another one, {_name(made)}")
    return made


def _takes_context(suite: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(suite).parameters.values()
    except (TypeError, ValueError):
        # Written in C, without a signature.
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(item.kind in positional and item.default is item.empty for item in parameters)


def _name(suite: object) -> str:
    return str(getattr(suite, "__qualname__", None) or type(suite).__qualname__)


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
