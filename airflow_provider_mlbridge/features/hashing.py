# SPDX-License-Identifier: Apache-2.0
"""
Numbers by md5, the same in every engine and in Python.

The number of a text is its md5's first eight hexadecimal digits. Which engine can parse those differs, so
that they are put together from their places in the alphabet of digits, which every engine can look up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.recipe import Recipe

_DIGITS = 8
_ALPHABET = "0123456789abcdef"
_SEPARATOR = "\x1f"


def md5_number(text: Any) -> Any:
    """The number of an Ibis string, from 0 to below 2**32; NULL stays NULL."""
    import ibis

    from airflow_provider_mlbridge.features.steps.base import literal

    digest = text.hexdigest("md5")
    alphabet = ibis.literal(_ALPHABET)
    number = None
    for place in range(_DIGITS):
        digit = alphabet.find(digest.substr(place, 1)).cast("int64")
        number = digit if number is None else number * literal(16) + digit
    return number


def md5_number_of(text: str) -> int:
    """The number of a Python string."""
    # md5 shares values out evenly here; nothing is kept safe by it. No table holds a lone half of a surrogate
    # pair, but JSON may, and such a text has to be somewhere, too.
    content = text.encode(errors="surrogatepass")
    return int(hashlib.md5(content, usedforsecurity=False).hexdigest()[:_DIGITS], 16)


def fold_columns(recipe: Recipe) -> tuple[str, ...]:
    """The columns whose values stay in one fold: those that stay in one split, or the keys."""
    from airflow_provider_mlbridge.features.splits import HashSplit

    split = recipe.resolved_split()
    return tuple(split.keys) if isinstance(split, HashSplit) else tuple(recipe.keys)


def fold_number(columns: Sequence[Any]) -> Any:
    """
    A number by the md5 of these columns (Ibis); missing values are as empty texts.

    Engines write integers, dates and booleans alike, but not timestamps, which count microseconds here.
    Floats have no such text, so that recipes with them are refused (see :mod:`~.plan`).
    """
    import ibis

    from airflow_provider_mlbridge.features.timeline import micros

    joined: Any = ibis.literal("fold")
    for column in columns:
        value = micros(column) if column.type().is_timestamp() else column
        joined = joined + ibis.literal(_SEPARATOR) + value.cast("string").fill_null("")
    return md5_number(joined)
