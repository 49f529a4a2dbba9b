# SPDX-License-Identifier: Apache-2.0
"""What Airflow gives a task: instance, XComs, state store; kept in files, so that they outlive workers."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def write_json(path: Path, document: Any) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_text(json.dumps(document))
    part.rename(path)


def read_json(path: Path) -> Any:
    """The document, None when there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


class NotRunningError(Exception):
    """The server refuses what comes from a try that it has given up."""


@dataclass(frozen=True)
class TaskFiles:
    """
    What the server keeps of a task.

    :param folder: of the task.
    :param ti_id: of the try that asks.
    """

    folder: Path
    ti_id: str

    def check(self) -> None:
        """:raises NotRunningError: when another try runs by now."""
        if (self.folder / "current").read_text() != self.ti_id:
            raise NotRunningError(f"{self.ti_id} is not the try that runs")

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the task's state store."""
        found = read_json(self.folder / f"state.{key}")
        return default if found is None else found

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Keep a value in the task's state store."""
        self.check()
        write_json(self.folder / f"state.{key}", value)


class TaskInstance:
    """
    The fields of a running task instance that operators use.

    :param order: from the scheduler.
    """

    map_index = -1
    dag_id = "chaos"
    run_id = "manual__1"

    def __init__(self, order: Mapping[str, Any], files: TaskFiles) -> None:
        self.id = order["ti_id"]
        self.task_id = f"train_{order['number']}"
        self.try_number = order["try_number"]
        self.max_tries = order["max_tries"]
        self._files = files

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom."""
        self._files.check()
        write_json(self._files.folder / f"xcom.{key}", {"ti_id": self.id, "value": value})


def context_of(order: Mapping[str, Any]) -> dict[str, Any]:
    """What Airflow gives to ``execute``."""
    files = TaskFiles(Path(order["folder"]), order["ti_id"])
    run_after = datetime(2026, 1, 2, 7, tzinfo=UTC)
    return {
        "ti": TaskInstance(order, files),
        "task_state_store": files,
        "outlet_events": {},
        "dag": SimpleNamespace(fileloc=os.devnull),
        "dag_run": SimpleNamespace(clear_number=order["clear_number"], run_after=run_after),
    }
