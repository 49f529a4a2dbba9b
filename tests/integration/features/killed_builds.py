# SPDX-License-Identifier: Apache-2.0
"""
Builds to be killed: a process that has everything imported, and forks one more for each build.

Reads one round per line from stdin and answers each with one line of exit codes, see :func:`_round`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CONFLICT = 3


def main() -> None:
    """Prepare, then work off the rounds."""
    import boto3
    import duckdb  # noqa: F401 - imported once, not by each fork
    import ibis  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from botocore.config import Config

    from airflow_provider_mlbridge.features import build, incremental  # noqa: F401

    # Without a request there is no connection yet that forks would share.
    client = None
    if "AWS_ENDPOINT_URL" in os.environ:
        client = boto3.session.Session().client(
            "s3", config=Config(s3={"addressing_style": "path"}, proxies={})
        )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_round(json.loads(line), client)) + "\n")
        sys.stdout.flush()


def _round(order: dict[str, Any], client: Any) -> dict[str, Any]:
    """
    :param order: ``builds``, the arguments of each; ``kill_after``, seconds, None for never; ``publishing``,
        whether these count from when the first of them begins to publish.
    :return: ``codes``: 0 finished, 3 another writer was first, 1 failed, -9 killed; ``seconds`` it took, and
        ``published_after``, when the first began to publish.
    """
    began = time.monotonic()
    reading, writing = os.pipe()
    children = [_fork(arguments, client, writing) for arguments in order["builds"]]
    os.close(writing)
    published_after = None
    if order["publishing"] or order["kill_after"] is None:
        os.read(reading, 1)  # or nothing, when all have ended before
        published_after = time.monotonic() - began
    if order["kill_after"] is not None:
        time.sleep(order["kill_after"])
        for child in children:
            os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(reading)
    return {"codes": codes, "seconds": time.monotonic() - began, "published_after": published_after}


def _fork(arguments: dict[str, Any], client: Any, writing: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _build(arguments, client, writing)
    except BaseException:  # noqa: BLE001 - told on stderr, and by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _build(arguments: dict[str, Any], client: Any, writing: int) -> int:
    from airflow_provider_mlbridge.exceptions import PublishConflictError
    from airflow_provider_mlbridge.features import build, incremental
    from airflow_provider_mlbridge.storage import publish_version

    def told(*positional: Any, **named: Any) -> Any:
        os.write(writing, b"p")
        return publish_version(*positional, **named)

    for module in (build, incremental):
        module.publish_version = told  # type: ignore[attr-defined]
    try:
        build.build_feature_set(**arguments, s3_client=client, threads=1, memory_limit="200MB")
    except PublishConflictError:
        return CONFLICT
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    main()
