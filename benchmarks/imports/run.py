# SPDX-License-Identifier: Apache-2.0
"""
What a DAG file pays for importing the operators: CPU seconds over ``airflow.sdk`` alone, in fresh processes.

The floor is ``airflow.sdk``; the peers are operators of the providers that do parts of the same work.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
FLOOR = "from airflow.sdk import DAG, BaseOperator, BaseSensorOperator"
SUBJECTS = {
    "mlbridge: operators, sensor, triggers": (
        "import airflow_provider_mlbridge.operators, airflow_provider_mlbridge.sensors, "
        "airflow_provider_mlbridge.triggers"
    ),
    "ssh provider: SSHRemoteJobOperator": (
        "from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator"
    ),
    "http provider: HttpOperator": "from airflow.providers.http.operators.http import HttpOperator",
    "amazon provider: S3KeySensor": "from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor",
}


def cpu_seconds(statement: str) -> float:
    """CPU seconds of one statement after the floor, in a process of its own with compiled bytecode."""
    code = (
        f"{FLOOR}\nimport time\nbegin = time.process_time()\n{statement}\nprint(time.process_time() - begin)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure in turn, so that a noisy moment meets all subjects alike; print and keep the medians."""
    figures: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for statement in SUBJECTS.values():
        cpu_seconds(statement)  # compiles bytecode
    for _ in range(ROUNDS):
        for name, statement in SUBJECTS.items():
            figures[name].append(cpu_seconds(statement))
    medians = {name: round(statistics.median(values), 4) for name, values in figures.items()}
    for name, value in medians.items():
        print(f"{value:8.3f} s  {name}")
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    (results / "imports.json").write_text(
        json.dumps({"unit": "CPU seconds", "medians": medians, "all": figures})
    )


if __name__ == "__main__":
    main()
