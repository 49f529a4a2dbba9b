# SPDX-License-Identifier: Apache-2.0
"""Temporary credentials with a session token, as a role gives them."""

from __future__ import annotations

import json
import uuid
from typing import Any

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def assume_role(s3_server: Any, *denied: str) -> dict[str, str]:
    """
    Credentials of a new role that may do everything in S3.

    :param denied: ARNs of objects that it may not read.
    """
    import boto3

    options = {
        "endpoint_url": s3_server.endpoint_url,
        "region_name": s3_server.region,
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
    }
    statements: list[dict[str, Any]] = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
    if denied:
        statements.append({"Effect": "Deny", "Action": "s3:GetObject", "Resource": list(denied)})
    policy = {"Version": "2012-10-17", "Statement": statements}
    name = f"reader-{uuid.uuid4().hex[:8]}"
    iam, sts = boto3.client("iam", **options), boto3.client("sts", **options)
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(policy))
        answer = sts.assume_role(RoleArn=f"arn:aws:iam::123456789012:role/{name}", RoleSessionName="test")
    finally:
        iam.close()
        sts.close()
    credentials: dict[str, str] = answer["Credentials"]
    return credentials


def client_of(s3_server: Any, credentials: dict[str, str]) -> Any:
    """An S3 client with these credentials; the caller closes it."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name=s3_server.region,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        config=Config(s3={"addressing_style": "path"}),
    )
