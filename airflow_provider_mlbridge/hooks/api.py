# SPDX-License-Identifier: Apache-2.0
"""Training services reached by HTTP: connection types ``mlbridge_api`` and ``http``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseHook

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.hooks._shared import number_of, try_backend

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_mlbridge.training.api import APITarget
    from airflow_provider_mlbridge.training.api.target import AuthKind

CONNECTION_TYPES = ("mlbridge_api", "http")
AUTH_KINDS = ("none", "bearer", "basic", "api_key")


def api_target(connection: Connection) -> APITarget:
    """
    What the API backend needs, from an Airflow connection.

    The host may carry the scheme (``https://training.example.com``); otherwise ``schema`` is taken, or https.
    The extra's ``auth`` is ``bearer`` (the password is the token), ``basic`` (login and password),
    ``api_key`` (the password, in the header named by ``api_key_header``) or ``none``; when it is left out, a
    login means basic and a password alone means bearer.

    :raises ConfigurationError: naming the connection and the field.
    """
    from airflow_provider_mlbridge.training.api import APITarget

    name = connection.conn_id
    if connection.conn_type not in CONNECTION_TYPES:
        raise ConfigurationError(
            f"connection {name!r} has type {connection.conn_type!r}; mode='api' takes "
            f"{' or '.join(CONNECTION_TYPES)}"
        )
    if not connection.host:
        raise ConfigurationError(f"connection {name!r} has no host")
    extra: dict[str, Any] = connection.extra_dejson
    auth = extra.get("auth") or ("basic" if connection.login else "bearer" if connection.password else "none")
    if auth not in AUTH_KINDS:
        raise ConfigurationError(
            f"connection {name!r} has auth={auth!r}; valid are {', '.join(map(repr, AUTH_KINDS))}"
        )
    if auth != "none" and not connection.password:
        raise ConfigurationError(f"connection {name!r} has auth={auth!r}, but no password")
    return APITarget(
        base_url=_base_url(connection),
        auth=cast("AuthKind", auth),
        username=connection.login or None,
        secret=connection.password or None,
        api_key_header=extra.get("api_key_header") or "X-API-Key",
        ca_file=extra.get("ca_file") or None,
        timeout=number_of(connection, "timeout", 30.0),
        name=f"connection {name!r}",
    )


def _base_url(connection: Connection) -> str:
    host = str(connection.host).rstrip("/")
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    scheme, _, rest = host.partition("://")
    if scheme not in ("http", "https"):
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has scheme {scheme!r}; valid are http, https"
        )
    authority, slash, path = rest.partition("/")
    if connection.port and ":" not in authority.rsplit("]", 1)[-1]:
        authority = f"{authority}:{connection.port}"
    return f"{scheme}://{authority}{slash}{path}"


class MLBridgeAPIHook(BaseHook):
    """
    A training service reached by HTTP.

    :param mlbridge_api_conn_id: Airflow connection.
    """

    conn_name_attr = "mlbridge_api_conn_id"
    default_conn_name = "mlbridge_api_default"
    conn_type = "mlbridge_api"
    hook_name = "ML training service (HTTP)"

    def __init__(self, mlbridge_api_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mlbridge_api_conn_id = mlbridge_api_conn_id

    def get_conn(self) -> APITarget:
        """The target; the HTTP session is opened, and shared, by the backend."""
        return api_target(self.get_connection(self.mlbridge_api_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Reach the service with the connection's credentials."""
        from airflow_provider_mlbridge.training.backends.api import APIBackend

        return try_backend(
            lambda: APIBackend(self.get_conn()), "The service answered and accepted the credentials."
        )
