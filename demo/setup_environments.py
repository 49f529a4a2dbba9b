# SPDX-License-Identifier: Apache-2.0
"""
The environments of the demo's parts, each a virtual environment of its own below ``.demo/``.

dbt, Swift and the training host have other dependencies than Airflow, as they have in a company. Packages
come from the index that pip or uv is configured for; after that nothing leaves this machine. An environment
is made once, and again when its requirements or the interpreter change.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo.installation import STATE, SetupError, run_logged
from demo.packages import DEMO_PROGRAMS, require_packages
from demo.services.process import REPOSITORY

_REQUIREMENTS = Path(__file__).parent / "requirements"
_SERVICE = REPOSITORY / "training_service"


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
        run_logged([str(uv), "venv", "--python", sys.executable, str(folder)], log=log)
        run_logged([str(uv), "pip", "install", "--python", str(python), *what], log=log)
    else:
        run_logged([sys.executable, "-m", "venv", str(folder)], log=log)
        run_logged([str(python), "-m", "pip", "install", "--no-input", *what], log=log)
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


def main() -> int:
    """Prepare everything without running the demo."""
    try:
        require_packages(print, DEMO_PROGRAMS)
        make_environments(print)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
