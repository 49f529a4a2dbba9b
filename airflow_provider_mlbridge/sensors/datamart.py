# SPDX-License-Identifier: Apache-2.0
"""Wait for a datamart that is complete and unchanged, not just for a key."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidEventError
from airflow_provider_mlbridge.operators._support import add_to_outlets, failing_fast
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import PartitionSelector
from airflow_provider_mlbridge.storage.durations import duration
from airflow_provider_mlbridge.storage.readiness import unchanged
from airflow_provider_mlbridge.storage.uris import check_uri
from airflow_provider_mlbridge.triggers.datamart import DatamartTrigger, look_with_connection

if TYPE_CHECKING:
    from airflow.sdk import Context


class DatamartSensor(BaseSensorOperator):
    """
    Wait until a Parquet datamart is there, complete and unchanged, and pin it.

    Complete means that no writer's temporary files are left, every Parquet file has a readable footer and
    there is at least one row; unchanged means that two looks, ``settle_seconds`` apart, find the same
    objects.

    :param datamart: URI of a Parquet file, a prefix or a hive-partitioned dataset. (templated)
    :param partitions: hive partition to value, or list of values: only these are waited for, and pinned.
        (templated)
    :param aws_conn_id: Airflow connection for S3; None for boto3's own credential chain. (templated)
    :param deferrable: wait in the triggerer.
    :param settle_seconds: seconds between the two looks that must agree.
    :param min_files: the least number of Parquet files.
    :param max_age: how old the newest file may be when the run is due (``dag_run.run_after``): waits over
        yesterday's datamart. A manual run is due when it is started. A timedelta, seconds, or text such as
        ``26 hours``.
    :param modified_after: the same as a moment of your own: aware datetime or ISO 8601 text with an offset.
        (templated)
    :return: the :class:`~airflow_provider_mlbridge.results.Snapshot` as JSON: give it to
        :class:`~airflow_provider_mlbridge.operators.DatamartQualityOperator`.

    ``poke_interval``, ``timeout`` and ``soft_fail`` are those of all sensors.
    """

    template_fields: Sequence[str] = ("datamart", "partitions", "aws_conn_id", "modified_after")
    ui_color = "#eef0f2"

    def __init__(
        self,
        *,
        datamart: str,
        partitions: PartitionSelector | None = None,
        aws_conn_id: str | None = "aws_default",
        deferrable: bool = True,
        settle_seconds: float = 5.0,
        min_files: int = 1,
        modified_after: str | datetime | None = None,
        max_age: timedelta | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datamart = datamart
        self.partitions = partitions
        self.aws_conn_id = aws_conn_id
        self.deferrable = deferrable
        self.settle_seconds = settle_seconds
        self.min_files = min_files
        self.modified_after = modified_after
        self.max_age = max_age

    def execute(self, context: Context) -> Any:
        """Look once, and go on looking in the triggerer."""
        with failing_fast():
            check_uri(self.datamart, argument="datamart", tables=True)
            modified_after = self._modified_after(context)
            self._plain_partitions()
        if not self.deferrable:
            return super().execute(context)
        try:
            found = self.poke(context)
        except AirflowFailException as error:
            # As BaseSensorOperator does for the looks that it takes itself.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        if not found.is_done:
            self._wait_in_triggerer(modified_after)
        return found.xcom_value

    def _wait_in_triggerer(self, modified_after: str | None) -> NoReturn:
        self.defer(
            trigger=DatamartTrigger(
                datamart=self.datamart,
                partitions=self._plain_partitions(),
                aws_conn_id=self.aws_conn_id,
                poke_interval=self.poke_interval,
                settle_seconds=self.settle_seconds,
                min_files=self.min_files,
                modified_after=modified_after,
                deadline=time.time() + self.timeout,
            ),
            method_name="execute_complete",
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Two looks; the snapshot when both find the same complete datamart."""
        with failing_fast():
            arguments = (
                self.datamart,
                self._plain_partitions(),
                self.aws_conn_id,
                self._modified_after(context),
                self.min_files,
            )
            found = look_with_connection(*arguments)
            if found.snapshot is not None:
                time.sleep(self.settle_seconds)
                found = unchanged(found, look_with_connection(*arguments))
        if found.snapshot is None:
            self.log.info("Not yet: %s", found.reason)
            return PokeReturnValue(is_done=False)
        self._tell(found.snapshot, context)
        return PokeReturnValue(is_done=True, xcom_value=found.snapshot.to_dict())

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """The trigger's event: the snapshot, or why there is none."""
        with failing_fast():
            if not isinstance(event, dict) or event.keys() != {"status", "snapshot", "reason"}:
                raise InvalidEventError(
                    f"the trigger's event is {event!r}, expected status, snapshot and reason"
                )
            if event["status"] == "timeout":
                raise AirflowSensorTimeout(
                    f"{self.datamart} was not ready within {self.timeout:.0f} s; last: {event['reason']}"
                )
            if event["status"] == "error":
                raise AirflowFailException(event["reason"])
            if event["status"] != "ready":
                raise InvalidEventError(f"the trigger's event has status {event['status']!r}")
            snapshot = Snapshot.from_dict(event["snapshot"])
        self._tell(snapshot, context)
        return snapshot.to_dict()

    def _tell(self, snapshot: Snapshot, context: Context) -> None:
        add_to_outlets(
            context,
            self.outlets,
            {"fingerprint": snapshot.fingerprint, "modified_at": snapshot.modified_at},
        )
        self.log.info(
            "%s is ready: %d files, %d bytes, written %s, fingerprint %s",
            snapshot.uri,
            snapshot.file_count,
            snapshot.total_bytes,
            snapshot.modified_at,
            snapshot.fingerprint[:12],
        )

    def _plain_partitions(self) -> dict[str, Any] | None:
        """As JSON: a date selects the same folders as its ISO form."""
        if self.partitions is None:
            return None
        if not isinstance(self.partitions, Mapping):
            raise ConfigurationError(
                f"partitions={self.partitions!r} is not valid; valid is a mapping of columns to values"
            )
        return {
            name: [_as_text(item) for item in value] if isinstance(value, list | tuple) else _as_text(value)
            for name, value in self.partitions.items()
        }

    def _modified_after(self, context: Context) -> str | None:
        given = self.modified_after
        if given is None or given == "":
            if self.max_age is None:
                return None
            run_after: datetime = context["dag_run"].run_after
            return (run_after - duration(self.max_age, "max_age")).isoformat()
        try:
            moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        except ValueError as error:
            raise ConfigurationError(f"modified_after={given!r} is not ISO 8601") from error
        if moment.tzinfo is None:
            raise ConfigurationError(f"modified_after={given!r} has no UTC offset, for example +00:00")
        return moment.isoformat()


def _as_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
