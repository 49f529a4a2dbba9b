# SPDX-License-Identifier: Apache-2.0
"""Documents that expectations are imported from: read within limits, and taken apart with clear errors."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from datetime import date
from os import PathLike
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetNotFoundError
from airflow_provider_mlbridge.storage import open_store
from airflow_provider_mlbridge.storage.uris import check_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

YAML_LIMIT_BYTES = 4_000_000
"""Larger than any contract that people keep; parsing takes about a second per megabyte."""
JSON_LIMIT_BYTES = 512_000_000
"""Manifests of large dbt projects have some hundred megabytes."""
_MOST_VALUES = 200_000
"""Values in a document once its aliases are written out: a short YAML text can stand for billions."""
_DEEPEST = 50
_MOST_BITS = 4096
"""Integers beyond are no data; Python itself refuses to write them as text."""


def read_bytes(source: object, argument: str, *, limit: int, s3_client: S3Client | None) -> bytes:
    """
    The content of a local file or an object.

    :param source: a path, or a ``file://`` or ``s3://`` URI.
    :param argument: name of the user's argument, for messages.
    :param limit: the most bytes that are read.
    :raises ConfigurationError: when nothing is there (unlike a datamart, it does not come by waiting), or
        more than ``limit``.
    """
    text = str(source)
    if "://" not in text:
        # Outside of Airflow, a relative path is below the folder that Python runs in.
        text = os.path.abspath(text)  # noqa: PTH100  (a slash at the end is dropped, dots are resolved)
    uri = check_uri(text, argument=argument)
    try:
        store = open_store(uri, s3_client=s3_client)
        found = store.head(uri)
        if found is not None and found.size > limit:
            raise ConfigurationError(
                f"{argument}={uri!r} has {found.size} bytes, more than the {limit} that are read"
            )
        return store.read(uri)
    except (DatasetNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigurationError(f"{argument}={uri!r}: {error}") from error


def refuse_misspelt(key: object, known: frozenset[str], path: str) -> None:
    """
    Refuse a key that is one letter or so away from one that the standard has.

    Listed as what is not judged, it would leave a constraint out that its author believes is kept.

    :raises ConfigurationError: naming the place and the key that was meant.
    """
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
    if near:
        raise ConfigurationError(
            f"{path or 'the contract'}: there is no key {shown(key)!r}. Did you mean {near[0]!r}? What is "
            f"not of the standard goes into customProperties."
        )


def read_yaml(source: object, argument: str, *, s3_client: S3Client | None) -> dict[str, Any]:
    """
    A YAML document, given as a mapping, a path or a URI, as plain values.

    Dates become ISO 8601 text, and aliases copies of what they stand for.

    :raises ConfigurationError: when it is no YAML, no mapping, has a key twice, or is too large.
    """
    if isinstance(source, Mapping):
        return _mapping_only(plain_copy(source, argument), argument)
    if not isinstance(source, str | PathLike) or not str(source):
        raise ConfigurationError(
            f"{argument} must be a path or URI of a YAML file, or a mapping, got {type(source).__name__}"
        )
    where = f"{argument} {source}"
    raw = read_bytes(source, argument, limit=YAML_LIMIT_BYTES, s3_client=s3_client)
    return _mapping_only(plain_copy(parse_yaml(raw, where), where), where)


def read_json(source: object, argument: str, *, s3_client: S3Client | None) -> Mapping[str, Any]:
    """
    A JSON document, given as a mapping, a path or a URI. It may be large, so it is not copied.

    :raises ConfigurationError: when it is no JSON or no mapping.
    """
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | PathLike) or not str(source):
        raise ConfigurationError(
            f"{argument} must be a path or URI of a JSON file, or a mapping, got {type(source).__name__}"
        )
    raw = read_bytes(source, argument, limit=JSON_LIMIT_BYTES, s3_client=s3_client)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{argument} {source} is no JSON: {error}") from None
    return _mapping_only(document, f"{argument} {source}")


def parse_yaml(raw: bytes | str, where: str) -> Any:
    """
    Plain Python objects of one YAML document; nothing else is ever constructed.

    :raises ConfigurationError: when it is no YAML, or a mapping has a key twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            refuse_double_keys(node)
            super().flatten_mapping(node)
            # Merged mappings repeat one another; merged again and again they would fill the memory.
            kept = {}
            for key_node, value_node in node.value:
                scalar = isinstance(key_node, yaml.ScalarNode)
                kept[(key_node.tag, key_node.value) if scalar else id(key_node)] = (key_node, value_node)
            node.value = list(kept.values())

    checked: set[int] = set()

    def refuse_double_keys(node: yaml.MappingNode) -> None:
        if id(node) in checked:
            return
        checked.add(id(node))
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            # The last of two equal keys would win without a word.
            if key_node.value in seen:
                raise ConfigurationError(
                    f"{where}: the key {shown(key_node.value)!r} is there twice "
                    f"(line {key_node.start_mark.line + 1})"
                )
            seen.add(key_node.value)

    try:
        return yaml.load(raw, Loader=Loader)  # noqa: S506 - a SafeLoader
    # A date such as 2024-13-45, an integer of many digits, a text nested without end.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{where} is no YAML: {_yaml_fault(error)}") from None


def _yaml_fault(error: Exception) -> str:
    """Where YAML is wrong. Its own messages quote the line, and a contract may hold a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return f"it cannot be read at line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    position = getattr(error, "position", None)
    if position is not None:
        return f"it cannot be read at character {position}"
    return f"it holds a value, such as a date or a number, that cannot be read ({type(error).__name__})"


def plain_copy(document: object, where: str) -> Any:
    """
    A copy of mappings, lists, texts, numbers, flags and nulls; dates become ISO 8601 text.

    :raises ConfigurationError: for anything else in it, and for a document that is too large or too deep.
    """
    return _Copy(where).of(document, "", 0)


class _Copy:
    def __init__(self, where: str) -> None:
        self._where = where
        self._values = 0

    def of(self, value: object, path: str, depth: int) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ConfigurationError(f"{self._where} holds more than {_MOST_VALUES} values")
        if depth > _DEEPEST:
            raise ConfigurationError(f"{self._where} is nested more than {_DEEPEST} levels deep")
        if isinstance(value, Mapping):
            return {
                self._key(key, path): self.of(item, f"{path}.{key}" if path else str(key), depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.of(item, f"{path}[{position}]", depth + 1) for position, item in enumerate(value)]
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ConfigurationError(
                f"{self._where}: {path or 'the document'} holds an integer of {value.bit_length()} bits"
            )
        if value is None or isinstance(value, str | bool | int | float):
            return value
        if isinstance(value, date):
            return value.isoformat()
        raise ConfigurationError(
            f"{self._where}: {path or 'the document'} holds a value of type {type(value).__name__}; "
            f"valid are mappings, lists, texts, numbers, dates, true, false and null"
        )

    def _key(self, key: object, path: str) -> str:
        if not isinstance(key, str):
            raise ConfigurationError(
                f"{self._where}: {path or 'the document'} has the key {shown(key)}, which is no text; YAML "
                f"reads on, off, yes, no and numbers as values, so put it in quotes"
            )
        return key


def _mapping_only(document: Any, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ConfigurationError(f"{where} must hold a mapping, got {type(document).__name__}")
    return document


def mapping_at(value: object, path: str) -> Mapping[str, Any]:
    """
    A mapping; None is an empty one.

    :raises ConfigurationError: for anything else, naming the path.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{path} must be a mapping, got {shown(value)}")
    return value


def list_at(value: object, path: str) -> list[Any]:
    """
    A list; None is an empty one.

    :raises ConfigurationError: for anything else, naming the path.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{path} must be a list, got {shown(value)}")
    return list(value)


def text_at(value: object, path: str) -> str | None:
    """
    A text that is not empty, or None.

    :raises ConfigurationError: for anything else, naming the path.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{path} must be a text, got {shown(value)}")
    return value


def flag_at(value: object, path: str) -> bool:
    """
    A flag; None is false.

    :raises ConfigurationError: for anything else, naming the path.
    """
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ConfigurationError(f"{path} must be true or false, got {shown(value)}")
    return value


def shown(value: object, limit: int = 120) -> str:
    """A value in a message, cut when it is long."""
    # An integer of thousands of digits cannot be written.
    if isinstance(value, int) and value.bit_length() > limit * 4:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
