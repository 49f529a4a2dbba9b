# SPDX-License-Identifier: Apache-2.0
"""Removes jobs, with their logs and results, some days after their end."""

from __future__ import annotations

import logging
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.metrics import Metrics
from mlbridge_training_service.store import JobStore

_LOG = logging.getLogger(__name__)
_INTERVAL_SECONDS = 3600.0
_BATCH = 500


class Keeper:
    """
    One thread that keeps house.

    :param config: of the service.
    :param store: the jobs.
    :param metrics: told of each that is removed.
    """

    def __init__(self, config: ServiceConfig, store: JobStore, metrics: Metrics) -> None:
        self._keep = None if config.keep_days is None else timedelta(days=config.keep_days)
        self._jobs = config.data_dir / "jobs"
        self._removed = config.data_dir / "removed"
        self._store = store
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._keep is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop after the job that is being removed."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> int:
        """Remove what ended long enough ago; returns how many jobs."""
        if self._keep is None:
            return 0
        self._removed.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = (datetime.now(UTC) - self._keep).isoformat(timespec="milliseconds")
        count = 0
        while not self._stopping.is_set():
            job_ids = self._store.over_before(before, limit=_BATCH)
            for job_id in job_ids:
                # The folder is renamed before the row is gone for good: should the service die in between,
                # the row leads the next sweep here again, while a folder without a row would stay for ever.
                self._store.remove(job_id, lambda job_id=job_id: self._put_away(job_id))  # type: ignore[misc]
                self._metrics.removed()
                count += 1
                if self._stopping.is_set():
                    break
            if len(job_ids) < _BATCH:
                break
        for folder in self._removed.iterdir():
            shutil.rmtree(folder, onerror=_report)
        return count

    def _put_away(self, job_id: str) -> None:
        folder = self._jobs / job_id
        if folder.exists():
            folder.rename(self._removed / job_id)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                count = self.sweep()
                if count:
                    _LOG.info("Removed %d jobs that ended more than %s ago", count, self._keep)
            except Exception:  # noqa: BLE001
                # A database that is away comes back; a keeper that gave up would not be noticed.
                _LOG.exception("Could not remove old jobs; trying again in an hour")
            self._stopping.wait(_INTERVAL_SECONDS)


def _report(_function: object, path: str, error: object) -> None:
    reason = error[1] if isinstance(error, tuple) else error
    _LOG.warning("%s of a removed job cannot be deleted: %s", Path(path), reason)
