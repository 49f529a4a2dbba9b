# SPDX-License-Identifier: Apache-2.0
"""Spark Connect: a server in a process of its own, and a client that has no Java."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlbridge.features import OneHot, Recipe, Robust, Standard
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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, server, source, str(tmp_path / "recipe.yaml"), str(out)],
        env={**environment, "JAVA_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    fitted = recipe.fit(source)
    assert (tmp_path / "spark.parquet.json").read_text() == fitted.to_json()
    fitted.transform(source, tmp_path / "duckdb.parquet")
    assert read(out) == read(tmp_path / "duckdb.parquet")
