# SPDX-License-Identifier: Apache-2.0
"""Arguments of expectations as plain Python values, whatever library they come from."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError

_MAX_BITS = 4096
"""Integers beyond are no data; Python itself refuses to write them as text."""


_DEEPEST = 50
_SHOWN = 200
_REPR = reprlib.Repr()
_REPR.maxlevel = 5
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 20
_REPR.maxstring = _REPR.maxother = _SHOWN


def shown(value: object, limit: int = _SHOWN) -> str:
    """An argument in a message: its ``repr``, cut when it is long, also where it is long inside."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = _REPR.repr(value)
    # Integers of thousands of digits inside, or a broken __repr__ of a class of the user's.
    except Exception:  # noqa: BLE001
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def check_nesting(value: object, name: str, depth: int = 0) -> None:
    """
    Check that a value can be written as JSON: not nested very deeply, and without endless integers.

    :param name: what the value is called in messages.
    :raises InvalidExpectationError: when it cannot.
    """
    if depth > _DEEPEST:
        raise InvalidExpectationError(f"{name} is nested more than {_DEEPEST} levels deep")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise InvalidExpectationError(f"{name} holds an integer of {value.bit_length()} bits")
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            check_nesting(item, name, depth + 1)


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """
    The value with scalars and arrays of NumPy and pandas as what they hold, recursively.

    :param name: what the argument is called in messages.
    :param depth: how deep in the argument the value stands.
    :raises InvalidExpectationError: for a value of a type that no column is compared with; passing it over
        could make an expectation hold that does not. Also for one that is nested very deeply.
    """
    if depth > _DEEPEST:
        raise InvalidExpectationError(f"{name[:_SHOWN]} is nested more than {_DEEPEST} levels deep")
    depth += 1
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        return _from_numpy(value, name, depth)
    if library == "pandas":
        return _from_pandas(value, name, depth)
    if library == "great_expectations":
        # Conditions on rows, in the form in which suites keep them; what else there is has no meaning here.
        return plain(value.dict(), name, depth) if hasattr(value, "dict") else value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise InvalidExpectationError(f"{name} holds an integer of {value.bit_length()} bits")
        return value
    if isinstance(value, Decimal):
        return float("nan") if value.is_nan() else value
    if value is None or isinstance(value, float | str | bytes | date | time | timedelta):
        return value
    if isinstance(value, Mapping):
        return {key: plain(item, f"{name}[{shown(key)}]", depth) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item, name, depth) for item in value)
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name, depth) for item in value), key=str)
    if isinstance(value, Collection):
        return [plain(item, name, depth) for item in value]
    raise _refusal(value, name)


def _from_numpy(value: Any, name: str, depth: int) -> Any:
    """What a scalar or an array of NumPy holds."""
    if getattr(value, "ndim", 0):
        return [plain(item, name, depth) for item in value]
    if not hasattr(value, "item"):
        raise _refusal(value, name)
    if value.dtype.kind not in "mM":
        item = value.item()
        if type(item).__module__.partition(".")[0] == "numpy":
            raise _refusal(value, name)
        return plain(item, name, depth)
    item = value.item()
    if isinstance(item, int):
        # Units finer than microseconds, which Python's types do not have, come as bare numbers.
        rounded = value.astype(f"{value.dtype.kind}8[us]")
        if rounded != value:
            raise InvalidExpectationError(f"{name} holds {value!s}, which is finer than microseconds")
        item = rounded.item()
    if isinstance(item, int):
        raise InvalidExpectationError(f"{name} holds {value!s}, which is beyond the years 1 to 9999")
    return item


def _from_pandas(value: Any, name: str, depth: int) -> Any:
    """What a scalar, a series or an index of pandas holds."""
    kind = type(value).__name__
    if kind in ("NaTType", "NAType"):
        return None
    if kind in ("Timestamp", "Timedelta"):
        if value.nanosecond if kind == "Timestamp" else value.nanoseconds:
            raise InvalidExpectationError(f"{name} holds {value!s}, which is finer than microseconds")
        return value.to_pydatetime() if kind == "Timestamp" else value.to_pytimedelta()
    if hasattr(value, "tolist"):
        return [plain(item, name, depth) for item in value.tolist()]
    raise _refusal(value, name)


def _refusal(value: object, name: str) -> InvalidExpectationError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return InvalidExpectationError(
        f"{name} holds a value of type {kind}, which no column is compared with; give a number, text, a date "
        f"or a point in time"
    )
