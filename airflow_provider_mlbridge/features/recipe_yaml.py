# SPDX-License-Identifier: Apache-2.0
"""YAML as recipes are written: no double keys, ``1e3`` is a number and ``1:30`` is none."""

from __future__ import annotations

import json
import re
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidRecipeError

# YAML 1.1 takes 1e3 and 1.5e3 for text, because it asks for a dot and for a sign.
_FLOAT = re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)[eE][-+]?\d+$")


_FLOAT_STARTS = list("-+.0123456789")

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE = "tag:yaml.org,2002:merge"
_MOST_REPEATED = 10_000


def dump_yaml(document: Any) -> str:
    """YAML of plain Python objects; :func:`load_yaml` of it is equal to them."""
    import yaml

    # Members of enumerations and the like become the plain values that they stand for.
    document = json.loads(json.dumps(document))

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # Other styles fold line breaks, and YAML has more of those than "\n". Double quotes escape them.
        plain = all(" " <= sign <= "~" or sign.isalnum() for sign in value)
        return dumper.represent_scalar(
            yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, value, style=None if plain else '"'
        )

    Dumper.add_representer(str, text)
    # What the loader would take for a number is quoted.
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FLOAT_STARTS)
    dumped: str = yaml.dump(
        document, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return dumped


def load_yaml(text: str) -> Any:
    """
    Plain Python objects of one YAML document; nothing else is ever constructed.

    :raises InvalidRecipeError: when it is no YAML, or a mapping has a key twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        # Without 1:30 for 90, which is in YAML 1.1 and in no other.
        yaml_implicit_resolvers = {
            sign: [
                (tag, re.compile(f"(?!.*:){pattern.pattern}", re.VERBOSE) if tag in _NUMBERS else pattern)
                for tag, pattern in resolvers
            ]
            for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    def timestamp(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        try:
            return loader.construct_yaml_timestamp(node)
        except (ValueError, AttributeError):
            # What only looks like a time is text, which whoever wanted a time refuses by name.
            return node.value

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                raise InvalidRecipeError(
                    f"merge keys (<<) are not read (line {key_node.start_mark.line + 1}); write the keys out"
                )
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise InvalidRecipeError(
                    f"the key {key!r} is there twice (line {key_node.start_mark.line + 1})"
                )
            if isinstance(key, str):
                seen.add(key)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", timestamp)
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FLOAT_STARTS)
    try:
        document = yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise InvalidRecipeError("no valid YAML: lists and mappings are nested too deep") from error
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise InvalidRecipeError(f"no valid YAML: {error}") from error
    # Without aliases, there are no more items than characters.
    _check_size(document, len(text) + _MOST_REPEATED)
    return document


def _check_size(document: Any, most: int) -> None:
    """:raises InvalidRecipeError: when aliases of aliases make more of a text than there is in it."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        most -= 1
        if len(waiting) > most:
            raise InvalidRecipeError(
                f"aliases (*) repeat more than {_MOST_REPEATED:,} items; write out what they stand for"
            )
