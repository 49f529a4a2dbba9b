# SPDX-License-Identifier: Apache-2.0
"""
What ``/metrics`` says, in Prometheus' text format.

Written here and not by a client library: half of the figures are counted in the database at the moment of the
question, so that they are right after a restart too, and the format is one line per figure.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import datetime

from mlbridge_training_service import __version__
from mlbridge_training_service.generations import Status
from mlbridge_training_service.store import JobStore
from mlbridge_training_service.tables import Job

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "mlbridge_training"
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """
    Counters since the service started, and gauges of now. Safe to use from several threads.

    :param store: the jobs.
    :param concurrency: trainings that may run at once.
    """

    def __init__(self, store: JobStore, *, concurrency: int) -> None:
        self._store = store
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._submissions: Counter[str] = Counter(
            dict.fromkeys(("started", "attached", "conflict", "forgotten", "refused"), 0)
        )
        self._ended: Counter[_Labels] = Counter()
        self._seconds: dict[_Labels, float] = {}
        self._rounds = 0
        self._faults = 0
        self._removed = 0
        self._last_round = time.time()

    def submitted(self, outcome: str) -> None:
        """Count a submission: started, attached, conflict, forgotten or refused."""
        with self._lock:
            self._submissions[outcome] += 1

    def ended(self, job: Job, status: Status, started_at: str | None, finished_at: str) -> None:
        """Count the end of a job."""
        labels = (("pipeline", job.pipeline), ("status", status.value))
        seconds = 0.0
        if started_at is not None:
            began, over = datetime.fromisoformat(started_at), datetime.fromisoformat(finished_at)
            seconds = max(0.0, (over - began).total_seconds())
        with self._lock:
            self._ended[labels] += 1
            self._seconds[labels] = self._seconds.get(labels, 0.0) + seconds

    def looked(self, *, fault: bool) -> None:
        """Count a round of the runner over its jobs."""
        with self._lock:
            self._rounds += 1
            self._faults += fault
            if not fault:
                self._last_round = time.time()

    def removed(self) -> None:
        """Count a job that was removed because it ended long ago."""
        with self._lock:
            self._removed += 1

    def text(self) -> str:
        """All of them; reads the database."""
        jobs = self._store.counts()
        lines: list[str] = []
        _family(lines, "info", "gauge", "The service.", {(("version", __version__),): 1})
        _family(
            lines, "jobs", "gauge", "Jobs that are kept, by status.",
            {(("status", status.value),): count for status, count in jobs.items()},
        )  # fmt: skip
        _family(lines, "concurrency", "gauge", "Trainings that may run at once.", {(): self._concurrency})
        with self._lock:
            _family(
                lines, "submissions_total", "counter", "Submissions since the start of the service.",
                {(("outcome", outcome),): count for outcome, count in self._submissions.items()},
            )  # fmt: skip
            _family(lines, "ended_total", "counter", "Jobs that ended since the start.", self._ended)
            _family(
                lines, "run_seconds_total", "counter", "Time that the jobs of ended_total ran.", self._seconds
            )
            _family(lines, "removed_total", "counter", "Jobs removed after keep_days.", {(): self._removed})
            _family(lines, "runner_rounds_total", "counter", "Looks after the jobs.", {(): self._rounds})
            _family(lines, "runner_faults_total", "counter", "Looks that an error ended.", {(): self._faults})
            _family(
                lines, "runner_last_round_timestamp_seconds", "gauge",
                "When the last look without an error ended; within half a minute in a service that works.",
                {(): self._last_round},
            )  # fmt: skip
        return "\n".join(lines) + "\n"


def _family(
    lines: list[str], name: str, kind: str, text: str, samples: Counter[_Labels] | dict[_Labels, float]
) -> None:
    name = f"{_PREFIX}_{name}"
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples.items():
        inside = ",".join(f'{label}="{_escaped(given)}"' for label, given in labels)
        lines.append(f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
