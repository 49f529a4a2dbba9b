# SPDX-License-Identifier: Apache-2.0
"""Which host to train on, as whom, and how its key is known."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SSHTarget:
    """
    One account on one training host. Its ``repr`` shows no secret.

    Nothing is taken from ``~/.ssh/config``, an agent of the environment or default key files: what is not
    given here is not used.

    :param host: name or address.
    :param username: login user; needs no root and nothing installed.
    :param port: TCP port of sshd.
    :param password: for password and keyboard-interactive login.
    :param private_key: text of a private key (OpenSSH or PEM).
    :param key_file: path of a private key on this machine.
    :param passphrase: of ``private_key`` or ``key_file``.
    :param agent_socket: path of the socket of an SSH agent on this machine, whose keys are offered.
    :param host_key: the host's public key, as in ``ssh-ed25519 AAAA...`` or only its base64 part.
    :param known_hosts: path of a ``known_hosts`` file; used when ``host_key`` is not given, and
        ``~/.ssh/known_hosts`` when that is not given either.
    :param insecure_no_host_key_check: accept any host key. Whoever answers then gets the password, the
        command and the environment.
    :param jump: connect through this host; its key is verified as well, and it sees nothing but that a
        connection is made. It must allow TCP forwarding; no shell is needed there.
    :param connect_timeout: seconds for connection, key exchange and login together, of each host.
    :param keepalive_interval: seconds between signs of life; three missed ones end the connection.
    """

    host: str
    username: str
    port: int = 22
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    key_file: str | None = None
    passphrase: str | None = field(default=None, repr=False)
    agent_socket: str | None = None
    host_key: str | None = None
    known_hosts: str | None = None
    insecure_no_host_key_check: bool = False
    jump: SSHTarget | None = None
    connect_timeout: float = 20.0
    keepalive_interval: float = 30.0

    @property
    def address(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
