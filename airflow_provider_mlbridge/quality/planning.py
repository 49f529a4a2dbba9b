# SPDX-License-Identifier: Apache-2.0
"""Who judges which expectation: the footers at once, DuckDB, or Great Expectations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.quality import anomalies
from airflow_provider_mlbridge.quality.catalog import ANOMALIES, close_names
from airflow_provider_mlbridge.quality.compiled import Check, NotCompiledError, compile_check
from airflow_provider_mlbridge.quality.engines import footers
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.foreign_errors import without_values
from airflow_provider_mlbridge.quality.history import History
from airflow_provider_mlbridge.quality.outcome import CannotCheckError, Outcome, not_checked
from airflow_provider_mlbridge.quality.table import Table
from airflow_provider_mlbridge.results import Snapshot


class Plan:
    """
    What is known from the footers, and what is left for which engine, by position.

    :param expectations: all that is expected.
    :param table: what the footers say.
    :param pinned: the snapshot that was pinned, whose bytes are those of earlier runs.
    :param now: the time that ages are measured against.
    :param history: earlier runs; there must be one when an expectation asks for it.
    """

    def __init__(
        self,
        expectations: Sequence[Expectation],
        table: Table,
        pinned: Snapshot,
        now: datetime,
        history: History | None,
    ) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.checks: dict[int, Check] = {}
        self.handed_over: dict[int, Expectation] = {}
        self._table = table
        self._pinned = pinned
        self._now = now
        self._history = history or History()
        for position, expectation in enumerate(expectations):
            try:
                self._place(position, expectation)
            except CannotCheckError as error:
                self.outcomes[position] = not_checked("footer", error)
            except MLBridgeError as error:
                self.outcomes[position] = not_checked("footer", error)
            # Whatever it raises, this one expectation is not checked; the others go on. Bounds in footers
            # are values of rows, which a foreign message may repeat.
            except Exception as error:  # noqa: BLE001
                told = without_values(type(error).__name__, str(error))
                reason = f"it could not be prepared for this column: {told}"
                self.outcomes[position] = not_checked("footer", reason)

    def _place(self, position: int, expectation: Expectation) -> None:
        table = self._table
        if expectation.type not in footers.ANSWERS_MISSING_COLUMN:
            _require_columns(expectation, table)
        if expectation.type in ANOMALIES:
            known = anomalies.judge(expectation, table, self._history, pinned=self._pinned)
            if known is None:
                self.checks[position] = anomalies.check(expectation, table, self._history)
            else:
                self.outcomes[position] = known
            return
        if expectation.kwargs.get("row_condition") is None:
            outcome = footers.judge(expectation, table, self._now)
            if outcome is not None:
                self.outcomes[position] = outcome
                return
        try:
            self.checks[position] = compile_check(expectation, table, self._now)
        except NotCompiledError:
            self.handed_over[position] = expectation


def _require_columns(expectation: Expectation, table: Table) -> None:
    for name in expectation.columns:
        if name not in table.by_name:
            shown = ", ".join(map(repr, table.names[:10]))
            more = f" and {len(table.names) - 10} more" if len(table.names) > 10 else ""
            raise CannotCheckError(
                f"there is no column {name!r}.{close_names(name, table.by_name)} There are {shown}{more}."
            )
