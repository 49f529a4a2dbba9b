# SPDX-License-Identifier: Apache-2.0
"""Training hosts reached by SSH: connection types ``mlbridge_ssh`` and ``ssh``."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.hooks._shared import number_of, try_backend

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
    from airflow_provider_mlbridge.training.ssh import SSHTarget

CONNECTION_TYPES = ("mlbridge_ssh", "ssh")

_JUMP_FIELDS = frozenset(
    f"jump_{field}"
    for field in (
        *("host", "port", "login", "password", "host_key"),
        *("private_key", "key_file", "private_key_passphrase"),
    )
)


def ssh_target(connection: Connection) -> SSHTarget:
    """
    What the SSH backend needs, from an Airflow connection.

    Host, port, login and password are the connection's own; the extra holds ``private_key`` (PEM text) or
    ``key_file`` with ``private_key_passphrase``, and ``host_key`` (``"ssh-ed25519 AAAA..."``) or
    ``known_hosts`` (path), as in the ssh provider. ``agent`` is ``true`` for the agent of ``SSH_AUTH_SOCK``
    or the path of its socket. ``jump_host`` names a host to go through, with ``jump_port``, ``jump_login``,
    ``jump_host_key``, and ``jump_private_key``, ``jump_key_file``, ``jump_private_key_passphrase`` or
    ``jump_password``; without any of these four, key and agent are those for the training host, but never
    its password. ``no_host_key_check`` is refused unless
    ``allow_insecure_host_key`` is true as well, so that it cannot be left over by accident; it never holds
    for the jump host.

    :raises ConfigurationError: naming the connection and the field.
    """
    from airflow_provider_mlbridge.training.ssh import SSHTarget

    name = connection.conn_id
    if connection.conn_type not in CONNECTION_TYPES:
        raise ConfigurationError(
            f"connection {name!r} has type {connection.conn_type!r}; mode='ssh' takes "
            f"{' or '.join(CONNECTION_TYPES)}"
        )
    if not connection.host:
        raise ConfigurationError(f"connection {name!r} has no host")
    if not connection.login:
        raise ConfigurationError(f"connection {name!r} has no login: name the training user")
    extra: dict[str, Any] = connection.extra_dejson
    insecure = _truth(extra, "no_host_key_check")
    if insecure and not _truth(extra, "allow_insecure_host_key"):
        raise ConfigurationError(
            f"connection {name!r} sets no_host_key_check: anybody in between could read the features and run "
            f"another program. Set host_key (ssh-keyscan -t ed25519 {connection.host}) instead, or, for a "
            f"throw-away host, set allow_insecure_host_key to true as well."
        )
    target = SSHTarget(
        host=connection.host,
        port=connection.port or 22,
        username=connection.login,
        password=connection.password or None,
        private_key=extra.get("private_key") or None,
        key_file=extra.get("key_file") or None,
        passphrase=extra.get("private_key_passphrase") or extra.get("passphrase") or None,
        agent_socket=_agent_socket(connection, extra),
        host_key=extra.get("host_key") or None,
        known_hosts=_known_hosts(extra),
        insecure_no_host_key_check=insecure,
        connect_timeout=number_of(connection, "conn_timeout", 15.0),
        keepalive_interval=number_of(connection, "keepalive_interval", 30.0),
    )
    return replace(target, jump=_jump_target(connection, extra, target))


def _jump_target(connection: Connection, extra: dict[str, Any], target: SSHTarget) -> SSHTarget | None:
    given = {
        field: extra[field] for field in extra if field.startswith("jump_") and extra[field] not in (None, "")
    }
    if not given:
        return None
    if unknown := sorted(given.keys() - _JUMP_FIELDS):
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has {', '.join(unknown[:10])}; valid are "
            f"{', '.join(sorted(_JUMP_FIELDS))}"
        )
    if "jump_host" not in given:
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has {', '.join(sorted(given))}, but no jump_host"
        )
    own = given.keys() & {"jump_password", "jump_private_key", "jump_key_file"}
    return replace(
        target,
        host=str(given["jump_host"]),
        port=int(number_of(connection, "jump_port", 22)),
        username=str(given.get("jump_login") or target.username),
        password=given.get("jump_password"),
        private_key=given.get("jump_private_key") if own else target.private_key,
        key_file=given.get("jump_key_file") if own else target.key_file,
        passphrase=given.get("jump_private_key_passphrase") or (None if own else target.passphrase),
        agent_socket=None if own else target.agent_socket,
        host_key=given.get("jump_host_key"),
        insecure_no_host_key_check=False,
    )


def ssh_backend(connection: Connection) -> SSHBackend:
    """The SSH backend of an Airflow connection; the extra's ``jobs_dir`` is its folder on the host."""
    from airflow_provider_mlbridge.training.backends.ssh import SSHBackend

    # asyncssh tells every channel at INFO, which would bury the training's own lines in the task log.
    quiet = logging.getLogger("asyncssh")
    if quiet.level == logging.NOTSET:
        quiet.setLevel(logging.WARNING)
    target = ssh_target(connection)
    folder = connection.extra_dejson.get("jobs_dir")
    return SSHBackend(target, root=folder) if folder else SSHBackend(target)


class MLBridgeSSHHook(BaseHook):
    """
    A training host reached by SSH.

    :param mlbridge_ssh_conn_id: Airflow connection.
    """

    conn_name_attr = "mlbridge_ssh_conn_id"
    default_conn_name = "mlbridge_ssh_default"
    conn_type = "mlbridge_ssh"
    hook_name = "ML training host (SSH)"

    def __init__(self, mlbridge_ssh_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mlbridge_ssh_conn_id = mlbridge_ssh_conn_id

    def get_conn(self) -> SSHTarget:
        """The target; connections are opened, and shared, by the backend."""
        return ssh_target(self.get_connection(self.mlbridge_ssh_conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Log in, verify the host key and find a shell."""
        return try_backend(
            lambda: ssh_backend(self.get_connection(self.mlbridge_ssh_conn_id)),
            "Logged in; the host key is the expected one.",
        )


def _truth(extra: dict[str, Any], field: str) -> bool:
    return str(extra.get(field, "")).lower() in ("true", "1", "yes")


def _agent_socket(connection: Connection, extra: dict[str, Any]) -> str | None:
    given = str(extra.get("agent") or "").strip()
    if given.lower() in ("", "false", "0", "no"):
        return None
    if given.lower() not in ("true", "1", "yes"):
        return str(Path(given).expanduser())
    if path := os.environ.get("SSH_AUTH_SOCK"):
        return path
    raise ConfigurationError(
        f"connection {connection.conn_id!r} sets agent, but SSH_AUTH_SOCK is not set here: start the worker "
        f"or triggerer with an agent, or give the path of its socket instead of true"
    )


def _known_hosts(extra: dict[str, Any]) -> str | None:
    path = extra.get("known_hosts")
    return str(Path(str(path)).expanduser()) if path else None
