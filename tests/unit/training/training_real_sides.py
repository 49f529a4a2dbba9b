# SPDX-License-Identifier: Apache-2.0
"""
What really keeps generations, under the rules of ``training_machine.py``.

:class:`ShellSide` runs the scripts for the host in a local shell, and :class:`StoreSide` asks the service's
database. Processes are entries of a ``/proc`` that is made for the occasion, so that they may die between any
two steps and the host may be restarted.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.exceptions import TrainingConflictError
from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.ssh import SSHTarget
from airflow_provider_mlbridge.training.state import JobRef, JobState, Submission
from mlbridge_training_service.generations import Status
from mlbridge_training_service.store import ConflictError, JobStore, NotOwnerError, NotSucceededError
from mlbridge_training_service.tables import Submission as Call
from tests.unit.training.training_sides import Between, CrashError, Facts, Side

# Above every number that the kernel gives, so that nothing of the machine can be meant.
FIRST_PID = 10_000_000

# What a script does to the outside: it forks, waits, and signals.
OVERRIDES = """
mlb_pause() { wait; }
sleep() { :; }
kill() { [ "$1" = -s ] && rm -rf "$mlb_proc/$3"; }
mlb_find_launcher() { mlb_launcher=''; }
mlb_enter_group() { exit 0; }
mlb_find_oom() { mlb_oom_reason=''; }
mlb_see_to_the_stop() { mlb_being_stopped || printf '%s\\n' "${mlb_dir##*/}" >>"$mlb_proc/stoppers"; }
"""
FORK = """mlb_supervise() { printf '%s\\n' "${mlb_dir##*/}" >>"$mlb_proc/forks"; }\n"""
UP = "mlb_count_oom_kills() { exit 0; }\n"
CRASH = """
ln() {{
    command ln "$@" || return
    case ${{2##*/}} in {names}) command kill -9 $$ ;; esac
}}
"""
CRASH_AFTER = {1: "claim | turn.* | child | end", 2: "command", 3: "request.json"}


class ShellSide(Side):
    """
    The scripts of mode ssh, and the code that sends them.

    :param folder: an empty one.
    :param shell: a POSIX shell.
    """

    def __init__(self, folder: Path, shell: str = "dash") -> None:
        super().__init__()
        self._shell = [shutil.which(shell) or "/bin/sh", "-s"]
        self._root, self._proc = folder / "root", folder / "proc"
        self._jobs = self._root / "jobs" / "k"
        self._pids = FIRST_PID
        self._strangers: list[Path] = []
        self._pid_of: dict[tuple[str, int], int] = {}
        self._boots = 0
        (self._proc / "self").mkdir(parents=True)
        (self._proc / "sys/kernel/random").mkdir(parents=True)
        self._clock(100)
        self.boot()
        self._backend = SSHBackend(
            SSHTarget("host", "user", host_key="k", password="p"),
            root=str(self._root),
            shell="/bin/sh",
            keep_seconds=None,
        )
        self._backend._settings.update(proc=str(self._proc), cgroups="/nowhere", lingering="/nowhere")
        self._backend._host = self  # type: ignore[assignment]
        self._between: Between | None = None
        self._asked = self._crash_at = 0

    # --- the connection -------------------------------------------------------------------------------------

    async def run(self, command: str, script: bytes, **_: Any) -> tuple[bytes, bytes]:
        """In place of a connection: a submission asks first, and then tells."""
        self._asked += 1
        extra = FORK
        if self._asked == 2 and self._between is not None:
            between, crash_at = self._between, self._crash_at
            self._between, self._crash_at = None, 0
            await asyncio.to_thread(between)
            self._crash_at = crash_at
        if self._asked >= 2 and self._crash_at:
            extra += CRASH.format(names=CRASH_AFTER[self._crash_at])
        return self._execute(script, extra)

    def _execute(self, script: bytes, extra: str) -> tuple[bytes, bytes]:
        text = script.replace(b"\nmlb_main() {\n", f"\n{OVERRIDES}{extra}mlb_main() {{\n".encode(), 1)
        done = subprocess.run(self._shell, input=text, capture_output=True, timeout=60)
        self._sync()
        if done.returncode == -9:
            raise CrashError
        return done.stdout, done.stderr

    def _sync(self) -> None:
        """Take over what the script forked and signalled."""
        for name, processes in (("forks", self.forks), ("stoppers", self.stoppers)):
            path = self._proc / name
            if path.exists():
                processes += [int(line) for line in path.read_text().split()]
                path.unlink()
        assert all(folder.exists() for folder in self._strangers), "a stranger was killed"
        for number in list(self.trainings):
            if not (self._proc / str(self._pid_of["training", number])).exists():
                self.was_told_to_stop(number)

    def _call(self, call: str, extra: str = "", pid: int = 1, **settings: str) -> Any:
        """Run a call in the name of a process."""
        from airflow_provider_mlbridge.training.ssh import protocol

        (self._proc / "self/stat").write_text(_stat(pid))
        values = {**self._backend._settings, "key": "k", "brought": "1", "timeout": "60", **settings}
        nonce, script = protocol.script(
            [call],
            root=str(self._root),
            settings={"working_dir": "", **values},
            parts=["common", "tree", "group", "serve", "launch", "mlb_environment() { :; }"],
        )
        try:
            stdout, _ = self._execute(script, extra)
        finally:
            (self._proc / "self/stat").write_text(_stat(1))
        return nonce, stdout

    # --- processes ------------------------------------------------------------------------------------------

    def _new_process(self, role: str, number: int, environment: str = "") -> int:
        self._pids += 1
        folder = self._proc / str(self._pids)
        folder.mkdir()
        (folder / "stat").write_text(_stat(self._pids))
        (folder / "environ").write_text(environment)
        self._pid_of[role, number] = self._pids
        return self._pids

    def forget_processes(self) -> None:
        for (role, number), pid in self._pid_of.items():
            if number not in (self.supervisors if role == "supervisor" else self.trainings):
                shutil.rmtree(self._proc / str(pid), ignore_errors=True)

    def boot(self) -> None:
        self._boots += 1
        self._pid_of.clear()
        if self._boots > 1:
            # Services come up at the same tick every time: strangers with numbers and start times of ours.
            self._strangers = [self._proc / str(pid) for pid in range(FIRST_PID + 1, self._pids + 1)]
            for folder in self._strangers:
                folder.mkdir(exist_ok=True)
                (folder / "stat").write_text(_stat(int(folder.name)))
        (self._proc / "sys/kernel/random/boot_id").write_text(f"boot-{self._boots}\n")
        (self._proc / "self/stat").write_text(_stat(1))

    def grow_old(self) -> None:
        self._clock(self._seconds + 1000)

    def _clock(self, seconds: int) -> None:
        self._seconds = seconds
        (self._proc / "uptime").write_text(f"{seconds}.00 0.00\n")

    # --- questions ------------------------------------------------------------------------------------------

    def submit(self, job: TrainingJob, between: Between | None = None, crash_at: int = 0) -> Submission:
        self._asked, self._between, self._crash_at = 0, between, crash_at
        try:
            return asyncio.run(self._backend.submit(job))
        finally:
            self._between, self._crash_at = None, 0

    def cancel(self, number: int, owner: str) -> bool:
        return asyncio.run(self._backend.cancel(self._ref(number), owner, "told so"))

    def acknowledge(self, number: int, owner: str) -> None:
        asyncio.run(self._backend.acknowledge(self._ref(number), owner))

    def look(self, number: int) -> JobState:
        ref = self._ref(number)
        return asyncio.run(self._backend.status([ref]))[ref].state

    def owner(self, name: str) -> str:
        from airflow_provider_mlbridge.training.ssh import protocol

        return protocol.owner_word(name)

    def facts(self) -> list[Facts]:
        found: list[Facts] = []
        while (folder := self._jobs / str(len(found) + 1)).joinpath("claim").exists():
            digest, epoch, owner, *_ = (folder / "claim").read_text().split()
            facts = Facts(len(found) + 1, digest, int(epoch), owner)
            turn = 0
            while (path := folder / f"turn.{(turn := turn + 1)}").exists():
                kind, second, *rest = path.read_text().split()
                own = kind == "own"
                facts = (
                    replace(facts, epoch=int(second), owner=rest[0])
                    if own
                    else replace(facts, cancelled=True)
                )
            found.append(facts)
        return found

    def publish_supervisor(self, number: int) -> bool:
        pid = self._new_process("supervisor", number)
        self._call(f"mlb_dir=$mlb_root/jobs/k/{number}; mlb_supervise", UP, pid)
        if self._taken(number, "supervisor", pid):
            return True
        shutil.rmtree(self._proc / str(pid))
        return False

    def publish_training(self, number: int) -> bool:
        pid = self._new_process("training", number)
        call = f"mlb_dir=$mlb_root/jobs/k/{number}; mlb_role=child; mlb_oom_kills=-; mlb_train"
        nonce, _ = self._call(call, "", pid)
        if self._taken(number, "child", pid):
            (self._proc / str(pid) / "environ").write_text(f"MLBRIDGE_JOB_MARK={nonce}\0")
            return True
        return False

    def conclude(self, number: int, code: int) -> None:
        training = self._pid_of["training", number]
        call = f"mlb_dir=$mlb_root/jobs/k/{number}; mlb_training={training}; mlb_exit={code}; mlb_conclude"
        self._call(call, "", self._pid_of["supervisor", number])

    def stop(self, number: int) -> None:
        pid = self._new_process("stopper", number)
        self._call(f"mlb_dir=$mlb_root/jobs/k/{number}; mlb_take_the_stop", "", pid)
        shutil.rmtree(self._proc / str(pid), ignore_errors=True)

    def _taken(self, number: int, name: str, pid: int) -> bool:
        with suppress(OSError):
            return (self._jobs / str(number) / name).read_text().split()[0] == str(pid)
        return False

    def _ref(self, number: int) -> JobRef:
        return JobRef("k", number, str(self._jobs / str(number)))


def _stat(pid: int) -> str:
    """As in /proc: state, parent, group, session, and the start as the 22nd word."""
    return f"{pid} (a name) S 1 {pid} {pid} {'0 ' * 15}{pid * 7} 0\n"


class StoreSide(Side):
    """
    The database of the training service. What the service's runner would do is done by the rules.

    :param folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
        self._ids: list[str] = []
        self._void: set[int] = set()

    def close(self) -> None:
        self._store.close()

    def submit(self, job: TrainingJob, between: Between | None = None, crash_at: int = 0) -> Submission:
        if between is not None:
            between()
        call = Call(
            key=job.key,
            owner=job.owner,
            epoch=job.epoch,
            digest=job.digest,
            payload_digest=job.digest,
            submission_id="",
            replay_only=False,
            pipeline="p",
            payload={},
            at="2026-01-01T00:00:00.000+00:00",
        )
        try:
            kept, attached = self._store.submit(call)
        except ConflictError as error:
            raise TrainingConflictError(str(error)) from error
        if not attached:
            self._ids.append(kept.job_id)
            self.forks.append(kept.generation)
        if crash_at:
            raise CrashError
        # As it is written down: the service looks after its jobs between the calls, not in them.
        return Submission(JobRef("k", kept.generation, kept.job_id), _state(kept.status), attached)

    def cancel(self, number: int, owner: str) -> bool:
        try:
            job = self._store.cancel(self._ids[number - 1], owner, "told so", "now")
        except NotOwnerError:
            return False
        if not job.status.is_terminal:
            self.stoppers.append(number)
        return True

    def acknowledge(self, number: int, owner: str) -> None:
        with suppress(NotOwnerError, NotSucceededError):
            self._store.acknowledge(self._ids[number - 1], owner, "now")

    def look(self, number: int) -> JobState:
        job = self._store.get(self._ids[number - 1])
        alive = number in self.trainings or number in self.supervisors
        if job.status not in (Status.QUEUED, Status.CANCELLING) and not job.status.is_terminal and not alive:
            self._void.add(number)
            self._store.record(job.job_id, Status.LOST)
            job = self._store.get(job.job_id)
        elif job.status is Status.CANCELLING and not alive:
            self._void.add(number)
            self._store.record(job.job_id, Status.CANCELLED)
            job = self._store.get(job.job_id)
        return _state(job.status)

    def facts(self) -> list[Facts]:
        jobs = [self._store.get(job_id) for job_id in self._ids]
        return [
            Facts(job.generation, job.digest, job.epoch, job.owner, job.cancel_reason is not None)
            for job in jobs
        ]

    def publish_supervisor(self, number: int) -> bool:
        # A job that was cancelled in the queue, or taken before the host was restarted, is not given again.
        return any(job.generation == number for job in self._store.take_queued(1))

    def publish_training(self, number: int) -> bool:
        job = self._store.get(self._ids[number - 1])
        if number in self._void or job.status.is_terminal:
            return False
        self._store.record(job.job_id, Status.RUNNING, was=Status.STARTING)
        return True

    def conclude(self, number: int, code: int) -> None:
        job = self._store.get(self._ids[number - 1])
        ended = Status.FAILED if code else Status.SUCCEEDED
        self._store.record(job.job_id, Status.CANCELLED if job.cancel_reason else ended)

    def stop(self, number: int) -> None:
        self._void.add(number)
        self.was_told_to_stop(number)

    def boot(self) -> None:
        # The queue is in the database.
        self.forks += [
            number
            for number, job_id in enumerate(self._ids, 1)
            if self._store.get(job_id).status is Status.QUEUED
        ]


def _state(status: Status) -> JobState:
    return JobState.CLAIMED if status is Status.QUEUED else JobState(status.value)
