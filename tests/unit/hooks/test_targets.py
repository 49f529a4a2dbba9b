# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.hooks.api import MLBridgeAPIHook, api_target
from airflow_provider_mlbridge.hooks.ssh import MLBridgeSSHHook, ssh_target
from airflow_provider_mlbridge.hooks.training import BackendSpec
from demo.services.process import free_port


def connection(**fields: Any) -> Connection:
    extra = fields.pop("extra", None)
    made = Connection(conn_id="host", **fields)
    if extra is not None:
        import json

        made.extra = json.dumps(extra)
    return made


def test_an_ssh_connection_becomes_a_target() -> None:
    target = ssh_target(
        connection(
            conn_type="mlbridge_ssh",
            host="train-1",
            login="mlops",
            extra={"private_key": "PEM", "host_key": "ssh-ed25519 AAAA", "private_key_passphrase": "word"},
        )
    )
    assert (target.host, target.port, target.username) == ("train-1", 22, "mlops")
    assert (target.private_key, target.host_key, target.passphrase) == ("PEM", "ssh-ed25519 AAAA", "word")
    assert target.insecure_no_host_key_check is False
    assert "PEM" not in repr(target)
    assert "word" not in repr(target)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"conn_type": "http", "host": "h", "login": "l"}, "mode='ssh' takes mlbridge_ssh or ssh"),
        ({"conn_type": "ssh", "login": "l"}, "has no host"),
        ({"conn_type": "ssh", "host": "h"}, "has no login"),
        (
            {"conn_type": "ssh", "host": "h", "login": "l", "extra": {"no_host_key_check": "true"}},
            "sets no_host_key_check",
        ),
    ],
)
def test_an_ssh_connection_that_cannot_do_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        ssh_target(connection(**fields))
    assert "'host'" in str(caught.value)


def test_a_jump_host_gets_key_and_agent_but_never_the_password() -> None:
    extra = {
        "private_key": "PEM",
        "private_key_passphrase": "word",
        "agent": "/run/agent",
        "jump_host": "gate",
    }
    fields = {"conn_type": "mlbridge_ssh", "host": "h", "login": "mlops", "password": "secret"}
    jump = ssh_target(connection(**fields, extra=extra)).jump
    assert jump is not None
    assert (jump.address, jump.username, jump.host_key, jump.jump) == ("gate:22", "mlops", None, None)
    assert (jump.private_key, jump.passphrase, jump.agent_socket) == ("PEM", "word", "/run/agent")
    assert jump.password is None
    own = {"jump_port": "2222", "jump_login": "guest", "jump_key_file": "/k", "jump_host_key": "AAAA"}
    jump = ssh_target(connection(**fields, extra={**extra, **own})).jump
    assert jump is not None
    assert (jump.address, jump.username, jump.host_key, jump.key_file) == ("gate:2222", "guest", "AAAA", "/k")
    assert (jump.private_key, jump.passphrase, jump.agent_socket) == (None, None, None)
    assert "secret" not in repr(jump)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"jump_port": 22}, "has jump_port, but no jump_host"),
        ({"jump_host": "g", "jump_user": "x"}, "has jump_user; valid are jump_host, jump_host_key"),
        ({"jump_host": "g", "jump_port": "many"}, "jump_port='many'"),
        ({"agent": "true"}, "SSH_AUTH_SOCK is not set"),
    ],
)
def test_a_jump_host_or_agent_that_cannot_do_is_refused(
    extra: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ConfigurationError, match=problem):
        ssh_target(connection(conn_type="ssh", host="h", login="l", extra=extra))


def test_empty_fields_of_the_form_name_no_jump_host() -> None:
    extra = {"jump_host": "", "jump_port": None, "jump_password": "", "agent": ""}
    target = ssh_target(connection(conn_type="ssh", host="h", login="l", extra=extra))
    assert (target.jump, target.agent_socket) == (None, None)


def test_no_host_key_check_takes_a_second_yes() -> None:
    extra = {"no_host_key_check": True, "allow_insecure_host_key": True}
    target = ssh_target(connection(conn_type="ssh", host="h", login="l", extra=extra))
    assert target.insecure_no_host_key_check is True


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://t.example.com"}, "https://t.example.com"),
        ({"host": "t.example.com"}, "https://t.example.com"),
        ({"host": "t.example.com", "schema": "http", "port": 8080}, "http://t.example.com:8080"),
        ({"host": "http://t.example.com/base/", "port": 81}, "http://t.example.com:81/base"),
        ({"host": "http://[::1]", "port": 81}, "http://[::1]:81"),
        ({"host": "http://[::1]:82", "port": 81}, "http://[::1]:82"),
    ],
)
def test_the_base_url_of_an_api_connection(fields: dict[str, Any], url: str) -> None:
    assert api_target(connection(conn_type="mlbridge_api", **fields)).base_url == url


@pytest.mark.parametrize(
    ("fields", "auth"),
    [
        ({"password": "t"}, "bearer"),
        ({"login": "u", "password": "p"}, "basic"),
        ({"password": "k", "extra": {"auth": "api_key"}}, "api_key"),
        ({}, "none"),
    ],
)
def test_the_authentication_of_an_api_connection(fields: dict[str, Any], auth: str) -> None:
    target = api_target(connection(conn_type="http", host="https://t", **fields))
    assert target.auth == auth
    if "password" in fields:
        assert f"'{fields['password']}'" not in repr(target)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"conn_type": "ssh", "host": "h"}, "mode='api' takes mlbridge_api or http"),
        ({"conn_type": "http"}, "has no host"),
        ({"conn_type": "http", "host": "ftp://h"}, "scheme 'ftp'"),
        ({"conn_type": "http", "host": "h", "extra": {"auth": "digest"}}, "valid are 'none', 'bearer'"),
        ({"conn_type": "http", "host": "h", "extra": {"auth": "bearer"}}, "but no password"),
    ],
)
def test_an_api_connection_that_cannot_do_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        api_target(connection(**fields))


def test_test_connection_says_what_is_wrong_without_the_secret(mocker: Any) -> None:
    ssh = connection(conn_type="ssh", host="127.0.0.1", port=free_port(), login="l", password="hidden-word")
    mocker.patch("airflow.sdk.BaseHook.get_connection", return_value=ssh)
    ok, message = MLBridgeSSHHook("host").test_connection()
    assert not ok
    assert "127.0.0.1" in message
    assert "hidden-word" not in message

    api = connection(conn_type="http", host=f"http://127.0.0.1:{free_port()}", password="hidden-word")
    mocker.patch("airflow.sdk.BaseHook.get_connection", return_value=api)
    mocker.patch("asyncio.sleep")
    ok, message = MLBridgeAPIHook("host").test_connection()
    assert not ok
    assert "127.0.0.1" in message
    assert "hidden-word" not in message


def test_an_unknown_mode_names_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match="valid are 'dag', 'ssh', 'api'"):
        BackendSpec(mode="shh").check()
