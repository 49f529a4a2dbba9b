# SPDX-License-Identifier: Apache-2.0
"""
Operators that claim the same, beside ours, on four faults: ``python -m tests.chaos.peers``.

The peers are ``SSHRemoteJobOperator`` on a real sshd, and ``HttpOperator`` with ``HttpSensor`` on the real
training service: the first submits, the second waits until a check of its author's says that it is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from demo.services.process import ServiceGroup
from demo.services.sshd import start_sshd
from tests.chaos.contestants import OPERATORS, WAIT_SECONDS
from tests.chaos.journal import Entry, Journals
from tests.chaos.task import TaskFiles, TaskInstance, write_json
from tests.chaos.world import TRAINER, kill_exactly
from tests.integration.training_service_process import TrainingService

TOKEN = "a-token-of-the-comparison"
FORK = multiprocessing.get_context("fork")


class Instance(TaskInstance):
    """
    A task instance that may be told to hang where it has submitted.

    :param order: as for a worker.
    :param files: of the task.
    :param hang: whether the worker never comes to tell what it has submitted.
    """

    def __init__(self, order: Mapping[str, Any], files: TaskFiles, *, hang: bool) -> None:
        super().__init__(order, files)
        self._hang = hang

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom, or hang."""
        if self._hang:
            time.sleep(600)
        super().xcom_push(key, value)


@dataclass
class Case:
    """
    One operator under one fault.

    :param name: of the operator.
    :param make: the operator, for parameters of the training.
    :param host: what is needed of the training's side.
    :param number: of the training.
    """

    name: str
    make: Callable[[dict[str, Any], str], Any]
    host: Host
    number: int
    seconds: float = 3.0
    failures: int = 0
    kinds: tuple[str, ...] = ()
    tries: int = 0

    @property
    def folder(self) -> Path:
        """Of the task."""
        return self.host.folder / "tasks" / str(self.number)

    @property
    def entries(self) -> list[Entry]:
        """What the training wrote down."""
        return self.host.journals.read(self.number)

    def run(self, *, die: bool = False, stop: str = "") -> str:
        """
        A try of the task.

        :param die: KILL the worker when it has submitted.
        :param stop: whose ``on_kill`` is called once the training has its child: ``operator`` or ``trigger``.
        :return: how it ended.
        """
        self.tries += 1
        self.folder.mkdir(exist_ok=True)
        ti_id = f"{self.number}-{self.tries}"
        (self.folder / "current").write_text(ti_id)
        outcome = self.folder / f"outcome.{self.tries}"
        process = FORK.Process(target=self._work, args=(ti_id, outcome, die, stop))
        process.start()
        if die:
            self.until("start")
            time.sleep(0.5)
            process.kill()
        process.join(WAIT_SECONDS + 20)
        if process.is_alive():
            process.kill()
            process.join()
            return f"no end within {WAIT_SECONDS:.0f} s"
        told: dict[str, Any] = json.loads(outcome.read_text()) if outcome.exists() else {}
        return str(told.get("end", "the worker died"))

    def until(self, word: str, generation: int | None = None) -> Entry:
        """Wait for a line of the training."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            for entry in self.entries:
                if entry.word == word and generation in (None, entry.generation):
                    return entry
            time.sleep(0.05)
        raise TimeoutError(f"{self.name}: no {word!r} in the journal")

    def _params(self) -> dict[str, Any]:
        return {
            "task": self.number,
            "journal": str(self.host.journals.path(self.number)),
            "seconds": self.seconds,
            "kinds": list(self.kinds),
            "failures": self.failures,
        }

    def _work(self, ti_id: str, outcome: Path, die: bool, stop: str) -> None:
        os.setsid()
        log = os.open(self.folder / f"log.{self.tries}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        order = {
            "ti_id": ti_id,
            "number": self.number,
            "try_number": self.tries,
            "max_tries": 5,
            "clear_number": 0,
            "folder": str(self.folder),
        }
        files = TaskFiles(self.folder, ti_id)
        ti = Instance(order, files, hang=die)
        context = {
            "ti": ti,
            "task_instance": ti,
            "task_state_store": files,
            "outlet_events": {},
            "dag": SimpleNamespace(fileloc=os.devnull),
            "dag_run": SimpleNamespace(clear_number=0, run_after=None),
            "stop": stop,
        }
        operator = self.make(self._params(), f"train_{self.number}")
        write_json(outcome, {"end": self._end_of(operator, context, die, stop)})

    def _end_of(self, operator: Any, context: dict[str, Any], die: bool, stop: str) -> str:
        from airflow.sdk.exceptions import TaskDeferred

        method: Callable[..., Any] = operator.execute
        arguments: dict[str, Any] = {}
        try:
            while True:
                try:
                    value = method(context, **arguments)
                except TaskDeferred as deferral:
                    if stop:
                        self.until("child")
                        if stop == "trigger":
                            asyncio.run(deferral.trigger.on_kill())
                        else:
                            operator.on_kill()
                        return "stopped"
                    event = asyncio.run(asyncio.wait_for(_event_of(deferral.trigger), WAIT_SECONDS))
                    method = getattr(operator, deferral.method_name)
                    arguments = {"event": event}
                    continue
                if die:
                    time.sleep(600)
                if stop:
                    self.until("child")
                    operator.on_kill()
                    return "stopped"
                return f"success: {str(value)[:200]}"
        except TimeoutError:
            return f"no end within {WAIT_SECONDS:.0f} s"
        except Exception as error:
            # Whatever it is, Airflow fails the task with it.
            logging.getLogger(__name__).exception("The task failed")
            return f"failed: {type(error).__name__}: {error}"


async def _event_of(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


@dataclass
class Host:
    """
    The training's side.

    :param folder: for everything.
    :param service: the training service.
    """

    folder: Path
    service: TrainingService
    numbers: int = 0

    @property
    def journals(self) -> Journals:
        """What the trainings wrote down."""
        return Journals(self.folder / "journals")

    def case(self, name: str, **how: Any) -> Case:
        """A training of its own for one operator."""
        self.numbers += 1
        return Case(name, OPERATORS[name], self, self.numbers, **how)


def exit_3(host: Host, name: str) -> str:
    """The training ends with exit code 3."""
    case = host.case(name, seconds=0.5, failures=1)
    return case.run()


def training_killed(host: Host, name: str) -> str:
    """KILL to the training's process."""
    case = host.case(name, seconds=60.0)
    return _killed(case, with_parent=False)


def all_killed(host: Host, name: str) -> str:
    """KILL to the training and to the process that waits for it, as the kernel does when memory runs out."""
    case = host.case(name, seconds=60.0)
    return _killed(case, with_parent=True)


def _killed(case: Case, *, with_parent: bool) -> str:
    def strike() -> None:
        with suppress(TimeoutError):
            start = case.until("start")
            time.sleep(1.0)
            if with_parent:
                parent = int(Path(f"/proc/{start.pid}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(parent, 9)
            kill_exactly(start.pid, start.ticks)

    striker = threading.Thread(target=strike)
    striker.start()
    end = case.run()
    striker.join()
    return end


def worker_killed(host: Host, name: str) -> str:
    """KILL to the worker when it has submitted; then the retry."""
    case = host.case(name, seconds=6.0)
    case.run(die=True)
    end = case.run()
    starts = [entry for entry in case.entries if entry.word == "start"]
    beside = sum(1 for entry in starts if entry.is_alive)
    again = f", {beside} of them still running" if beside else ""
    return f"{len(starts)} started{again}; the retry: {end}"


def cancelled_by_worker(host: Host, name: str) -> str:
    """A user stops the task that a worker has; its training has a child in a session of its own."""
    return _cancelled(host, name, "operator")


def cancelled_while_deferred(host: Host, name: str) -> str:
    """The same while the task is deferred."""
    return _cancelled(host, name, "trigger")


def _cancelled(host: Host, name: str, whose: str) -> str:
    case = host.case(name, seconds=40.0, kinds=("child",))
    case.run(stop=whose)
    time.sleep(4.0)
    left = {"start": "the training", "child": "its child"}
    alive = [left[entry.word] for entry in case.entries if entry.word in left and entry.is_alive]
    for entry in case.entries:
        kill_exactly(entry.pid, entry.ticks)
    return f"alive after it: {' and '.join(alive) or 'nothing'}"


FAULTS: dict[str, Callable[[Host, str], str]] = {
    "exit 3": exit_3,
    "training killed": training_killed,
    "training and its parent killed": all_killed,
    "worker killed after submitting, retry": worker_killed,
    "stopped in the worker": cancelled_by_worker,
    "stopped while deferred": cancelled_while_deferred,
}


def main() -> int:
    """Run all of them and print what came of it as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers", description=__doc__)
    parser.add_argument("--only", default="", help="operators whose name has this")
    only = parser.parse_args().only
    folder = Path(tempfile.mkdtemp(prefix="mlbridge-peers-"))
    for name in ("journals", "tasks", "service"):
        (folder / name).mkdir()
    with ServiceGroup() as services:
        sshd = services.add(start_sshd(folder / "sshd", environment={"SHLVL": "2"}))
        service = TrainingService(
            folder / "service",
            environment={"PEERS_TOKEN": TOKEN},
            auth={"token_env": "PEERS_TOKEN"},
            concurrency=16,
            pipelines={
                "peers": {"command": [sys.executable, "-S", "-E", str(TRAINER)], "model_types": ["told"]}
            },
        )
        services.add(service.start())
        key = {"key_file": str(sshd.client_key_path)}
        ssh = {"host": sshd.host, "port": sshd.port, "login": sshd.user}
        ours = {**key, "host_key": sshd.host_key, "jobs_dir": str(folder / "jobs")}
        # asyncssh takes a host key on another port than 22 from a known_hosts file only.
        peers = {**key, "known_hosts": str(sshd.known_hosts_path), "host_key": sshd.host_key}
        http = {"Authorization": f"Bearer {TOKEN}"}
        connections = {
            "OURS_SSH": {"conn_type": "mlbridge_ssh", **ssh, "extra": ours},
            "PEER_SSH": {"conn_type": "ssh", **ssh, "extra": peers},
            "OURS_API": {"conn_type": "mlbridge_api", "host": service.url, "password": TOKEN},
            "PEER_HTTP": {"conn_type": "http", "host": service.url, "extra": http},
        }
        os.environ |= {f"AIRFLOW_CONN_{name}": json.dumps(text) for name, text in connections.items()}
        os.environ |= {"AIRFLOW_HOME": str(folder / "airflow"), "PEER_JOBS": str(folder / "peer-jobs")}
        host = Host(folder, service)
        names = [name for name in OPERATORS if only in name]
        for package in ("airflow", "airflow-providers-ssh", "airflow-providers-http"):
            print(f"apache-{package} {version(f'apache-{package}')}")
        for fault, inflict in FAULTS.items():
            for name in names:
                print(f"| {fault} | {name} | {' '.join(inflict(host, name).split())[:420]} |", flush=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
