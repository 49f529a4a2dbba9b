# SPDX-License-Identifier: Apache-2.0
"""Where trainings run, one class per mode; all of them start the same training program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.training.api import APITarget
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.backends.api import APIBackend
from airflow_provider_mlbridge.training.backends.dag import DagBackend
from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.ssh import SSHTarget
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus
from demo.services.sshd import Sshd
from tests.integration.training_service_process import TOKEN, TRAINER, TrainingService, process_in

DEADLINE = 30.0


class Place:
    """
    What a test needs of a mode.

    :param folder: of the test.
    """

    mode = ""
    tells_exit_codes = True
    """A run of a DAG has none; its task logs say why it failed."""
    may_report_nothing = True
    """A DAG must say which of its tasks is the training: exactly one reports a result."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"

    def open(self, key: str) -> TrainingBackend:
        """A backend for the task instance with this key."""
        raise NotImplementedError

    def lose(self, ref: JobRef) -> None:
        """Let the training vanish without a trace of how it ended."""
        raise NotImplementedError

    def job(
        self,
        key: str,
        *steps: list[Any],
        owner: str = "try-1",
        epoch: int = 1,
        known: int = 0,
        **request: Any,
    ) -> TrainingJob:
        params = {"steps": [list(step) for step in steps], "journal": str(self.journal)}
        asked = TrainingRequest("s3://f/v1", "f1", "exp", "told", params, **request)
        return TrainingJob(key, owner, epoch, asked, self.launch(), known)

    def launch(self) -> SSHLaunch | None:
        return None

    def starts(self, key: str) -> list[int]:
        """The generations that began, in this order."""
        if not self.journal.exists():
            return []
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [int(generation) for word, of, generation in lines if (word, of) == ("start", key)]

    async def until(self, backend: TrainingBackend, ref: JobRef, *states: JobState) -> JobStatus:
        """Ask until the job is in one of the states, any terminal one by default."""
        end = time.monotonic() + DEADLINE
        while True:
            status = (await backend.status([ref]))[ref]
            if status.state in states if states else status.state.is_terminal:
                return status
            assert time.monotonic() < end, f"still {status}, expected {states}"
            assert not status.state.is_terminal, f"ended as {status}, expected {states}"
            await asyncio.sleep(0.05)

    async def begun(self, key: str, generation: int = 1) -> None:
        """Wait until the training program runs."""
        end = time.monotonic() + DEADLINE
        while generation not in self.starts(key):
            assert time.monotonic() < end, f"generation {generation} does not begin"
            await asyncio.sleep(0.02)


class SSHPlace(Place):
    """A real sshd."""

    mode = "ssh"

    def __init__(self, folder: Path, server: Sshd) -> None:
        super().__init__(folder)
        (folder / "trainer.py").write_text(TRAINER)
        self._target = SSHTarget(
            server.host,
            server.user,
            port=server.port,
            key_file=str(server.client_key_path),
            host_key=server.host_key,
        )

    def open(self, key: str) -> SSHBackend:
        backend = SSHBackend(self._target, root=str(self.folder / "root"), grace_seconds=1)
        backend._settings["cgroups"] = "/nowhere"
        return backend

    def launch(self) -> SSHLaunch:
        return SSHLaunch(f"exec '{sys.executable}' -S '{self.folder}/trainer.py'", str(self.folder))

    def lose(self, ref: JobRef) -> None:
        for name in ("supervisor", "child"):
            os.kill(int((Path(ref.job_id) / name).read_text().split()[0]), signal.SIGKILL)


class APIPlace(Place):
    """The real training service."""

    mode = "api"

    def __init__(self, folder: Path, service: TrainingService) -> None:
        super().__init__(folder)
        self._service = service

    def open(self, key: str) -> APIBackend:
        return APIBackend(APITarget(self._service.url, auth="bearer", secret=TOKEN, name="trainer"))

    def lose(self, ref: JobRef) -> None:
        for fact in ("supervisor", "child"):
            os.kill(process_in(self._service, ref.job_id, fact), signal.SIGKILL)


@dataclass
class LocalAirflow:
    """DAG runs as Airflow keeps them, with unique ids; a run is a process of the training program."""

    folder: Path
    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def is_paused(self, dag_id: str) -> bool | None:
        await asyncio.sleep(0)
        return False

    async def conf(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        await asyncio.sleep(0)
        return self.runs.get(run_id)

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        await asyncio.sleep(0)
        if run_id in self.runs:
            return False
        self.runs[run_id] = json.loads(json.dumps(conf))
        identity = conf["mlbridge"]
        environment = {
            **os.environ,
            "MLBRIDGE_REQUEST": json.dumps(conf),
            "MLBRIDGE_JOB_KEY": identity["key"],
            "MLBRIDGE_JOB_GENERATION": str(identity["generation"]),
            "MLBRIDGE_RESULT_FILE": str(self.folder / f"{run_id}.json"),
        }
        argv = [sys.executable, "-S", str(self.folder / "trainer.py")]
        with (self.folder / f"{run_id}.log").open("wb") as log:
            self.processes[run_id] = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        return True

    async def state(self, dag_id: str, run_id: str) -> str | None:
        await asyncio.sleep(0)
        if run_id not in self.runs:
            return None
        code = self.processes[run_id].poll()
        return "running" if code is None else "failed" if code else "success"

    async def reported(self, dag_id: str, run_id: str) -> Mapping[str, Any]:
        path = self.folder / f"{run_id}.json"
        return {"train": json.loads(path.read_text())} if path.exists() else {}

    def delete(self, run_id: str) -> None:
        process = self.processes.pop(run_id)
        process.kill()
        process.wait()
        del self.runs[run_id]


class Record:
    """The memory of one task instance."""

    def __init__(self) -> None:
        self._text = "{}"

    def load(self) -> Mapping[str, Any]:
        loaded: Mapping[str, Any] = json.loads(self._text)
        return loaded

    def save(self, record: Mapping[str, Any]) -> None:
        self._text = json.dumps(dict(record))


class DagPlace(Place):
    """Mode dag's own code over runs that are unique as in Airflow."""

    mode = "dag"
    tells_exit_codes = False
    may_report_nothing = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "trainer.py").write_text(TRAINER)
        self._airflow = LocalAirflow(folder)
        self._records: dict[str, Record] = {}

    def open(self, key: str) -> DagBackend:
        return DagBackend(self._airflow, "train", self._records.setdefault(key, Record()))

    def lose(self, ref: JobRef) -> None:
        self._airflow.delete(ref.job_id.rpartition("/")[2])

    def stop(self) -> None:
        for run_id in list(self._airflow.runs):
            self._airflow.delete(run_id)
