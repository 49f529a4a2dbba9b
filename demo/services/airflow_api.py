# SPDX-License-Identifier: Apache-2.0
"""Airflow's public REST API (version 2), as far as the demo and the system tests need it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from demo.services.http_json import HttpError, call
from demo.services.process import ServiceError, wait_until

RUN_END_STATES = frozenset({"success", "failed"})
TASK_END_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


@dataclass(frozen=True)
class TaskState:
    """
    A task instance as Airflow reports it.

    :param task_id: the task.
    :param map_index: -1 for a task that is not mapped.
    :param state: Airflow's word; ``none`` before it is scheduled.
    :param try_number: 1, 2, ...; 0 before the first try.
    :param max_tries: grows when the task is cleared.
    :param duration: seconds of the current try, as far as known.
    :param started: start of the current try, UTC.
    :param ended: its end, UTC.
    :param trigger: class path of the trigger that it waits for, while it is deferred.
    """

    task_id: str
    map_index: int
    state: str
    try_number: int
    max_tries: int
    duration: float | None
    started: datetime | None
    ended: datetime | None
    trigger: str | None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _task_state(document: Mapping[str, Any]) -> TaskState:
    trigger = document.get("trigger")
    return TaskState(
        task_id=document["task_id"],
        map_index=document["map_index"],
        state=document["state"] or "none",
        try_number=document["try_number"],
        max_tries=document["max_tries"],
        duration=document["duration"],
        started=_time(document["start_date"]),
        ended=_time(document["end_date"]),
        trigger=trigger["classpath"] if trigger else None,
    )


class AirflowApi:
    """
    A logged-in user of one Airflow.

    :param url: of the API server, without a path.
    :param user: name to log in with.
    :param password: its password.
    """

    def __init__(self, url: str, *, user: str, password: str) -> None:
        self.url = url
        self._user = user
        self._password = password
        self._token = ""

    # ---- plumbing ----

    def request(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """
        Call an endpoint; logs in first, and again when the token has expired.

        :param path: from ``/api/v2`` or another root of the server on.
        :raises HttpError: for an error status or no answer.
        """
        url = self.url + path
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)
        for attempt in (1, 2):
            if not self._token:
                self._log_in()
            try:
                return call(method, url, body=body, headers={"Authorization": f"Bearer {self._token}"})
            except HttpError as error:
                if error.status != 401 or attempt == 2:
                    raise
                self._token = ""
        raise AssertionError("unreachable")

    def _log_in(self) -> None:
        answer = call(
            "POST", f"{self.url}/auth/token", body={"username": self._user, "password": self._password}
        )
        self._token = str(answer["access_token"])

    def _pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            answer = self.request("GET", path, query={"limit": 100, "offset": offset, **query})
            yield from answer[key]
            offset += len(answer[key])
            if not answer[key] or offset >= answer["total_entries"]:
                return

    @staticmethod
    def _run_path(dag_id: str, run_id: str) -> str:
        quote = urllib.parse.quote
        return f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"

    def _task_path(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"{self._run_path(dag_id, run_id)}/taskInstances/{urllib.parse.quote(task_id, safe='')}"

    # ---- the instance ----

    def heartbeats(self) -> dict[str, datetime]:
        """Time of the last heartbeat of ``scheduler``, ``triggerer`` and ``dag_processor``, where healthy."""
        answer = call("GET", f"{self.url}/api/v2/monitor/health")
        return {
            name: datetime.fromisoformat(part[f"latest_{name}_heartbeat"])
            for name, part in answer.items()
            if part is not None and part["status"] == "healthy" and name != "metadatabase"
        }

    def import_errors(self) -> dict[str, str]:
        """DAG file to the traceback of its import."""
        return {
            error["filename"]: error["stack_trace"]
            for error in self._pages("/api/v2/importErrors", "import_errors")
        }

    # ---- DAGs ----

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG as the API describes it, or None when it does not know it."""
        try:
            answer: dict[str, Any] = self.request(
                "GET", f"/api/v2/dags/{urllib.parse.quote(dag_id, safe='')}"
            )
        except HttpError as error:
            if error.status == 404:
                return None
            raise
        return answer

    def wait_for_dag(self, dag_id: str, *, timeout: float = 120) -> None:
        """
        Wait until the DAG is parsed and not stale; only then does triggering it start anything.

        :raises ServiceError: at once when an import failed, else after ``timeout`` seconds.
        """

        def parsed() -> bool:
            found = self.dag(dag_id)
            if found is not None and not found["is_stale"] and not found["has_import_errors"]:
                return True
            errors = self.import_errors()
            if errors:
                listed = "\n\n".join(f"{name}:\n{trace}" for name, trace in list(errors.items())[:3])
                raise ServiceError(f"Airflow cannot import {len(errors)} DAG file(s):\n{listed}")
            return False

        wait_until(parsed, timeout=timeout, what=f"Airflow to parse DAG {dag_id!r}", interval=0.5)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause a DAG."""
        path = f"/api/v2/dags/{urllib.parse.quote(dag_id, safe='')}"
        self.request("PATCH", path, body={"is_paused": paused})

    def unpause(self, dag_id: str) -> None:
        """Let a DAG's runs start."""
        self.pause(dag_id, paused=False)

    # ---- runs ----

    def trigger(
        self, dag_id: str, *, conf: Mapping[str, Any] | None = None, run_id: str | None = None
    ) -> str:
        """Start a run without a logical date, as a manual trigger does; gives its run id."""
        body = {"dag_run_id": run_id, "conf": dict(conf or {}), "logical_date": None}
        path = f"/api/v2/dags/{urllib.parse.quote(dag_id, safe='')}/dagRuns"
        return str(self.request("POST", path, body=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", self._run_path(dag_id, run_id))["state"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Every run of a DAG, the oldest first, as the API describes it."""
        path = f"/api/v2/dags/{urllib.parse.quote(dag_id, safe='')}/dagRuns"
        return list(self._pages(path, "dag_runs", order_by="id"))

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout: float) -> str:
        """
        Wait until a run is over; gives its state.

        :raises ServiceError: after ``timeout`` seconds, with the state of every task.
        """
        deadline = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in RUN_END_STATES:
            if time.monotonic() > deadline:
                tasks = {task.task_id: task.state for task in self.tasks(dag_id, run_id)}
                raise ServiceError(f"run {run_id!r} of {dag_id!r} is {state} after {timeout:g} s: {tasks}")
            time.sleep(0.5)
        return state

    # ---- task instances ----

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Every task instance of a run, in the order in which they started."""
        path = f"{self._run_path(dag_id, run_id)}/taskInstances"
        found = [_task_state(document) for document in self._pages(path, "task_instances")]
        return sorted(found, key=lambda task: (task.started is None, task.started, task.task_id))

    def task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> TaskState:
        """
        One task instance.

        :raises LookupError: when the run has no such task instance.
        """
        for task in self.tasks(dag_id, run_id):
            if (task.task_id, task.map_index) == (task_id, map_index):
                return task
        raise LookupError(f"run {run_id!r} of {dag_id!r} has no task instance {task_id!r} [{map_index}]")

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Sequence[str] = tuple(TASK_END_STATES),
        *,
        timeout: float,
        map_index: int = -1,
        try_number: int = 0,
    ) -> TaskState:
        """
        Wait until a task instance is in one of ``states``, in at least its ``try_number``-th try.

        :raises ServiceError: after ``timeout`` seconds, or when it ended in another state.
        """
        deadline = time.monotonic() + timeout
        while True:
            task = self.task(dag_id, run_id, task_id, map_index=map_index)
            if task.state in states and task.try_number >= try_number:
                return task
            over = task.state in TASK_END_STATES and task.try_number >= try_number
            if over or time.monotonic() > deadline:
                raise ServiceError(
                    f"task {task_id!r} of run {run_id!r} is {task.state!r} in try {task.try_number}, "
                    f"waited up to {timeout:g} s for one of {sorted(states)}"
                )
            time.sleep(0.3)

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str], *, downstream: bool = True) -> None:
        """Clear task instances, whatever their state, as a user does in the UI."""
        self.request(
            "POST",
            f"/api/v2/dags/{urllib.parse.quote(dag_id, safe='')}/clearTaskInstances",
            body={
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": list(task_ids),
                "only_failed": False,
                "reset_dag_runs": True,
                "include_downstream": downstream,
            },
        )

    def mark_task(
        self, dag_id: str, run_id: str, task_id: str, state: Literal["success", "failed", "skipped"]
    ) -> None:
        """Set the state of a task instance, as a user does in the UI."""
        path = self._task_path(dag_id, run_id, task_id)
        self.request("PATCH", path, body={"new_state": state})

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1
    ) -> Any:
        """
        The value of an XCom.

        :raises LookupError: when there is none.
        """
        quoted = urllib.parse.quote(key, safe="")
        path = f"{self._task_path(dag_id, run_id, task_id)}/xcomEntries/{quoted}"
        try:
            return self.request("GET", path, query={"map_index": map_index, "stringify": "false"})["value"]
        except HttpError as error:
            if error.status == 404:
                raise LookupError(f"task {task_id!r} of run {run_id!r} has no XCom {key!r}") from None
            raise

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, *, map_index: int = -1) -> str:
        """The log of one try as text: a line per message, with its level and its error."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        answer = self.request("GET", path, query={"full_content": "true", "map_index": map_index})
        return "\n".join(_log_line(entry) for entry in answer["content"])


# What every line repeats, or what only the source of Airflow explains.
_LOG_NOISE = frozenset(
    {
        *("timestamp", "event", "level", "logger", "filename", "lineno"),
        *("dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id", "ti", "bundle_name"),
    }
)


def _log_line(entry: str | Mapping[str, Any]) -> str:
    if isinstance(entry, str):
        return entry
    extra = {
        name: value
        for name, value in entry.items()
        if name not in _LOG_NOISE and name != "error_detail" and value is not None
    }
    line = f"{entry.get('timestamp') or ''} {str(entry.get('level') or '').upper()} {entry['event']}".strip()
    if extra:
        line += f" {json.dumps(extra)}"
    for error in entry.get("error_detail") or ():
        line += f"\n  {error.get('exc_type')}: {error.get('exc_value')}"
    return line
