# SPDX-License-Identifier: Apache-2.0
"""One SSH connection: the host key is verified, every failure becomes one of this package's errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    HostKeyError,
)
from airflow_provider_mlbridge.training.ssh.keys import credentials_of, host_key_message, load_keys
from airflow_provider_mlbridge.training.ssh.target import SSHTarget

if TYPE_CHECKING:
    import asyncssh

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
"""The most that one answer may have, including what rc files print before it."""

_STDERR_KEPT = 4096

# After the kinds of the trusted keys: a host that has none of these then shows another key, which can be
# named, instead of hanging up without a word.
_FURTHER_HOST_KEY_KINDS = (
    "+ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-256,rsa-sha2-512"
)

_TOO_MANY_KEYS = "Too many authentication failures"


async def open_connection(target: SSHTarget) -> asyncssh.SSHClientConnection:
    """
    Connect and log in, through the jump host where there is one; closing the connection closes both.

    :raises BackendUnreachableError: nothing answers, or not in time.
    :raises BackendAuthenticationError: the credentials are refused or unreadable.
    :raises HostKeyError: the host's key, or the jump host's, is unknown or another one.
    """
    if target.jump is None:
        return await _log_in(target)
    jump = await _log_in(target.jump, fields="jump_")
    try:
        connection = await _log_in(target, through=jump)
    except BaseException:
        jump.abort()
        raise
    connection.set_tunnel(jump)
    return connection


async def _log_in(
    target: SSHTarget, *, fields: str = "", through: Any = None
) -> asyncssh.SSHClientConnection:
    import asyncssh

    trusted, client_keys = await asyncio.to_thread(load_keys, target, fields)
    client_class, presented = _recording_client()
    via = f" through {target.jump.address}" if target.jump else ""
    agent, agent_keys = await _open_agent(target)
    try:
        return await asyncssh.connect(
            target.host,
            target.port,
            tunnel=through or (),
            username=target.username,
            password=target.password,
            # An empty list would mean "the default key files".
            client_keys=[*client_keys, *agent_keys] or None,
            # Its keys are among the others.
            agent_path=None,
            gss_host=None,
            config=None,
            known_hosts=trusted,
            server_host_key_algs=_FURTHER_HOST_KEY_KINDS,
            client_factory=client_class,
            request_pty=False,
            connect_timeout=target.connect_timeout,
            login_timeout=target.connect_timeout,
            keepalive_interval=target.keepalive_interval,
            keepalive_count_max=3,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyError(host_key_message(target, trusted, presented, fields)) from error
    except asyncssh.PermissionDenied as error:
        raise BackendAuthenticationError(
            f"{target.username}@{target.address} refused the login with {credentials_of(target)}: "
            f"{error.reason}. Check user name and credentials of the connection, and that the account is "
            f"neither locked nor without a login shell."
        ) from error
    except asyncssh.ChannelOpenError as error:
        raise BackendUnreachableError(
            f"cannot connect to {target.address}{via}: the jump host answered {error.reason!r}. It must "
            f"reach that host and port, and allow it (AllowTcpForwarding, PermitOpen)."
        ) from error
    except (OSError, asyncssh.DisconnectError) as error:
        what = str(error) or type(error).__name__
        if _TOO_MANY_KEYS in what:
            raise BackendAuthenticationError(
                f"{target.username}@{target.address} refused the login with {credentials_of(target)}: "
                f"{what}. Offer fewer: load only the key for this host into the agent."
            ) from error
        if isinstance(error, TimeoutError):
            what = f"no answer within {target.connect_timeout:g} s"
        raise BackendUnreachableError(
            f"cannot connect to {target.address}{via} by SSH: {what}. A training that runs there is not "
            f"affected."
        ) from error
    finally:
        if agent is not None:
            agent.close()


async def _open_agent(target: SSHTarget) -> tuple[Any, list[Any]]:
    """The agent that is to be asked, if there is to be one, and its keys."""
    import asyncssh

    if not target.agent_socket:
        return None, []
    agent = None
    try:
        agent = await asyncssh.connect_agent(target.agent_socket)
        return agent, list(await agent.get_keys())
    except (OSError, ValueError) as error:
        if agent is not None:
            agent.close()
        raise BackendAuthenticationError(
            f"the SSH agent at {target.agent_socket} for {target.username}@{target.address} does not answer: "
            f"{error}. It must run on every worker and triggerer, for the user that runs Airflow."
        ) from error


def was_dropped(error: BaseException) -> bool:
    """
    Whether this error of :func:`open_connection` says that the host is there and hung up while it was to let
    us in, as an sshd does when too many want in at once (``MaxStartups``).
    """
    import asyncssh

    return isinstance(error.__cause__, (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError))


async def exchange(connection: Any, command: str, script: bytes) -> tuple[bytes, bytes]:
    """
    Run ``command`` with ``script`` on its stdin.

    :return: what it wrote to stdout, and the first 4 kB of stderr.
    :raises BackendProtocolError: when stdout exceeds :data:`ANSWER_LIMIT_BYTES`.
    """
    process = await connection.create_process(command, encoding=None)
    try:
        _, stdout, stderr = await asyncio.gather(
            _feed(process, script), _read_stdout(process.stdout), _read_stderr(process.stderr)
        )
        await process.wait_closed()
    finally:
        process.close()
    return stdout, stderr


async def _feed(process: Any, script: bytes) -> None:
    try:
        process.stdin.write(script)
        await process.stdin.drain()
        process.stdin.write_eof()
    except OSError:
        # The other side did not want all of it; what it answered says why.
        return


async def _read_stdout(stream: Any) -> bytes:
    answer = bytearray()
    while chunk := await stream.read(65536):
        answer += chunk
        if len(answer) > ANSWER_LIMIT_BYTES:
            raise BackendProtocolError(
                f"the host sent more than {ANSWER_LIMIT_BYTES:,} bytes, beginning with "
                f"{bytes(answer[:80])!r}; does a start-up file of the login shell print without end?"
            )
    return bytes(answer)


async def _read_stderr(stream: Any) -> bytes:
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: _STDERR_KEPT - len(kept)]
    return bytes(kept)


def _recording_client() -> tuple[type[Any], list[Any]]:
    """A client class that is asked only about untrusted host keys, and the list it notes them in."""
    import asyncssh

    presented: list[Any] = []

    class Client(asyncssh.SSHClient):  # type: ignore[misc]  # asyncssh is imported late, so it is Any here
        def validate_host_public_key(self, _host: str, _address: str, _port: int, key: Any) -> bool:
            presented.append(key)
            return False

    return Client, presented
