# SPDX-License-Identifier: Apache-2.0
"""The demonstration from beginning to end; everything that it starts it stops again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from demo.console import elapsed, say
from demo.datamart import BUCKET, URI, prepare_datamart
from demo.installation import STATE, SetupError
from demo.integration import ModeRun, run_all
from demo.packages import DEMO_PROGRAMS, require_packages
from demo.report import problems, results_table, where_to_look
from demo.services.airflow import AirflowInstance, start_airflow
from demo.services.interrupts import interrupts_raise
from demo.services.process import REPOSITORY, ServiceError, ServiceGroup
from demo.services.process_table import Identity, identify, is_alive
from demo.services.s3 import S3Server
from demo.services.swift_s3 import start_swift
from demo.setup_environments import Environments, make_environments
from demo.training_host import start_training_host

_RUN_TIMEOUT = 900.0
_LOCK = STATE / "demo.lock"


class AlreadyRunningError(RuntimeError):
    """Another demo uses the same folder."""


def run(*, keep: bool) -> int:
    """
    Run the demo.

    :param keep: leave Airflow and the other servers up until Ctrl-C or :func:`stop`.
    :return: 0 when every run really succeeded, 1 when not, 2 when something is missing, 130 after Ctrl-C.
    """
    try:
        with interrupts_raise(), _alone():
            require_packages(say, DEMO_PROGRAMS)
            environments = make_environments(say)
            with ServiceGroup() as services:
                return _demonstrate(environments, services, keep=keep)
    except (SetupError, AlreadyRunningError) as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 2
    except ServiceError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything that was started is stopped")
        return 130


def stop(*, timeout: float = 60) -> int:
    """Stop a demo that another terminal runs or keeps; 0 when none is left."""
    other = _other()
    if other is None:
        say("no demo is running")
        return 0
    os.kill(other.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_alive(other):
        if time.monotonic() > deadline:
            print(f"the demo (process {other.pid}) did not end within {timeout:g} s", file=sys.stderr)
            return 1
        time.sleep(0.2)
    say("the demo and everything that it started are stopped")
    return 0


def _demonstrate(environments: Environments, services: ServiceGroup, *, keep: bool) -> int:
    s3 = services.add(_start_s3(environments))
    say(f"S3 API: {s3.product} at {s3.endpoint_url}")
    datamart = prepare_datamart(STATE / "datamart", python=environments.dbt, s3=s3, say=say)
    host = start_training_host(
        STATE / "training_host", python=environments.training, s3=s3, services=services
    )
    say(f"training host: sshd on port {host.sshd.port}, training service at {host.service.url}")
    say("Airflow: starting API server, scheduler, DAG processor and triggerer")
    # The database of an earlier run might hold runs that were cut off.
    shutil.rmtree(STATE / "airflow", ignore_errors=True)
    airflow = services.add(
        start_airflow(
            STATE / "airflow",
            dag_folders=[REPOSITORY / "example_dags"],
            connections={"aws_default": s3.airflow_connection(), **host.airflow_connections()},
            environment={
                "MLBRIDGE_EXAMPLE_DATAMART": URI,
                "MLBRIDGE_EXAMPLE_ML_URI": f"s3://{BUCKET}/ml",
                "MLBRIDGE_EXAMPLE_COMMAND": host.command,
            },
        )
    )
    say(f"Airflow: ready at {airflow.url}")
    runs = run_all(airflow, datamart, say=say, timeout=_RUN_TIMEOUT)
    succeeded = _conclude(runs, airflow)
    if keep:
        _wait_for_interrupt(airflow)
    say("stopping everything that was started")
    return 0 if succeeded else 1


def _start_s3(environments: Environments) -> S3Server:
    try:
        return start_swift(STATE / "swift", python=environments.swift)
    except ServiceError as error:
        from demo.services.moto_s3 import start_moto

        say(f"NOTE: OpenStack Swift does not start here, so moto plays S3, in memory only: {error}")
        return start_moto(STATE / "moto")


def _conclude(runs: list[ModeRun], airflow: AirflowInstance) -> bool:
    print(f"\n{results_table(runs)}\n")
    print(where_to_look(runs, airflow_home=airflow.folder, root=REPOSITORY))
    wrong = problems(runs)
    if wrong:
        print(f"\nNot everything succeeded:\n{wrong}")
        for one in runs:
            _print_failures(airflow, one)
    else:
        print(f"\nAll {len(runs)} runs succeeded, in {elapsed():.0f} s.")
    sys.stdout.flush()
    return not wrong


def _print_failures(airflow: AirflowInstance, one: ModeRun) -> None:
    """The end of the log of every task that failed."""
    for task in one.tasks.values():
        if task.state == "failed":
            log = airflow.api.log(one.dag_id, one.run_id, task.task_id, task.try_number)
            lines = [
                line for line in log.splitlines() if "::group::" not in line and "::endgroup::" not in line
            ]
            print(f"\nEnd of the log of {one.mode} {task.task_id}:\n" + "\n".join(lines[-20:]))


def _wait_for_interrupt(airflow: AirflowInstance) -> None:
    print(
        f"\nAirflow stays up:\n\n  {airflow.url}\n  user {airflow.user}, password {airflow.password}\n\n"
        f"Stop it with Ctrl-C here, or with 'make demo-stop' in another terminal.",
        flush=True,
    )
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print()


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the demo's folder; the kernel lets go of it when the launcher dies, however it dies."""
    STATE.mkdir(exist_ok=True)
    with _LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _other()
            raise AlreadyRunningError(
                f"A demo is running already{f' (process {other.pid})' if other else ''}: stop it with "
                f"'make demo-stop', or in its terminal with Ctrl-C."
            ) from None
        lock.truncate(0)
        lock.write(json.dumps(vars(identify(os.getpid()))))
        lock.flush()
        yield
        lock.truncate(0)


def _other() -> Identity | None:
    """The launcher that holds the folder."""
    try:
        other = Identity(**json.loads(_LOCK.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return other if is_alive(other) else None
