# SPDX-License-Identifier: Apache-2.0
"""The S3 client of an Airflow connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def s3_client_for(aws_conn_id: str | None, *uris: object) -> S3Client | None:
    """
    An S3 client of the amazon provider's hook when any of the URIs is in S3, else None.

    :param aws_conn_id: Airflow connection; None leaves it to boto3's own credential chain.
    :param uris: URIs, task outputs or None.
    """
    if not any(_mentions_s3(uri) for uri in uris):
        return None
    _require(aws_conn_id)
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    client: S3Client = S3Hook(aws_conn_id=aws_conn_id).get_conn()
    return client


def _require(aws_conn_id: str | None) -> None:
    """
    Check that a connection exists, for the hook takes boto3's own credentials in place of one that does not.

    That is meant for ``aws_default``, which every operator names; any other name was written by somebody.

    :raises ConfigurationError: naming the connection.
    """
    if aws_conn_id in (None, "aws_default"):
        return
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        BaseHook.get_connection(aws_conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"aws_conn_id={aws_conn_id!r}: there is no such Airflow connection. Create it, or give None for "
            f"the worker's own credentials."
        ) from error


def _mentions_s3(value: object) -> bool:
    if isinstance(value, str):
        # The files of a table in a catalog are usually there.
        return value.startswith(("s3://", "iceberg://"))
    if isinstance(value, Mapping):
        return any(_mentions_s3(item) for item in value.values())
    return False
