# SPDX-License-Identifier: Apache-2.0
"""
One small process per training: starts it, waits for it, ends it, and writes down how it went.

It leads a session of its own and needs the service for nothing, so that trainings go on while the service is
restarted. It imports the standard library only, because one runs per training.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlbridge_training_service.folder import JobFolder
from mlbridge_training_service.oom import explain_oom, oom_kills
from mlbridge_training_service.processes import ProcessIdentity, find_tree, identify, reap, stop_tree

MARKER_VARIABLE = "MLBRIDGE_JOB_ID"

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_DISK_RETRY_SECONDS = 1.0


def utc_now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Supervisor:
    """
    Runs the job of one folder once.

    :param folder: made by :meth:`JobFolder.create`.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._launch: dict[str, Any] = json.loads(folder.launch.read_text(encoding="utf-8"))
        self._marker = f"{MARKER_VARIABLE}={self._launch['job_id']}"
        self._identity = _own_identity()
        self._ended: dict[int, int] = {}
        self._oom_kills = oom_kills()

    def run(self) -> None:
        """Do everything; returns when the job has ended, or at once when another supervisor has it."""
        # Signals are taken one by one where they are waited for; before the claim, because nobody knows
        # whom to signal until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # Children of the training that lose their parent become ours instead of init's, so that they are
        # found even with a clean environment and a session of their own.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if not self._folder.state("supervisor", {"process": self._identity.to_dict()}):
            return
        cancel = self._folder.known("cancel")
        if cancel is not None:
            self._folder.state("child", {"void": True})
            self._end("cancelled", None, str(cancel["reason"]))
            return
        try:
            child = self._start()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._folder.state("child", {"void": True})
            self._end("failed", None, f"the training could not be started: {error}")
            return
        status, code, reason = self._wait(child)
        if status == "failed" and (note := explain_oom(self._oom_kills, oom_kills())):
            reason = f"{reason}; {note}"
        # Whatever the training left behind must not run beside the next generation.
        if not self._stop():
            reason = f"{reason}; processes of the training cannot be killed".removeprefix("; ")
        self._end(status, code, reason)

    def _start(self) -> int:
        working_dir = self._launch["working_dir"] or str(self._folder.work)
        if not Path(working_dir).is_dir():
            raise NotADirectoryError(f"the pipeline's working_dir {working_dir!r} is not a directory")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log = os.open(self._folder.log, flags, 0o600)
        try:
            process = subprocess.Popen(
                self._launch["command"],
                cwd=working_dir,
                env={**os.environ, **self._launch["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Safe here: this process has one thread.
                preexec_fn=self._become_the_child,  # noqa: PLW1509
            )
        finally:
            os.close(log)
        # Children are reaped by this class, all of them; Popen must not try and must not warn.
        process.returncode = 0
        return process.pid

    def _become_the_child(self) -> None:
        """
        Run between fork and exec: the training's process takes its name itself.

        Had the supervisor to publish it, its death in between would leave a training that nobody knows.
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if not self._folder.state("child", {"process": _own_identity().to_dict(), "started_at": utc_now()}):
            os._exit(126)

    def _wait(self, child: int) -> tuple[str, int | None, str]:
        timeout = self._launch["timeout_seconds"]
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            number: int | None
            if deadline is None:
                number = signal.sigwaitinfo(_SIGNALS).si_signo
            else:
                received = signal.sigtimedwait(_SIGNALS, max(0.0, deadline - time.monotonic()))
                number = None if received is None else received.si_signo
            # Looked at first: a training that has ended by itself was neither cancelled nor too slow.
            self._ended.update(reap())
            if child in self._ended:
                return _judge(self._ended[child])
            if number is None:
                self._stop()
                return "timed_out", None, f"stopped after its timeout of {timeout:g} s"
            if number != signal.SIGCHLD:
                cancel = self._folder.known("cancel")
                self._stop()
                if cancel is not None:
                    return "cancelled", None, str(cancel["reason"])
                name = signal.Signals(number).name
                return "failed", None, f"stopped, because its supervisor received {name} (host shutdown?)"

    def _stop(self) -> bool:
        return stop_tree(
            lambda: find_tree(self._marker, root=self._identity),
            grace_seconds=self._launch["grace_seconds"],
            between=lambda: self._ended.update(reap()),
        )

    def _end(self, status: str, exit_code: int | None, reason: str) -> None:
        document = {"status": status, "exit_code": exit_code, "reason": reason, "finished_at": utc_now()}
        while True:
            try:
                if self._folder.process("supervisor") != self._identity:
                    return  # The folder was removed, or made anew: the job is not ours any more.
                self._folder.state("end", document)
            except OSError:
                # A full disk must not turn a finished training into a lost one: wait for room.
                time.sleep(_DISK_RETRY_SECONDS)
            else:
                return


def _own_identity() -> ProcessIdentity:
    identity = identify(os.getpid())
    if identity is None:
        raise OSError("/proc does not show this process; it must be mounted")
    return identity


def _judge(wait_status: int) -> tuple[str, int, str]:
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        hint = " (out of memory, or killed by hand)" if number == signal.SIGKILL else ""
        # 128 + signal, as a shell reports it.
        return "failed", 128 + number, f"killed by {signal.Signals(number).name}{hint}"
    code = os.WEXITSTATUS(wait_status)
    return ("succeeded", 0, "") if code == 0 else ("failed", code, f"exit code {code}")


if __name__ == "__main__":
    Supervisor(JobFolder(Path(sys.argv[1]))).run()
