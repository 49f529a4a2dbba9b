# SPDX-License-Identifier: Apache-2.0
"""Start a server as a process of one's own, know when it is ready, and surely end it again."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from demo.services.interrupts import ignoring_interrupts
from demo.services.process_table import MARK, Identity, carriers, family, identify, is_alive, stop_processes

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]

_LAUNCHER = uuid.uuid4().hex
_COUNTER = itertools.count(1)


def new_mark(name: str) -> str:
    """A mark for processes of this launcher, used once; see :mod:`demo.services.process_table`."""
    return f"{_LAUNCHER}:{name}:{next(_COUNTER)}"


class ServiceError(RuntimeError):
    """A server did not start, did not become ready or ended by itself; the message ends with its log."""


class Stoppable(Protocol):
    """Anything that can be stopped; stopping twice does no harm."""

    def stop(self) -> None:
        """End it and everything that it started."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_answers(port: int) -> bool:
    """Whether something accepts connections on that port of 127.0.0.1."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def base_environment(**extra: str) -> dict[str, str]:
    """
    The environment that a server gets: little of ours, no proxy, no telemetry, nobody's cloud credentials.

    :param extra: further variables, which win.
    """
    names = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment.setdefault("LANG", "C.UTF-8")
    environment |= {
        "NO_PROXY": "*",
        "no_proxy": "*",
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "SCARF_ANALYTICS": "false",
        "SCARF_NO_ANALYTICS": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    return environment | extra


def find_program(name: str, package: str) -> str:
    """
    Full path of a program, also where a plain user's PATH does not lead: ``sbin``, Debian's PostgreSQL.

    :param package: the Debian package that brings it.
    :raises ServiceError: when it is not installed.
    """
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    path = ":".join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", *servers])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServiceError(f"the program {name!r} is not installed: sudo apt-get install {package}")
    return found


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str, interval: float = 0.1) -> None:
    """
    Ask again and again until ``condition`` holds.

    :param timeout: seconds.
    :param what: ends the sentence "gave up after N s waiting for ...".
    :raises ServiceError: when the time is over.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"gave up after {timeout:g} s waiting for {what}")
        time.sleep(interval)


Member = TypeVar("Member", bound=Stoppable)
Started = TypeVar("Started")


def start_with_retry(start: Callable[[], Started]) -> Started:
    """
    Try up to three times: another process may take a free port between the choice and the bind.

    :param start: chooses ports and starts; leaves nothing running when it raises.
    :raises ServiceError: of the last try.
    """
    for _ in range(2):
        with suppress(ServiceError):
            return start()
    return start()


class _Watchdog:
    """One process per launcher that outlives it just long enough to clean up."""

    _process: subprocess.Popen[bytes] | None = None
    _owner = 0

    @classmethod
    def ensure(cls) -> None:
        """Start it with the first server. A forked copy of the launcher needs one of its own."""
        if cls._process is not None and cls._owner == os.getpid() and cls._process.poll() is None:
            return
        cls._process = subprocess.Popen(
            [sys.executable, "-m", "demo.services.watchdog", _LAUNCHER],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=base_environment(),
        )
        cls._owner = os.getpid()
        atexit.register(cls._release)

    @classmethod
    def watch(cls, identity: Identity) -> None:
        """Tell it about a server; one that overwrites its environment (sshd does) has no mark."""
        if cls._process is not None and cls._process.stdin is not None:
            cls._process.stdin.write(f"{json.dumps(vars(identity))}\n".encode())
            cls._process.stdin.flush()

    @classmethod
    def _release(cls) -> None:
        """At the end of the launcher: let it clean up what was forgotten, and wait for it."""
        if cls._process is None or cls._owner != os.getpid() or cls._process.stdin is None:
            return
        cls._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            cls._process.wait(timeout=15)


class OwnedProcess:
    """
    A process in a session of its own, with its output in a file.

    :param name: names the log and the pid file, and appears in errors.
    :param argv: program and arguments; never secrets, for everybody can read them.
    :param folder: where ``<name>.log`` and ``<name>.pid`` are written.
    :param environment: the complete environment, see :func:`base_environment`.
    :param working_dir: directory to start in; ``folder`` when None.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        working_dir: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.folder = folder
        self.log_path = folder / f"{name}.log"
        self.mark = ""
        self._environment = dict(environment)
        self._working_dir = working_dir or folder
        self._pid_path = folder / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise ServiceError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, after ending one that a crashed launcher left in the same folder."""
        if self.is_running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._end_left_over()
        _Watchdog.ensure()
        self.mark = new_mark(self.name)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                cwd=self._working_dir,
                env=self._environment | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        identity = identify(self._process.pid)
        if identity is not None:
            _Watchdog.watch(identity)
            record = {**vars(identity), "mark": self.mark}
            self._pid_path.write_text(json.dumps(record))

    def _end_left_over(self) -> None:
        try:
            record = json.loads(self._pid_path.read_text())
            identity = Identity(record["pid"], record["start_time"], record["boot_id"])
            mark = str(record["mark"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if is_alive(identity) or carriers(mark):
            stop_processes(mark, [identity.pid] if is_alive(identity) else [])
        self._pid_path.unlink(missing_ok=True)

    def wait_ready(
        self, condition: Callable[[], bool], *, timeout: float, what: str = "it to answer"
    ) -> None:
        """
        Wait until ``condition`` holds, and fail at once when the process ends meanwhile.

        :param timeout: seconds.
        :raises ServiceError: with the end of the log.
        """

        def ready() -> bool:
            if not self.is_running:
                code = self._process.returncode if self._process is not None else None
                raise ServiceError(f"{self.name} ended with exit code {code}")
            return condition()

        try:
            wait_until(ready, timeout=timeout, what=what)
        except ServiceError as error:
            message = f"{self.name}: {error}\nEnd of {self.log_path}:\n{self.log_tail()}"
            raise ServiceError(message) from None

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the output."""
        with suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return "(no output)"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server itself, not to its children."""
        if self.is_running:
            os.kill(self.pid, number)

    def stop(self, grace: float = 10.0) -> None:
        """
        TERM to the server, a bounded wait, then the same for all that it left behind, then KILL.

        :param grace: seconds that the server has to end in good order.
        """
        if self._process is None:
            return
        # Its children must be known before it ends: some (those of sshd) overwrite their environment.
        known = family([self._process.pid]) if self.is_running else set()
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace)
        self._end_rest(known, grace=2.0)

    def detach(self) -> Identity | None:
        """
        Give the running process away: :meth:`stop` no longer touches it, :meth:`start` starts another.

        The watchdog still ends it with the launcher.
        """
        if self._process is None:
            return None
        identity = identify(self._process.pid)
        # Nobody else may wait for it, and an unwaited child would stay as a zombie.
        threading.Thread(target=self._process.wait, daemon=True).start()
        self._process = None
        self._pid_path.unlink(missing_ok=True)
        return identity

    def kill(self) -> None:
        """KILL the server and everything that it started, at once: what a crash looks like."""
        if self._process is None:
            return
        known = family([self._process.pid]) if self.is_running else set()
        self.signal(signal.SIGKILL)
        self._end_rest(known, grace=0.0)

    def _end_rest(self, known: set[Identity], *, grace: float) -> None:
        stop_processes(self.mark, [identity.pid for identity in known if is_alive(identity)], grace=grace)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self._process = None
        self._pid_path.unlink(missing_ok=True)


class ServiceGroup:
    """
    Servers that end together: on leaving the ``with`` block, whatever the reason, in reverse order.

    While they end a further Ctrl-C is ignored, because every stop is bounded in time. A program that is to
    stop them on SIGTERM too uses :func:`~demo.services.interrupts.interrupts_raise` around the block.
    """

    def __init__(self) -> None:
        self._members: list[Stoppable] = []

    def add(self, service: Member) -> Member:
        """Take charge of a started server and hand it back."""
        self._members.append(service)
        return service

    def stop_all(self) -> None:
        """
        Stop every member, the newest first.

        :raises ExceptionGroup: when some could not be stopped; all were tried.
        """
        errors = []
        while self._members:
            try:
                self._members.pop().stop()
            except Exception as error:  # noqa: BLE001 - the others must be stopped too
                errors.append(error)
        if errors:
            raise ExceptionGroup("some servers could not be stopped", errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ignoring_interrupts():
            self.stop_all()
