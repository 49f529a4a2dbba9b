# SPDX-License-Identifier: Apache-2.0
"""
Starts queued jobs and finds out how the others are.

The database says what was decided, the job folder what happened. The runner may die at any line: what it has
not written down yet it finds out again from the folder.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlbridge_training_service.config import ServiceConfig, TokenAuth
from mlbridge_training_service.folder import JobFolder
from mlbridge_training_service.generations import Status
from mlbridge_training_service.payload import canonical_json
from mlbridge_training_service.processes import boot_id, find_tree, is_alive, send_signal, stop_tree
from mlbridge_training_service.store import Job, JobStore
from mlbridge_training_service.supervisor import MARKER_VARIABLE, utc_now

_LOG = logging.getLogger(__name__)
_LOOK_INTERVAL = 0.25
_IDLE_INTERVAL = 30.0
_AFTER_FAULT_SECONDS = 1.0
_STDERR_TAIL_BYTES = 2000
_LOST_REASON = "the training is gone, and its supervisor, who would know the exit code, died before it"
_TOO_OLD_REASON = "stopped after its timeout, by the service, because its supervisor was dead"


class Runner:
    """
    One thread that moves jobs along.

    :param config: of the service.
    :param store: the jobs.
    """

    def __init__(self, config: ServiceConfig, store: JobStore) -> None:
        self._config = config
        self._store = store
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._enders: dict[str, threading.Thread] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    def start(self) -> None:
        """Begin; jobs of an earlier life of the service are taken up where they are."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking. Trainings and their supervisors go on."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        for process in self._supervisors.values():
            # They outlive this process by design; Popen must not warn of it.
            process.returncode = 0

    def wake(self) -> None:
        """Look now: a job was submitted or cancelled."""
        self._wake.set()

    def folder(self, job_id: str) -> JobFolder:
        """Folder of a job, whether it exists or not."""
        return JobFolder(self._config.data_dir / "jobs" / job_id)

    def _loop(self) -> None:
        while not self._stopping:
            try:
                # Supervisors that are about to end must be waited for, lest they stay as zombies.
                busy = self._look() or self._supervisors
                interval = _LOOK_INTERVAL if busy else _IDLE_INTERVAL
            except Exception:  # noqa: BLE001
                # A full disk or a locked database passes; a runner that gave up would not be noticed.
                _LOG.exception("Could not look after the jobs; trying again")
                interval = _AFTER_FAULT_SECONDS
            self._wake.wait(interval)
            self._wake.clear()

    def _look(self) -> int:
        """One round over all jobs; returns how many occupy a place."""
        for job_id, process in list(self._supervisors.items()):
            if process.poll() is not None and self.folder(job_id).known("supervisor") is not None:
                del self._supervisors[job_id]
        occupied = 0
        for job in self._store.active():
            occupied += not self._follow(job)
        for job in self._store.take_queued(max(0, self._config.concurrency - occupied)):
            occupied += not self._follow(job)
        return occupied

    def _follow(self, job: Job) -> bool:
        """Bring one job up to date; whether it has ended."""
        folder = self.folder(job.job_id)
        end = folder.known("end")
        if end is not None:
            self._record_end(job, folder, end)
            return True
        if job.status is Status.CANCELLING:
            folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.state("cancel", {"reason": job.cancel_reason})
        if folder.known("supervisor") is None:
            return self._launch(job, folder)
        supervisor = folder.process("supervisor")
        if supervisor is not None and is_alive(supervisor):
            if job.status is Status.CANCELLING:
                send_signal(supervisor, signal.SIGTERM)
            elif job.status is Status.STARTING and folder.process("child") is not None:
                self._store.record(job.job_id, Status.RUNNING, was=job.status, started_at=_started_at(folder))
            return False
        return self._judge(job, folder)

    def _launch(self, job: Job, folder: JobFolder) -> bool:
        known = self._supervisors.get(job.job_id)
        if known is None:
            try:
                folder.create(self._launch_document(job, folder), canonical_json(job.payload))
                self._supervisors[job.job_id] = self._spawn(folder)
            except (OSError, KeyError) as error:
                return self._give_up(job, folder, f"the job could not be prepared: {error}")
            _LOG.info("Job %s (key %s, generation %d): started", job.job_id, job.key, job.generation)
            return False
        if known.poll() is None:
            return False
        # It may have taken its name between our two looks.
        if folder.known("supervisor") is not None:
            return False
        del self._supervisors[job.job_id]
        message = folder.supervisor_log.read_text(encoding="utf-8", errors="replace")[-_STDERR_TAIL_BYTES:]
        return self._give_up(job, folder, f"the supervisor ended before it began: {message.strip()}")

    def _launch_document(self, job: Job, folder: JobFolder) -> dict[str, Any]:
        pipeline = self._config.pipelines.get(job.pipeline)
        if pipeline is None:
            raise KeyError(f"pipeline {job.pipeline!r} is not in the configuration any more")
        limits = [job.payload.get("timeout_seconds"), pipeline.timeout_seconds]
        return {
            "job_id": job.job_id,
            "command": pipeline.command,
            "working_dir": None if pipeline.working_dir is None else str(pipeline.working_dir),
            "environment": {**pipeline.environment, **_training_environment(job, folder)},
            "timeout_seconds": min((limit for limit in limits if limit is not None), default=None),
            "grace_seconds": self._config.grace_seconds,
        }

    def _spawn(self, folder: JobFolder) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if isinstance(self._config.auth, TokenAuth) and self._config.auth.token_env is not None:
            environment.pop(self._config.auth.token_env, None)
        with folder.supervisor_log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.supervisor", str(folder.path)],
                # Where the package lies, so that it is found without touching the training's environment.
                cwd=Path(__file__).resolve().parents[1],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _give_up(self, job: Job, folder: JobFolder, reason: str) -> bool:
        """Nothing was started: take the names, so that nothing can be any more, and end the job."""
        status = Status.CANCELLED if job.status is Status.CANCELLING else Status.FAILED
        try:
            void = {"void": True}
            if not folder.state("supervisor", void) or not folder.state("child", void):
                return False
            folder.state("end", _end(status, job.cancel_reason or reason))
        except OSError:
            # The folder cannot even be written, so no supervisor can take its name there either.
            _LOG.exception("Job %s: the job folder cannot be written", job.job_id)
        self._store.record(job.job_id, status, reason=job.cancel_reason or reason, finished_at=utc_now())
        return True

    def _judge(self, job: Job, folder: JobFolder) -> bool:
        """The supervisor is dead. Is the training?"""
        # Whoever calls a job lost first takes the child's name: a child that was forked but had not
        # published itself finds it taken and does not become the training.
        if folder.state("child", {"void": True}) or folder.process("child") is None:
            if job.status is Status.CANCELLING:
                return self._end_as(job, folder, Status.CANCELLED, job.cancel_reason or "cancelled")
            return self._end_as(job, folder, Status.LOST, "the supervisor died before the training began")
        child = folder.process("child")
        if child is None:
            return False
        if child.boot != boot_id():
            return self._end_as(job, folder, Status.LOST, "the host was restarted while the training ran")
        if job.status is Status.CANCELLING:
            self._end_by_force(job, folder, Status.CANCELLED, job.cancel_reason or "cancelled")
        elif not is_alive(child):
            self._end_by_force(
                job,
                folder,
                Status.LOST,
                _LOST_REASON,
            )
        elif self._is_too_old(folder):
            self._end_by_force(job, folder, Status.TIMED_OUT, _TOO_OLD_REASON)
        elif job.status is not Status.ORPHANED:
            _LOG.warning("Job %s: its supervisor is dead, the training runs on", job.job_id)
            self._store.record(job.job_id, Status.ORPHANED, was=job.status, started_at=_started_at(folder))
        return False

    def _end_by_force(self, job: Job, folder: JobFolder, status: Status, reason: str) -> None:
        """Stop what is left of the training and end the job, beside the loop because of the grace."""
        if job.job_id in self._enders and self._enders[job.job_id].is_alive():
            return

        def stop() -> None:
            marker = f"{MARKER_VARIABLE}={job.job_id}"
            root = folder.process("child")
            stopped = stop_tree(
                lambda: find_tree(marker, root=root), grace_seconds=self._config.grace_seconds
            )
            note = "" if stopped else "; processes of the training cannot be killed"
            folder.state("end", _end(status, reason + note))
            self._wake.set()

        self._enders[job.job_id] = threading.Thread(target=stop, name=f"end-{job.job_id}", daemon=True)
        self._enders[job.job_id].start()

    def _end_as(self, job: Job, folder: JobFolder, status: Status, reason: str) -> bool:
        folder.state("end", _end(status, reason))
        # The supervisor may have been faster with its last breath: what stands there counts.
        self._record_end(job, folder, folder.known("end") or _end(status, reason))
        return True

    def _record_end(self, job: Job, folder: JobFolder, end: Mapping[str, Any]) -> None:
        self._enders.pop(job.job_id, None)
        self._store.record(
            job.job_id,
            Status(end["status"]),
            exit_code=end["exit_code"],
            reason=end["reason"],
            finished_at=end["finished_at"],
            started_at=_started_at(folder),
        )
        _LOG.info("Job %s: %s %s", job.job_id, end["status"], end["reason"])

    @staticmethod
    def _is_too_old(folder: JobFolder) -> bool:
        started_at = _started_at(folder)
        timeout = json.loads(folder.launch.read_text(encoding="utf-8"))["timeout_seconds"]
        if timeout is None or started_at is None:
            return False
        return (datetime.now(UTC) - datetime.fromisoformat(started_at)).total_seconds() > float(timeout)


def _training_environment(job: Job, folder: JobFolder) -> dict[str, str]:
    return {
        MARKER_VARIABLE: job.job_id,
        "MLBRIDGE_JOB_KEY": job.key,
        "MLBRIDGE_JOB_GENERATION": str(job.generation),
        "MLBRIDGE_FEATURES_URI": str(job.payload.get("features_uri") or ""),
        "MLBRIDGE_FEATURES_FINGERPRINT": str(job.payload.get("features_fingerprint") or ""),
        "MLBRIDGE_REQUEST": canonical_json(job.payload),
        "MLBRIDGE_REQUEST_FILE": str(folder.request),
        "MLBRIDGE_RESULT_FILE": str(folder.result),
    }


def _started_at(folder: JobFolder) -> str | None:
    child = folder.known("child")
    return None if child is None else child.get("started_at")


def _end(status: Status, reason: str) -> dict[str, Any]:
    return {"status": status.value, "exit_code": None, "reason": reason, "finished_at": utc_now()}
