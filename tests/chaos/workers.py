# SPDX-License-Identifier: Apache-2.0
"""
Airflow's workers: every order is a process of its own, forked from this one, that runs the real operator.

Orders and signals come as JSON lines over a Unix socket; the pid at the start and the exit status go back. It
signals its own children only, before it has waited for them, so that no other process can be meant.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.results import FeatureSet
from tests.chaos.task import context_of, write_json

_PR_SET_PDEATHSIG = 1
POLL_INTERVAL = 0.5

FEATURES: dict[str, Any] = FeatureSet(
    uri="s3://lake/features/v1/",
    fingerprint="f1",
    recipe_hash="r1",
    datamart_uri="s3://lake/mart/",
    datamart_fingerprint="d1",
    rows=10,
    train_rows=8,
    feature_count=3,
    label="y",
    latest_uri=None,
    duration_seconds=0.5,
).to_dict()


def operator_of(order: dict[str, Any]) -> Any:
    """The task."""
    from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator
    from tests.chaos.plan import RETRIES

    how: dict[str, Any] = {}
    if order["mode"] == "ssh":
        how = {
            "command": f"exec '{sys.executable}' -S -E '{order['trainer']}'",
            "environment": {"CHAOS_TRAINING_TOKEN": os.environ["CHAOS_TRAINING_TOKEN"]},
        }
    return MLTrainingTriggerOperator(
        task_id=f"train_{order['number']}",
        mode=order["mode"],
        conn_id=f"chaos_{order['mode']}",
        features=FEATURES,
        experiment_name="chaos",
        model_type="told",
        params=order["params"],
        poll_interval=POLL_INTERVAL,
        retries=RETRIES,
        timeout=300,
        **how,
    )


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Run the task, or its resumption; what Airflow would be told."""
    from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

    from airflow_provider_mlbridge.exceptions import MLBridgeError
    from tests.chaos.task import NotRunningError

    operator = operator_of(order)
    # As Airflow's task runner does: the handler stops the training, the task goes on until it is killed.
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    try:
        if "event" in order:
            value = operator.execute_complete(context_of(order), order["event"])
        else:
            value = operator.execute(context_of(order))
    except TaskDeferred as deferral:
        return {"outcome": "deferred", "trigger": deferral.trigger.serialize()[1]}
    except AirflowFailException as error:
        return {"outcome": "failed", "error": str(error)}
    except (MLBridgeError, NotRunningError) as error:
        return {"outcome": "retry", "error": f"{type(error).__name__}: {error}"}
    return {"outcome": "success", "value": value}


def _child(order: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    code = 1
    try:
        write_json(Path(order["outcome"]), work(order))
        code = 0
    except BaseException:  # noqa: BLE001 - the log shows it, and the scheduler that there is no outcome
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkServer:
    """
    Starts workers for one scheduler, and ends with it.

    :param connection: to the scheduler.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._workers: dict[int, str] = {}
        self._rest = b""

    def serve(self) -> None:
        """Until the scheduler hangs up."""
        ready, wake = socket.socketpair()
        for end in (ready, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        selector = selectors.DefaultSelector()
        selector.register(self._connection, selectors.EVENT_READ)
        selector.register(ready, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is ready:
                    ready.recv(4096)
                    self._reap()
                elif not self._read():
                    for pid in self._workers:
                        os.kill(pid, signal.SIGKILL)
                    return

    def _read(self) -> bool:
        data = self._connection.recv(65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "signal" in message:
                self._signal(message["order"], message["signal"])
            else:
                self._start(message)
        return bool(data)

    def _start(self, order: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            _child(order)
        self._workers[pid] = order["order"]

    def _signal(self, order: str, number: int) -> None:
        for pid, running in self._workers.items():
            if running == order:
                os.kill(pid, number)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                order = self._workers.pop(pid, None)
                if order is not None:
                    told = {"order": order, "code": os.waitstatus_to_exitcode(status)}
                    self._connection.sendall(json.dumps(told).encode() + b"\n")


def main() -> None:
    """Load all that workers need, once, and serve."""
    import aiohttp  # noqa: F401 - loaded before the fork
    import asyncssh  # noqa: F401
    from airflow.sdk.exceptions import TaskDeferred  # noqa: F401

    import airflow_provider_mlbridge.hooks.api
    import airflow_provider_mlbridge.hooks.ssh
    import airflow_provider_mlbridge.operators.ml_training_trigger
    import airflow_provider_mlbridge.training.backends.api
    import airflow_provider_mlbridge.training.backends.ssh  # noqa: F401

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    ForkServer(connection).serve()


if __name__ == "__main__":
    main()
