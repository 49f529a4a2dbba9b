# SPDX-License-Identifier: Apache-2.0
"""
Expectations that Great Expectations itself judges, on pandas, reading only the columns they need.

Importing it costs several CPU seconds, so that happens only when there is such an expectation. It runs in an
ephemeral context: no project folder, no files, no analytics, no progress bars.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.masking import (
    DROPPED,
    MaskingPolicy,
    mask,
    mask_message,
    mask_observed,
)
from airflow_provider_mlbridge.quality.outcome import Outcome, not_checked
from airflow_provider_mlbridge.quality.result_formats import (
    ResultFormat,
    UnexpectedRows,
    shape,
    with_rows,
)
from airflow_provider_mlbridge.quality.table import Column, Table
from airflow_provider_mlbridge.quality.values import json_value

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_OBJECT_BYTES = 120
"""Memory of one value that pandas holds as a Python object, such as a date or a decimal."""
_COPIES = 3
"""How many times Great Expectations may hold a column while it judges: the frame, a filtered copy, a mask."""
_KEPT = (
    "element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent",
    "unexpected_percent_total", "unexpected_percent_nonmissing", "observed_value", "details",
)  # fmt: skip
_DATABASE_ONLY = {
    "expect_query_results_to_match_comparison": (
        "it compares the answers of two databases; check the datamart with expectations about its columns, "
        "and reconcile the sources in a task of its own"
    ),
    "expect_table_row_count_to_equal_other_table": (
        "it asks a database for the other table; use expect_table_row_count_to_equal with the number of rows "
        "that a task before this one counted"
    ),
    "unexpected_rows_expectation": (
        "it runs a query of yours in a database; use an expectation about rows with a row_condition, or one "
        "about pairs of columns"
    ),
}
"""Types that Great Expectations judges in databases only, and what to do instead."""


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
            with warnings.catch_warnings():
                # Conditions as text, which suites in use still have.
                warnings.simplefilter("ignore", DeprecationWarning)
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
    policy: MaskingPolicy,
    result_format: ResultFormat | None = None,
    with_positions: bool = False,
) -> dict[int, Outcome]:
    """
    The outcome of every expectation, by the key it came under.

    :param built: what :func:`build` made of them.
    :param memory_bytes: the most that the data may take; expectations on more are not checked.
    :param policy: what may be shown of which column.
    :param result_format: what results hold; ``SUMMARY`` when None.
    :param with_positions: whether outcomes have ``unexpected_positions``.
    """
    result_format = result_format or ResultFormat()
    outcomes: dict[int, Outcome] = {}
    groups: dict[tuple[str, ...], list[int]] = {}
    for key, expectation in expectations.items():
        if expectation.type in _DATABASE_ONLY:
            reason = (
                f"Great Expectations judges {expectation.type} in databases only, and a datamart is files: "
                f"{_DATABASE_ONLY[expectation.type]}"
            )
            outcomes[key] = not_checked("gx", reason)
        else:
            groups.setdefault(_needed(expectation, table, result_format), []).append(key)
    # One frame at a time: expectations on the same columns share it.
    for names, keys in groups.items():
        columns = [table.by_name[name] for name in names]
        estimate = _estimate(columns, table.rows)
        if estimate > memory_bytes:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            reason = (
                f"Great Expectations judges this type on pandas, and {table.rows} rows of "
                f"{', '.join(map(repr, names[:10]))}{more} take about {estimate // 1_000_000} MB, more than "
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
        judged = _judge(
            {key: expectations[key] for key in keys},
            built,
            _Reader(frame, table, policy, result_format, with_positions=with_positions),
        )
        outcomes |= judged
    return outcomes


def _needed(expectation: Expectation, table: Table, result_format: ResultFormat) -> tuple[str, ...]:
    """The columns that are read for an expectation; all where it does not say."""
    names = set(expectation.columns)
    if not names or result_format.rows_wanted:
        return tuple(table.names)
    names.update(result_format.unexpected_index_column_names)
    # A condition names columns in one of several notations; a column too many does no harm.
    texts = list(_texts(expectation.kwargs.get("row_condition")))
    names.update(name for name in table.names if any(name in text for text in texts))
    return tuple(name for name in table.names if name in names)


def _texts(condition: Any) -> Iterable[str]:
    """All text in a condition on rows."""
    if hasattr(condition, "dict"):
        condition = condition.dict()
    if isinstance(condition, str):
        yield condition
    elif isinstance(condition, Mapping | list | tuple):
        for item in condition.values() if isinstance(condition, Mapping) else condition:
            yield from _texts(item)


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
    expectations: Mapping[int, Expectation], built: Mapping[int, Any], reader: _Reader
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
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": reader.frame})
    outcomes: dict[int, Outcome] = {}
    for key, expectation in expectations.items():
        try:
            validation = batch.validate(built[key], result_format=reader.asked)
        # Whatever it raises, this one expectation is not checked; the others go on.
        except Exception as error:  # noqa: BLE001
            reason = reader.message(expectation, f"{type(error).__name__}: {error}")
            outcomes[key] = not_checked("gx", reason)
            continue
        raised = _exception(validation.exception_info)
        if raised is not None:
            outcomes[key] = not_checked("gx", reader.message(expectation, raised))
        else:
            outcomes[key] = reader.outcome(expectation, bool(validation.success), validation.result)
    return outcomes


def _exception(info: Mapping[str, Any]) -> str | None:
    """The message, from one of the two shapes in which Great Expectations reports exceptions."""
    entries = [item for item in info.values() if isinstance(item, Mapping)] or [info]
    for entry in entries:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "an exception without a message")
    return None


class _Reader:
    """Reads what Great Expectations says about a frame, and leaves out what may not be shown."""

    def __init__(
        self,
        frame: Any,
        table: Table,
        policy: MaskingPolicy,
        result_format: ResultFormat,
        *,
        with_positions: bool,
    ) -> None:
        self.frame = frame
        self._table = table
        self._policy = policy
        self._format = result_format
        self._with_positions = with_positions

    @property
    def asked(self) -> dict[str, Any]:
        """The ``result_format`` for Great Expectations: what is shown of rows is taken from the frame."""
        places = max(self._format.places_wanted, self._format.rows_wanted)
        partial = self._format.partial_unexpected_count
        level = "COMPLETE" if self._with_positions or places > partial else "SUMMARY" if places else "BASIC"
        return {
            "result_format": level,
            "partial_unexpected_count": partial,
            "return_unexpected_index_query": False,
        }

    def message(self, expectation: Expectation, message: str) -> str:
        """An error of Great Expectations without values of rows."""
        texts: set[str] = set()
        for name in self.frame.columns:
            # Numbers are not text that anyone could be known by; what pandas holds as objects is.
            if self._table.by_name[name].family not in ("int", "float", "bool"):
                texts.update(str(value) for value in self.frame[name].dropna())
                texts.update(repr(value) for value in self.frame[name].dropna())
        keep = {
            *self._table.by_name,
            *(value for value in expectation.kwargs.values() if isinstance(value, str)),
        }
        return f"Great Expectations could not evaluate it: {mask_message(message, texts, keep)}"

    def outcome(self, expectation: Expectation, success: bool, raw: Mapping[str, Any]) -> Outcome:
        """The outcome, in the format that is wanted."""
        result = {name: json_value(raw[name]) for name in _KEPT if name in raw}
        names = expectation.columns
        if names and not all(map(self._policy.is_plain, names)):
            for name in ("observed_value", "details"):
                if name in result:
                    result[name] = mask_observed(expectation.type, result[name])
        positions = self._positions(raw)
        if "element_count" not in raw:
            if "partial_unexpected_list" in raw:
                values = self._shown_values(expectation, raw["partial_unexpected_list"])
                if values is not None:
                    result["partial_unexpected_list"] = values
            result |= {key: raw[key] for key in ("unexpected_count",) if key in raw}
            return Outcome("gx", success, shape(result, self._format))
        found = self._found(expectation, raw, positions)
        result = with_rows(result, found, self._format)
        return Outcome(
            "gx", success, result, unexpected_positions=positions if self._with_positions else None
        )

    def _positions(self, raw: Mapping[str, Any]) -> NDArray[np.int64] | None:
        listed = raw.get("unexpected_index_list", raw.get("partial_unexpected_index_list"))
        if listed is None:
            return None
        import numpy as np

        return np.asarray(listed, dtype=np.int64)

    def _found(
        self, expectation: Expectation, raw: Mapping[str, Any], positions: NDArray[np.int64] | None
    ) -> UnexpectedRows:
        values = raw.get("unexpected_list", raw.get("partial_unexpected_list", []))
        shown = self._shown_values(expectation, values[: self._format.values_wanted])
        if positions is None:
            return UnexpectedRows(values=shown, positions=None)
        index = self._format.unexpected_index_column_names
        places = [int(place) for place in positions[: self._format.limit]]
        judged = [name for name in dict.fromkeys((*expectation.columns, *index)) if name in self.frame]
        return UnexpectedRows(
            values=shown,
            positions=places,
            named=self._records(places[: self._format.places_wanted], judged) if index else (),
            rows=self._records(places[: self._format.rows_wanted], list(self.frame.columns)),
        )

    def _records(self, places: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        kept = [name for name in names if not self._policy.is_dropped(name)]
        columns = {name: self.frame[name].iloc[places] for name in kept}
        return [
            {name: self._cell(name, columns[name].iloc[row]) for name in kept} for row in range(len(places))
        ]

    def _shown_values(self, expectation: Expectation, values: Iterable[Any]) -> list[Any] | None:
        """What may be shown of the values that Great Expectations lists; None when nothing."""
        names = expectation.columns
        if names and all(map(self._policy.is_dropped, names)):
            return None
        return [self._shown(value, names) for value in values]

    def _shown(self, value: Any, names: Sequence[str]) -> Any:
        if isinstance(value, Mapping):
            cells = {name: self._cell(name, item) for name, item in value.items()}
            return {name: cell for name, cell in cells.items() if cell is not DROPPED}
        if isinstance(value, list | tuple) and len(names) == len(value) > 1:
            cells = dict(zip(range(len(names)), map(self._cell, names, value), strict=True))
            return [None if cell is DROPPED else cell for cell in cells.values()]
        if len(names) == 1:
            return self._cell(names[0], value)
        # Of an expectation that does not name its columns, values could be of any.
        return None if json_value(value) in (None, "NaN") else mask("string")

    def _cell(self, name: str, value: Any) -> Any:
        plain = json_value(value)
        if plain is None or plain == "NaN":
            value = plain = None
        column = self._table.by_name.get(name)
        if column is None:
            return None if plain is None else mask("string")
        # The policy's hash tells a decimal or a date from text, so that it gets the value itself.
        return self._policy.shown(name, column.type_name, value)
