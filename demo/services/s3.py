# SPDX-License-Identifier: Apache-2.0
"""What every S3 server of the demo and the tests offers, whoever plays it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from demo.services.process import OwnedProcess

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Server:
    """
    A running S3 API on loopback, with authentication.

    :param product: what it is, for people.
    :param endpoint_url: ``http://127.0.0.1:<port>``; addressing is path-style.
    :param access_key: access key of the only user.
    :param secret_key: its secret key.
    :param region: region to sign for.
    :param processes: what to stop, newest last.
    """

    def __init__(
        self,
        product: str,
        *,
        endpoint_url: str,
        access_key: str,
        secret_key: str,
        region: str,
        processes: Sequence[OwnedProcess],
    ) -> None:
        self.product = product
        self.endpoint_url = endpoint_url
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self.processes = tuple(processes)

    def client(self, *, access_key: str | None = None, secret_key: str | None = None) -> S3Client:
        """
        A boto3 client; the caller closes it.

        :param access_key: another one than the right one, for tests of refusals.
        :param secret_key: likewise.
        """
        import boto3
        from botocore.config import Config

        client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 3},
                proxies={},
            ),
        )
        return client

    def environment(self) -> dict[str, str]:
        """The variables with which boto3's default session, and so every program, finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def airflow_connection(self) -> dict[str, Any]:
        """The Airflow connection (type ``aws``) of the server, as a JSON document."""
        return {
            "conn_type": "aws",
            "login": self.access_key,
            "password": self.secret_key,
            "extra": {
                "endpoint_url": self.endpoint_url,
                "region_name": self.region,
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            },
        }

    def stop(self) -> None:
        """End its processes."""
        for process in reversed(self.processes):
            process.stop(grace=5)
