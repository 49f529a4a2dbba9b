# SPDX-License-Identifier: Apache-2.0
"""
Runs compiled checks on DuckDB: one pass for all aggregates, one grouping per key.

Each pass reads every column that it needs once. There is a second one when bounds depend on what the first
found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.quality.compiled.check import Cell, Check, Grouping
from airflow_provider_mlbridge.quality.engines.duckdb_session import Session, errors
from airflow_provider_mlbridge.quality.engines.groupings import Groupings
from airflow_provider_mlbridge.quality.masking import DROPPED, MaskingPolicy
from airflow_provider_mlbridge.quality.outcome import (
    CannotCheckError,
    Outcome,
    not_checked,
)

_MANY = 8
_MEASURES = 100
"""Measures of one query: time and memory for planning grow faster than their number."""
_ALIAS = re.compile(r"\bc\d+\b")


def run_checks(
    session: Session, checks: MutableMapping[int, Check], policy: MaskingPolicy | None = None
) -> dict[int, Outcome]:
    """
    The outcome of every check, by the key it came under.

    :param checks: a check that had to be made from what the first pass found takes the place of the one it
        came from, so that its rows can be shown afterwards.
    :param policy: what may be shown of values; nothing of any column when None.
    """
    return _Runner(session, policy or MaskingPolicy()).run(checks)


class _Runner:
    def __init__(self, session: Session, policy: MaskingPolicy) -> None:
        self._session = session
        self._policy = policy
        self._known: dict[str, Any] = {}
        self._groupings = Groupings(session, self._values)

    def run(self, checks: MutableMapping[int, Check]) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        pending: Mapping[int, Check] = dict(checks)
        while pending:
            next_pass: dict[int, Check] = {}
            for key, found in self._judge_all(pending).items():
                if isinstance(found, Check):
                    checks[key] = next_pass[key] = found
                else:
                    outcomes[key] = found
            pending = next_pass
        return outcomes

    def _judge_all(self, checks: Mapping[int, Check]) -> dict[int, Outcome | Check]:
        wanted: dict[Grouping, dict[str, None]] = {}
        for check in checks.values():
            if check.grouping is not None:
                wanted.setdefault(check.grouping, {}).update(dict.fromkeys(check.group_measures))
        # Several expectations on a column share measures, such as its number of values.
        measures = [measure for check in checks.values() for measure in check.measures]
        values = self._values([*measures, *self._groupings.ranges(wanted)])
        groups = self._groupings.answer(wanted)
        return {
            key: self._judge(
                check,
                [
                    *(values[measure] for measure in check.measures),
                    *(groups[check.grouping][measure] for measure in check.group_measures if check.grouping),
                ],
            )
            for key, check in checks.items()
        }

    def _judge(self, check: Check, values: Sequence[Any]) -> Outcome | Check:
        found = _judge(check, values)
        if isinstance(found, Outcome):
            return replace(found, result=_shown(found.result, self._policy))
        return found

    def _values(self, measures: Sequence[str]) -> Mapping[str, Any]:
        """The value of every measure, each evaluated once."""
        missing = [measure for measure in dict.fromkeys(measures) if measure not in self._known]
        if len(missing) > _MEASURES:
            # Those on the same columns together, so that no pass reads what another one reads.
            missing.sort(key=lambda measure: sorted(set(_ALIAS.findall(measure))))
        for start in range(0, len(missing), _MEASURES):
            self._known |= self._measure(missing[start : start + _MEASURES])
        return self._known

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


def _judge(check: Check, values: Sequence[Any]) -> Outcome | Check:
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


def _shown(value: Any, policy: MaskingPolicy) -> Any:
    """The result with only as much of values from the rows as may be shown."""
    if isinstance(value, Cell):
        shown = policy.shown(value.column.name, value.column.type_name, value.value)
        return None if shown is DROPPED else shown
    if isinstance(value, Mapping):
        return {key: _shown(item, policy) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _shown(item, policy)
            for item in value
            if not (isinstance(item, Cell) and policy.is_dropped(item.column.name))
        ]
    return value
