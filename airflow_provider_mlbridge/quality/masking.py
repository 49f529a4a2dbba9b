# SPDX-License-Identifier: Apache-2.0
"""
Values of rows never reach a report unless their column is named as one that may be shown.

Counts, percentages, and the minimum, maximum, mean and sum of numbers and dates are shown: without them there
would be nothing to act on. Text from a column is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

MASK = "***"

_LISTS_VALUES = (
    "expect_column_distinct_values_",
    "expect_column_most_common_value_",
    "expect_column_kl_divergence_",
)
"""Types whose observed value is a list of the column's own values, which are masked also when numbers."""

_DTYPE = re.compile(
    r"str|object|bool|date|time|NoneType|(u?int|float|datetime|timedelta)\d*(\[\w+(, ?UTC)?\])?"
)
"""Names of pandas' types, which its messages quote."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


def mask(type_name: str) -> str:
    """What stands for a value of a column of this type."""
    return MASK if type_name == "string" else f"{MASK} ({type_name})"


def mask_observed(expectation_type: str, value: Any) -> Any:
    """An observed value of Great Expectations without what comes from the rows."""
    return _mask_leaves(value, everything=expectation_type.startswith(_LISTS_VALUES))


def _mask_leaves(value: Any, *, everything: bool) -> Any:
    if isinstance(value, str):
        return MASK
    if isinstance(value, Mapping):
        # The keys of Great Expectations' details are words of its own; counts of values are pairs in lists.
        return {key: _mask_leaves(item, everything=everything) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_leaves(item, everything=everything) for item in value]
    return MASK if everything and value is not None and not isinstance(value, bool) else value


def mask_message(message: str, values: Iterable[str], keep: Collection[str]) -> str:
    """
    The first line of another program's error message, without values of rows.

    :param values: text that stands in the rows.
    :param keep: quoted words that may stay, such as names of columns.
    """
    line = message.strip().splitlines()[0] if message.strip() else "no message"

    def shown(match: re.Match[str]) -> str:
        word = match.group()[1:-1]
        return match.group() if word in keep or _DTYPE.fullmatch(word) else f"'{MASK}'"

    line = _QUOTED.sub(shown, line)
    for value in values:
        if len(value) > 2 and value in line and value not in keep:
            line = line.replace(value, MASK)
    return line[:500]
