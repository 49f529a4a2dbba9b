# SPDX-License-Identifier: Apache-2.0
"""Supervisor and runner at the moments between two steps, where a crash may hit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlbridge_training_service.config import Pipeline, ServiceConfig
from mlbridge_training_service.folder import JobFolder
from mlbridge_training_service.generations import Status
from mlbridge_training_service.metrics import Metrics
from mlbridge_training_service.oom import explain_oom, oom_kills
from mlbridge_training_service.parameters import Parameter
from mlbridge_training_service.processes import is_alive
from mlbridge_training_service.runner import Runner
from mlbridge_training_service.store import JobStore
from mlbridge_training_service.tables import Job, Submission

SERVICE = Path(__file__).resolve().parents[3] / "training_service"


def until(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def made_folder(path: Path, command: list[str], **launch: Any) -> JobFolder:
    folder = JobFolder(path / "job")
    document = {
        "job_id": f"test-{os.getpid()}-{path.name}",
        "command": command,
        "working_dir": None,
        "environment": {"MLBRIDGE_JOB_ID": f"test-{os.getpid()}-{path.name}"},
        "timeout_seconds": None,
        "grace_seconds": 1,
        **launch,
    }
    folder.create(document, "{}")
    return folder


def supervise(folder: JobFolder) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlbridge_training_service.supervisor", str(folder.path)],
        cwd=SERVICE,
        start_new_session=True,
    )


def test_two_supervisors_start_one_training(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", "echo started"])
    both = [supervise(folder), supervise(folder)]
    assert [process.wait(timeout=15) for process in both] == [0, 0]
    assert folder.log.read_text() == "started\n"
    end = folder.known("end")
    assert end is not None
    assert (end["status"], end["exit_code"]) == ("succeeded", 0)


def test_job_that_was_cancelled_before_it_began_never_begins(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", "echo started"])
    folder.state("cancel", {"reason": "not needed"})
    supervise(folder).wait(timeout=15)
    end = folder.known("end")
    assert end is not None
    assert (end["status"], end["reason"]) == ("cancelled", "not needed")
    assert folder.known("child") == {"void": True}
    assert folder.log_size() == 0


def test_training_whose_name_was_taken_by_the_judge_does_not_begin(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", "echo started"])
    folder.state("child", {"void": True})
    supervise(folder).wait(timeout=15)
    assert folder.log_size() == 0


@pytest.mark.parametrize(
    ("script", "code", "log"),
    [
        ("exit 3", 3, ""),
        ("set -e; echo a; false; echo b", 1, "a\n"),
        ("cd /does/not/exist 2>/dev/null || exit 7", 7, ""),
        ("false; echo last", 0, "last\n"),
        ("kill -9 $$", 137, ""),
        ("kill -15 $$", 143, ""),
    ],
)
def test_exit_code_and_log(tmp_path: Path, script: str, code: int, log: str) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", script])
    supervise(folder).wait(timeout=15)
    end = folder.known("end")
    assert end is not None
    assert (end["exit_code"], end["status"]) == (code, "failed" if code else "succeeded")
    assert folder.log.read_text() == log


def test_supervisor_that_is_told_to_stop_ends_the_training_and_says_why(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sleep", "600"])
    supervisor = supervise(folder)
    until(lambda: folder.known("child") is not None)
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(timeout=15)
    end = folder.known("end")
    assert end is not None
    assert end["status"] == "failed"
    assert "SIGTERM" in end["reason"]
    child = folder.process("child")
    assert child is not None
    assert not is_alive(child)


def test_full_disk_at_the_end_delays_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlbridge_training_service import supervisor

    folder = made_folder(tmp_path, ["true"])
    state, faults = JobFolder.state, [OSError(28, "No space left on device")] * 2

    def full(self: JobFolder, fact: Any, document: Any) -> bool:
        if faults:
            raise faults.pop()
        return state(self, fact, document)

    monkeypatch.setattr(JobFolder, "state", full)
    monkeypatch.setattr(supervisor, "_DISK_RETRY_SECONDS", 0)
    ending = supervisor.Supervisor(folder)
    state(folder, "supervisor", {"process": ending._identity.to_dict()})
    ending._end("succeeded", 0, "")
    end = folder.known("end")
    assert end is not None
    assert end["status"] == "succeeded"


def test_supervisor_of_a_folder_that_was_removed_ends(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", "echo up; exec sleep 600"])
    supervisor = supervise(folder)
    until(lambda: folder.log_size() > 0)
    child = folder.process("child")
    assert child is not None
    shutil.rmtree(folder.path)
    os.kill(child.pid, signal.SIGKILL)
    assert supervisor.wait(timeout=15) == 0
    assert not folder.path.exists()


COUNTING_KILLS = """
import sys
from pathlib import Path
from mlbridge_training_service import supervisor
from mlbridge_training_service.folder import JobFolder

counts = [{"the host": 4}, {"the host": 5}]
supervisor.oom_kills = lambda: counts.pop(0)
supervisor.Supervisor(JobFolder(Path(sys.argv[1]))).run()
"""


def test_kill_for_lack_of_memory_is_told(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, ["sh", "-c", "kill -9 $$"])
    # In a process of its own: a supervisor reaps and ends all children of its process.
    subprocess.run(
        [sys.executable, "-c", COUNTING_KILLS, str(folder.path)], cwd=SERVICE, check=True, timeout=60
    )
    end = folder.known("end")
    assert end is not None
    assert (end["exit_code"], end["status"]) == (137, "failed")
    assert "the kernel killed a process of the host for lack of memory while it ran" in end["reason"]


@pytest.mark.parametrize(
    ("cgroup", "counter", "text"),
    [
        ("0::/a/b", "a/b/memory.events", "low 0\noom 7\noom_kill {}\n"),
        (
            "9:name=systemd:/x\n4:cpu,memory:/a\n0::/",
            "memory/a/memory.oom_control",
            "under_oom 0\noom_kill {}\n",
        ),
    ],
)
def test_kills_are_counted_by_control_group(tmp_path: Path, cgroup: str, counter: str, text: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup + "\n")
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 5\noom_kill 9\n")
    path = tmp_path / "groups" / counter
    path.parent.mkdir(parents=True)
    seen = []
    for count in (2, 2, 5):
        path.write_text(text.format(count))
        seen.append(oom_kills(proc=tmp_path / "proc", cgroups=tmp_path / "groups"))
    assert explain_oom(seen[0], seen[1]) == ""
    assert explain_oom(seen[0], seen[2]) == (
        "the kernel killed 3 processes of this service's control group for lack of memory while it ran"
    )
    nothing = oom_kills(proc=tmp_path / "none", cgroups=tmp_path / "none")
    assert (nothing, explain_oom(nothing, seen[2])) == ({}, "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield opened
    opened.close()


def submitted(store: JobStore) -> Job:
    fields = {"owner": "", "epoch": 0, "digest": "", "payload_digest": "d", "submission_id": ""}
    job, _ = store.submit(
        Submission(key="k", replay_only=True, pipeline="p", payload={}, at="2026-01-01", **fields)  # type: ignore[arg-type]
    )
    return job


def runner(store: JobStore, tmp_path: Path, command: list[str]) -> Runner:
    return runner_of({"p": Pipeline(command=command)}, store, tmp_path)


def runner_of(pipelines: dict[str, Pipeline], store: JobStore, tmp_path: Path) -> Runner:
    config = ServiceConfig(data_dir=tmp_path, auth="none", pipelines=pipelines, grace_seconds=1)
    return Runner(config, store, Metrics(store, concurrency=1))


def test_job_that_was_taken_from_the_queue_but_not_started_is_started(
    store: JobStore, tmp_path: Path
) -> None:
    job = submitted(store)
    assert [taken.job_id for taken in store.take_queued(1)] == [job.job_id]
    # Here the service was killed; the next one finds it.
    later = runner(store, tmp_path, ["true"])
    later.start()
    try:
        until(lambda: store.get(job.job_id).status is Status.SUCCEEDED)
    finally:
        later.stop()


def test_supervisor_that_died_before_the_training_began_loses_it_for_good(
    store: JobStore, tmp_path: Path
) -> None:
    job = submitted(store)
    store.take_queued(1)
    later = runner(store, tmp_path, ["true"])
    folder = later.folder(job.job_id)
    folder.path.mkdir(parents=True)
    dead = {"pid": os.getpid(), "start_ticks": 1, "boot": "before"}
    folder.state("supervisor", {"process": dead})
    later.start()
    try:
        until(lambda: store.get(job.job_id).status is Status.LOST)
    finally:
        later.stop()
    # A child that was forked but had not published itself cannot become the training any more.
    assert folder.known("child") == {"void": True}
    assert "before the training began" in store.get(job.job_id).reason


def test_pipeline_that_is_gone_from_the_configuration_fails_the_job(store: JobStore, tmp_path: Path) -> None:
    job = submitted(store)
    later = runner_of({"other": Pipeline(command=["true"])}, store, tmp_path)
    later.start()
    try:
        until(lambda: store.get(job.job_id).status is Status.FAILED)
    finally:
        later.stop()
    assert "pipeline 'p' is not in the configuration" in store.get(job.job_id).reason


def test_job_whose_folder_was_removed_while_it_ran_is_lost_and_not_started_again(
    store: JobStore, tmp_path: Path
) -> None:
    job = submitted(store)
    starts = tmp_path / "starts"
    first = runner(store, tmp_path, ["sh", "-c", f"echo x >> {starts}; exec sleep 600"])
    first.start()
    until(lambda: store.get(job.job_id).status is Status.RUNNING and starts.exists())
    first.stop()
    child = first.folder(job.job_id).process("child")
    assert child is not None
    shutil.rmtree(first.folder(job.job_id).path)
    later = runner(store, tmp_path, ["true"])
    later.start()
    try:
        until(lambda: store.get(job.job_id).status is Status.LOST)
    finally:
        later.stop()
    assert "its folder was removed" in store.get(job.job_id).reason
    assert starts.read_text() == "x\n"
    assert not is_alive(child)


def test_parameters_that_are_not_valid_any_more_fail_the_job(store: JobStore, tmp_path: Path) -> None:
    job = submitted(store)
    parameters = {"n": Parameter(type="integer", required=True)}
    later = runner_of({"p": Pipeline(command=["true", "{n}"], parameters=parameters)}, store, tmp_path)
    later.start()
    try:
        until(lambda: store.get(job.job_id).status is Status.FAILED)
    finally:
        later.stop()
    assert "parameter 'n' is missing; valid: an integer" in store.get(job.job_id).reason
