# SPDX-License-Identifier: Apache-2.0
"""What Airflow tells the world outside: a StatsD server's side, and the lineage events it wrote."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.services.process import LOOPBACK


class StatsdListener:
    """Keeps every metric that is sent to ``port``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._lines: list[str] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End; a datagram of our own wakes the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (LOOPBACK, self.port))
        self._thread.join(timeout=10)
        self._socket.close()

    def _receive(self) -> None:
        while data := self._socket.recv(65536):
            # Airflow's own metrics come by the thousand.
            lines = [line for line in data.decode().splitlines() if "mlbridge." in line]
            if lines:
                with self._arrived:
                    self._lines.extend(lines)
                    self._arrived.notify_all()

    def wait_for(self, chosen: Callable[[str], bool], count: int, *, timeout: float = 30) -> list[str]:
        """The chosen lines, once there are ``count``, or what there is after ``timeout`` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: sum(map(chosen, self._lines)) >= count, timeout)
            return [line for line in self._lines if chosen(line)]


def wait_for_lineage(
    path: Path, chosen: Callable[[dict[str, Any]], bool], *, timeout: float = 60
) -> dict[str, Any]:
    """The first lineage event that is chosen; the task does not wait for the process that emits it."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for line in path.read_text().splitlines() if path.exists() else []:
            event: dict[str, Any] = json.loads(line)
            if chosen(event):
                return event
        time.sleep(0.2)
    raise AssertionError(f"no such lineage event in {path} within {timeout} s")
