# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server on loopback: own configuration, own host key, keys only, the current user only."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from demo.services.process import (
    LOOPBACK,
    OwnedProcess,
    base_environment,
    find_program,
    free_port,
    new_mark,
    start_with_retry,
    wait_until,
)
from demo.services.process_table import MARK, descendants, is_alive, stop_processes


class Sshd:
    """
    A running sshd.

    :param host: always 127.0.0.1.
    :param port: TCP port.
    :param user: the login name that is admitted.
    :param host_key: the public host key, ``ssh-ed25519 AAAA...``.
    :param client_key_path: private key (OpenSSH format, no passphrase) that is admitted.
    :param known_hosts_path: a ``known_hosts`` file with the host key.
    """

    host = LOOPBACK

    def __init__(
        self, folder: Path, *, port: int, environment: Mapping[str, str], extra_config: Sequence[str]
    ) -> None:
        self.folder = folder
        self.port = port
        self.user = getpass.getuser()
        self.client_key_path = folder / "client_key"
        self.known_hosts_path = folder / "known_hosts"
        self._environment = dict(environment)
        self._extra_config = list(extra_config)
        self._mark = new_mark("ssh-session")
        self.host_key = self._make_keys()
        self._daemon = OwnedProcess(
            "sshd",
            [
                find_program("sshd", "openssh-server"),
                *("-D", "-e", "-f", str(folder / "sshd_config")),
            ],
            folder=folder,
            environment=base_environment(),
        )

    @property
    def pid(self) -> int:
        """Process id of the listening daemon."""
        return self._daemon.pid

    @property
    def log_path(self) -> Path:
        """What the daemon and its sessions log."""
        return self._daemon.log_path

    def start_listening(self) -> None:
        """Start the daemon again on the same port with the same keys, after :meth:`stop_listening`."""
        self._write_config()
        self._daemon.start()
        self._daemon.wait_ready(self._greets, timeout=10, what="its greeting")

    def stop_listening(self) -> None:
        """
        End the daemon as a restart of the service does: connections and what runs in them go on.

        What was started over SSH stays ours all the same: :meth:`stop` ends it.
        """
        identity = self._daemon.detach()
        if identity is None:
            return
        os.kill(identity.pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(identity), timeout=10, what="sshd to end")

    def drop_connections(self) -> int:
        """
        Cut every open connection on the server's side; commands in sessions of their own go on.

        :return: how many server processes were killed.
        """
        dropped = 0
        for pid in descendants([self.pid]) - {self.pid}:
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)
                    dropped += 1
        return dropped

    def stop(self) -> None:
        """End the daemon, the connections and every command that was started through them."""
        self._daemon.stop(grace=3)
        stop_processes(self._mark, grace=2.0)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _make_keys(self) -> str:
        keygen = find_program("ssh-keygen", "openssh-client")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for path in (self.folder / "host_key", self.client_key_path):
            if not path.exists():
                subprocess.run(
                    [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                )
        authorized = self.folder / "authorized_keys"
        authorized.write_bytes(self.client_key_path.with_suffix(".pub").read_bytes())
        authorized.chmod(0o600)
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts_path.write_text(f"[{self.host}]:{self.port} {kind} {key}\n")
        return f"{kind} {key}"

    def _write_config(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        environment = self._environment | {MARK: self._mark}
        settings = " ".join(f'"{name}={value}"' for name, value in environment.items())
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f'HostKey "{self.folder / "host_key"}"',
            f'AuthorizedKeysFile "{str(self.folder / "authorized_keys").replace("%", "%%")}"',
            f"AllowUsers {self.user}",
            "AuthenticationMethods publickey",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            # sshd would refuse keys below a folder that others may write to, such as /tmp.
            "StrictModes no",
            f"UsePAM {'yes' if _is_locked(self.user) else 'no'}",
            "UseDNS no",
            "PidFile none",
            "PrintMotd no",
            "PrintLastLog no",
            "X11Forwarding no",
            "Subsystem sftp internal-sftp",
            # Only the first SetEnv line counts.
            f"SetEnv {settings}",
            *self._extra_config,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")


def _is_locked(user: str) -> bool:
    """Whether the account's password is locked, for which sshd refuses keys too unless PAM judges it."""
    try:
        entries = Path("/etc/shadow").read_text().splitlines()
    except OSError:  # not root: sshd cannot see it either, and does not mind
        return False
    return any(entry.startswith(f"{user}:!") for entry in entries)


def start_sshd(
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    extra_config: Sequence[str] = (),
) -> Sshd:
    """
    Start an sshd and wait until it greets.

    :param folder: for keys, configuration and log; may be used again, then the keys stay the same.
    :param environment: variables that every session gets (no secrets: they are in the configuration file).
    :param extra_config: lines for ``sshd_config``, for example ``"MaxSessions 2"``.
    :raises ServiceError: when openssh-server is missing or the server does not start.
    """
    folder = folder.resolve()

    def start() -> Sshd:
        server = Sshd(folder, port=free_port(), environment=environment or {}, extra_config=extra_config)
        try:
            server.start_listening()
        except BaseException:
            server.stop()
            raise
        return server

    return start_with_retry(start)
