# SPDX-License-Identifier: Apache-2.0
"""Ways to a training host: through a jump host, with an agent, a password, an encrypted key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from airflow.sdk import Connection

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendUnreachableError,
    HostKeyError,
)
from airflow_provider_mlbridge.hooks.ssh import ssh_target
from airflow_provider_mlbridge.training.ssh import SSHTarget
from airflow_provider_mlbridge.training.state import JobState
from demo.services.sshd import Sshd, start_sshd

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-N", passphrase, "-C", "", "-t", "ed25519", "-f", str(path)], check=True
    )
    return path


def admit(server: Sshd, key: Path) -> None:
    """Let this key log in, and no other."""
    (server.folder / "authorized_keys").write_text(key.with_suffix(".pub").read_text())


def target_of(
    host: Any, conn_type: str = "mlbridge_ssh", password: str | None = None, **extra: Any
) -> SSHTarget:
    """What the hook makes of a connection to the host."""
    connection = Connection(
        conn_id="train",
        conn_type=conn_type,
        host=host.server.host,
        port=host.server.port,
        login=host.server.user,
        password=password,
    )
    connection.extra = json.dumps({"host_key": host.server.host_key, **extra})
    return ssh_target(connection)


def trains(run: Run, host: Any, target: SSHTarget) -> None:
    async def scenario() -> None:
        async with host.backend(target) as backend:
            ref = (await backend.submit(host.job("exit 0"))).ref
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def refused(run: Run, host: Any, target: SSHTarget, error: type[Exception]) -> str:
    async def scenario() -> None:
        async with host.backend(target) as backend:
            await backend.submit(host.job("touch never"))

    with pytest.raises(error) as caught:
        run(scenario())
    assert type(caught.value) is error
    assert not (host.folder / "never").exists()
    return str(caught.value)


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[Sshd]:
    """A jump host with a key of its own that nobody gets a shell on."""
    server = start_sshd(tmp_path / "jump", extra_config=["PermitTTY no", "ForceCommand false"])
    yield server
    server.stop()


def jump_fields(jump: Sshd, **changes: Any) -> dict[str, Any]:
    return {
        "jump_host": jump.host,
        "jump_port": jump.port,
        "jump_host_key": jump.host_key,
        "jump_private_key": jump.client_key_path.read_text(),
        **changes,
    }


@pytest.mark.parametrize("conn_type", ["mlbridge_ssh", "ssh"])
def test_a_training_host_behind_a_jump_host(host: Any, jump: Sshd, run: Run, conn_type: str) -> None:
    key = {"key_file": str(host.server.client_key_path)}
    trains(run, host, target_of(host, conn_type, **key, **jump_fields(jump)))
    log = jump.log_path.read_text()
    assert f"Accepted publickey for {jump.user}" in log
    # The connection through it is closed with the one that it was for.
    assert "Connection closed" in log or "Disconnected from" in log


def test_both_host_keys_are_verified(host: Any, jump: Sshd, run: Run, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    key = {"key_file": str(host.server.client_key_path)}
    message = refused(
        run, host, target_of(host, **key, **jump_fields(jump, jump_host_key=other)), HostKeyError
    )
    assert f"127.0.0.1:{jump.port} presented host key" in message
    assert "extra field 'jump_host_key'" in message
    message = refused(run, host, target_of(host, **key, **jump_fields(jump), host_key=other), HostKeyError)
    assert f"127.0.0.1:{host.server.port} presented host key" in message
    # No word against the key of the training host makes up for that of the jump host.
    careless: dict[str, Any] = {"host_key": "", "no_host_key_check": True, "allow_insecure_host_key": True}
    empty = tmp_path / "known_hosts"
    empty.touch()
    fields = jump_fields(jump, jump_host_key=None, known_hosts=str(empty))
    message = refused(run, host, target_of(host, **key, **fields, **careless), HostKeyError)
    assert f"the host key of 127.0.0.1:{jump.port} is not known" in message


def test_what_is_wrong_with_a_jump_host_is_said_of_the_jump_host(host: Any, run: Run, tmp_path: Path) -> None:
    jump = start_sshd(tmp_path / "jump", extra_config=["AllowTcpForwarding no"])
    key = {"key_file": str(host.server.client_key_path)}
    try:
        message = refused(run, host, target_of(host, **key, **jump_fields(jump)), BackendUnreachableError)
        assert f"{host.server.port} through 127.0.0.1:{jump.port}: the jump host answered" in message
        assert "AllowTcpForwarding" in message
        # The key for the training host is offered to the jump host when there is none for it.
        fields = jump_fields(jump, jump_private_key=None)
        message = refused(run, host, target_of(host, **key, **fields), BackendAuthenticationError)
        assert f"{jump.user}@127.0.0.1:{jump.port} refused the login with key file" in message
    finally:
        jump.stop()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """An agent in the environment, and a way to give it a key."""
    socket = tmp_path / "agent"
    started = subprocess.run(["ssh-agent", "-a", str(socket)], check=True, capture_output=True, text=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    monkeypatch.setenv("SSH_AGENT_PID", started.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])

    def add(key: Path) -> None:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        key.unlink()

    yield add
    subprocess.run(["ssh-agent", "-k"], check=True, capture_output=True)


def test_an_agent_opens_the_way_to_both_hosts(
    own_sshd: Any, jump: Sshd, run: Run, agent: Any, tmp_path: Path
) -> None:
    host = own_sshd()
    key = make_key(tmp_path / "held by the agent")
    for server in (host.server, jump):
        admit(server, key)
    message = refused(run, host, target_of(host, agent="true"), BackendAuthenticationError)
    assert f"the agent at {tmp_path}/agent" in message
    agent(key)
    trains(run, host, target_of(host, agent="true", **jump_fields(jump, jump_private_key=None)))
    trains(run, host, target_of(host, "ssh", agent=str(tmp_path / "agent")))
    for number in range(8):  # sshd gives up after six keys
        agent(make_key(tmp_path / f"other{number}"))
    agent_only_others = target_of(host, agent="true", **jump_fields(jump, jump_private_key=None))
    admit(jump, make_key(tmp_path / "nobody's"))
    message = refused(run, host, agent_only_others, BackendAuthenticationError)
    assert "Too many authentication failures" in message
    assert "Offer fewer" in message


def test_an_agent_that_is_not_there_is_named(host: Any, run: Run, tmp_path: Path) -> None:
    message = refused(run, host, target_of(host, agent=str(tmp_path / "gone")), BackendAuthenticationError)
    assert f"the SSH agent at {tmp_path}/gone" in message
    assert "every worker and triggerer" in message


@pytest.mark.parametrize("field", ["key_file", "private_key"])
def test_an_encrypted_key_needs_its_passphrase(own_sshd: Any, run: Run, tmp_path: Path, field: str) -> None:
    host = own_sshd()
    key = make_key(tmp_path / "locked", "a long word")
    admit(host.server, key)
    given = {field: str(key) if field == "key_file" else key.read_text()}
    trains(run, host, target_of(host, "ssh", **given, private_key_passphrase="a long word"))
    wrong = target_of(host, "ssh", **given, private_key_passphrase="another word")
    message = refused(run, host, wrong, BackendAuthenticationError)
    assert "cannot be used" in message
    assert "another word" not in message


class PasswordServer(asyncssh.SSHServer):  # type: ignore[misc]
    """Admits by password alone; ``way`` is the kind of login that it offers."""

    way = "password"

    def begin_auth(self, _username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return self.way == "password"

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("mlops", "right word")

    def kbdint_auth_supported(self) -> bool:
        return self.way == "keyboard-interactive"

    def get_kbdint_challenge(self, *_: Any) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return (username, list(responses)) == ("mlops", ["right word"])


async def run_command(process: Any) -> None:
    program = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    answer, problems = await program.communicate(await process.stdin.read())
    process.stdout.write(answer)
    process.stderr.write(problems)
    process.exit(program.returncode)


@contextlib.asynccontextmanager
async def password_server(way: str, folder: Path) -> AsyncIterator[tuple[int, str]]:
    key = make_key(folder / "host_key")
    offering = type("Offering", (PasswordServer,), {"way": way})
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(key)],
        server_factory=offering,
        process_factory=run_command,
        encoding=None,
    )
    async with server:
        yield server.get_port(), key.with_suffix(".pub").read_text()


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_a_password_logs_in_however_the_host_asks_for_it(
    host: Any, run: Run, tmp_path: Path, way: str
) -> None:
    async def scenario() -> None:
        async with password_server(way, tmp_path) as (port, host_key):
            changes = {"port": port, "host_key": host_key, "username": "mlops", "key_file": None}
            async with host.backend(host.target(**changes, password="right word")) as backend:
                ref = (await backend.submit(host.job("exit 0"))).ref
                assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            async with host.backend(host.target(**changes, password="wrong word")) as backend:
                with pytest.raises(BackendAuthenticationError, match="with the password") as caught:
                    await backend.status([])
                assert "wrong word" not in str(caught.value)

    run(scenario())
