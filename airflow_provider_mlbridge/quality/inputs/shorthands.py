# SPDX-License-Identifier: Apache-2.0
"""The arguments ``schema``, ``not_null``, ``unique``, ``min_rows`` and ``max_age`` as expectations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE, COLUMN_TYPE, DATAMART_MAX_AGE
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.storage.durations import duration

Key = str | Sequence[str]
MaxAge = timedelta | float | str | Mapping[str, Any]


def expand(
    *,
    schema: Mapping[str, str] | None,
    not_null: Sequence[str],
    unique: Sequence[Key],
    min_rows: int | None,
    max_age: MaxAge | None,
) -> list[Expectation]:
    """
    The expectations that the shorthands stand for, all of severity ``critical``.

    :raises InvalidExpectationError: for a value of the wrong kind, naming the argument.
    """
    return [
        *(
            parse_expectation({"type": type_, "kwargs": kwargs}, where)
            for where, type_, kwargs in (
                *_schema(schema),
                *_not_null(not_null),
                *_unique(unique),
                *_min_rows(min_rows),
                *_max_age(max_age),
            )
        )
    ]


_Entry = tuple[str, str, dict[str, Any]]


def _schema(schema: Mapping[str, str] | None) -> Iterator[_Entry]:
    if schema is None:
        return
    if not isinstance(schema, Mapping):
        raise ConfigurationError(f"schema must map column names to types, got {shown(schema)}")
    for column, type_ in schema.items():
        yield f"schema[{shown(column)}]", COLUMN_TYPE, {"column": column, "type_": type_}


def _not_null(columns: Sequence[str]) -> Iterator[_Entry]:
    for column in _sequence(columns, "not_null"):
        yield f"not_null {shown(column)}", "expect_column_values_to_not_be_null", {"column": column}


def _unique(keys: Sequence[Key]) -> Iterator[_Entry]:
    for key in _sequence(keys, "unique"):
        where = f"unique {shown(key)}"
        names = [key] if isinstance(key, str) else list(_sequence(key, where))
        if len(names) == 1:
            yield where, "expect_column_values_to_be_unique", {"column": names[0]}
        else:
            yield where, "expect_compound_columns_to_be_unique", {"column_list": names}


def _min_rows(min_rows: int | None) -> Iterator[_Entry]:
    if min_rows is not None:
        yield "min_rows", "expect_table_row_count_to_be_between", {"min_value": min_rows}


def _max_age(max_age: MaxAge | None) -> Iterator[_Entry]:
    if max_age is None:
        return
    if not isinstance(max_age, Mapping):
        yield "max_age", DATAMART_MAX_AGE, {"max_age_seconds": _seconds(max_age, "max_age")}
        return
    if set(max_age) != {"column", "max_age"}:
        raise ConfigurationError(
            f"max_age must be a length of time, or a mapping with 'column' and 'max_age', "
            f"got {shown(dict(max_age))}"
        )
    kwargs = {
        "column": max_age["column"],
        "max_age_seconds": _seconds(max_age["max_age"], "max_age['max_age']"),
    }
    yield "max_age", COLUMN_MAX_AGE, kwargs


def _seconds(value: object, argument: str) -> float:
    return duration(value, argument).total_seconds()


def _sequence(value: Sequence[Any], name: str) -> Sequence[Any]:
    # A string is a sequence of letters; one column name given without brackets is a slip worth naming.
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigurationError(f"{name} must be a list of column names, got {shown(value)}")
    return value
