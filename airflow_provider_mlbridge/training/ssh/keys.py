# SPDX-License-Identifier: Apache-2.0
"""Which host keys are trusted, which private keys are offered, and what is said of them when it fails."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.exceptions import BackendAuthenticationError, ConfigurationError, HostKeyError
from airflow_provider_mlbridge.training.ssh.target import SSHTarget


def load_keys(target: SSHTarget, fields: str) -> tuple[Any, list[Any]]:
    """
    Trusted host keys in asyncssh's form, and the private keys; reads files, so it is for a thread.

    :param fields: how the names of the connection's extra fields for this host begin.
    """
    return _trusted_host_keys(target, fields), _private_keys(target)


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
        # Keys in OpenSSH's own format are encrypted with it, and asyncssh takes it only when it is there.
        advice = ". Install it: pip install bcrypt" if "bcrypt" in str(error) else ""
        raise BackendAuthenticationError(
            f"the private key ({source}) for {target.username}@{target.address} cannot be used: "
            f"{error}{advice}"
        ) from error
    return keys


def _trusted_host_keys(target: SSHTarget, fields: str) -> Any:
    import asyncssh

    if target.insecure_no_host_key_check:
        return None
    if target.host_key:
        try:
            return [asyncssh.import_public_key(_with_algorithm(target.host_key))], [], []
        except (asyncssh.KeyImportError, binascii.Error, ValueError) as error:
            raise ConfigurationError(
                f"{fields}host_key of {target.address} is not a public key ({error}); expected one line such "
                f"as 'ssh-ed25519 AAAA...', given {target.host_key[:40]!r}"
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


def host_key_message(target: SSHTarget, trusted: Any, presented: Sequence[Any], fields: str) -> str:
    """Which key was presented, which was expected, and where to put what."""
    observed = _names(presented) if presented else "a key that is revoked or not readable"
    expected = _expected_keys(target, trusted)
    if expected:
        return (
            f"{target.address} presented host key {observed}, but expected is {_names(expected)}. Either it "
            f"is not the host you mean, or it was set up anew. Compare with the fingerprint that "
            f"'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the host itself, then replace the "
            f"key in {_place(target, fields)}."
        )
    line = presented[0].export_public_key().decode().strip() if presented else "ssh-ed25519 AAAA..."
    return (
        f"the host key of {target.address} is not known; it presented {observed}. Compare it with what "
        f"'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the host itself, then put {line!r} "
        f"into {_place(target, fields)}."
    )


def _place(target: SSHTarget, fields: str) -> str:
    if target.host_key or not target.known_hosts:
        return f"the connection's extra field '{fields}host_key'"
    return f"{_known_hosts_path(target)} (or the connection's extra field '{fields}host_key')"


def _names(keys: Sequence[Any]) -> str:
    return ", ".join(f"{key.get_algorithm()} {key.get_fingerprint()}" for key in keys[:10]) or "none"


def credentials_of(target: SSHTarget) -> str:
    """What was given to log in with, without the secrets."""
    given = [
        name
        for name, value in (
            ("the private key", target.private_key),
            (f"key file {target.key_file}", target.key_file),
            (f"the agent at {target.agent_socket}", target.agent_socket),
            ("the password", target.password),
        )
        if value
    ]
    return (
        " and ".join(given)
        or "no credentials (the connection has neither password nor private key nor agent)"
    )
