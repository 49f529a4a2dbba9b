# SPDX-License-Identifier: Apache-2.0
"""
What of the rows reaches a report: per column, nothing unless the column is named as one that may be shown.

Counts, percentages, and the minimum, maximum, mean and sum of numbers and dates are shown: without them there
would be nothing to act on. Values from a column are shown as :class:`MaskingPolicy` says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, Self, cast, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.values import json_value

MASK = "***"

_LISTS_VALUES = (
    "expect_column_distinct_values_",
    "expect_column_most_common_value_",
    "expect_column_kl_divergence_",
)
"""Types whose observed value is a list of the column's own values, which are masked also when numbers."""


Policy = Literal["drop", "hash", "mask", "plain"]
"""
What is shown of a value: nothing at all, not even that there is one (``drop``); a keyed hash, by which equal
values are seen to be equal (``hash``); its type only (``mask``); the value (``plain``).
"""

DEFAULT_COLUMN = "*"
"""The name that stands for all columns without a policy of their own."""


class _Dropped:
    """What stands for a value that must be left out."""

    def __repr__(self) -> str:
        return "DROPPED"


DROPPED: Final = _Dropped()
"""Returned by :meth:`MaskingPolicy.shown` for a value that the caller must leave out."""

_KEY_BYTES = 16
_HASH_DIGITS = 16


@dataclass(frozen=True)
class MaskingPolicy:
    """
    What may be shown of each column's values. The default shows the value of none.

    Make one per report: without a key of the user's, the one behind ``hash`` is random, so that hashes of two
    reports cannot be matched and nobody can look a value up by hashing guesses.

    :param columns: the columns that have a policy of their own.
    :param default: the policy of all others.
    :param named: the names that must be columns of the datamart, see :meth:`check_columns`.
    :param key: the key behind ``hash``.
    """

    columns: Mapping[str, Policy] = field(default_factory=dict)
    default: Policy = "mask"
    named: frozenset[str] = frozenset()
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False, compare=False)

    @classmethod
    def parse(
        cls,
        policies: Mapping[str, str] | None = None,
        unmasked_columns: Collection[str] = (),
        hash_key: str | bytes | None = None,
    ) -> Self:
        """
        Read the arguments of a user.

        :param policies: ``drop``, ``hash``, ``mask`` or ``plain`` by column; ``"*"`` is for all others.
        :param unmasked_columns: columns that are ``plain``. A name that is no column does no harm here.
        :param hash_key: the secret behind ``hash``, at least 16 bytes, for hashes that stay the same from
            report to report; random when None.
        :raises ConfigurationError: when one of them is wrong.
        """
        if policies is not None and not isinstance(policies, Mapping):
            raise ConfigurationError(
                f"the masking policies must be a mapping of columns to {_valid()}, "
                f"got {type(policies).__name__}"
            )
        if isinstance(unmasked_columns, str) or not all(isinstance(name, str) for name in unmasked_columns):
            raise ConfigurationError(f"unmasked_columns must be a list of names, got {unmasked_columns!r}")
        columns: dict[str, Policy] = dict.fromkeys(unmasked_columns, "plain")
        named: dict[str, Policy] = {}
        for name, policy in (policies or {}).items():
            if policy not in get_args(Policy):
                raise ConfigurationError(
                    f"the masking policy of column {name!r} must be {_valid()}, got {policy!r}"
                )
            if name in columns and policy != "plain":
                raise ConfigurationError(
                    f"column {name!r} is in unmasked_columns, but its masking policy is {policy!r}"
                )
            named[str(name)] = cast(Policy, policy)
        default = named.pop(DEFAULT_COLUMN, "mask")
        key = _key(hash_key)
        return cls(MappingProxyType(columns | named), default, frozenset(named), key)

    def check_columns(self, names: Collection[str]) -> None:
        """
        Check that every column with a policy exists: a typo would leave another column with the default.

        :param names: the columns of the datamart.
        :raises ConfigurationError: naming those that do not exist.
        """
        unknown = sorted(self.named.difference(names))
        if unknown:
            shown = ", ".join(map(repr, unknown[:10]))
            more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
            there = ", ".join(map(repr, list(names)[:10]))
            others = f" and {len(names) - 10} more" if len(names) > 10 else ""
            raise ConfigurationError(
                f"the masking policies name {shown}{more}, which the datamart does not have. "
                f"There are {there}{others}."
            )

    def policy(self, name: str) -> Policy:
        """The policy of a column."""
        return self.columns.get(name, self.default)

    def is_plain(self, name: str) -> bool:
        """Whether the values of a column are shown as they are."""
        return self.policy(name) == "plain"

    def is_dropped(self, name: str) -> bool:
        """Whether nothing is said about the values of a column."""
        return self.policy(name) == "drop"

    def needs_value(self, name: str) -> bool:
        """Whether a value must be read at all to show what may be shown of it."""
        return self.policy(name) in ("plain", "hash")

    def shown(self, name: str, type_name: str, value: Any) -> Any:
        """
        What a report may say of a value, as strict JSON.

        :param name: the column.
        :param type_name: its type.
        :param value: the value; None, which stays None, when there is none.
        :return: :data:`DROPPED` for a value that must be left out.
        """
        policy = self.policy(name)
        if policy == "drop":
            return DROPPED
        if value is None:
            return None
        if policy == "plain":
            return json_value(value)
        return mask(type_name) if policy == "mask" else self.hashed(type_name, value)

    def hashed(self, type_name: str, value: Any) -> str:
        """The keyed hash of a value: HMAC-SHA-256 of its text, cut to 16 digits, as ``hash:1f3a9c...``."""
        digest = hmac.new(
            self.key, _canonical(type_name, value).encode(errors="surrogatepass"), hashlib.sha256
        )
        return f"hash:{digest.hexdigest()[:_HASH_DIGITS]}"


def _valid() -> str:
    names = [repr(name) for name in get_args(Policy)]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _key(hash_key: str | bytes | None) -> bytes:
    if hash_key is None:
        return secrets.token_bytes(32)
    if not isinstance(hash_key, str | bytes):
        raise ConfigurationError(f"hash_key must be text or bytes, got {type(hash_key).__name__}")
    key = hash_key.encode() if isinstance(hash_key, str) else hash_key
    if len(key) < _KEY_BYTES:
        raise ConfigurationError(
            f"hash_key has {len(key)} bytes; with fewer than {_KEY_BYTES} it could be guessed, and the "
            f"values with it"
        )
    return key


def _canonical(type_name: str, value: Any) -> str:
    """One text per value, whichever engine read it."""
    if isinstance(value, Decimal):
        # A double, or the default precision of Python's decimals, would make one of two that differ.
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if "int" in type_name and isinstance(value, float) and math.isfinite(value) and value == int(value):
        # pandas holds the integers of a column with nulls as doubles.
        value = int(value)
    return json.dumps(json_value(value), sort_keys=True)


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
