# SPDX-License-Identifier: Apache-2.0
"""
OpenStack Swift with its S3 API: persistent, authenticated, from PyPI alone.

One proxy, account, container and object server on loopback, one device, one replica. What is stored stays in
the folder and is there again after a restart.
"""

from __future__ import annotations

import configparser
import errno
import getpass
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from demo.services.process import (
    LOOPBACK,
    OwnedProcess,
    ServiceError,
    base_environment,
    free_port,
    port_answers,
    start_with_retry,
)
from demo.services.s3 import S3Server

REGION = "us-east-1"
_ACCOUNT = "mlbridge"
_USER = "demo"
_BACKENDS = ("account", "container", "object")
_PIPELINE = "catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy slo dlo proxy-server"


def start_swift(folder: Path, *, python: Path) -> S3Server:
    """
    Start Swift and wait until its S3 API answers.

    :param folder: for data, configuration, keys and logs; must be on a file system with user attributes.
    :param python: interpreter of an environment with the package ``swift``.
    :raises ServiceError: when it does not start or the file system lacks user attributes.
    """
    folder = folder.resolve()
    (folder / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _require_attributes(folder / "devices" / "d1")
    secret = _persistent_secret(folder / "secret_key")
    return start_with_retry(lambda: _start(folder, python, secret))


def _start(folder: Path, python: Path, secret: str) -> S3Server:
    environment = base_environment(EVENTLET_NO_GREENDNS="yes", SPT_NOENV="1")
    ports = {name: free_port() for name in (*_BACKENDS, "proxy")}
    _write_configuration(folder, ports, secret)
    _build_rings(folder, ports, python.parent, environment)
    processes = [
        OwnedProcess(
            f"swift-{name}",
            [str(python), str(python.parent / f"swift-{name}-server"), str(folder / f"{name}.conf"), "-v"],
            folder=folder,
            environment=environment,
        )
        for name in ports
    ]
    server = S3Server(
        "OpenStack Swift",
        endpoint_url=f"http://{LOOPBACK}:{ports['proxy']}",
        access_key=f"{_ACCOUNT}:{_USER}",
        secret_key=secret,
        region=REGION,
        processes=processes,
    )
    try:
        for process in processes:
            process.start()
        for process, port in zip(processes, ports.values(), strict=True):
            process.wait_ready(partial(port_answers, port), timeout=60)
        _wait_until_it_stores(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_it_stores(server: S3Server) -> None:
    """The account is made by the first request; until then the proxy may answer with an error."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()

    def answers() -> bool:
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    try:
        server.processes[-1].wait_ready(answers, timeout=60, what="the S3 API to list the buckets")
    finally:
        client.close()


def _require_attributes(folder: Path) -> None:
    try:
        os.setxattr(folder, "user.swift.probe", b"1")
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM):
            raise
        raise ServiceError(
            f"Swift keeps metadata in user attributes of files, and the file system of {folder} has none"
        ) from None


def _persistent_secret(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(20))
    return path.read_text()


def _build_rings(
    folder: Path, ports: Mapping[str, int], programs: Path, environment: Mapping[str, str]
) -> None:
    """Rings of one device. They name the ports, so they are built anew; the data stays where it is."""
    for name in _BACKENDS:
        for path in (folder / f"{name}.builder", folder / f"{name}.ring.gz"):
            path.unlink(missing_ok=True)
        steps: Sequence[Sequence[str]] = (
            ("create", "4", "1", "1"),
            ("add", f"r1z1-{LOOPBACK}:{ports[name]}/d1", "1"),
            ("rebalance",),
        )
        for step in steps:
            done = subprocess.run(
                [
                    *(str(programs / "python"), str(programs / "swift-ring-builder")),
                    *(str(folder / f"{name}.builder"), *step),
                ],
                capture_output=True,
                text=True,
                env=dict(environment),
                timeout=60,
                check=False,
            )
            # 1 is a warning ("rebalanced, but one device cannot be balanced"), 2 an error.
            if done.returncode > 1 or not (folder / f"{name}.builder").exists():
                raise ServiceError(f"swift-ring-builder {step[0]} failed: {done.stdout}{done.stderr}")


def _write_configuration(folder: Path, ports: Mapping[str, int], secret: str) -> None:
    hashes = folder / "swift.conf"
    if not hashes.exists():
        # The place of every object depends on these two, so they are written once.
        _write(
            hashes,
            {
                "swift-hash": {
                    "swift_hash_path_prefix": secrets.token_hex(16),
                    "swift_hash_path_suffix": secrets.token_hex(16),
                },
                "storage-policy:0": {"name": "one-replica", "default": "yes"},
            },
        )
    common = {
        "bind_ip": LOOPBACK,
        "swift_dir": str(folder),
        "user": getpass.getuser(),
        "workers": "0",  # serve in the process itself
        "log_level": "WARNING",
        "log_name": "swift",
    }
    for name in _BACKENDS:
        storage = {"devices": str(folder / "devices"), "mount_check": "false", "disable_fallocate": "true"}
        _write(
            folder / f"{name}.conf",
            {
                "DEFAULT": common | storage | {"bind_port": str(ports[name])},
                "pipeline:main": {"pipeline": f"{name}-server"},
                f"app:{name}-server": {"use": f"egg:swift#{name}"},
            },
        )
    filters = {name: {"use": f"egg:swift#{name}"} for name in _PIPELINE.split()[:-1]}
    filters["s3api"] |= {
        "location": REGION,
        "dns_compliant_bucket_names": "true",
        "s3_acl": "false",
        "check_bucket_owner": "false",
    }
    filters["tempauth"] |= {f"user_{_ACCOUNT}_{_USER}": f"{secret} .admin"}
    _write(
        folder / "proxy.conf",
        {
            "DEFAULT": common | {"bind_port": str(ports["proxy"])},
            "pipeline:main": {"pipeline": _PIPELINE},
            **{f"filter:{name}": settings for name, settings in filters.items()},
            "app:proxy-server": {
                "use": "egg:swift#proxy",
                "account_autocreate": "true",
                "allow_account_management": "true",
            },
        },
    )


def _write(path: Path, document: Mapping[str, Mapping[str, str]]) -> None:
    parser = configparser.RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict(document)
    path.touch(mode=0o600)
    with path.open("w") as file:
        parser.write(file)
