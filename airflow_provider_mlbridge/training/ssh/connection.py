# SPDX-License-Identifier: Apache-2.0
"""One SSH connection: the host key is verified, every failure becomes one of this package's errors."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    ConfigurationError,
    HostKeyError,
)
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


async def open_connection(target: SSHTarget) -> asyncssh.SSHClientConnection:
    """
    Connect and log in.

    :raises BackendUnreachableError: nothing answers, or not in time.
    :raises BackendAuthenticationError: the credentials are refused or unreadable.
    :raises HostKeyError: the host's key is unknown or another one.
    """
    import asyncssh

    trusted, client_keys = await asyncio.to_thread(_load_keys, target)
    client_class, presented = _recording_client()
    try:
        return await asyncssh.connect(
            target.host,
            target.port,
            username=target.username,
            password=target.password,
            # An empty list would mean "the default key files".
            client_keys=client_keys or None,
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
        raise HostKeyError(_host_key_message(target, trusted, presented)) from error
    except asyncssh.PermissionDenied as error:
        raise BackendAuthenticationError(
            f"{target.username}@{target.address} refused the login with {_credentials(target)}: "
            f"{error.reason}. Check user name and credentials of the connection, and that the account is "
            f"neither locked nor without a login shell."
        ) from error
    except (OSError, TimeoutError, asyncssh.DisconnectError) as error:
        what = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            what = f"no answer within {target.connect_timeout:g} s"
        raise BackendUnreachableError(
            f"cannot connect to {target.address} by SSH: {what}. A training that runs there is not affected."
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


def _load_keys(target: SSHTarget) -> tuple[Any, list[Any]]:
    """Trusted host keys in asyncssh's form, and the private keys; reads files, so it runs in a thread."""
    return _trusted_host_keys(target), _private_keys(target)


def _private_keys(target: SSHTarget) -> list[Any]:
    import asyncssh

    keys = []
    try:
        if target.private_key:
            keys.append(asyncssh.import_private_key(target.private_key, target.passphrase))
        if target.key_file:
            keys.append(asyncssh.read_private_key(str(Path(target.key_file).expanduser()), target.passphrase))
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError) as error:
        source = f"file {target.key_file}" if target.key_file and not target.private_key else "given"
        raise BackendAuthenticationError(
            f"the private key ({source}) for {target.username}@{target.address} cannot be used: {error}"
        ) from error
    return keys


def _trusted_host_keys(target: SSHTarget) -> Any:
    import asyncssh

    if target.insecure_no_host_key_check:
        return None
    if target.host_key:
        try:
            return [asyncssh.import_public_key(_with_algorithm(target.host_key))], [], []
        except (asyncssh.KeyImportError, binascii.Error, ValueError) as error:
            raise ConfigurationError(
                f"host_key of {target.address} is not a public key ({error}); expected one line such as "
                f"'ssh-ed25519 AAAA...', given {target.host_key[:40]!r}"
            ) from error
    path = _known_hosts_path(target)
    if not path.is_file():
        if target.known_hosts:
            raise HostKeyError(f"the known_hosts file {path} for {target.address} does not exist")
        return [], [], []
    try:
        return asyncssh.read_known_hosts(str(path))
    except (OSError, ValueError) as error:
        raise HostKeyError(
            f"the known_hosts file {path} for {target.address} is not usable: {error}"
        ) from error


def _with_algorithm(line: str) -> str:
    """``ssh-ed25519 AAAA...`` from that or from its base64 part alone, which names the algorithm inside."""
    words = line.split()
    if len(words) > 1:
        return line.strip()
    blob = base64.b64decode(words[0], validate=True)
    return f"{blob[4 : 4 + int.from_bytes(blob[:4], 'big')].decode('ascii')} {words[0]}"


def _known_hosts_path(target: SSHTarget) -> Path:
    return Path(target.known_hosts or "~/.ssh/known_hosts").expanduser()


def _expected_keys(target: SSHTarget, trusted: Any) -> Sequence[Any]:
    if trusted is None:
        return []
    if isinstance(trusted, tuple):
        return list(trusted[0])
    port = None if target.port == 22 else target.port
    return list(trusted.match(target.host, "", port)[0])


def _host_key_message(target: SSHTarget, trusted: Any, presented: Sequence[Any]) -> str:
    observed = _names(presented) if presented else "a key that is revoked or not readable"
    expected = _expected_keys(target, trusted)
    if expected:
        return (
            f"{target.address} presented host key {observed}, but expected is {_names(expected)}. Either it "
            f"is not the host you mean, or it was set up anew. Compare with the fingerprint that "
            f"'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the host itself, then replace the "
            f"key in {_place(target)}."
        )
    line = presented[0].export_public_key().decode().strip() if presented else "ssh-ed25519 AAAA..."
    return (
        f"the host key of {target.address} is not known; it presented {observed}. Compare it with what "
        f"'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the host itself, then put {line!r} "
        f"into {_place(target)}."
    )


def _place(target: SSHTarget) -> str:
    if target.host_key or not target.known_hosts:
        return "the connection's extra field 'host_key'"
    return f"{_known_hosts_path(target)} (or the connection's extra field 'host_key')"


def _names(keys: Sequence[Any]) -> str:
    return ", ".join(f"{key.get_algorithm()} {key.get_fingerprint()}" for key in keys[:10]) or "none"


def _credentials(target: SSHTarget) -> str:
    given = [
        name
        for name, value in (
            ("the private key", target.private_key),
            (f"key file {target.key_file}", target.key_file),
            ("the password", target.password),
        )
        if value
    ]
    return " and ".join(given) or "no credentials (the connection has neither password nor private key)"
