# SPDX-License-Identifier: Apache-2.0
"""
The environments of the demo's parts, each a virtual environment of its own below ``.demo/``.

dbt, Swift and the training host have other dependencies than Airflow, as they have in a company. Packages
come from the index that pip or uv is configured for; after that nothing leaves this machine. An environment
is made once, and again when its requirements or the interpreter change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.services.process import REPOSITORY, ServiceError, find_program

STATE = REPOSITORY / ".demo"
"""Everything that the demo writes."""

_REQUIREMENTS = Path(__file__).parent / "requirements"
_SERVICE = REPOSITORY / "training_service"


class SetupError(RuntimeError):
    """Something that the demo needs cannot be installed; the message says what to do."""


@dataclass(frozen=True)
class Environments:
    """
    Interpreters of the environments.

    :param dbt: dbt-core, dbt-duckdb, and the data.
    :param swift: OpenStack Swift.
    :param training: the training host: scikit-learn, and the training service.
    """

    dbt: Path
    swift: Path
    training: Path


def require_programs(say: Callable[[str], None]) -> None:
    """
    Make sure that the programs of Debian packages are there; installs them when run by root.

    :raises SetupError: with the command to run, when they are missing and cannot be installed.
    """
    wanted = {"sshd": "openssh-server", "ssh-keygen": "openssh-client"}
    missing = _missing(wanted)
    if not missing:
        return
    command = f"apt-get install --yes --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"The demo needs the Debian package(s) {', '.join(missing)}. Run:\n\n  sudo {command}\n"
        )
    say(f"installing Debian package(s) {', '.join(missing)}")
    if Path("/run/systemd/system").exists() and "openssh-server" in missing:
        say("note: Debian also starts its own SSH server then; 'systemctl disable --now ssh' turns it off")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = STATE / "logs" / "apt-get.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    for step in (["apt-get", "update"], command.split()):
        _run(step, log=log, environment=environment)
    still = _missing(wanted)
    if still:
        raise SetupError(f"{', '.join(still)} could not be installed, see {log}")


def _missing(wanted: Mapping[str, str]) -> list[str]:
    missing = []
    for program, package in wanted.items():
        try:
            find_program(program, package)
        except ServiceError:
            missing.append(package)
    return missing


def make_environments(say: Callable[[str], None]) -> Environments:
    """
    Create or refresh the environments.

    :raises SetupError: when an installation fails.
    """
    return Environments(
        dbt=_environment("dbt", say),
        swift=_environment("swift", say),
        training=_environment("training", say, extra=_SERVICE),
    )


def _environment(name: str, say: Callable[[str], None], *, extra: Path | None = None) -> Path:
    """Interpreter of an environment; ``extra`` is a source folder that is installed too."""
    folder = STATE / f".venv-{name}"
    python = folder / "bin" / "python"
    stamp = folder / "requirements.sha256"
    requirements = _REQUIREMENTS / f"{name}.txt"
    wanted = _digest(requirements, extra)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"installing the environment of {name} into {folder.relative_to(REPOSITORY)}")
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    log = STATE / "logs" / f"install-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    what = ["--requirement", str(requirements), *([str(extra)] if extra else [])]
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        _run([str(uv), "venv", "--python", sys.executable, str(folder)], log=log)
        _run([str(uv), "pip", "install", "--python", str(python), *what], log=log)
    else:
        _run([sys.executable, "-m", "venv", str(folder)], log=log)
        _run([str(python), "-m", "pip", "install", "--no-input", *what], log=log)
    stamp.write_text(wanted)
    say(f"installed the environment of {name} in {time.monotonic() - started:.0f} s")
    return python


def _digest(requirements: Path, extra: Path | None) -> str:
    """Of everything that decides what is in an environment."""
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    sources = sorted(extra.rglob("*")) if extra else []
    for path in (requirements, *sources):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(REPOSITORY)).encode() + path.read_bytes())
    return digest.hexdigest()


def _run(command: list[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise SetupError(
            f"'{' '.join(command)}' failed with exit code {done.returncode}:\n{tail}\n(see {log})"
        )


def main() -> int:
    """Prepare everything without running the demo."""
    try:
        require_programs(print)
        make_environments(print)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
