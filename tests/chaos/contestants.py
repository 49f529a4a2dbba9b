# SPDX-License-Identifier: Apache-2.0
"""The operators of the comparison, each for the same training program."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

from tests.chaos.workers import FEATURES
from tests.chaos.world import TRAINER
from tests.integration.training_service_process import TRIGGER

WAIT_SECONDS = 20.0
"""After which a wait counts as one without end."""

POLL_SECONDS = 1


def _ours(mode: Any, params: dict[str, Any], task_id: str) -> Any:
    from airflow_provider_mlbridge.operators import MLTrainingTriggerOperator

    how: dict[str, Any] = {"command": f"exec '{sys.executable}' -S -E '{TRAINER}'"} if mode == "ssh" else {}
    return MLTrainingTriggerOperator(
        task_id=task_id,
        mode=mode,
        conn_id=f"ours_{mode}",
        features=FEATURES,
        experiment_name="peers",
        model_type="told",
        params=params,
        poll_interval=POLL_SECONDS,
        retries=5,
        **how,
    )


def _ssh_remote_job(params: dict[str, Any], task_id: str) -> Any:
    from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator

    # What our protocol gives a training, in the command's own words.
    identity = {
        "MLBRIDGE_REQUEST": json.dumps({"params": params}),
        "MLBRIDGE_JOB_KEY": "k",
        "MLBRIDGE_JOB_GENERATION": "1",
        "MLBRIDGE_RESULT_FILE": os.devnull,
    }
    return SSHRemoteJobOperator(
        task_id=task_id,
        ssh_conn_id="peer_ssh",
        command=f"'{sys.executable}' -S -E '{TRAINER}'",
        environment=identity,
        remote_base_dir=os.environ["PEER_JOBS"],
        poll_interval=POLL_SECONDS,
        remote_os="posix",
    )


class _HttpPair:
    """``HttpOperator`` and the ``HttpSensor`` after it, as one task would see them."""

    def __init__(self, params: dict[str, Any], task_id: str) -> None:
        from airflow.providers.http.operators.http import HttpOperator

        body = {"model_type": "told", "params": params}
        self._submit = HttpOperator(
            task_id=task_id,
            http_conn_id="peer_http",
            endpoint=TRIGGER,
            method="POST",
            data=json.dumps(body),
            headers=self.headers(task_id),
            response_filter=lambda response: response.json()["job_id"],
        )

    def headers(self, task_id: str) -> dict[str, str]:
        """With a key that is new every time: what a service does that knows no keys."""
        return {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}

    def execute(self, context: Any) -> Any:
        from airflow.providers.http.sensors.http import HttpSensor

        job_id = self._submit.execute(context)
        context["ti"].xcom_push("return_value", job_id)

        def over(response: Any) -> bool:
            told = response.json()
            if told["status"] in ("failed", "lost", "cancelled", "timed_out"):
                raise RuntimeError(f"the check of the sensor's author: {told['status']}, {told['reason']}")
            return bool(told["status"] == "succeeded")

        sensor = HttpSensor(
            task_id="wait",
            http_conn_id="peer_http",
            endpoint=f"/api/v1/training/{job_id}",
            response_check=over,
            poke_interval=POLL_SECONDS,
            timeout=WAIT_SECONDS,
        )
        if context.get("stop"):
            return job_id
        return sensor.execute(context)

    def on_kill(self) -> None:
        self._submit.on_kill()


class _HttpPairWithKey(_HttpPair):
    """The same with a key that the DAG's author makes of the run."""

    def headers(self, task_id: str) -> dict[str, str]:
        return {**super().headers(task_id), "Idempotency-Key": f"chaos.manual__1.{task_id}"}


OPERATORS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "ours, ssh": lambda params, task_id: _ours("ssh", params, task_id),
    "SSHRemoteJobOperator": _ssh_remote_job,
    "ours, api": lambda params, task_id: _ours("api", params, task_id),
    "HttpOperator, HttpSensor": _HttpPair,
    "the same with an Idempotency-Key": _HttpPairWithKey,
}
