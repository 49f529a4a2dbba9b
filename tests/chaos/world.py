# SPDX-License-Identifier: Apache-2.0
"""Everything that a chaos run starts, and what befalls it: sshd, service, proxies, workers, triggerer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from demo.services.process import REPOSITORY, OwnedProcess, base_environment
from demo.services.sshd import Sshd, start_sshd
from tests.chaos.journal import Journals
from tests.chaos.plan import WORLD_FAULTS
from tests.chaos.proxy import LOOPBACK, Proxy
from tests.chaos.secrets import Secrets
from tests.chaos.task import read_json, write_json
from tests.integration.training_service_process import TrainingService

TRAINER = Path(__file__).with_name("trainer.py")
PARALLEL_TRAININGS = 16
"""Places of the service; the others wait in its queue."""


class World:
    """
    The parts, all of them processes of our own.

    :param folder: for everything.
    :param dice: for the proxies and the faults.
    :param secrets: that are planted.
    """

    def __init__(self, folder: Path, dice: random.Random, secrets: Secrets) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.journals = Journals(folder / "journals")
        self.sshd: Sshd | None = None
        self.service: TrainingService | None = None
        self._dice = dice
        self._secrets = secrets
        self._proxies: dict[str, Proxy] = {}
        self._workers: OwnedProcess | None = None
        self._triggerer: OwnedProcess | None = None
        self._socket: asyncio.StreamWriter | None = None
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._orders = 0

    async def start(self) -> None:
        """Start all of it."""
        for name in ("journals", "tasks", "orders", "triggers", "events", "kills", "killed", "jobs"):
            (self.folder / name).mkdir()
        self.sshd = await asyncio.to_thread(start_sshd, self.folder / "sshd", environment={"SHLVL": "2"})
        place = self.folder / "service"
        place.mkdir()
        self.service = TrainingService(
            place,
            environment={"CHAOS_API_TOKEN": self._secrets.api},
            auth={"token_env": "CHAOS_API_TOKEN"},
            concurrency=PARALLEL_TRAININGS,
            pipelines={
                "chaos": {"command": [sys.executable, "-S", "-E", str(TRAINER)], "model_types": ["told"]}
            },
        )
        await asyncio.to_thread(self.service.start)
        for name, port, share in (("ssh", self.sshd.port, 0.08), ("api", self.service.port, 0.03)):
            self._proxies[name] = Proxy(name, port, self._dice, cut_share=share, counts=self.counts)
            await self._proxies[name].start()
        environment = self._airflow_environment()
        await self._start_workers(environment)
        self._triggerer = OwnedProcess(
            "triggerer",
            [sys.executable, "-m", "tests.chaos.triggerer", str(self.folder)],
            folder=self.folder,
            environment=environment,
            working_dir=REPOSITORY,
        )
        self._triggerer.start()

    def _airflow_environment(self) -> dict[str, str]:
        if self.sshd is None:
            raise RuntimeError("not started")
        ssh = {
            "conn_type": "mlbridge_ssh",
            "host": LOOPBACK,
            "port": self._proxies["ssh"].port,
            "login": self.sshd.user,
            "extra": {
                "key_file": str(self.sshd.client_key_path),
                "host_key": self.sshd.host_key,
                "jobs_dir": str(self.folder / "jobs"),
                "conn_timeout": 5,
                "keepalive_interval": 3,
            },
        }
        api = {
            "conn_type": "mlbridge_api",
            "host": f"http://{LOOPBACK}:{self._proxies['api'].port}",
            "password": self._secrets.api,
            "extra": {"timeout": 5},
        }
        return base_environment(
            PYTHONPATH=str(REPOSITORY),
            AIRFLOW_HOME=str(self.folder / "airflow"),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW_CONN_CHAOS_SSH=json.dumps(ssh),
            AIRFLOW_CONN_CHAOS_API=json.dumps(api),
            CHAOS_TRAINING_TOKEN=self._secrets.training,
        )

    async def _start_workers(self, environment: Mapping[str, str]) -> None:
        path = self.folder / "workers.socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.setblocking(False)
        self._workers = OwnedProcess(
            "workers",
            [sys.executable, "-m", "tests.chaos.workers", str(path)],
            folder=self.folder,
            environment=environment,
            working_dir=REPOSITORY,
        )
        self._workers.start()
        async with asyncio.timeout(60):
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        listener.close()
        reader, self._socket = await asyncio.open_unix_connection(sock=connection)
        self._reader = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            future = self._waiting.pop(message["order"], None)
            if future is not None and not future.done():
                future.set_result(message["code"])
        for future in self._waiting.values():
            future.set_exception(RuntimeError("the process that starts workers has ended"))

    def order(self, document: Mapping[str, Any]) -> tuple[str, asyncio.Future[int]]:
        """Start a worker; its name, and its exit code once it is over."""
        self._orders += 1
        name = f"{self._orders}"
        future = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        self._send({**document, "order": name, "outcome": str(self.folder / "orders" / name)})
        self.counts["workers started"] += 1
        return name, future

    def outcome(self, name: str) -> dict[str, Any] | None:
        """What a worker told at its end, if it came to that."""
        found: dict[str, Any] | None = read_json(self.folder / "orders" / name)
        return found

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Signal a worker that may have ended."""
        self._send({"order": name, "signal": int(number)})

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._socket is None:
            raise RuntimeError("not started")
        self._socket.write(json.dumps(message).encode() + b"\n")

    def wait_in_triggerer(self, name: str, trigger: Mapping[str, Any]) -> None:
        """Hand a trigger over."""
        write_json(self.folder / "triggers" / name, trigger)

    def event(self, name: str) -> Any:
        """What the trigger told, None until then."""
        return read_json(self.folder / "events" / name)

    def forget_trigger(self, name: str) -> None:
        """Take a trigger away."""
        (self.folder / "triggers" / name).unlink(missing_ok=True)

    def call_on_kill(self, name: str, trigger: Mapping[str, Any]) -> None:
        """Have ``on_kill`` called, as Airflow does when a deferred task is cleared or marked."""
        write_json(self.folder / "kills" / name, trigger)

    async def called(self, name: str, seconds: float) -> None:
        """Wait until it was, but not for ever: the triggerer may have died over it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.folder / "killed" / name).exists():
                    await asyncio.sleep(0.05)
        (self.folder / "kills" / name).unlink(missing_ok=True)

    async def befall(self) -> None:
        """One fault, drawn by weight."""
        kind = self._dice.choices(list(WORLD_FAULTS), list(WORLD_FAULTS.values()))[0]
        seconds = self._dice.uniform(0.2, 2.5)
        sshd, service, triggerer = self.sshd, self.service, self._triggerer
        if sshd is None or service is None or triggerer is None:
            raise RuntimeError("not started")
        self.counts[kind] += 1
        which, _, rest = kind.partition(" ")
        if kind == "triggerer killed":
            await asyncio.to_thread(triggerer.kill)
            await asyncio.sleep(seconds / 2)
            await asyncio.to_thread(triggerer.start)
        elif kind == "sshd restarted":
            await asyncio.to_thread(sshd.stop_listening)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(sshd.start_listening)
        elif kind == "ssh sessions killed":
            await asyncio.to_thread(sshd.drop_connections)
        elif kind == "service killed":
            await asyncio.to_thread(service.crash)
            await asyncio.sleep(seconds / 2)
            await asyncio.to_thread(service.start)
        elif rest == "connections cut":
            self._proxies[which].cut()
        elif rest == "port closed":
            await self._proxies[which].refuse(seconds)
        else:
            await self._proxies[which].stall(seconds)

    async def stop(self) -> None:
        """End everything that was started, trainings included."""
        for process in (self._workers, self._triggerer):
            if process is not None:
                await asyncio.to_thread(process.kill)
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=5)
        if self._socket is not None:
            self._socket.close()
        for proxy in self._proxies.values():
            await proxy.stop()
        if self.service is not None:
            await asyncio.to_thread(self.service.stop)
        if self.sshd is not None:
            await asyncio.to_thread(self.sshd.stop)

    def supervisor_of(self, place: str) -> int | None:
        """Pid of the supervisor of a job, by what its training calls its place."""
        with suppress(OSError, ValueError, KeyError, IndexError):
            if place.startswith("/"):
                return int((Path(place) / "supervisor").read_text().split()[0])
            if self.service is not None:
                document = json.loads((self.service.job_folder(place) / "supervisor.json").read_text())
                return int(document["process"]["pid"])
        return None


def kill_exactly(pid: int, started: str) -> bool:
    """KILL that very process; False when it is gone."""
    from tests.chaos.journal import ticks

    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if ticks(pid) != started:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)
