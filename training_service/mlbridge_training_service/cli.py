# SPDX-License-Identifier: Apache-2.0
"""The command ``mlbridge-training-service``."""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlbridge_training_service import __version__
from mlbridge_training_service.config import ConfigError, ServiceConfig, load_config

if TYPE_CHECKING:
    from mlbridge_training_service.store import JobStore

_EXIT_CONFIGURATION = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until it is told to stop; 2 when the configuration is not usable."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        config.token()
        with _alone_in(config.data_dir):
            if options.give_up is not None:
                return _give_up(config, options.give_up)
            return _serve(config, options.host, options.port, options.log_level)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CONFIGURATION


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlbridge-training-service", description="Runs trainings on this host behind a REST API."
    )
    parser.add_argument("--config", type=Path, required=True, help="path of service.yaml")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port, 0 for a free one (default %(default)s)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--give-up",
        metavar="INSTANCE",
        help="do not serve: call the unfinished jobs of another service on the same database lost, because "
        "its host is gone for good",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


@contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the kernel lets go of it when the process dies, however it dies."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"data_dir {data_dir} is not usable: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"data_dir {data_dir} is in use by another training service") from None
        _require_hard_links(data_dir)
        yield
    finally:
        os.close(lock)


def _require_hard_links(data_dir: Path) -> None:
    probe = data_dir / "service.lock.link"
    probe.unlink(missing_ok=True)
    try:
        os.link(data_dir / "service.lock", probe)
    except OSError as error:
        raise ConfigError(
            f"data_dir {data_dir} is on a file system without hard links ({error.strerror}); use a local one"
        ) from error
    probe.unlink()


def _instance(config: ServiceConfig) -> str:
    """
    Which service this is. It is kept in ``data_dir``, where the jobs are that the service can look after.

    Without a database of its own it is alone, and needs no name.
    """
    if config.database() is None:
        return ""
    path = config.data_dir / "instance"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        name = secrets.token_hex(8)
        temporary = path.with_name(".instance")
        temporary.write_text(f"{name}\n", encoding="ascii")
        temporary.rename(path)
        return name


def _open_store(config: ServiceConfig) -> JobStore:
    from sqlalchemy.exc import DBAPIError

    from mlbridge_training_service.store import JobStore

    url = config.database() or f"sqlite:///{config.data_dir / 'jobs.db'}"
    try:
        return JobStore(url, instance=_instance(config))
    except DBAPIError as error:
        raise ConfigError(f"the database cannot be used: {error.orig}") from error


def _give_up(config: ServiceConfig, instance: str) -> int:
    from mlbridge_training_service.supervisor import utc_now

    store = _open_store(config)
    try:
        if instance == store.instance:
            raise ConfigError(f"{instance} is this service itself")
        count = store.give_up(instance, utc_now())
    finally:
        store.close()
    sys.stdout.write(f"{count} jobs of {instance} are called lost\n")
    return 0


def _serve(config: ServiceConfig, host: str, port: int, log_level: str) -> int:
    import logging.config

    import uvicorn

    from mlbridge_training_service.app import build_app
    from mlbridge_training_service.metrics import Metrics
    from mlbridge_training_service.retention import Keeper
    from mlbridge_training_service.runner import Runner
    from mlbridge_training_service.service import Service

    log_config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": log_level.upper()},
    }
    logging.config.dictConfig(log_config)
    store = _open_store(config)
    metrics = Metrics(store, concurrency=config.concurrency)
    service = Service(config, store, Runner(config, store, metrics), Keeper(config, store, metrics), metrics)
    try:
        settings = uvicorn.Config(
            build_app(service),
            host=host,
            port=port,
            log_config=None,
            log_level=log_level,
            server_header=False,
            ssl_certfile=config.tls_certificate,
            ssl_keyfile=config.tls_key,
        )
        listener = settings.bind_socket()
        scheme = "https" if config.tls_certificate else "http"
        sys.stdout.write(f"listening on {scheme}://{host}:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(settings).run(sockets=[listener])
    finally:
        store.close()
    return 0
