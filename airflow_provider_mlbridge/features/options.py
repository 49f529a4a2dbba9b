# SPDX-License-Identifier: Apache-2.0
"""Checks on what users write in recipes; every message names the option, the value and the valid ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidRecipeError

_words = Repr()
_words.maxlevel = 3
_words.maxlist = _words.maxtuple = _words.maxdict = 10
_words.maxstring = _words.maxother = 200

INTEGER_LOW, INTEGER_HIGH = -(2**63), 2**63 - 1
"""The integers that a literal can be."""


@dataclass(frozen=True)
class Rule:
    """
    One check that was made: what an option may be.

    :param name: the option.
    :param value: what was checked.
    :param schema: what it may be, as JSON Schema.
    """

    name: str
    value: object
    schema: Mapping[str, Any]


_rules: ContextVar[list[Rule] | None] = ContextVar("rules", default=None)


@contextmanager
def recorded() -> Iterator[list[Rule]]:
    """The checks that are made meanwhile, so that the schema of recipes says what the checks say."""
    found: list[Rule] = []
    token = _rules.set(found)
    try:
        yield found
    finally:
        _rules.reset(token)


def _record(name: str, value: object, **schema: Any) -> None:
    rules = _rules.get()
    if rules is not None:
        given = {key: item for key, item in schema.items() if item is not None}
        rules.append(Rule(name, value, given))


def given(value: object) -> str:
    """What a user gave, for a message: as Python writes it, but not all of what is large."""
    return _words.repr(value)


def shown(values: Iterable[object]) -> str:
    """Up to ten values for a message, then how many more there are."""
    items = [value if isinstance(value, str) else repr(value) for value in values]
    rest = len(items) - 10
    return ", ".join(items[:10]) + (f" and {rest} more" if rest > 0 else "")


def known_keys(what: str, document: Mapping[str, Any], valid: Iterable[str]) -> None:
    """Refuse keys that mean nothing, which are usually typing errors."""
    names = list(valid)
    unknown = [key for key in document if key not in names]
    if unknown:
        raise InvalidRecipeError(f"{what}: unknown {shown(unknown)}; valid are {shown(names)}")


def choice(what: str, name: str, value: object, valid: Sequence[str]) -> str:
    """One of a closed set of words."""
    _record(name, value, type="string", enum=list(valid))
    if not isinstance(value, str) or value not in valid:
        raise InvalidRecipeError(f"{what}: {name}={given(value)} is not valid; use one of {', '.join(valid)}")
    return value


def number(
    what: str, name: str, value: object, *, low: float | None = None, high: float | None = None
) -> float:
    """A finite number, within [``low``, ``high``] when they are given."""
    _record(name, value, type="number", minimum=low, maximum=high)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be a finite number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be between {low} and {high}")
    return float(value)


def integer(what: str, name: str, value: object, *, low: int, high: int) -> int:
    """An integer within [``low``, ``high``]."""
    _record(name, value, type="integer", minimum=low, maximum=high)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be an integer from {low} to {high}")
    return value


def boolean(what: str, name: str, value: object) -> bool:
    """True or False, and nothing that merely looks like it."""
    _record(name, value, type="boolean")
    if not isinstance(value, bool):
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be true or false")
    return value


def text(what: str, name: str, value: object) -> str:
    """A non-empty string."""
    _record(name, value, type="string", minLength=1)
    if not isinstance(value, str) or not value:
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be a non-empty string")
    return writable(what, name, value)


def writable(what: str, name: str, value: str) -> str:
    """A string that files can hold: JSON and YAML may name half of a character's two surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRecipeError(
            f"{what}: {name}={given(value)} has half of a surrogate pair, which is no character"
        ) from None
    return value


def texts(what: str, name: str, value: object) -> tuple[str, ...]:
    """Different non-empty strings; a single one may stand for a list of one."""
    one = {"type": "string", "minLength": 1}
    _record(name, value, anyOf=[one, {"type": "array", "items": one, "uniqueItems": True}])
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(isinstance(item, str) and item for item in items):
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be a list of non-empty strings")
    for item in items:
        writable(what, name, item)
    repeated = sorted({item for item in items if list(items).count(item) > 1})
    if repeated:
        raise InvalidRecipeError(f"{what}: {name} names {shown(repeated)} more than once")
    return tuple(items)


def scalars(what: str, name: str, value: object) -> tuple[Any, ...]:
    """Different strings, integers or booleans, all of one type."""
    one = {"type": ["string", "integer", "boolean"]}
    _record(name, value, type="array", items=one, minItems=1, uniqueItems=True)
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise InvalidRecipeError(f"{what}: {name}={given(value)} must be a list of at least one value")
    kinds = {type(item) for item in value}
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        raise InvalidRecipeError(
            f"{what}: {name}={given(list(value))} must be strings, or integers, or booleans, not a mixture. "
            f"(YAML reads yes, no, on and off as booleans: quote them.)"
        )
    if kinds == {int}:
        for item in value:
            integer(what, name, item, low=INTEGER_LOW, high=INTEGER_HIGH)
    for item in value:
        if isinstance(item, str):
            writable(what, name, item)
    if len(set(value)) != len(value):
        raise InvalidRecipeError(f"{what}: {name}={given(list(value))} has a value twice")
    return tuple(value)
