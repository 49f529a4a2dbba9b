# SPDX-License-Identifier: Apache-2.0
"""
A training DAG of the ML team, started by ``MLTrainingTriggerOperator(mode="dag")``.

The request arrives as the run's ``conf``. One task must return a mapping with ``metrics`` (or push it as the
XCom ``training_result``); it comes back as the result of the operator. Here the task runs the team's program
as a process of its own, with the request in its environment as the other modes give it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task

COMMAND = os.environ.get("MLBRIDGE_EXAMPLE_COMMAND", "python3 /opt/flights/train.py")


@dag(
    schedule=None,
    catchup=False,
    dagrun_timeout=timedelta(hours=1),
    doc_md=__doc__,
    tags=["mlbridge", "example"],
)
def train_flight_delay() -> None:
    @task
    def train() -> dict[str, Any]:
        run = get_current_context()["dag_run"]
        request = run.conf or {}
        with tempfile.TemporaryDirectory() as folder:
            result_file = Path(folder, "result.json")
            environment = {
                **os.environ,
                "MLBRIDGE_REQUEST": json.dumps(request),
                "MLBRIDGE_FEATURES_URI": request["features_uri"],
                "MLBRIDGE_FEATURES_FINGERPRINT": request["features_fingerprint"],
                "MLBRIDGE_RESULT_FILE": str(result_file),
                "MLBRIDGE_JOB_KEY": run.run_id,
            }
            subprocess.run(shlex.split(COMMAND), env=environment, check=True)
            result: dict[str, Any] = json.loads(result_file.read_text())
            return result

    train()


train_flight_delay()
