# SPDX-License-Identifier: Apache-2.0
"""
Spark's address, from an Airflow connection as the apache-spark provider has them.

That provider is not needed: connections are read as they are. ``spark_connect`` has the user id as login, the
token as password and ``use_ssl`` among the extras; ``spark`` has a master. Extras that begin with ``spark.``
are settings of Spark, as for ``@task.pyspark``.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_mlbridge.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_mlbridge.features.engines import SparkAddress

log = logging.getLogger(__name__)

_SCHEMES = {"spark": "spark", "spark_connect": "sc", "generic": None}
"""What a host without a scheme is, by the type of its connection."""

_MASTER_PORT = 7077

_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_LOCAL = re.compile(r"local(?:\[(?:\*|\d+)(?:, ?\d+)?\])?")
_MASTER = re.compile(rf"spark://{_HOST}(?:,{_HOST})*")
_CONNECT = re.compile(rf"sc://{_HOST}")
_HARMLESS = re.compile(r"[A-Za-z0-9._:/\[\],*-]*")
"""Hosts that may be shown in a message; a semicolon or an at sign may come with a secret."""

_ELSEWHERE = ("spark.master", "spark.remote", "spark.connect.authenticate.token")
"""Settings that would say again, or otherwise, what host and password say."""


def spark_address_for(spark_conn_id: str | None) -> SparkAddress | None:
    """
    The address of an Airflow connection.

    :param spark_conn_id: None for no address: Spark then runs on this machine.
    :raises ConfigurationError: when there is no such connection, or it does not lead to Spark.
    """
    if not spark_conn_id:
        return None
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(spark_conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"spark_conn_id={spark_conn_id!r}: there is no such Airflow connection. Create it (type spark or "
            f"spark_connect), or leave it out to run Spark on the worker."
        ) from error
    return spark_address(connection)


def spark_address(connection: Connection) -> SparkAddress:
    """
    The address that a connection holds.

    :raises ConfigurationError: naming the connection, what is wrong with it and what is valid.
    """
    from airflow_provider_mlbridge.features.engines import SparkAddress

    url = _url(connection)
    extra = connection.extra_dejson
    extra = extra if isinstance(extra, dict) else {}
    settings = {name: _text(connection, name, value) for name, value in extra.items() if _is_setting(name)}
    for name in _ELSEWHERE:
        if name in settings:
            raise ConfigurationError(
                f"spark_conn_id={connection.conn_id!r} has {name} among its extras; say it by the host, "
                f"and a token by the password"
            )
    unused = sorted(str(name) for name in extra if not _is_setting(name) and name != "use_ssl")
    if unused:
        # Those of spark-submit, such as the deploy mode: here the driver is the task, or the server.
        log.info("The extras %s of connection %r are not used here", ", ".join(unused), connection.conn_id)
    if not url.startswith("sc://"):
        return SparkAddress(url, settings)
    parameters = {}
    if connection.login:
        parameters["user_id"] = quote(connection.login, safe="")
    if connection.password:
        parameters["token"] = quote(connection.password, safe="")
        _mask(parameters["token"])
    if extra.get("use_ssl") is not None:
        parameters["use_ssl"] = _yes_or_no(connection, extra["use_ssl"])
    listed = "".join(f";{name}={value}" for name, value in parameters.items())
    return SparkAddress(f"{url}/{listed}" if listed else url, settings)


def _url(connection: Connection) -> str:
    where = f"spark_conn_id={connection.conn_id!r}"
    if connection.conn_type not in _SCHEMES:
        raise ConfigurationError(
            f"{where} is a connection of type {connection.conn_type!r}; valid are {', '.join(_SCHEMES)}"
        )
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        raise ConfigurationError(f"{where} has no host; valid are {_valid()}")
    if _LOCAL.fullmatch(host) and connection.conn_type != "spark_connect":
        return host
    scheme = _SCHEMES[connection.conn_type]
    url = host if "://" in host or scheme is None else f"{scheme}://{host}"
    if connection.port:
        url += f":{connection.port}"
    allowed = (_CONNECT,) if connection.conn_type == "spark_connect" else (_CONNECT, _MASTER)
    if not any(pattern.fullmatch(url) for pattern in allowed):
        shown = repr(host) if _HARMLESS.fullmatch(host) else "(not shown, there may be a secret in it)"
        raise ConfigurationError(
            f"{where} has the host {shown} and the port {connection.port}; valid are {_valid()}, with the "
            f"port in one of both places. Reach other clusters, such as those of YARN or Kubernetes, by "
            f"Spark Connect; a user id is the login, and a token the password."
        )
    if url.startswith("spark://") and "," not in url and not re.search(r":\d+$", url):
        url += f":{_MASTER_PORT}"
    return url


def _valid() -> str:
    return "sc://host:15002, spark://host:7077 and local[4]"


def _is_setting(name: object) -> bool:
    return isinstance(name, str) and name.startswith("spark.")


def _text(connection: Connection, name: str, value: object) -> str:
    """A setting as Spark has them."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ConfigurationError(
            f"spark_conn_id={connection.conn_id!r}: the extra {name} is {type(value).__name__}; settings of "
            f"Spark are texts, numbers or booleans"
        )
    return str(value)


def _yes_or_no(connection: Connection, value: object) -> str:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ConfigurationError(
            f"spark_conn_id={connection.conn_id!r}: use_ssl={value!r} is not valid; valid are true and false"
        )
    return text


def _mask(secret: str) -> None:
    """Airflow masks the password in logs; as a part of a URL it may look otherwise."""
    from airflow.sdk.log import mask_secret

    mask_secret(secret)
