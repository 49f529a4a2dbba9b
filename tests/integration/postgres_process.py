# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the test's own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from demo.services.process import (
    LOOPBACK,
    OwnedProcess,
    base_environment,
    find_program,
    free_port,
    wait_until,
)

_USER = "mlbridge"


def find_postgres(name: str) -> str:
    """
    A program of the PostgreSQL server, also where Debian has it, outside of everybody's PATH.

    :raises ServiceError: with the command to run, when it is not installed.
    """
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4])
    )
    return str(versions[-1]) if versions else find_program(name, "postgresql")


class Postgres:
    """
    A server on a free port of 127.0.0.1 with a password. It does not run as root, which it refuses.

    :param folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        # Folders of tests cannot be entered by the other user.
        self._home = Path(tempfile.mkdtemp(prefix="mlbridge-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._home, "nobody")
            self._as_user = [find_program("setpriv", "util-linux"), "--reuid=nobody", "--clear-groups"]
        data = self._home / "data"
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "80",
        }
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        self._initdb = [find_postgres("initdb"), "-D", str(data), "-U", _USER, "--no-sync", "-E", "UTF8"]
        self.process = OwnedProcess(
            "postgres",
            [*self._as_user, find_postgres("postgres"), "-D", str(data), *options],
            folder=folder,
            environment=base_environment(),
            working_dir=self._home,
        )

    def start(self) -> Postgres:
        """Make the cluster, unless it is there, and start the server."""
        if not (self._home / "data").exists():
            secret = self._home / "password"
            secret.write_text(self.password)
            subprocess.run(
                [*self._as_user, *self._initdb, "--auth=scram-sha-256", f"--pwfile={secret}"],
                cwd=self._home,
                check=True,
                capture_output=True,
            )
        self.process.start()
        self.process.wait_ready(self._answers, timeout=30)
        return self

    def shut_down(self) -> None:
        """End the server; its clients lose their connections."""
        self.process.signal(signal.SIGINT)
        wait_until(lambda: not self.process.is_running, timeout=20, what="postgres to end", interval=0.02)
        self.process.stop()

    def stop(self) -> None:
        """End the server and delete its data."""
        if self.process.is_running:
            self.shut_down()
        shutil.rmtree(self._home)

    def new_database(self) -> str:
        """SQLAlchemy URL of an empty database."""
        name = f"db_{secrets.token_hex(4)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{_USER}:{self.password}@{LOOPBACK}:{self.port}/{name}"

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A connection in which every statement is committed."""
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=_USER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def waiting(self, database: str) -> int:
        """How many statements wait for a lock."""
        with self.connect(database) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return 0 if row is None else int(row[0])

    def _answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True
