# SPDX-License-Identifier: Apache-2.0
"""Logging in, host keys, lost connections, odd accounts."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    HostKeyError,
)
from airflow_provider_mlbridge.training.ssh import registry
from airflow_provider_mlbridge.training.state import JobState

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
UNTIL_GO = "until [ -e go ]; do sleep 0.05; done"


def make_key(path: Path, *options: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", *options, "-f", str(path)], check=True)
    return path


def fingerprint(public_key_file: Path) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(public_key_file)], check=True, capture_output=True, text=True
    ).stdout
    return shown.split()[1]


def refused(run: Run, on: Any, error: type[Exception], **changes: Any) -> str:
    async def scenario() -> None:
        async with on.backend(on.target(**changes)) as backend:
            await backend.submit(on.job("touch never"))

    with pytest.raises(error) as caught:
        run(scenario())
    assert type(caught.value) is error
    assert not (on.folder / "never").exists()
    return str(caught.value)


def test_another_host_key_is_refused_with_both_fingerprints(host: Any, run: Run, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    message = refused(run, host, HostKeyError, host_key=other.with_suffix(".pub").read_text())
    assert f"expected is ssh-ed25519 {fingerprint(other.with_suffix('.pub'))}" in message
    assert f"presented host key ssh-ed25519 {fingerprint(host.server.folder / 'host_key.pub')}" in message
    assert f"127.0.0.1:{host.server.port}" in message
    assert "extra field 'host_key'" in message


def test_a_host_key_of_another_kind_is_refused(host: Any, run: Run, tmp_path: Path) -> None:
    other = make_key(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    message = refused(run, host, HostKeyError, host_key=other.with_suffix(".pub").read_text())
    assert f"expected is ssh-rsa {fingerprint(other.with_suffix('.pub'))}" in message
    assert f"presented host key ssh-ed25519 {fingerprint(host.server.folder / 'host_key.pub')}" in message


def test_the_kind_of_the_known_host_key_is_asked_for_first(own_sshd: Any, run: Run, tmp_path: Path) -> None:
    second = make_key(tmp_path / "second", "-t", "rsa", "-b", "2048")
    host = own_sshd(f"HostKey {second}")

    async def scenario() -> None:
        for known in (host.server.host_key, second.with_suffix(".pub").read_text()):
            async with host.backend(host.target(host_key=known)) as backend:
                assert await backend.status([]) == {}

    run(scenario())


def test_an_unknown_host_key_is_refused_and_the_message_holds_the_line_to_add(
    host: Any, run: Run, tmp_path: Path
) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    message = refused(run, host, HostKeyError, host_key=None, known_hosts=str(empty))
    assert "is not known" in message
    assert fingerprint(host.server.folder / "host_key.pub") in message
    assert repr(host.server.host_key) in message
    assert str(empty) in message
    missing = refused(run, host, HostKeyError, host_key=None, known_hosts=str(tmp_path / "missing"))
    assert f"{tmp_path}/missing" in missing


def test_without_any_host_key_the_users_known_hosts_file_decides(
    host: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "is not known" in refused(run, host, HostKeyError, host_key=None)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(host.server.known_hosts_path.read_text())

    async def scenario() -> None:
        async with host.backend(host.target(host_key=None)) as backend:
            assert await backend.status([]) == {}

    run(scenario())


@pytest.mark.parametrize("way", ["file", "base64", "insecure", "key text"])
def test_ways_to_trust_a_host_and_to_log_in(host: Any, run: Run, way: str) -> None:
    changes = {
        "file": {"host_key": None, "known_hosts": str(host.server.known_hosts_path)},
        "base64": {"host_key": host.server.host_key.split()[1]},
        "insecure": {"host_key": None, "insecure_no_host_key_check": True},
        "key text": {"key_file": None, "private_key": host.server.client_key_path.read_text()},
    }[way]

    async def scenario() -> None:
        async with host.backend(host.target(**changes)) as backend:
            ref = (await backend.submit(host.job("exit 0"))).ref
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def test_refused_credentials_are_named_and_not_shown(host: Any, run: Run, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    message = refused(run, host, BackendAuthenticationError, key_file=str(stranger))
    assert f"{host.server.user}@127.0.0.1:{host.server.port} refused" in message
    assert str(stranger) in message
    text = stranger.read_text()
    message = refused(run, host, BackendAuthenticationError, key_file=None, private_key=text, password="hush")
    assert "the private key and the password" in message
    assert "hush" not in message
    assert text.splitlines()[1] not in message


def test_keys_that_cannot_be_read_are_an_error_of_the_credentials(
    host: Any, run: Run, tmp_path: Path
) -> None:
    locked = make_key(tmp_path / "locked", "-N", "secret phrase")
    message = refused(run, host, BackendAuthenticationError, key_file=str(locked))
    assert f"file {locked}" in message
    message = refused(run, host, BackendAuthenticationError, key_file=str(tmp_path / "nothing"))
    assert "nothing" in message
    refused(run, host, BackendAuthenticationError, key_file=None, private_key="no key at all")


def test_nothing_is_taken_from_default_keys_or_an_agent(
    host: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").write_bytes(host.server.client_key_path.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    agent = subprocess.run(
        ["ssh-agent", "-a", str(tmp_path / "agent")], check=True, capture_output=True, text=True
    ).stdout
    pid = agent.split("SSH_AGENT_PID=")[1].split(";")[0]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("SSH_AGENT_PID", pid)
    stranger = make_key(tmp_path / "stranger")
    try:
        subprocess.run(["ssh-add", "-q", str(host.server.client_key_path)], check=True, capture_output=True)
        refused(run, host, BackendAuthenticationError, key_file=str(stranger))
        message = refused(run, host, BackendAuthenticationError, key_file=None)
    finally:
        subprocess.run(["ssh-agent", "-k"], check=True, capture_output=True)
    assert "no credentials (the connection has neither password nor private key nor agent)" in message


def test_the_ssh_configuration_of_the_worker_is_not_read(
    host: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host *\n  ProxyCommand touch %d/was-read\n  User nobody\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    async def scenario() -> None:
        async with host.backend() as backend:
            assert await backend.status([]) == {}

    run(scenario())
    assert not (tmp_path / "was-read").exists()


def test_an_unreachable_host_is_named_with_its_port(host: Any, run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        port = taken.getsockname()[1]
        message = refused(run, host, BackendUnreachableError, port=port)
        assert f"cannot connect to 127.0.0.1:{port}" in message
        taken.listen()  # accepts and says nothing
        message = refused(run, host, BackendUnreachableError, port=port, connect_timeout=0.3)
    assert f"127.0.0.1:{port} by SSH: no answer within 0.3 s" in message
    assert "host.invalid:22" in refused(run, host, BackendUnreachableError, host="host.invalid", port=22)


def test_one_connection_serves_all_backends_of_a_loop_and_closes_with_the_last(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as first:
            await first.status([])
            async with host.backend() as second:
                await asyncio.gather(*(backend.status([]) for backend in (first, second) for _ in range(20)))
                shared = registry.acquire(host.target())
                assert shared.connects == 1
                assert shared.users == 3
                await registry.release(shared)
            await first.status([])
            assert shared.connects == 1
        assert shared.users == 0
        assert shared._link is None

    run(scenario())


def test_a_cut_connection_is_mended_unnoticed_and_the_training_goes_on(own_sshd: Any, run: Run) -> None:
    host = own_sshd()

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(UNTIL_GO))).ref
            assert host.server.drop_connections() > 0
            assert (await backend.status([ref]))[ref].state is JobState.RUNNING
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def test_a_restarted_sshd_is_found_again_and_meanwhile_asked_rarely(
    own_sshd: Any, run: Run, mocker: Any
) -> None:
    host = own_sshd()

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(UNTIL_GO))).ref
            host.server.drop_connections()
            host.server.stop_listening()
            attempts = mocker.spy(registry, "open_connection")
            answers = await asyncio.gather(
                *(backend.status([ref]) for _ in range(30)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {BackendUnreachableError}
            assert f"127.0.0.1:{host.server.port}" in str(answers[-1])
            assert attempts.call_count <= 2
            host.server.start_listening()
            for _ in range(200):
                try:
                    status = (await backend.status([ref]))[ref]
                    break
                except BackendUnreachableError:
                    await asyncio.sleep(0.05)
            assert status.state is JobState.RUNNING
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def test_a_host_that_stops_answering_is_unreachable_in_bounded_time(own_sshd: Any, run: Run) -> None:
    host = own_sshd("ForceCommand sleep 60")

    async def scenario() -> None:
        async with host.backend(command_timeout=0.5) as backend:
            await backend.status([])

    with pytest.raises(BackendUnreachableError, match=r"gave no answer within 0.5 s"):
        run(scenario())


def test_few_sessions_per_connection_are_enough(own_sshd: Any, run: Run) -> None:
    host = own_sshd("MaxSessions 1")

    async def scenario() -> None:
        async with host.backend() as backend:
            await asyncio.gather(*(backend.status([]) for _ in range(6)))

    run(scenario())


def test_noise_of_start_up_files_does_not_matter(own_sshd: Any, run: Run, tmp_path: Path) -> None:
    login = tmp_path / "noisy"
    login.write_text(
        "#!/bin/sh\necho 'J key1 1 running 0 - - 0 d 0'\nprintf 'no newline \\377'\necho loud >&2\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    login.chmod(0o755)
    host = own_sshd(f"ForceCommand {login}")

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job("echo calm"))).ref
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            assert await host.log(backend, ref) == "calm\n"

    run(scenario())


@pytest.mark.parametrize(
    ("forced", "shown"),
    [
        ("echo This account is currently not available; exit 1", "This account is currently"),
        ("/no/such/shell", "/no/such/shell"),
    ],
)
def test_an_account_without_a_shell_is_a_protocol_error_that_shows_what_came(
    own_sshd: Any, run: Run, forced: str, shown: str
) -> None:
    host = own_sshd(f"ForceCommand {forced}")
    message = refused(run, host, BackendProtocolError)
    assert "did not answer as expected" in message
    assert shown in message


def test_an_endless_start_up_file_is_cut_off(own_sshd: Any, run: Run) -> None:
    host = own_sshd("ForceCommand yes")
    assert "sent more than 16,777,216 bytes" in refused(run, host, BackendProtocolError)
