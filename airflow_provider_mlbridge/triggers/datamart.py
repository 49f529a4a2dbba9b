# SPDX-License-Identifier: Apache-2.0
"""Wait for a datamart without holding a worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.storage.readiness import Readiness, look, unchanged


class DatamartTrigger(BaseTrigger):
    """
    Look until a datamart is complete and has stopped changing.

    :param datamart: its URI.
    :param partitions: the partitions to look at, as JSON; None for all.
    :param aws_conn_id: Airflow connection for S3.
    :param poke_interval: seconds between two looks while it is not complete.
    :param settle_seconds: seconds between the two looks that must find the same files.
    :param min_files: the least number of Parquet files.
    :param modified_after: ISO 8601 with offset; older datamarts are waited over.
    :param deadline: Unix time at which the wait ends, or None.
    """

    def __init__(
        self,
        *,
        datamart: str,
        partitions: Mapping[str, Any] | None = None,
        aws_conn_id: str | None,
        poke_interval: float,
        settle_seconds: float,
        min_files: int = 1,
        modified_after: str | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.datamart = datamart
        self.partitions = partitions
        self.aws_conn_id = aws_conn_id
        self.poke_interval = poke_interval
        self.settle_seconds = settle_seconds
        self.min_files = min_files
        self.modified_after = modified_after
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, plain JSON."""
        return (
            "airflow_provider_mlbridge.triggers.datamart.DatamartTrigger",
            {
                "datamart": self.datamart,
                "partitions": self.partitions,
                "aws_conn_id": self.aws_conn_id,
                "poke_interval": self.poke_interval,
                "settle_seconds": self.settle_seconds,
                "min_files": self.min_files,
                "modified_after": self.modified_after,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Exactly one event: ``status`` (ready, timeout or error), ``snapshot`` and ``reason``."""
        told = ""
        while True:
            try:
                found = await self._look()
                if found.snapshot is not None:
                    await asyncio.sleep(self.settle_seconds)
                    found = unchanged(found, await self._look())
            except MLBridgeError as error:
                yield _event("error", reason=f"{type(error).__name__}: {error}")
                return
            if found.snapshot is not None:
                yield _event("ready", snapshot=found.snapshot.to_dict())
                return
            if found.reason != told:
                self.log.info("Not yet: %s", found.reason)
                told = found.reason
            if self.deadline is not None and time.time() >= self.deadline:
                yield _event("timeout", reason=found.reason)
                return
            await asyncio.sleep(self.poke_interval)

    async def _look(self) -> Readiness:
        return await asyncio.to_thread(
            look_with_connection,
            self.datamart,
            self.partitions,
            self.aws_conn_id,
            self.modified_after,
            self.min_files,
        )


def look_with_connection(
    datamart: str,
    partitions: Mapping[str, Any] | None,
    aws_conn_id: str | None,
    modified_after: str | None,
    min_files: int,
) -> Readiness:
    """One look with the Airflow connection's credentials; blocking."""
    from airflow_provider_mlbridge.hooks.s3 import s3_client_for

    return look(
        datamart,
        partitions=partitions,
        modified_after=None if modified_after is None else datetime.fromisoformat(modified_after),
        min_files=min_files,
        s3_client=s3_client_for(aws_conn_id, datamart),
    )


def _event(status: str, *, snapshot: dict[str, Any] | None = None, reason: str = "") -> TriggerEvent:
    return TriggerEvent({"status": status, "snapshot": snapshot, "reason": reason})  # type: ignore[no-untyped-call]
