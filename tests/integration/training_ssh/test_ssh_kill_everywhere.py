# SPDX-License-Identifier: Apache-2.0
"""
Every state change on a host is one ``link(2)``: kill who makes it, before and after, at each one in turn.

A counting ``ln`` in the ``PATH`` of the host does it. Whatever was killed, the retries of the task end with
one training that ran once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import MLBridgeError
from airflow_provider_mlbridge.training.state import JobState
from demo.services.sshd import start_sshd

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
# The journal has a line at the start and one at the end of every training.
COMMAND = "echo start >> journal.{key}; sleep 0.2; echo end >> journal.{key}"

# Claim and supervisor, the training itself, and its end; the rest are copies of what it is given.
LINKS = ["claim", "command", "request.json", "supervisor", "child", "end"]

LN = """#!/bin/sh
# Kill whoever runs this, when the plan of its training asks for it: number of the link, before or after.
key=${{2%/*/*}}
plan='{folder}'/${{key##*/}}
count=$(($(cat "$plan.count") + 1))
echo "$count" > "$plan.count"
read -r number moment < "$plan.plan"
[ "$count" = "$number" ] && ! [ -e "$plan.killed" ] || exec {ln} "$@"
echo "$2" > "$plan.killed"
[ "$moment" = before ] || {ln} "$@"
victims=$PPID
read -r line < /proc/$PPID/stat
set -- ${{line##*) }}
# The link is made in a subshell of the role that wants it; never go up as far as sshd.
case $(cat "/proc/$2/comm") in sh | dash | bash | ash | busybox) victims="$victims $2" ;; esac
kill -9 $victims
"""


class Killer:
    """A host whose ``ln`` kills at one link of every training."""

    def __init__(self, host: Any, tools: Path, folder: Path, ln: str) -> None:
        self.host, self.folder = host, folder
        for applet in host.server.tools.iterdir() if hasattr(host.server, "tools") else []:
            if applet.name != "ln":
                (tools / applet.name).symlink_to(applet.resolve())
        (tools / "ln").write_text(LN.format(folder=folder, ln=ln))
        (tools / "ln").chmod(0o755)

    def plan(self, key: str, number: int, moment: str) -> None:
        (self.folder / f"{key}.count").write_text("0\n")
        (self.folder / f"{key}.plan").write_text(f"{number} {moment}\n")

    def killed(self, key: str) -> str | None:
        """The name at which it killed."""
        path = self.folder / f"{key}.killed"
        return path.read_text().strip().rpartition("/")[2] if path.exists() else None


@pytest.fixture
def killer(any_host: Any, tmp_path: Path) -> Iterator[Killer]:
    tools, folder = tmp_path / "tools", tmp_path / "plan"
    tools.mkdir()
    folder.mkdir()
    busybox = any_host.shell.endswith("/ash")
    ln = f"{Path(any_host.shell).resolve()} ln" if busybox else "/bin/ln"
    killer = Killer(any_host, tools, folder, ln)
    path = str(tools) if busybox else f"{tools}:/usr/bin:/bin"
    server = start_sshd(tmp_path / "sshd-kill", environment={"PATH": path, "SHLVL": "2"})
    any_host.server = server
    if busybox:
        any_host.shell = str(tools / "ash")
    yield killer
    server.stop()


async def train(backend: Any, job: Any, journal: Path) -> JobState:
    """What a task with retries does: submit, wait, and again until the training ran."""
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end
        with suppress(MLBridgeError):
            ref = (await backend.submit(job)).ref
            while not (status := (await backend.status([ref]))[ref]).state.is_terminal:
                assert time.monotonic() < end, status
                await asyncio.sleep(0.1)
            # It may have run with nobody there to see how it ended: then it is lost, and was trained.
            if status.state is JobState.SUCCEEDED or (journal.exists() and "end" in journal.read_text()):
                return JobState(status.state)
        await asyncio.sleep(0.1)


def test_whoever_is_killed_at_whichever_link_one_training_runs_once(killer: Killer, run: Run) -> None:
    host = killer.host

    async def one(backend: Any, moment: str, number: int) -> tuple[str | None, str, JobState]:
        key = f"{moment}{number}"
        killer.plan(key, number, moment)
        job = host.job(COMMAND.format(key=key), key=key)
        journal = host.folder / f"journal.{key}"
        state = await train(backend, job, journal)
        return killer.killed(key), journal.read_text(), state

    async def scenario() -> list[Any]:
        async with host.backend(command_timeout=30.0, claim_patience_seconds=5) as backend:
            plans = [(moment, number) for moment in ("before", "after") for number in range(1, 8)]
            return await asyncio.gather(*(one(backend, *plan) for plan in plans))

    outcomes = run(scenario())
    assert [killed for killed, _, _ in outcomes] == [*LINKS, None] * 2
    assert {journal for _, journal, _ in outcomes} == {"start\nend\n"}
    # Only who is killed before the end is recorded takes the exit code along.
    ended = [JobState.SUCCEEDED] * 14
    ended[LINKS.index("end")] = JobState.LOST
    assert [state for _, _, state in outcomes] == ended
