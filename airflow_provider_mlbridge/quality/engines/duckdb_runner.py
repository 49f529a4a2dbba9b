# SPDX-License-Identifier: Apache-2.0
"""
Runs compiled checks on DuckDB: one pass for all aggregates, one grouping per key, samples for what failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlbridge.quality.compiled import sql
from airflow_provider_mlbridge.quality.compiled.check import Check, Grouping
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.outcome import (
    CannotCheckError,
    Outcome,
    not_checked,
)

_MANY = 8


def run_checks(session: Session, checks: Mapping[int, Check]) -> dict[int, Outcome]:
    """The outcome of every check, by the key it came under."""
    runner = _Runner(session)
    return runner.aggregates(checks) | runner.groupings(checks)


class _Runner:
    def __init__(self, session: Session) -> None:
        self._session = session

    def aggregates(self, checks: Mapping[int, Check]) -> dict[int, Outcome]:
        wanted = {key: check for key, check in checks.items() if check.grouping is None}
        # Several expectations on a column share measures, such as its number of values.
        measures = list(dict.fromkeys(measure for check in wanted.values() for measure in check.measures))
        values = self._measure(measures)
        return {
            key: _judge(check, [values[measure] for measure in check.measures])
            for key, check in wanted.items()
        }

    def _measure(self, measures: Sequence[str]) -> dict[str, Any]:
        """
        The value of every measure, in one pass; an error in its place for one that DuckDB cannot compute.

        One that fails must not take the others with it, so the list is halved until it stands alone.
        """
        if not measures:
            return {}
        try:
            row = self._pass(measures)
        except errors() as error:
            if len(measures) == 1:
                return {measures[0]: CannotCheckError(self._session.explain(error))}
            middle = len(measures) // 2
            first = self._measure(measures[:middle])
            if len(first) >= _MANY and all(isinstance(value, CannotCheckError) for value in first.values()):
                # A corrupt page or too little memory is not worth a pass for every single measure.
                return first | self._measure_once(measures[middle:])
            return first | self._measure(measures[middle:])
        return dict(zip(measures, row, strict=True))

    def _measure_once(self, measures: Sequence[str]) -> dict[str, Any]:
        try:
            row = self._pass(measures)
        except errors() as error:
            return dict.fromkeys(measures, CannotCheckError(self._session.explain(error)))
        return dict(zip(measures, row, strict=True))

    def _pass(self, measures: Sequence[str]) -> tuple[Any, ...]:
        return self._session.query(f"SELECT {', '.join(measures)} FROM {self._session.source}")[0]  # noqa: S608

    def groupings(self, checks: Mapping[int, Check]) -> dict[int, Outcome]:
        counted: dict[Grouping, Sequence[Any]] = {}
        proven: list[frozenset[str]] = []
        outcomes: dict[int, Outcome] = {}
        wanted = [(key, check, check.grouping) for key, check in checks.items() if check.grouping is not None]
        # Short keys first: a key that holds a unique column without nulls is unique as well.
        for key, check, grouping in sorted(wanted, key=lambda item: len(item[2].keys)):
            names = frozenset(column.name for column in grouping.keys)
            if grouping not in counted:
                try:
                    counted[grouping] = self._count(grouping, implied=any(known < names for known in proven))
                except errors() as error:
                    outcomes[key] = not_checked("duckdb", self._session.explain(error))
                    continue
            considered, repeated = counted[grouping]
            if repeated == 0 and considered == self._session.table.rows:
                proven.append(names)
            outcomes[key] = _judge(check, (considered, repeated))
        return outcomes

    def _count(self, grouping: Grouping, *, implied: bool) -> Sequence[Any]:
        source = self._session.source
        if implied:
            query = f"SELECT count(*) FILTER (WHERE {grouping.where}), 0 FROM {source}"  # noqa: S608
        else:
            keys = ", ".join(sql.key(column) for column in grouping.keys)
            query = (
                f"SELECT coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE n > 1), 0) "  # noqa: S608
                f"FROM (SELECT count(*) AS n FROM {source} WHERE {grouping.where} GROUP BY {keys})"
            )
        return self._session.query(query, floats=any(column.family == "float" for column in grouping.keys))[0]


def _judge(check: Check, values: Sequence[Any]) -> Outcome:
    for value in values:
        if isinstance(value, CannotCheckError):
            return not_checked("duckdb", value)
    try:
        return check.judge(values)
    except CannotCheckError as error:
        return not_checked("duckdb", error)
    # Whatever it raises, this one expectation is not checked; the others go on.
    except Exception as error:  # noqa: BLE001
        # Its message might quote the value.
        return not_checked("duckdb", f"what DuckDB found could not be judged ({type(error).__name__})")
