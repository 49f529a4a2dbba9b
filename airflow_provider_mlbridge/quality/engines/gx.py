# SPDX-License-Identifier: Apache-2.0
"""
Expectations that Great Expectations itself judges, on pandas, reading only the columns they need.

Importing it costs several CPU seconds, so that happens only when there is such an expectation. It runs in an
ephemeral context: no project folder, no files, no analytics, no progress bars.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.masking import mask, mask_message, mask_observed
from airflow_provider_mlbridge.quality.outcome import SAMPLE_LIMIT, Outcome, not_checked, with_sample
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value

if TYPE_CHECKING:
    import pyarrow as pa

_OBJECT_BYTES = 120
"""Memory of one value that pandas holds as a Python object, such as a date or a decimal."""
_COPIES = 3
"""How many times Great Expectations may hold a column while it judges: the frame, a filtered copy, a mask."""
_KEPT = (
    "element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent",
    "unexpected_percent_total", "unexpected_percent_nonmissing", "observed_value", "details",
)  # fmt: skip


def import_gx() -> Any:
    """Great Expectations, without the warnings about itself that its import gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations

    return great_expectations


def build(expectations: Mapping[int, Expectation]) -> dict[int, Any]:
    """
    Great Expectations' own objects, before any data is read.

    :raises InvalidExpectationError: when Great Expectations refuses the arguments.
    """
    if not expectations:
        return {}
    import_gx()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    built = {}
    for key, expectation in expectations.items():
        try:
            built[key] = ExpectationConfiguration(
                type=expectation.type, kwargs=dict(expectation.kwargs), severity=expectation.severity
            ).to_domain_obj()
        # Its validation raises errors of a library of its own, and plain ones.
        except Exception as error:
            raise InvalidExpectationError(
                f"Great Expectations refuses {expectation.type} with {dict(expectation.kwargs)!r}: "
                f"{' '.join(str(error).split())}"
            ) from error
    return built


def run(
    expectations: Mapping[int, Expectation],
    built: Mapping[int, Any],
    table: Table,
    paths: Sequence[Path],
    *,
    memory_bytes: int,
    unmasked: Collection[str] = (),
) -> dict[int, Outcome]:
    """
    The outcome of every expectation, by the key it came under.

    :param built: what :func:`build` made of them.
    :param memory_bytes: the most that the data may take; expectations on more are not checked.
    :param unmasked: columns whose values may be shown.
    """
    outcomes: dict[int, Outcome] = {}
    groups: dict[tuple[str, ...], list[int]] = {}
    for key, expectation in expectations.items():
        groups.setdefault(_needed(expectation, table), []).append(key)
    # One frame at a time: expectations on the same columns share it.
    for names, keys in groups.items():
        columns = [table.by_name[name] for name in names]
        estimate = _estimate(columns, table.rows)
        if estimate > memory_bytes:
            reason = (
                f"Great Expectations judges this type on pandas, and {table.rows} rows of "
                f"{', '.join(map(repr, names[:10]))} take about {estimate // 1_000_000} MB, more than "
                f"memory_limit ({memory_bytes // 1_000_000} MB). Raise memory_limit, name fewer "
                f"partitions, or use a type that is judged by DuckDB "
                f"(airflow_provider_mlbridge.quality.catalog.COMPILED)."
            )
            outcomes |= dict.fromkeys(keys, not_checked("gx", reason))
            continue
        try:
            frame = _frame(columns, paths)
        # A corrupt page, or values that pandas cannot hold: these are not checked; the others go on.
        except Exception as error:  # noqa: BLE001
            message = mask_message(f"{type(error).__name__}: {error}", (), table.by_name)
            reason = f"the columns could not be read for Great Expectations: {message}"
            outcomes |= dict.fromkeys(keys, not_checked("gx", reason))
            continue
        outcomes |= _judge({key: expectations[key] for key in keys}, built, frame, table, unmasked)
    return outcomes


def _needed(expectation: Expectation, table: Table) -> tuple[str, ...]:
    names = set(expectation.columns)
    if not names:
        return tuple(table.names)
    condition = expectation.kwargs.get("row_condition")
    if condition is not None:
        # A condition names columns in one of several notations; a column too many does no harm.
        text = condition if isinstance(condition, str) else json.dumps(condition, default=str)
        names.update(name for name in table.names if name in text)
    return tuple(name for name in table.names if name in names)


def _estimate(columns: Iterable[Column], rows: int) -> int:
    total = 0
    for column in columns:
        match column.family:
            case "int" | "float" | "bool" | "timestamp" | "timestamptz" | "duration":
                total += rows * 8
            case "string":
                total += rows * 16 + column.size
            case _:
                total += rows * _OBJECT_BYTES + column.size
    return total * _COPIES


def _frame(columns: Sequence[Column], paths: Sequence[Path]) -> Any:
    """The columns as a pandas frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [column.name for column in columns if not column.partition]
    parts = []
    types: dict[str, pa.DataType] = {"int64": pa.int64(), "date32": pa.date32(), "string": pa.string()}
    for position, path in enumerate(paths):
        with pq.ParquetFile(path) as parquet:
            # With no column asked for, the rows are still counted.
            part = parquet.read(columns=names).select(names)
            rows = parquet.metadata.num_rows
        for column in columns:
            if column.partition:
                value = pa.scalar(column.partition.values[position], types[column.type_name])
                part = part.append_column(column.name, pa.repeat(value, rows))
        parts.append(part)
    return pa.concat_tables(parts).select([column.name for column in columns]).to_pandas()


def _judge(
    expectations: Mapping[int, Expectation],
    built: Mapping[int, Any],
    frame: Any,
    table: Table,
    unmasked: Collection[str],
) -> dict[int, Outcome]:
    gx = import_gx()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("mlbridge").add_dataframe_asset("datamart")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE_LIMIT}
    outcomes: dict[int, Outcome] = {}
    for key, expectation in expectations.items():
        try:
            validation = batch.validate(built[key], result_format=result_format)
        # Whatever it raises, this one expectation is not checked; the others go on.
        except Exception as error:  # noqa: BLE001
            reason = _message(expectation, frame, table, f"{type(error).__name__}: {error}")
            outcomes[key] = not_checked("gx", reason)
            continue
        raised = _exception(validation.exception_info)
        if raised is not None:
            outcomes[key] = not_checked("gx", _message(expectation, frame, table, raised))
        else:
            result = _result(expectation, validation.result, table, unmasked)
            outcomes[key] = Outcome("gx", bool(validation.success), result)
    return outcomes


def _exception(info: Mapping[str, Any]) -> str | None:
    """The message, from one of the two shapes in which Great Expectations reports exceptions."""
    entries = [item for item in info.values() if isinstance(item, Mapping)] or [info]
    for entry in entries:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "an exception without a message")
    return None


def _message(expectation: Expectation, frame: Any, table: Table, message: str) -> str:
    texts: set[str] = set()
    for name in frame.columns:
        # Numbers are not text that anyone could be known by; what pandas holds as objects is.
        if table.by_name[name].family not in ("int", "float", "bool"):
            texts.update(str(value) for value in frame[name].dropna())
            texts.update(repr(value) for value in frame[name].dropna())
    keep = {*table.by_name, *(value for value in expectation.kwargs.values() if isinstance(value, str))}
    return f"Great Expectations could not evaluate it: {mask_message(message, texts, keep)}"


def _result(
    expectation: Expectation, raw: Mapping[str, Any], table: Table, unmasked: Collection[str]
) -> dict[str, Any]:
    result = {name: json_value(raw[name]) for name in _KEPT if name in raw}
    shown = bool(expectation.columns) and all(name in unmasked for name in expectation.columns)
    if expectation.columns and not shown:
        for name in ("observed_value", "details"):
            if name in result:
                result[name] = mask_observed(expectation.type, result[name])
    if "partial_unexpected_list" in raw:
        values = [json_value(value) for value in raw["partial_unexpected_list"]]
        if not shown:
            values = [_masked(value, expectation, table) for value in values]
        result = with_sample(result, values)
    return result


def _masked(value: Any, expectation: Expectation, table: Table) -> Any:
    names = expectation.columns
    if isinstance(value, Mapping):
        return {
            name: mask(table.by_name[name].type_name) if name in table.by_name else "***" for name in value
        }
    if isinstance(value, list) and len(names) == len(value) > 1:
        return [mask(table.by_name[name].type_name) for name in names]
    if value is None:
        return None
    return mask(table.by_name[names[0]].type_name) if len(names) == 1 else "***"
