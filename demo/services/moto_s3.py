# SPDX-License-Identifier: Apache-2.0
"""The S3 API of moto, for the tests: starts in a second, keeps everything in memory, checks signatures."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from demo.services.process import (
    LOOPBACK,
    OwnedProcess,
    base_environment,
    free_port,
    port_answers,
    start_with_retry,
)
from demo.services.s3 import S3Server

REGION = "us-east-1"


def start_moto(folder: Path) -> S3Server:
    """
    Start moto's server with authentication and one user that may do everything.

    :param folder: for its log.
    :raises ServiceError: when it does not start.
    """
    folder = folder.resolve()
    return start_with_retry(lambda: _start(folder))


def _start(folder: Path) -> S3Server:
    port = free_port()
    process = OwnedProcess(
        "moto",
        [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)],
        folder=folder,
        # The first three calls, which create the user, are let through; from then on every call is
        # checked. Nothing else may call in between: readiness is asked by a bare connection.
        environment=base_environment(INITIAL_NO_AUTH_ACTION_COUNT="3", AWS_DEFAULT_REGION=REGION),
    )
    try:
        process.start()
        process.wait_ready(partial(port_answers, port), timeout=60)
        access_key, secret_key = _create_user(port)
    except BaseException:
        process.stop()
        raise
    return S3Server(
        "moto",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        access_key=access_key,
        secret_key=secret_key,
        region=REGION,
        processes=[process],
    )


def _create_user(port: int) -> tuple[str, str]:
    import boto3
    from botocore.config import Config

    iam = boto3.session.Session().client(
        "iam",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        region_name=REGION,
        aws_access_key_id="setup",
        aws_secret_access_key="setup",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    allow_all = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    try:
        iam.create_user(UserName="mlbridge")
        iam.put_user_policy(UserName="mlbridge", PolicyName="all", PolicyDocument=json.dumps(allow_all))
        key = iam.create_access_key(UserName="mlbridge")["AccessKey"]
    finally:
        iam.close()
    return key["AccessKeyId"], key["SecretAccessKey"]
