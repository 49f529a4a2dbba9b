# SPDX-License-Identifier: Apache-2.0
"""Expectations and what was found, in a few words for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlbridge.quality.catalog import (
    ANOMALIES,
    ANOMALY_DEFAULTS,
    BYTES_ANOMALY,
    COLUMN_MAX_AGE,
    COLUMN_TYPE,
    DATAMART_MAX_AGE,
    NULL_RATIO_ANOMALY,
    ROW_COUNT_ANOMALY,
)
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.values import json_value

_SHOWN = 10


def label(expectation: Expectation) -> str:
    """Type and columns: ``expect_column_values_to_be_between(fare)``."""
    return f"{expectation.type}({', '.join(map(printable, expectation.columns))})"


def printable(name: str) -> str:
    """A name of a column, in quotes and with escapes when it has letters that cannot be seen."""
    return name if name.isprintable() else repr(name)


def number_text(value: float, digits: int = 6) -> str:
    """A number with separators between its thousands; one with a fraction is rounded."""
    if isinstance(value, int):
        return f"{value:,}"
    # Beyond these the exponent is easier to read.
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:,.{digits}g}"


_SUBJECTS = {
    BYTES_ANOMALY: "bytes of the files",
    COLUMN_MAX_AGE: "age of the newest value",
    COLUMN_TYPE: "type of the column",
    DATAMART_MAX_AGE: "age of the newest file",
    NULL_RATIO_ANOMALY: "share of rows without a value",
    ROW_COUNT_ANOMALY: "number of rows",
}
_COUNTS = frozenset(
    (
        BYTES_ANOMALY,
        ROW_COUNT_ANOMALY,
        "expect_column_unique_value_count_to_be_between",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    )
)
"""Types about numbers of things, told with separators; other numbers may be years or keys."""


def subject_text(expectation: Expectation) -> str:
    """What an expectation of a type of our own is about, in words."""
    where = f" in {', '.join(expectation.columns)}" if expectation.columns else ""
    return f"{_SUBJECTS[expectation.type]}{where}"


def expected_text(expectation: Expectation) -> str:
    """What was expected, without the columns."""
    kwargs = expectation.kwargs
    if expectation.type in (DATAMART_MAX_AGE, COLUMN_MAX_AGE):
        return f"an age of at most {_seconds(kwargs['max_age_seconds'])}"
    if expectation.type == COLUMN_TYPE:
        return f"type {kwargs['type_']}"
    if expectation.type in ANOMALIES:
        return _anomaly_text(expectation)
    parts = [
        f"{name}={_number_of(expectation.type, value)}"
        for name, value in kwargs.items()
        if name not in ("column", "column_A", "column_B") and value is not None and value is not False
    ]
    if "column_list" in kwargs and expectation.columns:
        parts = [part for part in parts if not part.startswith("column_list=")]
    return ", ".join(parts) or _plain(expectation.type)


def _anomaly_text(expectation: Expectation) -> str:
    options = {
        **ANOMALY_DEFAULTS,
        **{name: value for name, value in expectation.kwargs.items() if value is not None},
    }
    side = {"both": "from", "low": "below", "high": "above"}[options["direction"]]
    return (
        f"at most {_short(options['max_z'])} deviations {side} the median of up to {options['window']} runs"
    )


def _plain(type_: str) -> str:
    """``expect_column_values_to_not_be_null`` as ``values to not be null``."""
    text = type_.removeprefix("expect_").removeprefix("column_").removeprefix("compound_columns_")
    return text.replace("_", " ")


def observed_text(outcome: Outcome, type_: str = "") -> str:
    """
    What was found.

    :param type_: type of the expectation; observed counts and ages are told as such when it is known.
    """
    if outcome.success is None:
        return f"could not be checked: {outcome.error}"
    result = outcome.result
    if result.get("unexpected_count") is not None and "element_count" in result:
        count, percent = result["unexpected_count"], result.get("unexpected_percent")
        share = f" ({percent:.4g} %)" if percent is not None else ""
        missing = result.get("missing_count")
        without = f", {missing:,} without a value" if missing else ""
        return f"{count:,} of {result['element_count']:,} unexpected{share}{without}"
    if "observed_value" not in result:
        return "as expected" if outcome.success else "not so"
    if result["observed_value"] is None and result.get("unexpected_count"):
        return f"{result['unexpected_count']:,} values are unexpected"
    details = _details(result.get("details"))
    return f"observed {_observed(result['observed_value'], type_)}{f' ({details})' if details else ''}"


def _observed(value: Any, type_: str) -> str:
    if type_ in (DATAMART_MAX_AGE, COLUMN_MAX_AGE) and isinstance(value, int | float):
        return f"an age of {_seconds(value)}"
    return _number_of(type_, value)


def _number_of(type_: str, value: Any) -> str:
    if type_ in _COUNTS and isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return _short(value)


def _details(details: Any) -> str:
    if isinstance(details, str):
        return details
    if isinstance(details, Mapping) and "runs" in details:
        return _anomaly_details(details)
    if isinstance(details, Mapping) and isinstance(details.get("mismatched"), Mapping):
        return "; ".join(f"{kind}: {_short(names)}" for kind, names in details["mismatched"].items())
    if isinstance(details, Mapping) and isinstance(details.get("mismatched"), list):
        return f"{len(details['mismatched'])} positions differ"
    return ""


def _anomaly_details(details: Mapping[str, Any]) -> str:
    if "note" in details:
        return str(details["note"])
    low, high = (details.get(name) for name in ("low", "high"))
    usual = [
        f"at least {number_text(low)}" if low is not None else "",
        f"at most {number_text(high)}" if high is not None else "",
    ]
    distance = f"z {details['z']:.3g}, " if details.get("z") is not None else ""
    return (
        f"{distance}median {number_text(details['median'])} of {details['runs']} runs, "
        f"usual is {' and '.join(filter(None, usual))}"
    )


def _short(value: Any) -> str:
    value = json_value(value)
    if isinstance(value, list):
        more = f", and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
        return f"[{', '.join(map(_short, value[:_SHOWN]))}{more}]"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _seconds(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} seconds"
