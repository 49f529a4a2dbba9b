# SPDX-License-Identifier: Apache-2.0
"""What every installation of the demo shares: its folder, its error, and commands whose output is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.services.process import REPOSITORY

STATE = REPOSITORY / ".demo"
"""Everything that the demo writes; deleting it makes the next demo begin from nothing."""


class SetupError(RuntimeError):
    """Something that is needed cannot be installed; the message says what to do."""


def run_logged(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
    """
    Run a command with its output appended to a file.

    :param environment: the complete environment; ours when None.
    :raises SetupError: when it fails, with the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    line = " ".join(command)
    with log.open("a") as output:
        output.write(f"$ {line}\n")
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
        raise SetupError(f"'{line}' failed with exit code {done.returncode}:\n{tail}\n(see {log})")
