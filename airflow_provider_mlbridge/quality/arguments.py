# SPDX-License-Identifier: Apache-2.0
"""Arguments of expectations as plain Python values, whatever library they come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError

_MAX_BITS = 4096
"""Integers beyond are no data; Python itself refuses to write them as text."""


def plain(value: Any, name: str) -> Any:
    """
    The value with scalars and arrays of NumPy and pandas as what they hold, recursively.

    :param name: what the argument is called in messages.
    :raises InvalidExpectationError: for a value of a type that no column is compared with; passing it over
        could make an expectation hold that does not.
    """
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        return _from_numpy(value, name)
    if library == "pandas":
        return _from_pandas(value, name)
    if library == "great_expectations":
        # Conditions on rows, in the form in which suites keep them; what else there is has no meaning here.
        return plain(value.dict(), name) if hasattr(value, "dict") else value
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
        return {key: plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item, name) for item in value)
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name) for item in value), key=str)
    if isinstance(value, Collection):
        return [plain(item, name) for item in value]
    raise _refusal(value, name)


def _from_numpy(value: Any, name: str) -> Any:
    """What a scalar or an array of NumPy holds."""
    if getattr(value, "ndim", 0):
        return [plain(item, name) for item in value]
    if not hasattr(value, "item"):
        raise _refusal(value, name)
    if value.dtype.kind not in "mM":
        item = value.item()
        if type(item).__module__.partition(".")[0] == "numpy":
            raise _refusal(value, name)
        return plain(item, name)
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


def _from_pandas(value: Any, name: str) -> Any:
    """What a scalar, a series or an index of pandas holds."""
    kind = type(value).__name__
    if kind in ("NaTType", "NAType"):
        return None
    if kind in ("Timestamp", "Timedelta"):
        if value.nanosecond if kind == "Timestamp" else value.nanoseconds:
            raise InvalidExpectationError(f"{name} holds {value!s}, which is finer than microseconds")
        return value.to_pydatetime() if kind == "Timestamp" else value.to_pytimedelta()
    if hasattr(value, "tolist"):
        return [plain(item, name) for item in value.tolist()]
    raise _refusal(value, name)


def _refusal(value: object, name: str) -> InvalidExpectationError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return InvalidExpectationError(
        f"{name} holds a value of type {kind}, which no column is compared with; give a number, text, a date "
        f"or a point in time"
    )
