# SPDX-License-Identifier: Apache-2.0
"""One real Airflow with all its components, an S3 API, an sshd and a training service."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.storage import publish_version
from demo.services.airflow import AirflowInstance, start_airflow
from demo.services.moto_s3 import start_moto
from demo.services.process import LOOPBACK, OwnedProcess, ServiceGroup, base_environment, free_port
from demo.services.s3 import S3Server
from demo.services.sshd import Sshd, start_sshd
from tests.system.signals import StatsdListener

HERE = Path(__file__).parent
TOKEN = "planted-service-token"
ENVIRONMENT_SECRET = "planted-environment-secret"
DAGS = (
    *(f"{kind}_{mode}" for kind in ("chain", "train") for mode in ("ssh", "api", "dag")),
    "train_ssh_in_worker",
    "train_ssh_short",
    "train_ssh_beside",
    "train_signals",
    "training_child",
    "quality_many",
    "quality_signals",
    *(f"quality_by_{kind}" for kind in ("shorthands", "suite", "gx_objects", "contract", "dbt_manifest")),
)


def _start_training_service(folder: Path) -> tuple[OwnedProcess, int]:
    port = free_port()
    config = {
        "data_dir": "data",
        "auth": {"token_env": "TEST_SERVICE_TOKEN"},
        "concurrency": 4,
        "grace_seconds": 1,
        "retry_after_seconds": 1,
        "pipelines": {
            "told": {"command": [sys.executable, "-S", str(HERE / "trainer.py")], "model_types": ["told"]}
        },
    }
    folder.mkdir()
    (folder / "service.yaml").write_text(yaml.safe_dump(config))
    process = OwnedProcess(
        "training-service",
        [
            *(sys.executable, "-m", "mlbridge_training_service"),
            *("--config", str(folder / "service.yaml"), "--host", LOOPBACK, "--port", str(port)),
        ],
        folder=folder,
        environment=base_environment(
            TEST_SERVICE_TOKEN=TOKEN, PYTHONPATH=str(HERE.parents[1] / "training_service")
        ),
    )
    process.start()

    def answers() -> bool:
        import urllib.error
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    process.wait_ready(answers, timeout=60)
    return process, port


def _public_key_of_somebody_else(folder: Path) -> str:
    import subprocess

    path = folder / "somebody_else"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@dataclass
class Bridge:
    """The running parts, and what the tests do with them over and over."""

    airflow: AirflowInstance
    s3: S3Server
    sshd: Sshd
    folder: Path
    bucket: str
    metrics: StatsdListener

    @property
    def lineage(self) -> Path:
        """Lineage events, one JSON document a line, of the DAGs that asked for them."""
        return self.folder / "lineage.jsonl"

    @property
    def api(self) -> Any:
        """Airflow's REST API."""
        return self.airflow.api

    def place(self) -> Place:
        """A folder and a prefix for one test."""
        name = uuid.uuid4().hex[:8]
        folder = self.folder / name
        folder.mkdir()
        return Place(self, name, folder)


@dataclass
class Place:
    """Where one test keeps its datamart, features and journal."""

    bridge: Bridge
    name: str
    folder: Path

    @property
    def uri(self) -> str:
        """Prefix of the test in S3."""
        return f"s3://{self.bridge.bucket}/{self.name}"

    @property
    def conf(self) -> dict[str, Any]:
        """What the DAGs need to know."""
        return {
            "datamart": f"{self.uri}/mart/",
            "ml_uri": f"{self.uri}/ml",
            "features": f"{self.uri}/ready/",
            "journal": str(self.folder / "journal"),
            "gate": "",
        }

    @property
    def gate(self) -> Path:
        """Trainings that were told of it end when this file appears."""
        return self.folder / "gate"

    def journal(self, word: str) -> list[str]:
        """Lines of the journal that begin with ``word``."""
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(word)]

    def put_datamart(self, ids: list[int | None] | None = None) -> None:
        """Store a datamart of a few hundred rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ids = list(range(300)) if ids is None else ids
        count = len(ids)
        table = pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "carrier": [("AA", "B6", "UA")[index % 3] for index in range(count)],
                "delay": [None if index % 7 == 0 else float(index % 50) for index in range(count)],
                "late": [index % 5 == 0 for index in range(count)],
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        client = self.bridge.s3.client()
        client.put_object(
            Bucket=self.bridge.bucket,
            Key=f"{self.name}/mart/part-0.parquet",
            Body=sink.getvalue().to_pybytes(),
        )
        client.close()

    def put_features(self, fingerprint: str = "f" * 64) -> None:
        """Publish a feature set without building it."""
        client = self.bridge.s3.client()
        with publish_version(f"{self.uri}/ready/", fingerprint=fingerprint, s3_client=client) as version:
            version.add_bytes("features.parquet", b"features")
            version.commit({"rows": 1})
        client.close()

    def start(self, dag_id: str, **conf: Any) -> str:
        """Trigger a run and return its id."""
        run_id: str = self.bridge.api.trigger(dag_id, conf={**self.conf, **conf})
        return run_id

    def feature_set(self, dag_id: str, run_id: str) -> FeatureSet:
        """What the feature task returned."""
        return FeatureSet.from_dict(self.bridge.api.xcom(dag_id, run_id, "features"))


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """All parts, started once."""
    folder = tmp_path_factory.mktemp("system")
    with ServiceGroup() as services:
        metrics = StatsdListener()
        metrics.start()
        services.add(metrics)
        s3 = services.add(start_moto(folder / "moto"))
        sshd = services.add(start_sshd(folder / "sshd"))
        service, service_port = _start_training_service(folder / "service")
        services.add(service)
        key = sshd.client_key_path.read_text()
        ssh: dict[str, Any] = {
            "conn_type": "mlbridge_ssh",
            "host": sshd.host,
            "port": sshd.port,
            "login": sshd.user,
            "extra": {
                "private_key": key,
                "host_key": sshd.host_key,
                "jobs_dir": str(folder / "jobs"),
            },
        }
        wrong_key = _public_key_of_somebody_else(folder)
        api = {"conn_type": "mlbridge_api", "host": f"http://{LOOPBACK}:{service_port}", "password": TOKEN}
        airflow = services.add(
            start_airflow(
                folder / "airflow",
                dag_folders=[HERE / "dags", HERE.parents[1] / "example_dags"],
                connections={
                    "aws_default": s3.airflow_connection(),
                    "training_ssh": ssh,
                    "training_ssh_wrong_host_key": {**ssh, "extra": {**ssh["extra"], "host_key": wrong_key}},
                    "training_ssh_nobody_there": {**ssh, "port": free_port()},
                    "training_api": api,
                    "training_secret": {"conn_type": "generic", "password": ENVIRONMENT_SECRET},
                    "training_api_wrong_token": {**api, "password": "wrong"},
                },
                environment={
                    "TEST_TRAINER": str(HERE / "trainer.py"),
                    "MLBRIDGE_EXAMPLE_DATAMART": "s3://lake/examples/flight_delays/",
                    "MLBRIDGE_EXAMPLE_DAILY_DATAMART": "s3://lake/examples/flight_delays_by_day/",
                    "MLBRIDGE_EXAMPLE_ML_URI": "s3://lake/examples/ml",
                    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1])]),
                },
                config={
                    "metrics.statsd_on": "True",
                    "metrics.statsd_host": LOOPBACK,
                    "metrics.statsd_port": str(metrics.port),
                    # Tags stay on the metrics.
                    "metrics.statsd_influxdb_enabled": "True",
                    "metrics.legacy_names_on": "False",
                    "openlineage.selective_enable": "True",
                    "openlineage.transport": json.dumps(
                        {"type": "file", "log_file_path": str(folder / "lineage.jsonl"), "append": True}
                    ),
                },
            )
        )
        for dag_id in DAGS:
            airflow.api.wait_for_dag(dag_id)
            airflow.api.unpause(dag_id)
        client = s3.client()
        client.create_bucket(Bucket="lake")
        client.close()
        yield Bridge(airflow, s3, sshd, folder, "lake", metrics)


@pytest.fixture
def place(bridge: Bridge) -> Place:
    """A place of the test's own."""
    return bridge.place()
