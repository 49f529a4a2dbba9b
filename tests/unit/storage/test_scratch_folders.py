# SPDX-License-Identifier: Apache-2.0
"""Temporary folders of processes that end, live, fork and are killed."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import airflow_provider_mlbridge
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.storage import scratch_folders
from airflow_provider_mlbridge.storage.scratch_folders import PREFIX, remove_abandoned, scratch_folder

HOLD = """
import os, sys
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

with scratch_folder(sys.argv[1], "test") as folder:
    (folder / "data").write_bytes(b"x" * 1000)
    (folder / "deep").mkdir()
    (folder / "deep" / "link").symlink_to(sys.argv[2])
    child = os.fork() if sys.argv[3] == "fork" else 0
    if child or sys.argv[3] != "fork":
        print(folder, child, flush=True)
    sys.stdin.read()
"""

COMPETE = """
import os, signal, sys
from contextlib import ExitStack
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

number, rounds = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(rounds):
    with ExitStack() as stack:
        held = [stack.enter_context(scratch_folder(sys.argv[1], "test")) for _ in range(3)]
        for folder in held:
            (folder / "data").write_text("mine")
        for folder in held:
            assert (folder / "data").read_text() == "mine"
            assert (folder.parent / "lock").exists()
        if number % 2 and turn == rounds - 1:
            os.kill(os.getpid(), signal.SIGKILL)
    assert not any(folder.parent.exists() for folder in held)
"""


LEAVE = """
import os, sys
from contextlib import ExitStack
from airflow_provider_mlbridge.storage.scratch_folders import remove_abandoned, scratch_folder

with ExitStack() as stack:
    folder = stack.enter_context(scratch_folder(sys.argv[1], "test"))
    child = os.fork()
    if child == 0:
        stack.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert folder.exists()
    remove_abandoned(folder.parent.parent)
    assert folder.exists(), "the child has given up the lock of its parent"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the folders are made."""
    return tmp_path / "scratch"


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder that nobody may touch; it looks like one that was abandoned."""
    folder = tmp_path / "others"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "data").write_text("precious")
    (folder / "lock").touch()
    folder.chmod(0o700)
    return folder


def holding(place: Path, others: Path, mode: str = "alone") -> tuple[subprocess.Popen[str], Path, int]:
    """A process that holds a folder until its input ends, the folder, and the pid of its child."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place), str(others), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder, child = process.stdout.readline().rsplit(maxsplit=1)
    return process, Path(folder), int(child)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as the kernel does when memory runs out."""
    process.kill()
    with process:
        pass


def abandoned(place: Path, others: Path) -> Path:
    """What a killed process left."""
    process, folder, _ = holding(place, others)
    kill(process)
    assert (folder / "data").exists()
    return folder


def start(place: Path) -> None:
    """What the next task does."""
    with scratch_folder(place, "next"):
        pass


def test_the_next_start_deletes_what_a_killed_process_left(
    place: Path, others: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = abandoned(place, others)
    with caplog.at_level(logging.INFO), scratch_folder(place, "next") as folder:
        assert list(place.iterdir()) == [folder.parent]
    assert f"Deleted {left.parent}, which a killed process had left" in caplog.text
    assert (others / "files" / "data").read_text() == "precious", "a link in the folder was followed"
    assert list(place.iterdir()) == []


def test_a_live_folder_is_left_alone(place: Path, others: Path) -> None:
    process, folder, _ = holding(place, others)
    with scratch_folder(place, "own") as own:
        start(place)
        assert (folder / "data").exists()
        assert own.is_dir()
    process.communicate()
    assert list(place.iterdir()) == [], "a process that ends leaves nothing"


def test_only_the_user_may_enter(place: Path) -> None:
    before = os.umask(0)
    try:
        with scratch_folder(place, "test") as folder:
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
            assert folder.is_absolute()
            assert list(folder.iterdir()) == []
    finally:
        os.umask(before)


def test_a_folder_in_a_place_of_a_group_is_deleted_too(place: Path, others: Path) -> None:
    place.mkdir()
    place.chmod(0o2770)
    left = abandoned(place, others)
    start(place)
    assert not left.exists()


def test_a_planted_link_is_not_followed(place: Path, others: Path) -> None:
    place.mkdir()
    (place / f"{PREFIX}test-0").symlink_to(others)
    left = place / f"{PREFIX}test-1"
    left.mkdir(mode=0o700)
    (left / "files").symlink_to(others / "files")
    (left / "lock").touch()
    linked = place / f"{PREFIX}test-2"
    (linked / "files").mkdir(parents=True)
    linked.chmod(0o700)
    (linked / "lock").symlink_to(others / "lock")
    start(place)
    assert (others / "files" / "data").read_text() == "precious"
    assert (others / "lock").exists()
    assert (linked / "files").exists()


def test_a_folder_that_others_may_enter_is_left_alone(place: Path, others: Path) -> None:
    left = abandoned(place, others)
    left.parent.chmod(0o777)
    start(place)
    assert left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_left_alone(place: Path, others: Path) -> None:
    left = abandoned(place, others)
    os.chown(left.parent, 12345, 12345)
    start(place)
    assert left.exists()


def test_folders_without_a_lock_are_left_alone(place: Path) -> None:
    names = ["mlbridge-spill-abcdefgh", "mlbridge-benchmarks", f"{PREFIX}test-0"]
    for name in names:
        (place / name / "files").mkdir(parents=True)
        (place / name).chmod(0o700)
    (place / f"{PREFIX}test-1").mkdir(mode=0o700)
    start(place)
    # The last one, which is empty, is what remains of a deletion that was interrupted.
    assert sorted(path.name for path in place.iterdir()) == sorted(names)


def test_a_forked_child_keeps_the_folder_of_a_killed_parent(place: Path, others: Path) -> None:
    process, folder, child = holding(place, others, "fork")
    ended = os.pidfd_open(child)
    try:
        process.kill()
        process.wait()
        start(place)
        assert (folder / "data").exists(), "the child may be using it"
    finally:
        os.kill(child, signal.SIGKILL)
        kill(process)
        assert select.select([ended], [], [], 30)[0]
        os.close(ended)
    start(place)
    assert not folder.exists()


def test_a_forked_child_that_leaves_the_block_deletes_nothing(place: Path) -> None:
    result = subprocess.run([sys.executable, "-c", LEAVE, str(place)], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert list(place.iterdir()) == []


def test_many_that_start_at_once_leave_each_other_alone(place: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPETE, str(place), str(number), "5"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for number, process in enumerate(processes):
        _, errors = process.communicate(timeout=60)
        assert errors == ""
        assert process.returncode == (-signal.SIGKILL if number % 2 else 0)
    start(place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("step", ["lock file", "lock"])
def test_a_folder_that_is_not_locked_yet_may_be_deleted(
    step: str, place: Path, mocker: MockerFixture
) -> None:
    lock, opened = fcntl.flock, os.open
    cleaned: list[str] = []

    def clean_up() -> None:
        if not cleaned:
            cleaned.append(step)
            remove_abandoned(place)
            assert list(place.iterdir()) == []

    def flock(descriptor: int, operation: int) -> None:
        if step == "lock":
            clean_up()
        lock(descriptor, operation)

    def open_file(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if step == "lock file" and flags & os.O_CREAT:
            clean_up()
        return opened(path, flags, *args, **options)

    mocker.patch.object(fcntl, "flock", flock)
    mocker.patch.object(os, "open", open_file)
    with scratch_folder(place, "test") as folder:
        assert cleaned == [step]
        assert folder.parent.name.startswith(PREFIX), "another one is made, with a lock"
        start(place)
        assert folder.is_dir()
    assert list(place.iterdir()) == []


def test_a_deletion_that_was_interrupted_is_finished_by_the_next(
    place: Path, others: Path, mocker: MockerFixture
) -> None:
    left = abandoned(place, others)
    rmtree = mocker.patch.object(shutil, "rmtree", side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        remove_abandoned(place)
    mocker.stop(rmtree)
    start(place)
    assert not left.parent.exists()


def test_what_cannot_be_deleted_fails_no_task(
    place: Path, others: Path, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    left = abandoned(place, others)
    mocker.patch.object(shutil, "rmtree", side_effect=PermissionError(errno.EACCES, "not yours"))
    with scratch_folder(place, "test") as folder:
        pass
    assert f"{left.parent}: cannot delete what a killed process left: not yours" in caplog.text
    assert f"{folder.parent}: cannot delete temporary files: not yours" in caplog.text


@pytest.mark.parametrize("locks", ["unknown", "none"])
def test_without_locks_nothing_of_others_is_deleted(
    locks: str, place: Path, others: Path, mocker: MockerFixture
) -> None:
    left = abandoned(place, others)
    if locks == "none":
        mocker.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOLCK, "No locks available"))
    else:
        mocker.patch.object(scratch_folders, "_LOCAL", frozenset())
    with scratch_folder(place, "test") as folder:
        assert left.exists()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        mocker.stopall()
        start(place)
        assert folder.exists(), "it has no lock, so that nobody may take it for abandoned"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("mounts", "local"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda rw", True),
        ("1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {place} rw shared:1 - nfs4 server:/x rw", False),
        ("1 0 0:9 / / rw - nfs4 server:/x rw\n2 1 8:1 / {place} rw - xfs /dev/sdb rw", True),
        ("1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {place}-2 rw - nfs4 server:/x rw", True),
        ("2 1 8:1 / {place} rw - xfs /dev/sdb rw\n3 1 0:9 / {place} rw - fuse.s3fs s3fs rw", False),
        ("1 0 8:1 / / rw - something_new /dev/sda rw", False),
    ],
)
def test_locks_are_relied_on_where_one_kernel_has_the_file_system(
    mounts: str, local: bool, tmp_path: Path, mocker: MockerFixture
) -> None:
    place = tmp_path / "with a space"
    place.mkdir()
    text = mounts.format(place=str(place).replace(" ", "\\040"))
    mocker.patch.object(Path, "read_bytes", return_value=text.encode())
    with scratch_folder(place, "test") as folder:
        assert folder.parent.name.startswith(PREFIX) == local


def test_quality_deletes_what_was_left(place: Path, others: Path, write_parquet: Any) -> None:
    left = abandoned(place, others)
    path = write_parquet("mart/data.parquet", {"id": [1, 2, 2]})
    suite = [{"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}]
    assert not validate(str(path), suite, scratch_dir=place).success
    assert not left.exists()
    assert list(place.iterdir()) == []


def test_every_temporary_folder_is_made_here() -> None:
    package = Path(airflow_provider_mlbridge.__file__).parent
    made = re.compile(r"TemporaryDirectory|mkdtemp")
    found = {path.name for path in package.rglob("*.py") if made.search(path.read_text())}
    assert found == {"scratch_folders.py"}
