# SPDX-License-Identifier: Apache-2.0
"""The generic tests of dbt itself, of dbt_utils and of dbt_expectations, as expectations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.quality.arguments import shown
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE, COLUMN_TYPE, GX_CORE
from airflow_provider_mlbridge.quality.inputs import conditions, dbt_sql
from airflow_provider_mlbridge.quality.inputs.thresholds import NotExpressibleError
from airflow_provider_mlbridge.storage.durations import SECONDS

Translated = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Call:
    """
    A test as it is called on a model.

    :param package: ``dbt``, or the name of the package that it comes from.
    :param name: its name there.
    :param kwargs: its arguments, without the model.
    :param types: the model's columns with their declared types.
    :param column_name: the column that it stands below, when it does.
    """

    package: str
    name: str
    kwargs: Mapping[str, Any]
    types: Mapping[str, str]
    column_name: Any = None

    def column(self, argument: str = "column_name") -> str:
        """A column from an argument that dbt pastes into SQL."""
        given = self.kwargs.get(argument)
        if given is None and argument == "column_name":
            given = self.column_name
        if isinstance(given, str) and given in self.types:
            return given
        return dbt_sql.column_name(given)

    def columns(self, argument: str) -> list[str]:
        """A list of columns."""
        given = self.kwargs.get(argument)
        if not isinstance(given, list) or not given:
            raise NotExpressibleError(f"{shown(argument)} is no list of columns")
        return [name if name in self.types else dbt_sql.column_name(name) for name in map(str, given)]

    def only(self, *arguments: str, **harmless: Any) -> None:
        """
        Refuse arguments that are not read.

        :param arguments: those that are.
        :param harmless: those that change nothing when they have this value.
        """
        for name, value in self.kwargs.items():
            if name in (*arguments, "column_name") or value is None:
                continue
            if name in harmless and (harmless[name] == value or harmless[name] is ...):
                continue
            raise NotExpressibleError(f"the argument {shown(name)} is not read")


def translate(call: Call) -> Translated:
    """
    The expectations that say what a test says.

    :raises NotExpressibleError: when there are none that say exactly this.
    """
    known = _TESTS.get((call.package, call.name))
    if known is not None:
        return known(call)
    if call.package == "dbt_expectations":
        return _of_dbt_expectations(call)
    why = _REASONS.get(call.name)
    raise NotExpressibleError(why or f"the test {call.package}.{call.name} is not known here")


def _not_null(call: Call) -> Translated:
    call.only()
    return [("expect_column_values_to_not_be_null", {"column": call.column()})]


def _unique(call: Call) -> Translated:
    call.only()
    return [("expect_column_values_to_be_unique", {"column": call.column()})]


def _accepted_values(call: Call) -> Translated:
    call.only("values", "quote")
    values = call.kwargs.get("values")
    if not isinstance(values, list):
        raise NotExpressibleError("'values' is no list")
    quoted = call.kwargs.get("quote", True) is not False
    value_set: list[Any] = []
    for value in values:
        value_set.extend(_readings(value) if quoted else [dbt_sql.literal(value)])
    return [("expect_column_values_to_be_in_set", {"column": call.column(), "value_set": value_set})]


def _readings(value: Any) -> list[Any]:
    """
    A value between quotes: the text, and the number that the database makes of it beside numbers.

    A column holds one of the two, and nothing is equal to the other.
    """
    if isinstance(value, bool):
        return [value, str(value)]
    if isinstance(value, int | float):
        return [value, str(value)]
    if not isinstance(value, str):
        raise NotExpressibleError(f"{shown(value)} is no value to compare with")
    try:
        number = dbt_sql.literal(value)
    except NotExpressibleError:
        return [value]
    return [value, number] if isinstance(number, int | float) else [value]


def _unique_combination(call: Call) -> Translated:
    call.only("combination_of_columns", quote_columns=...)
    columns = list(dict.fromkeys(call.columns("combination_of_columns")))
    if len(columns) == 1:
        raise NotExpressibleError("one column is no combination, and its nulls would count as equal")
    # A GROUP BY puts nulls together.
    kwargs = {"column_list": columns, "ignore_row_if": "never"}
    return [("expect_compound_columns_to_be_unique", kwargs)]


def _accepted_range(call: Call) -> Translated:
    call.only("min_value", "max_value", "inclusive")
    kwargs: dict[str, Any] = {"column": call.column()}
    inclusive = call.kwargs.get("inclusive", True) is not False
    for end in ("min", "max"):
        if call.kwargs.get(f"{end}_value") is not None:
            kwargs[f"{end}_value"] = dbt_sql.literal(call.kwargs[f"{end}_value"])
            if not inclusive:
                kwargs[f"strict_{end}"] = True
    return [("expect_column_values_to_be_between", kwargs)]


def _not_null_proportion(call: Call) -> Translated:
    call.only("at_least", "at_most", group_by_columns=[])
    at_most = call.kwargs.get("at_most", 1)
    kwargs: dict[str, Any] = {"column": call.column(), "min_value": call.kwargs.get("at_least")}
    if at_most != 1:
        kwargs["max_value"] = at_most
    return [("expect_column_proportion_of_non_null_values_to_be_between", kwargs)]


def _at_least_one(call: Call) -> Translated:
    call.only(group_by_columns=[])
    kwargs = {"min_value": 1, "row_condition": conditions.not_null(call.column())}
    return [("expect_table_row_count_to_be_between", kwargs)]


def _not_constant(call: Call) -> Translated:
    call.only(group_by_columns=[])
    # dbt lets a column without any value pass; here it fails, as there is no second value.
    kwargs = {"column": call.column(), "min_value": 2}
    return [("expect_column_unique_value_count_to_be_between", kwargs)]


def _not_empty_string(call: Call) -> Translated:
    call.only("trim_whitespace")
    if call.kwargs.get("trim_whitespace", True) is False:
        kwargs: dict[str, Any] = {"column": call.column(), "min_value": 1}
        return [("expect_column_value_lengths_to_be_between", kwargs)]
    # TRIM of SQL takes blanks away, and nothing else.
    return [("expect_column_values_to_not_match_regex", {"column": call.column(), "regex": r"\A *\Z"})]


def _recency(call: Call) -> Translated:
    call.only("field", "datepart", "interval", group_by_columns=[], ignore_time_component=False)
    return [(COLUMN_MAX_AGE, {"column": call.column("field"), "max_age_seconds": _interval(call)})]


def _recent_data(call: Call) -> Translated:
    call.only("datepart", "interval")
    return [(COLUMN_MAX_AGE, {"column": call.column(), "max_age_seconds": _interval(call)})]


def _interval(call: Call) -> float:
    interval, part = call.kwargs.get("interval"), str(call.kwargs.get("datepart")).lower()
    if isinstance(interval, bool) or not isinstance(interval, int):
        raise NotExpressibleError("'interval' is no whole number")
    if part not in SECONDS or len(part) < 3:
        raise NotExpressibleError(f"a {part} is no fixed time; give days")
    return interval * SECONDS[part]


def _of_type(call: Call) -> Translated:
    call.only("column_type")
    return [(COLUMN_TYPE, {"column": call.column(), "type_": call.kwargs.get("column_type")})]


def _in_type_list(call: Call) -> Translated:
    call.only("column_type_list")
    kwargs = {"column": call.column(), "type_list": call.kwargs.get("column_type_list")}
    return [("expect_column_values_to_be_in_type_list", kwargs)]


def _to_exist(call: Call) -> Translated:
    call.only(transform="upper")
    return [("expect_column_to_exist", {"column": call.column()})]


def _of_dbt_expectations(call: Call) -> Translated:
    """The tests that are called as in Great Expectations and take the same arguments."""
    type_ = call.name.lower()
    known = GX_CORE.get(type_)
    if known is None or type_ not in _SAME:
        why = _REASONS.get(call.name)
        raise NotExpressibleError(why or f"{call.name} is not what Great Expectations calls so")
    strictly = call.kwargs.get("strictly")
    call.only(
        *(known.kwargs - {"column", "condition_parser", "mostly"}),
        "strictly",
        quote_values=..., quote_columns=..., group_by=[], is_raw=False, flags="", take_diffs=False,
    )  # fmt: skip
    kwargs: dict[str, Any] = {
        name: value
        for name, value in call.kwargs.items()
        if name in known.kwargs and name not in ("column", "row_condition") and value is not None
    }
    if "column" in known.required:
        kwargs["column"] = call.column()
    for name in ("column_A", "column_B"):
        if name in known.required:
            kwargs[name] = call.column(name)
    if "column_list" in known.required:
        kwargs["column_list"] = call.columns("column_list")
    if "value_set" in kwargs:
        kwargs["value_set"] = _value_set(call)
    for end in ("min", "max"):
        if f"{end}_value" in kwargs:
            kwargs[f"{end}_value"] = dbt_sql.literal(kwargs[f"{end}_value"])
            if strictly:
                kwargs[f"strict_{end}"] = True
    if known.domain == "pair":
        # In SQL a comparison with null is no failure.
        kwargs["ignore_row_if"] = "either_value_is_missing"
    if call.kwargs.get("row_condition") is not None:
        kwargs["row_condition"] = dbt_sql.row_condition(call.kwargs["row_condition"])
    return [(type_, kwargs)]


def _value_set(call: Call) -> list[Any]:
    values = call.kwargs["value_set"]
    if not isinstance(values, list):
        raise NotExpressibleError("'value_set' is no list")
    if call.kwargs.get("quote_values", True) is False:
        return [dbt_sql.literal(value) for value in values]
    readings = [_readings(value) for value in values]
    if call.name.endswith(("contain_set", "equal_set")) and any(len(found) > 1 for found in readings):
        # Each value must be found: neither reading can be in the set to no purpose.
        raise NotExpressibleError(
            "whether its numbers are text depends on the column; set quote_values: false"
        )
    return [value for found in readings for value in found]


_SAME = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_regex",
        "expect_compound_columns_to_be_unique",
        "expect_select_column_values_to_be_unique_within_record",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)
"""Tests of dbt_expectations whose arguments are called and mean what they do in Great Expectations."""

_TESTS: dict[tuple[str, str], Callable[[Call], Translated]] = {
    ("dbt", "not_null"): _not_null,
    ("dbt", "unique"): _unique,
    ("dbt", "accepted_values"): _accepted_values,
    ("dbt_utils", "unique_combination_of_columns"): _unique_combination,
    ("dbt_utils", "accepted_range"): _accepted_range,
    ("dbt_utils", "not_null_proportion"): _not_null_proportion,
    ("dbt_utils", "at_least_one"): _at_least_one,
    ("dbt_utils", "not_constant"): _not_constant,
    ("dbt_utils", "not_empty_string"): _not_empty_string,
    ("dbt_utils", "recency"): _recency,
    ("dbt_expectations", "expect_row_values_to_have_recent_data"): _recent_data,
    ("dbt_expectations", "expect_column_values_to_be_of_type"): _of_type,
    ("dbt_expectations", "expect_column_values_to_be_in_type_list"): _in_type_list,
    ("dbt_expectations", "expect_column_to_exist"): _to_exist,
}

_OTHER_DATA = "it compares with other data, which cannot be judged on one datamart"
_CASE = "it compares names of columns without regard to case, and Great Expectations does not"
_SQL = "it is SQL of your own; state it as an expectation"
_REASONS = {
    **dict.fromkeys(
        (
            "relationships", "relationships_where", "equality", "equal_rowcount", "fewer_rows_than",
            "cardinality_equality", "expect_table_row_count_to_equal_other_table",
        ),
        _OTHER_DATA,
    ),
    **dict.fromkeys(("expression_is_true", "expression_to_be_true", "expect_column_values_to_be_true"), _SQL),
    **dict.fromkeys(
        (
            "expect_table_columns_to_match_set", "expect_table_columns_to_match_ordered_list",
            "expect_table_columns_to_contain_set", "expect_table_columns_to_not_contain_set",
        ),
        _CASE,
    ),
    **dict.fromkeys(
        (
            "expect_column_values_to_be_increasing", "expect_column_values_to_be_decreasing",
            "sequential_values",
        ),
        "the rows of a datamart have no order",
    ),
}  # fmt: skip
