# SPDX-License-Identifier: Apache-2.0
"""
Starts queued jobs and finds out how the others are.

The database says what was decided, the job folder what happened. The runner may die at any line: what it has
not written down yet it finds out again from the folder.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.folder import Fact, JobFolder
from mlbridge_training_service.generations import Status
from mlbridge_training_service.launching import launch_document, start_supervisor
from mlbridge_training_service.metrics import Metrics
from mlbridge_training_service.oom import explain_oom, oom_kills
from mlbridge_training_service.payload import canonical_json
from mlbridge_training_service.processes import (
    ProcessIdentity,
    boot_id,
    find_tree,
    is_alive,
    seconds_running,
    send_signal,
    stop_tree,
)
from mlbridge_training_service.store import JobStore
from mlbridge_training_service.supervisor import MARKER_VARIABLE, utc_now
from mlbridge_training_service.tables import Job

_LOG = logging.getLogger(__name__)
_LOOK_INTERVAL = 0.25
_IDLE_INTERVAL = 30.0
_AFTER_FAULT_SECONDS = 1.0
_STDERR_TAIL_BYTES = 2000
_LOST_REASON = "the training is gone, and its supervisor, who would know the exit code, died before it"
_VANISHED_REASON = "its folder was removed while it ran; what was left of it was stopped"
_TOO_OLD_REASON = "stopped after its timeout, by the service, because its supervisor was dead"


class Runner:
    """
    One thread that moves jobs along.

    :param config: of the service.
    :param store: the jobs.
    :param metrics: told how they end.
    """

    def __init__(self, config: ServiceConfig, store: JobStore, metrics: Metrics) -> None:
        self._config = config
        self._store = store
        self._metrics = metrics
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
        faults = 0
        while not self._stopping:
            try:
                # Supervisors that are about to end must be waited for, lest they stay as zombies.
                busy = self._look() or self._supervisors
                interval = _LOOK_INTERVAL if busy else _IDLE_INTERVAL
                if faults:
                    _LOG.info("Looking after the jobs again, after %d tries that failed", faults)
                faults = 0
                self._metrics.looked(fault=False)
            except Exception:  # noqa: BLE001
                # A full disk or a locked database passes; a runner that gave up would not be noticed.
                if not faults:
                    _LOG.exception("Could not look after the jobs; trying again every second")
                faults += 1
                self._metrics.looked(fault=True)
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
        if job.job_id in self._enders and self._enders[job.job_id].is_alive():
            return False
        if job.status is Status.CANCELLING:
            folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.state("cancel", {"reason": job.cancel_reason})
        if folder.known("supervisor") is None:
            if job.started_at is not None:
                return self._end_vanished(job, folder)
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
                folder.create(launch_document(self._config, job, folder), canonical_json(job.payload))
                self._supervisors[job.job_id] = start_supervisor(self._config, folder)
            except (OSError, LookupError, ValueError) as error:
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
        self._end_in_store(job, status, reason=job.cancel_reason or reason, finished_at=utc_now())
        return True

    def _judge(self, job: Job, folder: JobFolder) -> bool:
        """The supervisor is dead. Is the training?"""
        # Whoever calls a job lost first takes the child's name: a child that was forked but had not
        # published itself finds it taken and does not become the training.
        if folder.state("child", {"void": True}) or folder.process("child") is None:
            if job.started_at is not None:
                return self._end_vanished(job, folder)
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
            note = explain_oom(_launched(folder).get("oom_kills", {}), oom_kills())
            self._end_by_force(job, folder, Status.LOST, f"{_LOST_REASON}; {note}".removesuffix("; "))
        elif self._is_too_old(folder, child):
            self._end_by_force(job, folder, Status.TIMED_OUT, _TOO_OLD_REASON)
        elif job.status is not Status.ORPHANED:
            _LOG.warning("Job %s: its supervisor is dead, the training runs on", job.job_id)
            self._store.record(job.job_id, Status.ORPHANED, was=job.status, started_at=_started_at(folder))
        return False

    def _end_vanished(self, job: Job, folder: JobFolder) -> bool:
        """It ran, and its folder was removed since: it must neither be started again nor run on unseen."""
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken: tuple[Fact, ...] = ("supervisor", "child")
        for fact in taken:
            folder.state(fact, {"void": True})
        status = Status.CANCELLED if job.status is Status.CANCELLING else Status.LOST
        self._end_by_force(job, folder, status, _VANISHED_REASON)
        return False

    def _end_by_force(self, job: Job, folder: JobFolder, status: Status, reason: str) -> None:
        """Stop what is left of the training and end the job, beside the loop because of the grace."""

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
        self._end_in_store(
            job,
            Status(end["status"]),
            exit_code=end["exit_code"],
            reason=end["reason"],
            finished_at=end["finished_at"],
            started_at=_started_at(folder) or job.started_at,
        )

    def _end_in_store(self, job: Job, status: Status, **changes: Any) -> None:
        if self._store.record(job.job_id, status, **changes):
            self._metrics.ended(job, status, changes.get("started_at"), changes["finished_at"])
            _LOG.info("Job %s: %s %s", job.job_id, status.value, changes["reason"])

    @staticmethod
    def _is_too_old(folder: JobFolder, child: ProcessIdentity) -> bool:
        timeout = _launched(folder).get("timeout_seconds")
        return timeout is not None and seconds_running(child) > float(timeout)


def _launched(folder: JobFolder) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(folder.launch.read_text(encoding="utf-8"))
    return document


def _started_at(folder: JobFolder) -> str | None:
    child = folder.known("child")
    return None if child is None else child.get("started_at")


def _end(status: Status, reason: str) -> dict[str, Any]:
    return {"status": status.value, "exit_code": None, "reason": reason, "finished_at": utc_now()}
