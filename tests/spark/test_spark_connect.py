# SPDX-License-Identifier: Apache-2.0
"""Spark Connect: a server in a process of its own, and a client that has no Java."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlbridge.features import OneHot, Recipe, Robust, Standard, build_feature_set
from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.storage import read_manifest
from tests.unit.features.tables import flights, read, write

_CLIENT = """
import sys, warnings
warnings.simplefilter("ignore")
from airflow_provider_mlbridge.features import FittedRecipe, Recipe
url, source, recipe, out = sys.argv[1:]
fitted = Recipe.from_yaml(open(recipe).read()).fit(source, engine="spark", spark=url)
open(out + ".json", "w").write(fitted.to_json())
fitted.transform(source, out, engine="spark", spark=url)
"""

_TASK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from types import SimpleNamespace
from airflow_provider_mlbridge.operators import FeatureBuildOperator
source, recipe, out = sys.argv[1:]
task = FeatureBuildOperator(task_id="features", datamart=source, recipe=recipe, output_uri=out,
    aws_conn_id=None, engine="spark", spark_conn_id="cluster")
ti = SimpleNamespace(dag_id="d", task_id="features", map_index=-1)
print(json.dumps(task.execute({"ti": ti})))
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a client in a process without Java."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**inherited, "JAVA_HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server on loopback, whose port the system chooses."""
    import pyspark

    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2]"]
    for setting in (
        "spark.ui.enabled=false",
        "spark.connect.grpc.binding.address=127.0.0.1",
        "spark.connect.grpc.binding.port=0",
        "spark.driver.host=127.0.0.1",
        "spark.driver.bindAddress=127.0.0.1",
        "spark.sql.shuffle.partitions=2",
    ):
        command += ["--conf", setting]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    limit = threading.Timer(90, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    lines: list[str] = []
    reader: threading.Thread | None = None
    try:
        assert process.stdout is not None
        port = None
        for line in process.stdout:
            lines.append(line)
            found = re.search(r"SparkConnectServer: .* started at: .*:(\d+)", line)
            if found:
                port = found[1]
                break
        limit.cancel()
        assert port, "".join(lines[-20:])
        reader = threading.Thread(target=process.stdout.read)
        reader.start()
        yield f"sc://127.0.0.1:{port}"
    finally:
        limit.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        if reader is not None:
            reader.join(timeout=30)
        if process.stdout is not None:
            process.stdout.close()


def test_the_same_over_the_wire(server: str, tmp_path: Path) -> None:
    source = write(flights(300), tmp_path / "flights.parquet")
    steps = [Standard("temp"), OneHot("carrier", missing="category", unknown="other"), Robust("dep_delay")]
    recipe = Recipe("r", steps, keys=["flight_id"], split={"by": "group", "keys": ["carrier"]})  # type: ignore[arg-type]
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    out = tmp_path / "spark.parquet"
    run(_CLIENT, server, source, str(tmp_path / "recipe.yaml"), str(out))
    fitted = recipe.fit(source)
    assert (tmp_path / "spark.parquet.json").read_text() == fitted.to_json()
    fitted.transform(source, tmp_path / "duckdb.parquet")
    assert read(out) == read(tmp_path / "duckdb.parquet")


def test_the_operator_with_a_connection(server: str, tmp_path: Path) -> None:
    """With a user, and a setting of the session; the engine is in the manifest, not in the fingerprint."""
    source = write(flights(300), tmp_path / "flights.parquet")
    recipe = Recipe("r", [Standard("temp"), Robust("dep_delay")], keys=["flight_id"])
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    host = server.removeprefix("sc://")
    connection = f"spark-connect://mlops@{host}/?spark.sql.shuffle.partitions=1&use_ssl=false"
    arguments = (source, str(tmp_path / "recipe.yaml"), str(tmp_path / "spark"))
    done = run(_TASK, *arguments, AIRFLOW_CONN_CLUSTER=connection)
    made = FeatureSet.from_dict(json.loads(done.stdout.splitlines()[-1]))
    embedded = build_feature_set(source, recipe, str(tmp_path / "duckdb"))
    assert made.fingerprint == embedded.fingerprint
    assert read_manifest(made.uri).details["engine"] == "spark"
    assert read_manifest(embedded.uri).details["engine"] == "duckdb"
    assert read(f"{made.uri}features.parquet") == read(f"{embedded.uri}features.parquet")
    # What one engine has published, the other returns as it is.
    assert build_feature_set(source, recipe, str(tmp_path / "spark")).uri == made.uri


def test_a_token_is_in_no_message(tmp_path: Path) -> None:
    """Spark's client quotes what it cannot read of a URL; or nobody listens, or there is no host."""
    code = """
import sys
from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features import Recipe, Passthrough
for url in sys.argv[2:]:
    try:
        Recipe("r", [Passthrough("temp")]).fit(sys.argv[1], engine="spark", spark=url)
    except ConfigurationError as error:
        print(error)
"""
    source = write(flights(20), tmp_path / "flights.parquet")
    with socket.socket() as listening, socket.socket() as silent:
        for place in (listening, silent):
            place.bind(("127.0.0.1", 0))
        listening.listen()
        here, nowhere = (f"sc://127.0.0.1:{place.getsockname()[1]}" for place in (listening, silent))
        done = run(
            code,
            source,
            f"{here}/;token=hidden-word==",
            f"{nowhere}/;token=hidden-word",
            "sc:///;token=hidden-word",
        )
    assert "Parameter '...' should be provided" in done.stdout
    assert done.stdout.count("cannot be started or reached") == 3
    assert "hidden-word" not in done.stdout + done.stderr


def test_settings_reach_a_session_that_is_started() -> None:
    """On a master; those that values depend on are not overruled."""
    code = """
from airflow_provider_mlbridge.features.engines import SparkAddress
from airflow_provider_mlbridge.features.engines.spark_sessions import own_session
settings = {"spark.app.name": "mine", "spark.sql.shuffle.partitions": "3"}
settings["spark.sql.session.timeZone"] = "CET"
with own_session(SparkAddress("local[1]", {**settings, "spark.driver.host": "127.0.0.1"})) as session:
    print([session.conf.get(name) for name in settings])
"""
    done = run(code, JAVA_HOME=os.environ.get("JAVA_HOME", ""))
    assert done.stdout.splitlines()[-1] == "['mine', '3', 'UTC']"
