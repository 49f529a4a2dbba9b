# SPDX-License-Identifier: Apache-2.0
"""Waiting for a datamart on local files; what happens meanwhile happens in the pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import StorageAccessError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.sensors import DatamartSensor
from airflow_provider_mlbridge.storage import pin_snapshot
from airflow_provider_mlbridge.triggers import DatamartTrigger

WriteParquet = Callable[..., Path]


def run(trigger: DatamartTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(asyncio.wait_for(events(), 30))
    document: dict[str, Any] = payload
    return document


def trigger(folder: Path, **changes: Any) -> DatamartTrigger:
    arguments: dict[str, Any] = {
        "datamart": f"{folder}/mart/",
        "aws_conn_id": None,
        "poke_interval": 1.0,
        "settle_seconds": 0.5,
        **changes,
    }
    return DatamartTrigger(**arguments)


@pytest.fixture
def pauses(mocker: Any) -> list[Callable[[], Any]]:
    """What happens in the trigger's pauses, one after the other; they take no time."""
    happenings: list[Callable[[], Any]] = []

    async def sleep(_: float) -> None:
        if happenings:
            happenings.pop(0)()

    mocker.patch("airflow_provider_mlbridge.triggers.datamart.asyncio.sleep", sleep)
    return happenings


def test_a_datamart_that_appears_is_told_once_it_has_settled(
    tmp_path: Path, write_parquet: WriteParquet, pauses: list[Callable[[], Any]]
) -> None:
    pauses += [lambda: None, lambda: write_parquet("mart/a.parquet", {"id": [1]})]
    event = run(trigger(tmp_path))
    assert event["status"] == "ready"
    told = Snapshot.from_dict(event["snapshot"])
    assert told == replace(pin_snapshot(f"{tmp_path}/mart/"), pinned_at=told.pinned_at)


def test_a_datamart_that_still_grows_is_not_ready(
    tmp_path: Path, write_parquet: WriteParquet, pauses: list[Callable[[], Any]]
) -> None:
    write_parquet("mart/a.parquet", {"id": [1]})
    # The second file comes between the two looks that must agree, the third in the pause after that.
    pauses += [
        lambda: write_parquet("mart/b.parquet", {"id": [2]}),
        lambda: write_parquet("mart/c.parquet", {"id": [3]}),
    ]
    assert run(trigger(tmp_path))["snapshot"]["file_count"] == 3


def test_the_deadline_ends_the_wait_with_the_last_reason(tmp_path: Path, pauses: list[Any]) -> None:
    event = run(trigger(tmp_path, deadline=time.time() - 1))
    assert event["status"] == "timeout"
    assert "nothing is stored" in event["reason"]


def test_a_refusal_ends_the_wait(tmp_path: Path, pauses: list[Any], mocker: Any) -> None:
    mocker.patch(
        "airflow_provider_mlbridge.triggers.datamart.look_with_connection",
        side_effect=StorageAccessError("403"),
    )
    assert run(trigger(tmp_path)) == {
        "status": "error",
        "snapshot": None,
        "reason": "StorageAccessError: 403",
    }


def test_the_sensor_takes_two_looks_that_agree(
    tmp_path: Path, write_parquet: WriteParquet, mocker: Any
) -> None:
    write_parquet("mart/a.parquet", {"id": [1]})
    sensor = DatamartSensor(task_id="wait", datamart=f"{tmp_path}/mart/", aws_conn_id=None)
    mocker.patch(
        "airflow_provider_mlbridge.sensors.datamart.time.sleep",
        side_effect=lambda _: write_parquet("mart/a.parquet", {"id": [1, 2, 3]}),
    )
    assert not sensor.poke({}).is_done
    mocker.patch("airflow_provider_mlbridge.sensors.datamart.time.sleep")
    assert sensor.poke({}).is_done
