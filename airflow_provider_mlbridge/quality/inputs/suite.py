# SPDX-License-Identifier: Apache-2.0
"""Suites of Great Expectations: as JSON, as a mapping, as its objects, or from a callable that makes them."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    InvalidExpectationError,
    MLBridgeError,
)
from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.quality.inputs.documents import read_bytes
from airflow_provider_mlbridge.quality.inputs.imported import from_gx_suite

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SUITE_LIMIT_BYTES = 64_000_000
"""Larger than any suite that people keep, also one with long sets of values."""


def parse_expectations(items: Sequence[object], source: str) -> list[Expectation]:
    """
    Check a list of expectations.

    :param source: what the list is called in messages.
    :raises InvalidExpectationError: for the first entry that is wrong.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ConfigurationError(
            f"{source} must be a list of expectations, each with 'type' and 'kwargs', got {shown(items)}"
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
    :raises ConfigurationError: when there is no suite there, or it is no JSON, is too large or has a key
        twice, or the callable fails.
    :raises OSError: as the callable raised it, like every error of this package.
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
    # What a retry may heal stays what it is: a store or a service that did not answer.
    except (MLBridgeError, OSError):
        raise
    # Whatever else the user's code raises, the message says whose code it was. What it says itself may hold
    # a password; it stands in the traceback only, as for all code of the user's.
    except Exception as error:
        raise ConfigurationError(
            f"suite={_name(suite)}: the callable raised {type(error).__name__}{_place(error)}. The traceback "
            f"has its message."
        ) from error
    if callable(made):
        raise ConfigurationError(f"suite={_name(suite)}: the callable returned another one, {_name(made)}")
    return made


def _place(error: Exception) -> str:
    """The line of the callable at which it ended."""
    frame = error.__traceback__ and error.__traceback__.tb_next
    if frame is None:
        # Written in C, it has no lines.
        return ""
    return f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"


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
    raw = read_bytes(uri, "suite", limit=SUITE_LIMIT_BYTES, s3_client=s3_client)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            # The last of two equal keys would win without a word.
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ConfigurationError(f"suite {uri}: the key {shown(twice)} is there twice in one mapping")
        return found

    try:
        return json.loads(raw, object_pairs_hook=unique)
    except ConfigurationError:
        raise
    # Also an integer of thousands of digits, and lists nested without end.
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"suite {uri} is no JSON: {error}") from None


def _kind(suite: object) -> str:
    if isinstance(suite, Mapping):
        return f"a mapping with {shown(sorted(map(str, suite))) if suite else 'nothing'}"
    return type(suite).__name__
