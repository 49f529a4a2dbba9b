# SPDX-License-Identifier: Apache-2.0
"""Which training a task instance stands for, in a real Airflow: a clear of it, and another run."""

from __future__ import annotations

import os
import signal
import urllib.parse
from contextlib import suppress
from pathlib import Path

import pytest

from demo.services.process import wait_until
from demo.services.process_table import descendants
from tests.system.conftest import Bridge, Place

pytestmark = pytest.mark.system


@pytest.mark.parametrize("mode", ["ssh", "api", "dag"])
def test_a_run_that_was_deleted_and_made_again_trains_again(bridge: Bridge, place: Place, mode: str) -> None:
    place.put_features()
    dag_id, run_id = f"train_{mode}", f"again_{place.name}"
    for starts in (1, 2):
        bridge.api.trigger(dag_id, conf=place.conf, run_id=run_id)
        assert bridge.api.wait_for_run(dag_id, run_id, timeout=120) == "success"
        assert bridge.api.xcom(dag_id, run_id, "train")["generation"] == 1
        assert len(place.journal("start")) == starts
        bridge.api.request("DELETE", f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}")


def test_a_retry_after_the_clear_of_another_task_attaches_although_the_features_moved_on(
    bridge: Bridge, place: Place
) -> None:
    place.put_features()
    dag_id = "train_ssh_beside"
    run_id = place.start(dag_id, gate=str(place.gate))
    bridge.api.wait_for_task(dag_id, run_id, "train", ["deferred"], timeout=120)
    bridge.api.wait_for_task(dag_id, run_id, "beside", ["success"], timeout=120)
    wait_until(lambda: bool(place.journal("start")), timeout=60, what="the training to start")
    before = bridge.api.task(dag_id, run_id, "train")
    bridge.api.clear(dag_id, run_id, ["beside"])
    bridge.api.wait_for_task(dag_id, run_id, "beside", ["success"], timeout=120, try_number=2)
    place.put_features("a" * 64)
    connections = descendants([bridge.sshd.pid])
    bridge.sshd.stop_listening()
    try:
        for pid in connections:
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: bridge.api.task(dag_id, run_id, "train").try_number == 2,
            timeout=120,
            what="the wait to be given up",
            interval=0.5,
        )
    finally:
        bridge.sshd.start_listening()
    bridge.api.wait_for_task(dag_id, run_id, "train", ["deferred"], timeout=120, try_number=2)
    assert bridge.api.task(dag_id, run_id, "train").max_tries == before.max_tries
    place.gate.touch()
    assert bridge.api.wait_for_run(dag_id, run_id, timeout=120) == "success"
    result = bridge.api.xcom(dag_id, run_id, "train")
    assert (result["generation"], result["features_fingerprint"]) == (1, "f" * 64)
    assert len(place.journal("start")) == 1
    # The clear of the task itself trains on what the features are by now.
    tries = bridge.api.task(dag_id, run_id, "train").try_number
    bridge.api.clear(dag_id, run_id, ["train"])
    bridge.api.wait_for_task(dag_id, run_id, "train", ["success"], timeout=120, try_number=tries + 1)
    result = bridge.api.xcom(dag_id, run_id, "train")
    assert (result["generation"], result["features_fingerprint"]) == (2, "a" * 64)
    assert bridge.api.task(dag_id, run_id, "train").max_tries > before.max_tries
