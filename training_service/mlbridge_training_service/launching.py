# SPDX-License-Identifier: Apache-2.0
"""What a supervisor is told to start, and with which environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.folder import JobFolder
from mlbridge_training_service.oom import oom_kills
from mlbridge_training_service.parameters import Value, fill, resolve
from mlbridge_training_service.payload import canonical_json
from mlbridge_training_service.supervisor import MARKER_VARIABLE
from mlbridge_training_service.tables import Job


def launch_document(config: ServiceConfig, job: Job, folder: JobFolder) -> dict[str, Any]:
    """
    ``launch.json`` of a job.

    :raises KeyError: when its pipeline is not in the configuration any more.
    :raises ValueError: when its parameters are not valid any more.
    """
    pipeline = config.pipelines.get(job.pipeline)
    if pipeline is None:
        raise KeyError(f"pipeline {job.pipeline!r} is not in the configuration any more")
    command, values = pipeline.command, None
    if pipeline.parameters is not None:
        values = resolve(pipeline.parameters, job.payload.get("params") or {})
        command = fill(pipeline.command, values)
    limits = [job.payload.get("timeout_seconds"), pipeline.timeout_seconds]
    return {
        "job_id": job.job_id,
        "command": command,
        "working_dir": None if pipeline.working_dir is None else str(pipeline.working_dir),
        "environment": {**pipeline.environment, **_training_environment(job, folder, values)},
        "timeout_seconds": min((limit for limit in limits if limit is not None), default=None),
        "grace_seconds": config.grace_seconds,
        "oom_kills": oom_kills(),
    }


def start_supervisor(config: ServiceConfig, folder: JobFolder) -> subprocess.Popen[bytes]:
    """A supervisor for the folder; it outlives this process."""
    environment = dict(os.environ)
    for name in config.secret_variables():
        environment.pop(name, None)
    with folder.supervisor_log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.supervisor", str(folder.path)],
            # Where the package lies, so that it is found without touching the training's environment.
            cwd=Path(__file__).resolve().parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _training_environment(job: Job, folder: JobFolder, values: dict[str, Value] | None) -> dict[str, str]:
    environment = {
        MARKER_VARIABLE: job.job_id,
        "MLBRIDGE_JOB_KEY": job.key,
        "MLBRIDGE_JOB_GENERATION": str(job.generation),
        "MLBRIDGE_FEATURES_URI": str(job.payload.get("features_uri") or ""),
        "MLBRIDGE_FEATURES_FINGERPRINT": str(job.payload.get("features_fingerprint") or ""),
        "MLBRIDGE_REQUEST": canonical_json(job.payload),
        "MLBRIDGE_REQUEST_FILE": str(folder.request),
        "MLBRIDGE_RESULT_FILE": str(folder.result),
        "MLBRIDGE_PROGRESS_FILE": str(folder.progress),
    }
    if values is not None:
        environment["MLBRIDGE_PARAMETERS"] = json.dumps(values)
    return environment
