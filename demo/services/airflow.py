# SPDX-License-Identifier: Apache-2.0
"""
A real Airflow on loopback: API server, scheduler, DAG processor and triggerer, each a process of its own.

::

    with ServiceGroup() as services:
        airflow = services.add(start_airflow(folder, dag_folders=[Path("dags")]))
        airflow.api.wait_for_dag("my_dag")
        airflow.api.unpause("my_dag")
        run_id = airflow.api.trigger("my_dag")
        assert airflow.api.wait_for_run("my_dag", run_id, timeout=60) == "success"
"""

from __future__ import annotations

import base64
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from demo.services.airflow_api import AirflowApi
from demo.services.http_json import HttpError
from demo.services.process import LOOPBACK, OwnedProcess, ServiceError, base_environment, free_port

Component = Literal["api-server", "scheduler", "dag-processor", "triggerer"]
COMPONENTS: tuple[Component, ...] = ("api-server", "dag-processor", "scheduler", "triggerer")
USER = "admin"

_ARGUMENTS: Mapping[Component, Sequence[str]] = {
    # The servers for logs would listen on fixed ports of every interface; here the API server reads the
    # log files itself.
    "scheduler": ("--skip-serve-logs",),
    "triggerer": ("--skip-serve-logs",),
    "dag-processor": (),
    "api-server": (),
}


class AirflowInstance:
    """
    A running Airflow with LocalExecutor and SQLite.

    :param folder: ``AIRFLOW_HOME``; configuration, database, task logs, and ``<component>.log``.
    :param url: where its UI and API are.
    :param user: the only user, an administrator.
    :param password: generated anew for each start.
    :param api: the public REST API, logged in.
    """

    user = USER

    def __init__(
        self,
        folder: Path,
        *,
        dag_folders: Sequence[Path],
        connections: Mapping[str, Mapping[str, Any]],
        environment: Mapping[str, str],
        config: Mapping[str, str],
        python: Path,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.password = secrets.token_urlsafe(12)
        self.api = AirflowApi(self.url, user=self.user, password=self.password)
        self._python = python
        self._environment = base_environment(
            **self._settings(dag_folders, config),
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
            **environment,
        )
        self._started: dict[Component, datetime] = {}
        self._components = {name: self._component(name) for name in COMPONENTS}

    # ---- life cycle ----

    def start(self) -> None:
        """
        Create or upgrade the database and start all components.

        :raises ServiceError: when the database cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._write_password()
        with (self.folder / "migrate.log").open("ab") as log:
            done = subprocess.run(
                [str(self._python), "-m", "airflow", "db", "migrate"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=300,
                check=False,
            )
        if done.returncode != 0:
            raise ServiceError(f"airflow db migrate failed, see {self.folder / 'migrate.log'}")
        for name in COMPONENTS:
            self.start_component(name)

    def wait_ready(self, *, timeout: float = 240) -> None:
        """
        Wait until the API answers and says that every component sends heartbeats.

        :raises ServiceError: when a component ends or the time (seconds) is over.
        """
        deadline = time.monotonic() + timeout
        for name in COMPONENTS:
            self.wait_component(name, timeout=max(1.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End all components; tasks that still run are ended too."""
        # The API server last: tasks and triggers report to it while they end.
        others = [self._components[name] for name in COMPONENTS if name != "api-server"]
        for component in others:
            component.signal(signal.SIGTERM)
        for component in others:
            component.stop(grace=15)
        self._components["api-server"].stop(grace=15)

    # ---- single components, for tests of faults ----

    def start_component(self, name: Component) -> None:
        """Start a component that is not running."""
        self._started[name] = datetime.now(UTC)
        self._components[name].start()

    def kill_component(self, name: Component) -> None:
        """End a component and all its children by SIGKILL, as a crash of its machine would."""
        self._components[name].kill()

    def wait_component(self, name: Component, *, timeout: float = 120) -> None:
        """
        Wait until a component works: the API server answers, another one has sent a heartbeat.

        Only a heartbeat after its start counts, because that of a killed predecessor looks healthy for
        another half minute.

        :raises ServiceError: when it ends or the time (seconds) is over.
        """

        def ready() -> bool:
            try:
                heartbeats = self.api.heartbeats()
            except HttpError:
                return False
            last = heartbeats.get(name.replace("-", "_"))
            return name == "api-server" or (last is not None and last >= self._started[name])

        self._components[name].wait_ready(ready, timeout=timeout, what="it to be healthy")

    def pid(self, name: Component) -> int:
        """Process id of a running component."""
        return self._components[name].pid

    def log_path(self, name: Component) -> Path:
        """Where a component logs."""
        return self._components[name].log_path

    # ---- inside ----

    def _component(self, name: Component) -> OwnedProcess:
        return OwnedProcess(
            name,
            [str(self._python), "-m", "airflow", name, *_ARGUMENTS[name]],
            folder=self.folder,
            environment=self._environment,
        )

    def _write_password(self) -> None:
        path = self.folder / "passwords.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({self.user: self.password}))

    def _settings(self, dag_folders: Sequence[Path], config: Mapping[str, str]) -> dict[str, str]:
        bundles = [
            {
                # With a number, for Airflow reserves the name "example_dags".
                "name": f"{folder.name}-{number}",
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                # Look for new files so often (seconds); a listing is cheap.
                "kwargs": {"path": str(folder.resolve()), "refresh_interval": 5},
            }
            for number, folder in enumerate(dag_folders, start=1)
        ]
        options = {
            "core.executor": "LocalExecutor",
            "core.parallelism": "8",
            "core.load_examples": "False",
            "core.dags_are_paused_at_creation": "True",
            "core.fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "core.simple_auth_manager_users": f"{self.user}:admin",
            "core.simple_auth_manager_passwords_file": str(self.folder / "passwords.json"),
            "core.dags_folder": str(self.folder / "dags"),
            "core.plugins_folder": str(self.folder / "plugins"),
            # The default asks the name server.
            "core.hostname_callable": "socket.gethostname",
            "core.execution_api_server_url": f"{self.url}/execution/",
            # A writer waits for its turn up to a minute; SQLite's own default of 5 s is short on a loaded
            # machine. Airflow itself switches SQLite to its write-ahead log.
            "database.sql_alchemy_conn": f"sqlite:///{self.folder / 'airflow.db'}?timeout=60",
            "api.host": LOOPBACK,
            "api.port": str(self.port),
            "api.base_url": self.url,
            "api.workers": "1",
            "api.secret_key": secrets.token_hex(32),
            "api_auth.jwt_secret": secrets.token_hex(32),
            "api_auth.jwt_issuer": "mlbridge-demo",
            "dag_processor.dag_bundle_config_list": json.dumps(bundles),
            "dag_processor.refresh_interval": "5",
            "dag_processor.parsing_processes": "1",
            "dag_processor.min_file_process_interval": "60",
            "dag_processor.stale_dag_threshold": "120",
            "dag_processor.print_stats_interval": "0",
            "logging.colored_console_log": "False",
            "triggerer.capacity": "1000",
            **config,
        }
        names = {"AIRFLOW__" + name.replace(".", "__").upper(): value for name, value in options.items()}
        return {
            "AIRFLOW_HOME": str(self.folder),
            "NO_COLOR": "1",
            # Airflow renames its processes; without this it would overwrite the mark in their environment.
            "SPT_NOENV": "1",
            **names,
        }


def start_airflow(
    folder: Path,
    *,
    dag_folders: Sequence[Path],
    connections: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    python: Path | None = None,
    wait: bool = True,
) -> AirflowInstance:
    """
    Start an Airflow.

    :param folder: becomes ``AIRFLOW_HOME``; may be used again, then the database is kept.
    :param dag_folders: folders with DAG files, each a bundle named ``<folder>-1``, ``-2``, ...
    :param connections: connection id to a JSON document as in ``AIRFLOW_CONN_<ID>`` (``conn_type``, ``host``,
        ``login``, ``password``, ``port``, ``schema``, ``extra``); they travel in the environment.
    :param environment: further variables of all components, and so of every task.
    :param config: ``"section.option"`` to value, over the settings made here.
    :param python: interpreter of the environment that Airflow is installed in; this one when None.
    :param wait: return only when every component is healthy.
    :raises ServiceError: when it does not start; nothing is left running then.
    """
    instance = AirflowInstance(
        folder.resolve(),
        dag_folders=dag_folders,
        connections=connections or {},
        environment=environment or {},
        config=config or {},
        python=python or Path(sys.executable),
    )
    try:
        instance.start()
        if wait:
            instance.wait_ready()
    except BaseException:
        instance.stop()
        raise
    return instance
