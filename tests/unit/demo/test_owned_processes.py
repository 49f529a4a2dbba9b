# SPDX-License-Identifier: Apache-2.0
"""What the demo and the tests start must be gone afterwards, however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.services.interrupts import ignoring_interrupts, interrupts_raise
from demo.services.process import (
    REPOSITORY,
    OwnedProcess,
    ServiceError,
    ServiceGroup,
    base_environment,
    start_with_retry,
    wait_until,
)
from demo.services.process_table import MARK, Identity, carriers, identify, is_alive

# Leaves a process in a session of its own, as a training does that was started over SSH.
DETACHING = "setsid sleep 300 & echo $!; exec sleep 300"


def shell(name: str, script: str, folder: Path) -> OwnedProcess:
    return OwnedProcess(name, ["sh", "-c", script], folder=folder, environment=base_environment())


def printed_pid(process: OwnedProcess) -> Identity:
    process.wait_ready(lambda: process.log_path.read_text().endswith("\n"), timeout=10)
    identity = identify(int(process.log_path.read_text().split()[-1]))
    assert identity is not None
    return identity


@contextmanager
def running(*argv: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end of the block."""
    with subprocess.Popen(argv, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def foreign() -> Iterator[Identity]:
    """A process that is not ours to end."""
    with running("sleep", "300") as process:
        identity = identify(process.pid)
        assert identity is not None
        yield identity


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_ending_a_server_ends_what_has_left_its_session_too(
    tmp_path: Path, foreign: Identity, way: str
) -> None:
    process = shell("server", DETACHING, tmp_path)
    process.start()
    detached = printed_pid(process)
    server = identify(process.pid)
    assert server is not None
    getattr(process, way)()
    assert not is_alive(server)
    assert not is_alive(detached)
    assert is_alive(foreign)
    assert not process.is_running
    getattr(process, way)()  # a second time does no harm


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = shell("stubborn", "trap '' TERM; echo $$; while :; do sleep 1; done", tmp_path)
    process.start()
    server = printed_pid(process)
    process.stop(grace=0.2)
    assert not is_alive(server)


def test_a_server_that_ends_early_is_reported_at_once_with_its_output(tmp_path: Path) -> None:
    process = shell("broken", "echo cannot bind >&2; exit 3", tmp_path)
    process.start()
    with pytest.raises(ServiceError, match=r"(?s)broken ended with exit code 3.*cannot bind"):
        process.wait_ready(lambda: False, timeout=60)
    process.stop()


def test_waiting_is_bounded_and_says_for_what(tmp_path: Path) -> None:
    process = shell("slow", "exec sleep 300", tmp_path)
    process.start()
    with pytest.raises(ServiceError, match=r"gave up after 0\.1 s waiting for its greeting"):
        process.wait_ready(lambda: False, timeout=0.1, what="its greeting")
    process.stop()


def test_a_server_of_a_crashed_launcher_is_ended_before_the_next_one_starts(tmp_path: Path) -> None:
    first = shell("server", DETACHING, tmp_path)
    first.start()
    detached = printed_pid(first)
    crashed = first.detach()
    assert crashed is not None
    record = {**vars(crashed), "mark": first.mark}
    (tmp_path / "server.pid").write_text(json.dumps(record))

    second = shell("server", "exec sleep 300", tmp_path)
    second.start()
    assert not is_alive(crashed)
    assert not is_alive(detached)
    second.stop()


def test_a_reused_pid_in_a_stale_file_is_left_alone(tmp_path: Path, foreign: Identity) -> None:
    record = {**vars(foreign), "start_time": foreign.start_time - 1, "mark": "gone:server:1"}
    (tmp_path / "server.pid").write_text(json.dumps(record))
    process = shell("server", "exec sleep 300", tmp_path)
    process.start()
    assert is_alive(foreign)
    process.stop()


def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from demo.services.process import OwnedProcess, base_environment
server = OwnedProcess("server", ["sh", "-c", {DETACHING!r}], folder=Path({str(tmp_path)!r}),
                      environment=base_environment())
server.start()
while not server.log_path.read_text().endswith("\\n"):
    time.sleep(0.01)
print(server.pid, server.log_path.read_text().strip(), flush=True)
time.sleep(300)
"""
    with running(sys.executable, "-c", script, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        found = [identify(int(pid)) for pid in launcher.stdout.readline().split()]
        started = [identity for identity in found if identity is not None]
        assert len(started) == 2
    wait_until(lambda: not any(map(is_alive, started)), timeout=20, what="the watchdog to clean up")


def test_a_mark_is_found_by_its_beginning_but_not_by_a_part_of_a_word() -> None:
    environment = {**os.environ, MARK: "launcher-1:web:7"}
    with running("sleep", "300", env=environment) as process:
        assert carriers("launcher-1") == {process.pid}
        assert carriers("launcher-1:web") == {process.pid}
        assert carriers("launcher-1:web:7") == {process.pid}
        assert carriers("launcher") == set()
        assert carriers("launcher-1:web:77") == set()


def test_a_process_of_which_only_the_exit_status_is_left_is_not_alive() -> None:
    with running("sleep", "300") as process:
        identity = identify(process.pid)
        assert identity is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
        assert not is_alive(identity)


class Recorder:
    def __init__(self, name: str, stopped: list[str], *, fails: bool = False) -> None:
        self.name, self.stopped, self.fails = name, stopped, fails

    def stop(self) -> None:
        self.stopped.append(self.name)
        if self.fails:
            raise ServiceError(f"{self.name} does not stop")


def test_a_group_stops_the_newest_first_and_all_of_them_whatever_happens() -> None:
    stopped: list[str] = []
    with pytest.raises(ExceptionGroup) as caught, ServiceGroup() as group:
        group.add(Recorder("a", stopped))
        group.add(Recorder("b", stopped, fails=True))
        group.add(Recorder("c", stopped))
        raise KeyboardInterrupt
    assert stopped == ["c", "b", "a"]
    assert [str(error) for error in caught.value.exceptions] == ["b does not stop"]


def test_sigterm_counts_as_ctrl_c_and_neither_disturbs_the_cleaning_up() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_raise():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    with interrupts_raise(), ignoring_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_start_is_tried_three_times_for_a_taken_port_and_then_fails() -> None:
    tries: list[int] = []

    def start(fail: int) -> str:
        tries.append(1)
        if len(tries) <= fail:
            raise ServiceError("address in use")
        return "started"

    assert start_with_retry(lambda: start(2)) == "started"
    tries.clear()
    with pytest.raises(ServiceError, match="address in use"):
        start_with_retry(lambda: start(3))
    assert len(tries) == 3


def test_servers_get_no_secret_of_ours_and_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    environment = base_environment(EXTRA="1")
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert "HTTPS_PROXY" not in environment
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["EXTRA"] == "1"
