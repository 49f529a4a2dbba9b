# SPDX-License-Identifier: Apache-2.0
"""The reference training service as a process of its own, with a training program that does as it is told."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import yaml

from demo.services.process import (
    LOOPBACK,
    REPOSITORY,
    OwnedProcess,
    base_environment,
    free_port,
    wait_until,
)
from demo.services.process_table import stop_processes

TOKEN = "a-token-of-the-tests"
TOKEN_VARIABLE = "TRAINING_SERVICE_TOKEN"
TRIGGER = "/api/v1/training/trigger"

# Steps come in the request's params; each is [name, argument]. The journal shows every start and end.
TRAINER = """
import json, os, signal, subprocess, sys, time

request = json.loads(os.environ["MLBRIDGE_REQUEST"])
steps = request["params"].get("steps", [])
journal = request["params"].get("journal")


def note(word):
    if journal:
        with open(journal, "a") as stream:
            key, generation = os.environ["MLBRIDGE_JOB_KEY"], os.environ["MLBRIDGE_JOB_GENERATION"]
            stream.write(f"{word} {key} {generation}\\n")


note("start")
for name, argument in steps:
    if name == "print":
        print(argument, flush=True)
    elif name == "bytes":
        sys.stdout.buffer.write(bytes.fromhex(argument))
        sys.stdout.flush()
    elif name == "wait_for":
        while not os.path.exists(argument):
            time.sleep(0.02)
    elif name == "result":
        with open(os.environ["MLBRIDGE_RESULT_FILE"], "w") as stream:
            stream.write(argument if isinstance(argument, str) else json.dumps(argument))
    elif name == "progress":
        with open(os.environ["MLBRIDGE_PROGRESS_FILE"], "w") as stream:
            stream.write(argument + "\\n")
    elif name == "write":
        with open(argument + ".tmp", "w") as stream:
            json.dump({"pid": os.getpid(), "cwd": os.getcwd(), "environment": dict(os.environ)}, stream)
        os.rename(argument + ".tmp", argument)
    elif name == "ignore_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif name == "detached_child":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    elif name == "detached_child_without_environment":
        subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
    elif name == "exit":
        note("exit")
        sys.exit(argument)
note("end")
"""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Message
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class TrainingService:
    """
    ``mlbridge-training-service`` on a free port.

    :param folder: holds configuration, data and the training program.
    :param environment: further variables of the service.
    :param config: what differs from the default configuration.
    """

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None, **config: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.scheme = "https" if "tls_key" in config else "http"
        self.data_dir = folder / "data"
        self._marks: list[str] = []
        (folder / "trainer.py").write_text(TRAINER)
        document = {
            "data_dir": "data",
            "auth": {"token_env": TOKEN_VARIABLE},
            "concurrency": 8,
            "grace_seconds": 1,
            "retry_after_seconds": 1,
            "pipelines": {
                "test": {
                    "command": [sys.executable, "-S", str(folder / "trainer.py")],
                    "environment": {"FROM_PIPELINE": "yes"},
                    "model_types": ["told"],
                },
                "broken": {"command": ["/does/not/exist"], "model_types": ["broken"]},
                "nowhere": {
                    "command": ["true"],
                    "working_dir": "/does/not/exist",
                    "model_types": ["nowhere"],
                },
            },
            **config,
        }
        (folder / "service.yaml").write_text(yaml.safe_dump(document))
        self.process = OwnedProcess(
            "training-service",
            [
                *(sys.executable, "-m", "mlbridge_training_service"),
                *("--config", str(folder / "service.yaml"), "--host", LOOPBACK, "--port", str(self.port)),
            ],
            folder=folder,
            environment=base_environment(
                PYTHONPATH=str(REPOSITORY / "training_service"),
                **{TOKEN_VARIABLE: TOKEN},
                **(environment or {}),
            ),
        )

    @property
    def url(self) -> str:
        return f"{self.scheme}://{LOOPBACK}:{self.port}"

    def start(self) -> TrainingService:
        self.process.start()
        self._marks.append(self.process.mark)
        ready = self._healthy if self.scheme == "http" else self._listening
        self.process.wait_ready(ready, timeout=30)
        return self

    def crash(self) -> None:
        """KILL the service alone; its trainings go on."""
        self.process.signal(signal.SIGKILL)
        wait_until(lambda: not self.process.is_running, timeout=10, what="the service to die", interval=0.01)
        self.process.detach()

    def stop(self) -> None:
        """End the service and all that it or an earlier life of it started."""
        self.process.stop()
        for mark in self._marks:
            stop_processes(mark, grace=0.0)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data=data, headers=given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read().decode())

    def trigger(self, key: str, body: Mapping[str, Any]) -> Reply:
        return self.call("POST", TRIGGER, body, headers={"Idempotency-Key": key})

    def status(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.call("GET", f"/api/v1/training/{job_id}").json
        return document

    def wait_for_status(self, job_id: str, *wanted: str, timeout: float = 20.0) -> dict[str, Any]:
        last: dict[str, Any] = {}

        def reached() -> bool:
            last.update(self.status(job_id))
            return last["status"] in wanted

        wait_until(reached, timeout=timeout, what=f"status {wanted}, last {last}", interval=0.05)
        return last

    def job_folder(self, job_id: str) -> Path:
        return self.data_dir / "jobs" / job_id

    def _healthy(self) -> bool:
        try:
            return self.call("GET", "/health", token=None).status == 200
        except OSError:
            return False

    def _listening(self) -> bool:
        return "startup complete" in self.process.log_tail()


def told(*steps: list[Any], **params: Any) -> dict[str, Any]:
    """A request whose training does these steps."""
    return {"model_type": "told", "params": {"steps": [list(step) for step in steps], **params}}


def keyed(key: str, body: Mapping[str, Any], *, owner: str = "try-1", epoch: int = 1) -> dict[str, Any]:
    """The request with the identity of a caller that retries."""
    return {**body, "key": key, "owner": owner, "epoch": epoch, "digest": "d1"}


@contextmanager
def running_service(
    folder: Path, *, environment: Mapping[str, str] | None = None, **config: Any
) -> Iterator[TrainingService]:
    """A service that is stopped, with all its trainings, at the end."""
    service = TrainingService(folder, environment=environment, **config)
    try:
        yield service.start()
    finally:
        service.stop()


def process_in(service: TrainingService, job_id: str, fact: str) -> int:
    """Pid of a job's supervisor or child."""
    document = json.loads((service.job_folder(job_id) / f"{fact}.json").read_text())
    return int(document["process"]["pid"])


def pids_of(job_id: str) -> list[int]:
    """Live processes of a job, by the marker that the training's environment has."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"MLBRIDGE_JOB_ID={job_id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
