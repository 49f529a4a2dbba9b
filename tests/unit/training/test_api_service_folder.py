# SPDX-License-Identifier: Apache-2.0
"""Facts of a job folder are stated once, and processes are recognised."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mlbridge_training_service.folder import JobFolder
from mlbridge_training_service.processes import ProcessIdentity, find_tree, identify, is_alive, stop_tree


def test_first_of_many_writers_states_the_fact(tmp_path: Path) -> None:
    together = threading.Barrier(16)

    def write(number: int) -> bool:
        together.wait(timeout=10)
        return JobFolder(tmp_path).state("child", {"number": number})

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(16)))
    assert won.count(True) == 1
    assert JobFolder(tmp_path).known("child") == {"number": won.index(True)}
    assert [path.name for path in tmp_path.iterdir()] == ["child.json"]


def test_void_fact_names_no_process(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert folder.process("child") is None
    folder.state("child", {"void": True})
    assert folder.process("child") is None


def test_identity_is_more_than_the_pid() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert is_alive(own)
    assert ProcessIdentity.from_dict(own.to_dict()) == own
    assert not is_alive(replace(own, start_ticks=own.start_ticks + 1))
    assert not is_alive(replace(own, boot="another"))


def test_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert identify(process.pid) is None
    process.wait()


def test_root_whose_pid_was_given_out_again_leads_to_nobody() -> None:
    own = identify(os.getpid())
    assert own is not None
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        child = identify(process.pid)
        assert child is not None
        assert find_tree("MLBRIDGE_JOB_ID=none", root=child) == [child]
        former = replace(child, start_ticks=child.start_ticks - 1)
        assert find_tree("MLBRIDGE_JOB_ID=none", root=former) == []
        found = find_tree("MLBRIDGE_JOB_ID=none", root=replace(child, boot="another"))
        assert found == []
    finally:
        process.kill()
        process.wait()


def test_stop_tree_ends_what_does_not_listen_to_term() -> None:
    marker = f"MLBRIDGE_JOB_ID=test-{os.getpid()}"
    name, _, value = marker.partition("=")
    process = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"],
        env={**os.environ, name: value},
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    reaped: list[int | None] = []
    stopped = stop_tree(
        lambda: find_tree(marker), grace_seconds=0.2, between=lambda: reaped.append(process.poll())
    )
    process.stdout.close()
    assert stopped
    assert process.wait(timeout=5) == -9


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"epoch 1\nepoch 2/10\n", "epoch 2/10"),
        (b"epoch 3\n\n  \n", "epoch 3"),
        (b"", None),
        (b"\x1b[31mred\x00\xff", "[31mred \ufffd"),
        (b"a" * 10_000, "a" * 200),
        (b"x" * 10_000 + b"\nlast", "last"),
    ],
)
def test_progress_is_the_last_line_of_text(tmp_path: Path, content: bytes, line: str | None) -> None:
    folder = JobFolder(tmp_path)
    assert folder.read_progress() is None
    folder.progress.write_bytes(content)
    assert folder.read_progress() == line


def test_progress_file_that_is_none_does_not_block(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    os.mkfifo(folder.progress)
    assert folder.read_progress() is None
    folder.progress.unlink()
    folder.progress.symlink_to("/etc/passwd")
    assert folder.read_progress() is None
