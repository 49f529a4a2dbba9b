# SPDX-License-Identifier: Apache-2.0
"""Many waits for trainings of one host: one connection, and one question for all of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mlbridge.training.board import shared_board
from airflow_provider_mlbridge.training.ssh import registry
from airflow_provider_mlbridge.training.wait import Waiting
from tests.unit.training.waits import Lines

pytestmark = pytest.mark.integration

WAITS = 120


def test_all_waits_of_a_host_ask_together(host: Any, run: Callable[[Any], Any], mocker: Any) -> None:
    # Each training waits for a byte of it.
    os.mkfifo(host.folder / "gate")
    gate = os.open(host.folder / "gate", os.O_RDWR)
    sessions = mocker.spy(registry.HostConnection, "run")

    async def scenario() -> None:
        async with host.backend() as backend:
            jobs = [
                host.job("echo up; dd bs=1 count=1 <gate >/dev/null 2>&1", key=f"wait{number}")
                for number in range(WAITS)
            ]
            refs = [submitted.ref for submitted in await asyncio.gather(*map(backend.submit, jobs))]
            logs = {ref: Lines() for ref in refs}

            async def opened() -> Any:
                return backend

            async with shared_board("the host", opened) as board:
                before = sessions.call_count
                waits = [
                    asyncio.create_task(Waiting(board, ref, "try-1", logs[ref], 0.2).until_over())
                    for ref in refs
                ]
                async with asyncio.timeout(60):
                    while board.looks < 4 or not all(lines.info_lines for lines in logs.values()):
                        await asyncio.sleep(0.05)
                    shared = registry.acquire(host.target())
                    assert shared.connects == 1
                    await registry.release(shared)
                    asked, looks = sessions.call_count - before, board.looks
                    os.write(gate, b"x" * WAITS)
                    events = await asyncio.gather(*waits)
            # States in one question, and the logs that grew in another one.
            assert asked <= 2 * looks + 1
            assert {event.state for event in events} == {"succeeded"}
            assert all(lines.info_lines == ["up"] for lines in logs.values())

    try:
        run(scenario())
    finally:
        os.close(gate)
