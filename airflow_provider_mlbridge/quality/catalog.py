# SPDX-License-Identifier: Apache-2.0
"""
The expectation types that are known, and the arguments each takes.

The table is Great Expectations' own (version 1.24), written down here so that a suite can be checked without
importing it, which costs several CPU seconds; a test compares the two.

Judged from the Parquet footers or by DuckDB (:data:`COMPILED`): what can be answered by reading each needed
column once, or by counting the rows of each key, and the types of our own (:data:`OWN`). Everything else is
judged by Great Expectations.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Domain = Literal["table", "column", "aggregate", "pair", "multicolumn"]

_ROWS = ("row_condition", "condition_parser")
_DOMAINS: dict[Domain, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "table": ((), ()),
    "column": (("column",), ("mostly", *_ROWS)),
    "aggregate": (("column",), _ROWS),
    "pair": (("column_A", "column_B"), ("mostly", "ignore_row_if", *_ROWS)),
    "multicolumn": (("column_list",), ("mostly", "ignore_row_if", *_ROWS)),
}
_BOUNDS = "min_value max_value strict_min strict_max"

RUNTIME_KWARGS = frozenset({"batch_id", "catch_exceptions", "result_format"})
"""Arguments that Great Expectations keeps in suites but that do not change the verdict; passed over here."""


@dataclass(frozen=True)
class ExpectationType:
    """
    One expectation type.

    :param name: as in a suite.
    :param domain: what it looks at: the table, each value of a column, an aggregate of a column, a pair of
        columns row by row, or several columns row by row.
    :param required: arguments that must be given.
    :param optional: arguments that may be given.
    """

    name: str
    domain: Domain
    required: frozenset[str]
    optional: frozenset[str]

    @property
    def kwargs(self) -> frozenset[str]:
        """All arguments."""
        return self.required | self.optional


def _entry(name: str, domain: Domain, required: str = "", optional: str = "") -> ExpectationType:
    base, options = _DOMAINS[domain]
    return ExpectationType(
        name, domain, frozenset((*base, *required.split())), frozenset((*options, *optional.split()))
    )


_CORE = (
    _entry("expect_column_distinct_values_to_be_in_set", "aggregate", "value_set"),
    _entry("expect_column_distinct_values_to_contain_set", "aggregate", "value_set"),
    _entry("expect_column_distinct_values_to_equal_set", "aggregate", "value_set"),
    _entry(
        "expect_column_kl_divergence_to_be_less_than",
        "aggregate",
        "",
        "partition_object threshold internal_weight_holdout tail_weight_holdout bucketize_data "
        "min_value max_value",
    ),
    _entry("expect_column_max_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_mean_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_median_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_min_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_most_common_value_to_be_in_set", "aggregate", "value_set", "ties_okay"),
    _entry("expect_column_pair_values_a_to_be_greater_than_b", "pair", "", "or_equal"),
    _entry("expect_column_pair_values_to_be_equal", "pair"),
    _entry("expect_column_pair_values_to_be_in_set", "pair", "value_pairs_set"),
    _entry("expect_column_proportion_of_non_null_values_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_proportion_of_unique_values_to_be_between", "aggregate", "", _BOUNDS),
    _entry(
        "expect_column_quantile_values_to_be_between", "aggregate", "quantile_ranges", "allow_relative_error"
    ),
    _entry("expect_column_stdev_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_sum_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_to_exist", "table", "column", "column_index"),
    _entry("expect_column_type_to_be", "table", "column type_"),
    _entry("expect_column_unique_value_count_to_be_between", "aggregate", "", _BOUNDS),
    _entry("expect_column_value_lengths_to_be_between", "column", "", _BOUNDS),
    _entry("expect_column_value_lengths_to_equal", "column", "value"),
    _entry("expect_column_value_z_scores_to_be_less_than", "column", "threshold double_sided"),
    _entry("expect_column_values_to_be_between", "column", "", _BOUNDS),
    _entry("expect_column_values_to_be_dateutil_parseable", "column"),
    _entry("expect_column_values_to_be_decreasing", "column", "", "strictly"),
    _entry("expect_column_values_to_be_in_set", "column", "value_set"),
    _entry("expect_column_values_to_be_in_type_list", "column", "", "type_list"),
    _entry("expect_column_values_to_be_increasing", "column", "", "strictly"),
    _entry("expect_column_values_to_be_json_parseable", "column"),
    _entry("expect_column_values_to_be_null", "column"),
    _entry("expect_column_values_to_be_of_type", "column", "type_"),
    _entry("expect_column_values_to_be_unique", "column"),
    _entry("expect_column_values_to_match_json_schema", "column", "json_schema"),
    _entry("expect_column_values_to_match_like_pattern", "column", "like_pattern", "escape"),
    _entry(
        "expect_column_values_to_match_like_pattern_list", "column", "like_pattern_list", "match_on escape"
    ),
    _entry("expect_column_values_to_match_regex", "column", "", "regex"),
    _entry("expect_column_values_to_match_regex_list", "column", "regex_list", "match_on"),
    _entry("expect_column_values_to_match_strftime_format", "column", "strftime_format"),
    _entry("expect_column_values_to_not_be_in_set", "column", "value_set"),
    _entry("expect_column_values_to_not_be_null", "column"),
    _entry("expect_column_values_to_not_be_outliers", "column", "", "method multiplier"),
    _entry("expect_column_values_to_not_match_like_pattern", "column", "like_pattern", "escape"),
    _entry("expect_column_values_to_not_match_like_pattern_list", "column", "like_pattern_list", "escape"),
    _entry("expect_column_values_to_not_match_regex", "column", "regex"),
    _entry("expect_column_values_to_not_match_regex_list", "column", "regex_list"),
    _entry("expect_compound_columns_to_be_unique", "multicolumn"),
    _entry("expect_multicolumn_sum_to_equal", "multicolumn", "sum_total"),
    _entry("expect_multicolumn_values_to_be_equal", "multicolumn"),
    _entry(
        "expect_query_results_to_match_comparison",
        "table",
        "base_query comparison_data_source_name comparison_query",
        "mostly",
    ),
    _entry("expect_select_column_values_to_be_unique_within_record", "multicolumn"),
    _entry("expect_table_column_count_to_be_between", "table", "", "min_value max_value"),
    _entry("expect_table_column_count_to_equal", "table", "value"),
    _entry("expect_table_columns_to_match_ordered_list", "table", "", "column_list"),
    _entry("expect_table_columns_to_match_set", "table", "", "column_set exact_match"),
    _entry("expect_table_row_count_to_be_between", "table", "", f"{_BOUNDS} {' '.join(_ROWS)}"),
    _entry("expect_table_row_count_to_equal", "table", "value", " ".join(_ROWS)),
    _entry("expect_table_row_count_to_equal_other_table", "table", "other_table_name", " ".join(_ROWS)),
    _entry("unexpected_rows_expectation", "table", "unexpected_rows_query"),
)

COLUMN_TYPE = "mlbridge_column_type"
"""The column exists and has the type ``type_``. Behind the shorthand ``schema``."""
DATAMART_MAX_AGE = "mlbridge_datamart_max_age"
"""The newest object of the datamart was written at most ``max_age_seconds`` ago."""
COLUMN_MAX_AGE = "mlbridge_column_max_age"
"""The greatest value of a date or timestamp column is at most ``max_age_seconds`` old."""

ROW_COUNT_ANOMALY = "mlbridge_row_count_anomaly"
"""The number of rows is unlike that of earlier runs, see ``quality/anomalies.py``."""
BYTES_ANOMALY = "mlbridge_bytes_anomaly"
"""The size of the files is unlike that of earlier runs."""
NULL_RATIO_ANOMALY = "mlbridge_null_ratio_anomaly"
"""The share of rows without a value in ``column`` is unlike that of earlier runs."""
ANOMALIES = frozenset({ROW_COUNT_ANOMALY, BYTES_ANOMALY, NULL_RATIO_ANOMALY})
"""Types that compare with earlier runs."""

ANOMALY_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "max_z": 3.5,
        "min_history": 7,
        "window": 30,
        "direction": "both",
        "only": "passed",
        "on_short_history": "warn",
    }
)
"""Arguments of these types, and what they are unless given."""
MAX_WINDOW = 90
"""Earlier runs that these types look at, at most."""
_ANOMALY = f"{' '.join(ANOMALY_DEFAULTS)} min_change"

OWN = MappingProxyType(
    {
        item.name: item
        for item in (
            _entry(COLUMN_TYPE, "table", "column type_"),
            _entry(DATAMART_MAX_AGE, "table", "max_age_seconds"),
            _entry(COLUMN_MAX_AGE, "table", "column max_age_seconds"),
            _entry(ROW_COUNT_ANOMALY, "table", "", _ANOMALY),
            _entry(BYTES_ANOMALY, "table", "", _ANOMALY),
            _entry(NULL_RATIO_ANOMALY, "table", "column", _ANOMALY),
        )
    }
)
"""Types that Great Expectations does not have."""

GX_CORE: Mapping[str, ExpectationType] = MappingProxyType({item.name: item for item in _CORE})
"""Great Expectations' core types."""

EXPECTATION_TYPES: Mapping[str, ExpectationType] = MappingProxyType({**GX_CORE, **OWN})
"""Every type known here, by name."""

COMPILED = frozenset(
    {
        *OWN,
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_quantile_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_to_exist",
        "expect_column_type_to_be",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_be_outliers",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)
"""Types judged without Great Expectations, except on a column of a type, or under a ``row_condition``, that
the SQL here does not cover, such as the median of dates."""


def close_names(name: str, known: frozenset[str] | set[str] | Mapping[str, object]) -> str:
    """``" Did you mean 'x' or 'y'?"``, or nothing when no known name is near."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    close = close or [other for other in sorted(known) if name and other.startswith(name)][:3]
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
