# SPDX-License-Identifier: Apache-2.0
"""
Names of column types: what a Parquet column is called, and which columns a name in an expectation means.

Names are pyarrow's (``int64``, ``timestamp[us]``, ``decimal128(10, 2)``), spelled the long way for floats
(``float64``, where pyarrow prints ``double``). Common names from SQL and NumPy are understood as well.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from airflow_provider_mlbridge.exceptions import InvalidExpectationError

if TYPE_CHECKING:
    import pyarrow as pa

Family = Literal[
    "int", "float", "decimal", "bool", "string", "date", "timestamp", "timestamptz",
    "time", "duration", "binary", "null", "list", "struct", "map", "other",
]  # fmt: skip
"""Columns of one family are judged by the same SQL."""

_DISPLAY = {
    "double": "float64",
    "float": "float32",
    "halffloat": "float16",
    "large_string": "string",
    "string_view": "string",
    "large_binary": "binary",
    "binary_view": "binary",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

_EXACT = {
    **{name: name for name in (*_INTEGERS, "float16", "float32", "float64", "date32", "date64")},
    "tinyint": "int8",
    "int2": "int16",
    "smallint": "int16",
    "int4": "int32",
    "bigint": "int64",
    "long": "int64",
    "utinyint": "uint8",
    "usmallint": "uint16",
    "uinteger": "uint32",
    "ubigint": "uint64",
    "halffloat": "float16",
    "real": "float32",
    "float4": "float32",
    "double": "float64",
    "double precision": "float64",
    "float8": "float64",
}
"""``int8`` is pyarrow's, of eight bits, not PostgreSQL's of eight bytes."""

# Parquet has neither seconds nor dates in milliseconds: what is written as one is read as the other.
_READ_AS = {"timestamp[s": "timestamp[ms", "time32[s": "time32[ms", "date64": "date32"}

_FAMILIES: dict[str, frozenset[Family]] = {
    "int": frozenset({"int"}),
    "integer": frozenset({"int"}),
    "float": frozenset({"float"}),
    "decimal": frozenset({"decimal"}),
    "numeric": frozenset({"decimal"}),
    "bool": frozenset({"bool"}),
    "boolean": frozenset({"bool"}),
    "string": frozenset({"string"}),
    "str": frozenset({"string"}),
    "char": frozenset({"string"}),
    "character": frozenset({"string"}),
    "character varying": frozenset({"string"}),
    "varchar": frozenset({"string"}),
    "text": frozenset({"string"}),
    "utf8": frozenset({"string"}),
    "large_string": frozenset({"string"}),
    "date": frozenset({"date"}),
    "timestamp": frozenset({"timestamp", "timestamptz"}),
    "datetime": frozenset({"timestamp", "timestamptz"}),
    "datetime64": frozenset({"timestamp"}),
    "timestamptz": frozenset({"timestamptz"}),
    "timestamp with time zone": frozenset({"timestamptz"}),
    "timestamp without time zone": frozenset({"timestamp"}),
    "time": frozenset({"time"}),
    "duration": frozenset({"duration"}),
    "timedelta64": frozenset({"duration"}),
    "binary": frozenset({"binary"}),
    "bytes": frozenset({"binary"}),
    "blob": frozenset({"binary"}),
    "bytea": frozenset({"binary"}),
    "varbinary": frozenset({"binary"}),
    "null": frozenset({"null"}),
    "list": frozenset({"list"}),
    "struct": frozenset({"struct"}),
    "map": frozenset({"map"}),
    # What pandas held as Python objects, as suites written for pandas call it.
    "object": frozenset({"string", "binary", "decimal", "date", "time", "list", "struct", "map", "null"}),
}

_TIMESTAMP = re.compile(r"(?:timestamp|datetime64)\[(s|ms|us|ns)(?:, ?(?:tz=)?([^\]]+))?\]$")
_DECIMAL = re.compile(r"(?:decimal|decimal32|decimal64|decimal128|decimal256|numeric)\((\d+), ?(-?\d+)\)$")
_LENGTH = re.compile(r"(char|character|character varying|varchar|varbinary) ?\(\d+\)$")
_UNIT = re.compile(r"(?:time32\[(?:s|ms)|time64\[(?:us|ns)|duration\[(?:s|ms|us|ns))\]$")
_NESTED = re.compile(
    r"(?:(?:large_)?list(?:_view)?|struct|map)<.+>$|fixed_size_list<.+>\[\d+\]$|fixed_size_binary\[\d+\]$"
)
_DICTIONARY = re.compile(r"dictionary<values=(.+), indices=\w+, ordered=[01]>$")
_ITEM = re.compile(r"list(_view)?<[^:<>\[\]]*: ")
_LONG = re.compile(r"\b(double|float|halffloat|large_string|string_view)\b")


@dataclass(frozen=True)
class TypeRule:
    """
    Which columns a type name means.

    :param name: the name as it was given.
    :param families: the families, or None when ``exact`` decides.
    :param exact: the type names that match, or None when ``families`` decides.
    """

    name: str
    families: frozenset[Family] | None = None
    exact: frozenset[str] | None = None

    def matches(self, type_name: str, family: Family) -> bool:
        """Whether a column of this type is meant."""
        if self.exact is not None:
            return _canonical(type_name) in self.exact
        return self.families is not None and family in self.families


def parse_type(name: object) -> TypeRule:
    """
    The rule for a type name.

    :raises InvalidExpectationError: for a name that means nothing here.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidExpectationError(f"a column type must be a name such as 'int64', got {name!r}")
    text = name.strip()
    key = " ".join(text.lower().split())
    if match := _LENGTH.match(key):
        # Parquet keeps no lengths.
        key = match[1]
    if key in _EXACT:
        return _exactly(name, _EXACT[key])
    if key in _FAMILIES:
        return TypeRule(name, families=_FAMILIES[key])
    if match := _TIMESTAMP.match(text):
        unit, zone = match.groups()
        return _exactly(name, f"timestamp[{unit}{f', tz={zone}' if zone else ''}]")
    if match := _DECIMAL.match(key):
        precision, scale = match.groups()
        widths = ("32", "64", "128", "256")
        return TypeRule(name, exact=frozenset(f"decimal{width}({precision}, {scale})" for width in widths))
    if match := _DICTIONARY.match(text):
        # Dictionary-encoded columns count as their values.
        return replace(parse_type(match[1]), name=name)
    if _UNIT.match(text) or _NESTED.match(text):
        return _exactly(name, text)
    known = sorted({*_EXACT, *_FAMILIES})
    close = difflib.get_close_matches(key, known, n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise InvalidExpectationError(
        f"{name!r} is not a column type.{hint} Known are {', '.join(known)}, timestamp[unit] and "
        f"timestamp[unit, tz=zone], decimal(precision, scale), and nested types as pyarrow prints them."
    )


def _exactly(name: str, type_name: str) -> TypeRule:
    names = {_canonical(type_name)}
    names |= {
        type_name.replace(written, read, 1)
        for written, read in _READ_AS.items()
        if re.match(rf"{re.escape(written)}(?!\w)", type_name)
    }
    return TypeRule(name, exact=frozenset(names))


def _canonical(type_name: str) -> str:
    """A nested type without the name of list items, which each writer chooses, and without nullability."""
    if "<" not in type_name:
        return type_name
    text = _ITEM.sub(lambda match: f"list{match[1] or ''}<", type_name.replace(" not null", ""))
    return _LONG.sub(lambda match: _DISPLAY[match[1]], text)


def describe_type(data_type: pa.DataType) -> tuple[str, Family]:
    """Name and family of an Arrow type; dictionary-encoded columns count as their values."""
    import pyarrow.types as at

    if at.is_dictionary(data_type):
        return describe_type(data_type.value_type)
    name = str(data_type)
    name = _DISPLAY.get(name, name)
    if at.is_timestamp(data_type):
        return name, "timestamptz" if data_type.tz else "timestamp"
    tests: tuple[tuple[Family, tuple[str, ...]], ...] = (
        ("int", ("integer",)),
        ("float", ("floating",)),
        ("decimal", ("decimal",)),
        ("bool", ("boolean",)),
        ("string", ("string", "large_string", "string_view")),
        ("date", ("date",)),
        ("time", ("time",)),
        ("duration", ("duration",)),
        ("binary", ("binary", "large_binary", "binary_view", "fixed_size_binary")),
        ("null", ("null",)),
        ("list", ("list", "large_list", "fixed_size_list")),
        ("struct", ("struct",)),
        ("map", ("map",)),
    )
    for family, names in tests:
        if any(getattr(at, f"is_{test}")(data_type) for test in names):
            return name, family
    return name, get_args(Family)[-1]
